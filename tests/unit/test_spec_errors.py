"""What is said of specs that do not fit, for every field, and that no value is in it."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest
from google.protobuf import json_format

from infra_validator.descriptors import is_map, is_repeated, is_struct
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.spec_errors import JSON_ERRORS, explain_json

SECRET = "hunter2"  # noqa: S105 - what must not be told

VALUES: list[Any] = [
    *(SECRET, f"{SECRET} at {SECRET}\n{SECRET}", f"\ud800{SECRET}", "", None, True),
    *(3, -1, 10**30, 10**5000, 1.5, 1e300, float("nan"), float("inf")),
    *([SECRET], [[SECRET]], [None], [3], [{"a": SECRET}], [SECRET.encode()]),
    *({"a": SECRET}, {"a": [SECRET]}, {"a": {"b": SECRET}}, {"a": 3}, {"a": None}),
    *({"a": SECRET.encode()}, {"a": f"\ud800{SECRET}"}, {3: SECRET}, {"@type": SECRET}),
    *(SECRET.encode(), (SECRET,), {SECRET}, object(), MappingProxyType({"a": 3})),
]


def fields(descriptor: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for field in descriptor.fields:
        yield (*path, field)
        kind = field.message_type
        if kind is not None and not is_map(field) and not is_struct(kind):
            yield from fields(kind, (*path, field))


def nested(path: tuple[Any, ...], value: Any) -> tuple[Any, str]:
    """The spec in which a value stands at a path, and how the path is written."""
    names = []
    for field in reversed(path):
        inner = is_repeated(field) and field is not path[-1]
        value = {field.name: [value] if inner else value}
        names.append(f"{field.name}[0]" if inner else field.name)
    return value, ".".join(reversed(names))


PATHS = list(fields(pb.Specs.DESCRIPTOR))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: nested(path, None)[1])
def test_what_does_not_fit_is_told_by_its_place_and_without_its_value(
    path: tuple[Any, ...],
) -> None:
    refused = 0
    for value in VALUES:
        spec, place = nested(path, value)
        try:
            json_format.ParseDict(spec, pb.Specs())
        except JSON_ERRORS:
            said = explain_json(spec, pb.Specs)
            assert said.startswith(place)
            assert SECRET not in said
            assert "nested" not in said
            assert "\n" not in said
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"serving_spec": 3}, "serving_spec: expected an object, ServingSpec, got a number."),
        ({"serving_spec": {"model_name": 3}}, "serving_spec.model_name: expected text, got a num"),
        ({"servingSpec": {"modelName": [3]}}, "serving_spec.model_name: expected text, got a list"),
        (
            {"serving_spec": {"tensorflow_serving": {"tags": "2.16.1"}}},
            "serving_spec.tensorflow_serving.tags: expected a list, got text.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"tags": ["2.16.1", 2.16]}}},
            "serving_spec.tensorflow_serving.tags[1]: expected text, got a number.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"env": ["A=B"]}}},
            "serving_spec.tensorflow_serving.env: expected an object of names and values, got a l",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"env": {"GOOD": "1", "THREADS": 4}}}},
            "serving_spec.tensorflow_serving.env['THREADS']: expected text, got a number.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"env": {"TOKEN=hunter2": 4}}}},
            "serving_spec.tensorflow_serving.env: expected text, got a number.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"config_files": {"f": {"ur": "x"}}}}},
            "serving_spec.tensorflow_serving.config_files['f']: ConfigFile has no field 'ur'; is ",
        ),
        (
            {"serving_spec": {"local_docker": {"pull_policy": "never"}}},
            "IF_NOT_PRESENT, ALWAYS, NEVER, got text; is 'NEVER' meant?",
        ),
        (
            {"serving_spec": {"local_docker": {}, "kubernetes": {}}},
            "serving_spec: local_docker and kubernetes exclude each other; give one of them.",
        ),
        ({"validation_spec": {"num_tries": 1.5}}, "num_tries: expected a whole number of 32 bits"),
        ({"validation_spec": {"num_tries": 2**31}}, "of 32 bits, got 2147483648."),
        (
            {"serving_spec": {"local_docker": {"cpus": "many"}}},
            "expected a finite number, got text.",
        ),
        (
            {"request_spec": {"tensorflow_serving": {"input_constants": {"x": [1, {2}]}}}},
            "input_constants['x'][1]: expected a value that JSON has, got a set.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": pb.TensorFlowServing()}},
            "TensorFlowServing, got a TensorFlowServing message, which within a dict is written",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"env": {3: "hunter2"}}}},
            "serving_spec.tensorflow_serving.env: a name in it is a number; write it as text.",
        ),
        (
            {"request_spec": {"tensorflow_serving": {"input_constants": {None: 3}}}},
            "input_constants: a name in it is null; write it as text.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"env": {"a\ud800": "hunter2"}}}},
            "env: a name in it is text that is no Unicode.",
        ),
        (
            {"serving_spec": {"tensorflow_serving": {"env": {"a": "\ud800"}}}},
            "env['a']: expected text, got text that is no Unicode.",
        ),
        ({3: "x"}, "a name in it is a number; write it as text."),
        (
            {"serving_spec": {"local_docker": {"writable_root": "true"}}},
            "expected true or false, got text; leave out the quotes.",
        ),
        (
            {"serving_spec": {"local_docker": {"cpus": float("nan")}}},
            "cpus: expected a finite number, got nan.",
        ),
        (
            {"serving_spec": {"local_docker": {"cpus": 10**400}}},
            "expected a finite number, got a number out of range.",
        ),
        (
            {"request_spec": {"tensorflow_serving": {"input_constants": {"x": 10**400}}}},
            "input_constants['x']: expected a value that JSON has, got a number out of range.",
        ),
        (
            {
                "serving_spec": {
                    "kubernetes": {"serving_pod_overrides": {"env": [{"name=hunter2": ""}]}}
                }
            },
            "env[0]: EnvVar has no such field; it has: name, value, value_from.",
        ),
        (
            {"serving_spec": {"kubernetes": {"serving_pod_overrides": {"T=hunter2": 1}}}},
            "PodOverrides has no such field; it has: ",
        ),
        (
            {"validation_spec": {"x": 1}},
            "ValidationSpec has no field 'x'; it has: max_loading_time_seconds, ",
        ),
        ({"request_spec": {"num_exampels": 1}}, "request_spec: RequestSpec has no field 'num_exa"),
    ],
    ids=str,
)
def test_what_is_said(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(JSON_ERRORS):
        json_format.ParseDict(spec, pb.Specs())
    assert said in explain_json(spec, pb.Specs)
    assert SECRET not in explain_json(spec, pb.Specs)


def nested_lists(depth: int) -> dict[str, Any]:
    value: Any = SECRET
    for _ in range(depth):
        value = [value]
    return {"serving_spec": {"kubernetes": {"pod_patch": {"spec": value}}}}


def test_what_is_nested_too_deeply_is_told() -> None:
    assert explain_json(nested_lists(5000), pb.Specs) == "it is nested too deeply."
    said = explain_json(nested_lists(150), pb.Specs)
    assert said.endswith("it is nested too deeply.")
    assert SECRET not in said
