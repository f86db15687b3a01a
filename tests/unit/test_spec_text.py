"""Specs in files, and single fields by their paths."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.spec_text import Assigner, field_paths, read_specs
from infra_validator.specs import SpecError

S = "serving_spec"
D = f"{S}.local_docker"
T = f"{S}.tensorflow_serving"


ENV = "serving_spec { tensorflow_serving { env {"


def assigned(*assignments: tuple[str, str], specs: pb.Specs | None = None) -> dict[str, Any]:
    specs = specs or pb.Specs()
    assigner = Assigner(specs)
    for path, value in assignments:
        assigner.assign(path, value, f"--set {path}")
    return json_format.MessageToDict(specs, preserving_proto_field_name=True)


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        ([(f"{D}.memory", "4g")], {S: {"local_docker": {"memory": "4g"}}}),
        ([(f"{D}.cpus", "1.5")], {S: {"local_docker": {"cpus": 1.5}}}),
        ([(f"{D}.writable_root", "TRUE")], {S: {"local_docker": {"writable_root": True}}}),
        ([(f"{D}.pull_policy", "NEVER")], {S: {"local_docker": {"pull_policy": "NEVER"}}}),
        ([(D, "{}")], {S: {"local_docker": {}}}),
        ([(D, '{"memory": "1g"}')], {S: {"local_docker": {"memory": "1g"}}}),
        ([("validation_spec.num_tries", "2")], {"validation_spec": {"num_tries": 2}}),
        (
            [(f"{T}.args", "--a=b=c"), (f"{T}.args", "--d=1")],
            {S: {"tensorflow_serving": {"args": ["--a=b=c", "--d=1"]}}},
        ),
        ([(f"{T}.tags", '["1", "2"]')], {S: {"tensorflow_serving": {"tags": ["1", "2"]}}}),
        ([(f"{T}.env.A.B", "x=y")], {S: {"tensorflow_serving": {"env": {"A.B": "x=y"}}}}),
        ([(f"{T}.env", '{"A": "1"}')], {S: {"tensorflow_serving": {"env": {"A": "1"}}}}),
        (
            [(f"{T}.config_files.f.text", "t")],
            {S: {"tensorflow_serving": {"config_files": {"f": {"text": "t"}}}}},
        ),
        (
            [(f"{D}.ulimits", '{"name": "a"}'), (f"{D}.ulimits", '{"name": "b"}')],
            {S: {"local_docker": {"ulimits": [{"name": "a"}, {"name": "b"}]}}},
        ),
        (
            [(f"{S}.custom_platform.config.a.b", "3"), (f"{S}.custom_platform.config.c", "x y")],
            {S: {"custom_platform": {"config": {"a": {"b": 3.0}, "c": "x y"}}}},
        ),
        # The last platform wins, as in a proto's oneof.
        ([(f"{D}.memory", "4g"), (f"{S}.local_process", "{}")], {S: {"local_process": {}}}),
    ],
)
def test_fields_are_set(assignments: list[tuple[str, str]], expected: dict[str, Any]) -> None:
    assert assigned(*assignments) == expected


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{D}.memroy", "4g", "LocalDockerConfig has no field 'memroy'; is 'memory' meant?"),
        ("local_docker.memory", "4g", f"is '{D}.memory' meant?"),
        ("memory", "4g", f"is '{D}.memory' meant?"),
        ("env.A", "1", f"is '{T}.env.A' meant?"),
        ("nonsense", "1", "It has: serving_spec, validation_spec, request_spec."),
        ("", "1", "Specs has no field ''"),
        (f"{D}.pull_policy", "NEVR", "is 'NEVER' meant?"),
        (f"{D}.cpus", "many", "expected a finite number, got text."),
        ("validation_spec.num_tries", "1.5", "expected a whole number of 32 bits, got 1.5."),
        ("validation_spec.num_tries", "99999999999", "of 32 bits, got 99999999999."),
        (f"{D}.writable_root", "maybe", "expected true or false, got text."),
        (f"{D}.ulimits", "nofile", "not JSON"),
        (f"{D}.ulimits", '{"nme": "a"}', "Ulimit has no field 'nme'; is 'name' meant?"),
        (f"{D}.ulimits.0.name", "a", "ulimits is a list"),
        (f"{S}.model_name.x", "1", "model_name has no fields of its own"),
        (f"{T}.config_files.f.urr", "x", "is 'uri' meant?"),
        (S, "x", "not JSON"),
        (S, "1", "in JSON, in braces"),
        (f"{T}.tags", "[1", "not JSON"),
        (
            f"{T}.env",
            "TOKEN=hunter2",
            "not JSON at column 1: Expecting value; the value is written in JSON.",
        ),
        (f"{T}.env", '["hunter2"]', "env: expected an object of names and values, got a list"),
        (f"{T}.env.TOKEN", "\ud800hunter2", "is no Unicode"),
        (f"{S}.kubernetes.serving_pod_overrides.env", "TOKEN=hunter2", "not JSON"),
        (f"{T}.args", "--pw=hunter2\udcff", "expected text, got text that is no Unicode"),
        (f"{T}.config_files.\udcff.uri", "x", "expected text, got text that is no Unicode"),
        (f"{D}.pull_policy", "hunter2", "expected one of PULL_POLICY_UNSPECIFIED, IF_NOT"),
        (
            f"{S}.custom_platform.config.a.token",
            '{"b": "\\ud800hunter2"}',
            "['token']['b']: expected",
        ),
        (f"{S}.custom_platform.config.a", "9" * 400, "['a']: expected a value that JSON has, got"),
        (f"{S}.custom_platform.config", '{"a": "\\ud800hunter2"}', "['a']: expected a value that"),
        (f"{S}.kubernetes.volumes", '{"a": "\\ud800hunter2"}', "['a']: expected a value that"),
        (f"{T}.env", '{"T": "hunter2", "T": "b"}', "an object has 'T' twice."),
        (f"{S}.kubernetes.pod_patch.spec", '{"a": 1, "a": 1}', "an object has 'a' twice."),
        (f"{S}.kubernetes.pod_patch.spec", "[" * 100_000, "it is nested too deeply."),
    ],
)
def test_what_cannot_be_set_is_named(path: str, value: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        assigned((path, value))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--set {path}: ")
    assert "hunter2" not in str(caught.value)


def test_a_list_of_the_file_is_replaced_by_that_of_the_command_line() -> None:
    specs = pb.Specs()
    specs.serving_spec.tensorflow_serving.tags.extend(["old", "older"])
    specs.serving_spec.tensorflow_serving.args.append("--kept=1")
    found = assigned((f"{T}.tags", "new"), (f"{T}.tags", "newer"), specs=specs)
    assert found[S]["tensorflow_serving"] == {"tags": ["new", "newer"], "args": ["--kept=1"]}


def test_every_field_of_the_specs_has_a_path_that_is_taken() -> None:
    paths = list(field_paths())
    assert len(paths) > 40
    choices = (
        name
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for name in message.enum_values_by_name
    )
    values = ("1", "true", "{}", *choices)
    for path in paths:
        accepted = []
        for value in values:
            try:
                assigned((f"{path}key" if path.endswith(".") else path, value))
            except SpecError:
                continue
            accepted.append(value)
        assert accepted, path


JSON = json.dumps(
    {
        S: {"local_docker": {"memory": "4g"}, "tensorflow_serving": {"tags": ["1"]}},
        "validation_spec": {"num_tries": 2},
    }
)
TEXT = """
# What production runs.
serving_spec { local_docker { memory: "4g" } tensorflow_serving { tags: "1" } }
validation_spec { num_tries: 2 }
"""


@pytest.mark.parametrize("text", [JSON, f"\ufeff  {JSON}", TEXT])
def test_a_file_is_json_or_text_proto(text: str) -> None:
    specs = read_specs(text, "f")
    assert specs.serving_spec.local_docker.memory == "4g"
    assert list(specs.serving_spec.tensorflow_serving.tags) == ["1"]
    assert specs.validation_spec.num_tries == 2
    assert not specs.HasField("request_spec")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"serving_spec": {"local_dcker": {}}}', "ServingSpec has no field 'local_dcker'; is"),
        ("serving_spec { local_dcker {} }", "line 1: ServingSpec has no field 'local_dcker'; is"),
        ("\n\nvalidation_spec { num_tris: 1 }", "line 3: ValidationSpec has no field 'num_tris'"),
        ('{"serving_specs": {}}', "Specs has no field 'serving_specs'; is 'serving_spec' meant?"),
        ("serving_spec { model_name: 4 }", "line 1: Expected string."),
        (
            "validation_spec { num_tries: 1 num_tries: 2 }",
            'line 1: Message type "infra_validator.ValidationSpec" should not have multiple "num',
        ),
        (
            "serving_spec { local_docker {} kubernetes {} }",
            'line 1: Field "kubernetes" is specified along with field "local_docker".',
        ),
        ('\n serving_spec { model_name: "a"', 'line 2: Expected "}".'),
        ("serving_spec { custom_platform { config " + "{ a " * 3000, "specs.txt: "),
        (
            r"""serving_spec { '\': Message type "a.b" has no field named "c"' }""",
            "line 1: Expected identifier or number.",
        ),
        ("validation_spec { num_tries: 99999999999 }", "line 1: Value out of range"),
        ("serving_spec { local_docker { writable_root: maybe } }", "line 1: "),
        ("\nvalidation_spec { num_tries: many }", "line 2: Couldn't parse integer."),
        ('serving_spec {\n model_name: "a', "line 2: String missing ending quote."),
        (
            "serving_spec { local_docker { pull_policy: NEVR } }",
            "ALWAYS, NEVER, got another name; is 'NEVER' meant?",
        ),
        ("serving_spec { local_docker { pull_policy: 99999999999 } }", "Value out of range."),
        ('serving_spec { local_docker { pull_policy: "NEVER" } }', "is 'NEVER' meant?"),
        ("validation_spec { num_tries: 1.5 }", "line 1: Couldn't parse integer: 1.5."),
        ('serving_spec { model_name: "\\344" }', "line 1: Couldn't parse string."),
        (
            f"{ENV}\n key: 'TOKEN' app: 'hunter2' }}}}}}",
            "EnvEntry has no such field; it has: key, value",
        ),
        (
            'serving_spec { kubernetes { labels { app: "x" } } }',
            "LabelsEntry has no field 'app'; it has: key, value.",
        ),
        (
            'serving_spec { custom_platform { config { token: "hunter2" } } }',
            "Struct has no field 'token'; it has: fields.",
        ),
        (
            "serving_spec { tensorflow_serving {\n"
            " args: \"': Couldn't parse integer: hunter2\" tags: 5 } }",
            "line 2: Expected string.",
        ),
        (f"{ENV}\n key: 'TOKEN' value: hunter2 }}}}}}", "line 2: Expected string."),
        (f"{ENV}\n key: 'TOKEN' value: 'hunter2 }}}}}}", "line 2: String missing ending quote."),
        (f"{ENV}\n value: 'a'hunter2' }}}}}}", "line 2: EnvEntry has no such field; it has: key,"),
        (f"{ENV}\n 'TOKEN': 'hunter2' }}}}}}", "line 2: Expected identifier or number."),
        (f"{ENV}\n value: '\\xhunter2' }}}}}}", "line 2: What stands there does not fit."),
        ("serving_spec { tensorflow_serving {\n env: 'hunter2' }}", 'line 2: Expected "{".'),
        ('{"serving_spec": ', "JSON"),
        ("model: x", "Specs has no field 'model'"),
        ('{"serving_spec": {"model_name": 3}}', "model_name"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_name(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_specs(text, "specs.txt")
    assert str(caught.value).startswith("specs.txt: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
