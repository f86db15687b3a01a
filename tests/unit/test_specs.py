import json
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, proto_builder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import infra_validator_pb2 as tfx_pb
from tfx.utils import json_utils, proto_utils

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import SpecError, parameters_left, to_dict, to_json, to_message

AS_DICT = {
    "model_name": "ranker",
    "tensorflow_serving": {"image_name": "mine", "tags": ["2.16.1", "latest"]},
    "kubernetes": {
        "active_deadline_seconds": 90,
        "serving_pod_overrides": {
            "annotations": {"b": "2", "a": "1"},
            "env": [{"name": "X", "value_from": {"secret_key_ref": {"name": "s", "key": "k"}}}],
            "resources": {"limits": {"cpu": "1"}},
        },
    },
}
FORMS = {
    "message": lambda: _message(pb),
    "message of TFX": lambda: _message(tfx_pb),
    "dict": lambda: AS_DICT,
    "JSON text": lambda: json.dumps(AS_DICT),
    "JSON bytes": lambda: json.dumps(AS_DICT).encode(),
    "JSON of TFX": lambda: proto_utils.proto_to_json(_message(tfx_pb)),
    "camel case": lambda: (
        json.dumps(AS_DICT)
        .replace("model_name", "modelName")
        .replace("serving_pod_overrides", "servingPodOverrides")
    ),
}


def _message(module: Any) -> Any:
    return module.ServingSpec(
        model_name="ranker",
        tensorflow_serving=module.TensorFlowServing(image_name="mine", tags=["2.16.1", "latest"]),
        kubernetes=module.KubernetesConfig(
            active_deadline_seconds=90,
            serving_pod_overrides=module.PodOverrides(
                annotations={"b": "2", "a": "1"},
                env=[
                    module.EnvVar(
                        name="X",
                        value_from=module.EnvVarSource(
                            secret_key_ref=module.SecretKeySelector(name="s", key="k")
                        ),
                    )
                ],
                resources=module.Resources(limits={"cpu": "1"}),
            ),
        ),
    )


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_the_same_message(form: str) -> None:
    message = to_message(FORMS[form](), pb.ServingSpec, "serving_spec")
    assert isinstance(message, pb.ServingSpec)
    assert message == _message(pb)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_the_json_that_tfx_keeps(form: str) -> None:
    message = to_message(FORMS[form](), pb.ServingSpec, "serving_spec")
    assert to_json(message) == proto_utils.proto_to_json(_message(tfx_pb))


def test_json_is_deterministic_with_the_protos_names() -> None:
    text = to_json(_message(pb))
    assert json.loads(text) == AS_DICT
    assert text == json.dumps(AS_DICT, indent=2, sort_keys=True)
    assert to_dict(_message(pb)) == AS_DICT


@pytest.mark.parametrize(
    "value",
    [
        {"model_nam": "x"},
        {"tensorflow_serving": {"tag": ["2.16.1"]}},
        {"kubernetes": {"serving_pod_overrides": {"labels": {}}}},
        '{"model_nam": "x"}',
        '{"tensorflow_serving": {"env": {}, "environment": {}}}',
        b'{"serving": 1}',
    ],
)
def test_refuses_unknown_fields(value: object) -> None:
    with pytest.raises(SpecError, match=r"^serving_spec: ") as caught:
        to_message(value, pb.ServingSpec, "serving_spec")
    assert "has no field" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        2.5,
        True,
        [],
        ("model_name", "x"),
        object(),
        pb.ServingSpec,
        "",
        "{",
        "model_name: 'x'",
        '{"model_name": "a", "model_name": "b"}',
        {"model_name": 3},
        {"tensorflow_serving": 3},
        {"tensorflow_serving": {"tags": "2.16.1"}},
        {"tensorflow_serving": {"env": ["A"]}},
        {"tensorflow_serving": pb.TensorFlowServing()},
        {"local_docker": {}, "kubernetes": {}},
        {1: 2},
    ],
)
def test_refuses_what_is_no_such_spec(value: object) -> None:
    with pytest.raises(SpecError, match=r"^serving_spec: "):
        to_message(value, pb.ServingSpec, "serving_spec")


SECRET = "hunter2"  # noqa: S105 - what must not be told


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    "serving_spec",
    [
        *(
            {"tensorflow_serving": {"env": env}}
            for env in (
                [{"name": "TOKEN", "value": SECRET}],
                f"TOKEN={SECRET}\n{SECRET} at {SECRET}",
                [f"TOKEN={SECRET}"],
                {"TOKEN": {"value": SECRET}},
                {"TOKEN": [SECRET]},
            )
        ),
        *(
            {"kubernetes": {"serving_pod_overrides": {"env": env}}}
            for env in (
                {"TOKEN": SECRET},
                f"TOKEN={SECRET}",
                [f"TOKEN={SECRET}"],
                [[f"TOKEN={SECRET}"]],
                [[{"name": "TOKEN", "value": SECRET}]],
                [{"name": "TOKEN", "value": [SECRET]}],
                [{"name": "TOKEN", "value": {"text": SECRET}}],
                [{"name": "TOKEN", "value_from": SECRET}],
                [{"name": "TOKEN", "value_from": [SECRET]}],
                [[SECRET]],
            )
        ),
        {"kubernetes": {"pod_patch": [{"name": "TOKEN", "value": SECRET}]}},
        {"kubernetes": {"pod_patch": json.dumps({"name": "TOKEN", "value": SECRET})}},
    ],
    ids=str,
)
def test_a_variable_that_is_written_wrong_is_refused_without_its_value(
    serving_spec: Any, as_text: bool
) -> None:
    value = json.dumps(serving_spec) if as_text else serving_spec
    with pytest.raises(SpecError, match=r"^serving_spec: ") as caught:
        to_message(value, pb.ServingSpec, "serving_spec")
    assert SECRET not in str(caught.value)


def test_a_value_of_another_type_is_refused_without_it() -> None:
    value = {"kubernetes": {"pod_patch": {"spec": SECRET.encode()}}}
    with pytest.raises(
        SpecError, match=r"^serving_spec: kubernetes\.pod_patch\['spec'\]: .* got a bytes"
    ) as caught:
        to_message(value, pb.ServingSpec, "serving_spec")
    assert SECRET not in str(caught.value)


def test_a_number_that_json_does_not_have_is_told_or_written_as_text() -> None:
    """Protobuf decides which, by its version."""
    message = pb.ServingSpec()
    message.kubernetes.pod_patch.update({"a": float("nan")})
    said = (
        "ServingSpec: it holds a number that JSON does not have; write it as text, "
        '"Infinity", "-Infinity" or "NaN".'
    )
    try:
        text = to_json(message)
    except SpecError as error:
        text = str(error)
    assert text == said or json.loads(text) == {"kubernetes": {"pod_patch": {"a": "NaN"}}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"model_name":\n x}',
            "not a ServingSpec: line 2: not JSON at column 2: Expecting value.",
        ),
        ("[" * 100_000, "not a ServingSpec: it is nested too deeply."),
        ('{"a": %s}' % ("9" * 5000), "not a ServingSpec: a number in it has too many digits."),
    ],
    ids=["syntax", "depth", "digits"],
)
def test_text_that_cannot_be_read_is_refused(text: str, said: str) -> None:
    assert parameters_left(text) == []
    with pytest.raises(SpecError) as caught:
        to_message(text, pb.ServingSpec, "serving_spec")
    assert str(caught.value) == f"serving_spec: {said}"


def test_what_is_nested_too_deeply_is_refused() -> None:
    config: dict[str, Any] = {}
    for _ in range(600):
        config = {"a": config}
    with pytest.raises(SpecError, match=r"nested too deeply\.$"):
        to_json(to_message({"custom_platform": {"config": config}}, pb.ServingSpec, "serving_spec"))


@pytest.mark.parametrize("text", ["3", "null", "true", "[]", '""', '"model_name"', b"\xff{}"])
def test_refuses_text_that_is_no_json_object(text: object) -> None:
    with pytest.raises(SpecError, match=r"^serving_spec: "):
        to_message(text, pb.ServingSpec, "serving_spec")


@pytest.mark.parametrize(
    "value", [{"num_tries": 2**31}, {"num_tries": 1.5}, '{"num_tries": "many"}']
)
def test_refuses_numbers_that_do_not_fit(value: object) -> None:
    with pytest.raises(SpecError, match=r"^validation_spec: .*num_tries"):
        to_message(value, pb.ValidationSpec, "validation_spec")


@pytest.mark.parametrize(
    "message",
    [
        pb.ValidationSpec(),
        pb.TensorFlowServing(),
        tfx_pb.ValidationSpec(),
        tfx_pb.TensorFlowServing(),
    ],
)
def test_refuses_another_message_by_its_full_name(message: Any) -> None:
    with pytest.raises(SpecError, match=r"^serving_spec: .*ServingSpec") as caught:
        to_message(message, pb.ServingSpec, "serving_spec")
    assert message.DESCRIPTOR.full_name in str(caught.value)


def test_refuses_a_message_that_only_has_the_same_name() -> None:
    other = proto_builder.MakeSimpleProtoClass(
        {"model_name": descriptor_pb2.FieldDescriptorProto.TYPE_STRING}, "elsewhere.ServingSpec"
    )
    with pytest.raises(SpecError, match=r"elsewhere\.ServingSpec"):
        to_message(other(model_name="m"), pb.ServingSpec, "serving_spec")


def test_a_spec_error_is_a_value_error() -> None:
    assert issubclass(SpecError, ValueError)


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({}, []),
        ({"model_name": "RuntimeParameter"}, []),
        ({"model_name": '{"RuntimeParameter'}, []),
        ({"validation": RuntimeParameter(name="n", ptype=int)}, ["n"]),
        ({"a": {"b": [RuntimeParameter(name="t", ptype=str, default="1")]}}, ["t"]),
        (
            {
                "a": RuntimeParameter(name="z", ptype=float),
                "b": [RuntimeParameter(name="y", ptype=str)] * 2,
            },
            ["y", "z"],
        ),
    ],
)
def test_runtime_parameters_left_in_a_dict_are_found(
    spec: dict[str, Any], names: list[str]
) -> None:
    assert parameters_left(json_utils.dumps(spec)) == names


def test_text_that_is_no_json_has_no_runtime_parameters() -> None:
    assert parameters_left('{"RuntimeParameter') == []
