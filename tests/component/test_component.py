"""The component where the pipeline is written: what it takes, keeps and refuses."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
from tfx import v1 as tfx
from tfx.proto import infra_validator_pb2 as tfx_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import proto_utils

import infra_validator as iv
from infra_validator.specs import SpecError


def model() -> Any:
    return tfx.dsl.Channel(type=standard_artifacts.Model)


def examples() -> Any:
    return tfx.dsl.Channel(type=standard_artifacts.Examples)


SERVING = iv.ServingSpec(
    tensorflow_serving=iv.TensorFlowServing(tags=["2.16.1"]),
    local_process=iv.LocalProcessConfig(executable="server"),
    model_name="m",
)
SERVING_DICT = {
    "tensorflow_serving": {"tags": ["2.16.1"]},
    "local_process": {"executable": "server"},
    "model_name": "m",
}


def exec_properties(**specs: Any) -> dict[str, Any]:
    specs.setdefault("serving_spec", SERVING)
    given = {"examples": examples()} if specs.get("request_spec") is not None else {}
    properties: dict[str, Any] = iv.InfraValidator(
        model=model(), **given, **specs
    ).spec.exec_properties
    return properties


@pytest.mark.parametrize(
    "form",
    [SERVING, SERVING_DICT, json.dumps(SERVING_DICT), json.dumps(SERVING_DICT).encode()],
    ids=["message", "dict", "text", "bytes"],
)
def test_every_form_of_a_spec_becomes_the_same_deterministic_json(form: Any) -> None:
    assert exec_properties(serving_spec=form)["serving_spec"] == proto_utils.proto_to_json(SERVING)


def test_tfx_messages_become_the_json_that_tfx_keeps() -> None:
    validation = tfx_pb2.ValidationSpec(num_tries=2, max_loading_time_seconds=9)
    request = tfx_pb2.RequestSpec(
        tensorflow_serving=tfx_pb2.TensorFlowServingRequestSpec(signature_names=["a"]),
        split_name="eval",
        num_examples=3,
        make_warmup=True,
    )
    kept = exec_properties(validation_spec=validation, request_spec=request)
    theirs = standard_component_specs.InfraValidatorSpec(
        model=model(),
        examples=examples(),
        blessing=tfx.dsl.Channel(type=standard_artifacts.InfraBlessing),
        serving_spec=tfx_pb2.ServingSpec(),
        validation_spec=validation,
        request_spec=request,
    ).exec_properties
    assert kept["validation_spec"] == theirs["validation_spec"]
    assert kept["request_spec"] == theirs["request_spec"]


def test_inputs_outputs_and_parameters_are_those_of_tfx() -> None:
    ours, theirs = iv.InfraValidator.SPEC_CLASS, standard_component_specs.InfraValidatorSpec
    for kind in ("INPUTS", "OUTPUTS"):
        assert {k: (v.type, v.optional) for k, v in getattr(ours, kind).items()} == {
            k: (v.type, v.optional) for k, v in getattr(theirs, kind).items()
        }
    assert {k: v.optional for k, v in ours.PARAMETERS.items()} == {
        k: v.optional for k, v in theirs.PARAMETERS.items()
    }
    component = iv.InfraValidator(model=model(), serving_spec=SERVING)
    assert component.id == "InfraValidator"
    assert set(component.outputs) == {"blessing"}


def test_runtime_parameter_and_placeholder_are_kept_as_they_are() -> None:
    parameter = tfx.dsl.experimental.RuntimeParameter(name="serving", ptype=str)
    assert exec_properties(serving_spec=parameter)["serving_spec"] is parameter
    placeholder = tfx.dsl.placeholders.execution_invocation().pipeline_run_id
    assert exec_properties(serving_spec=placeholder)["serving_spec"] is placeholder


def test_runtime_parameters_within_a_dict_are_kept_with_a_warning() -> None:
    parameter = tfx.dsl.experimental.RuntimeParameter(name="serving", ptype=str)
    inside = {"local_process": {}, "tensorflow_serving": {}, "model_name": parameter}
    with pytest.warns(UserWarning, match=r"serving_spec: no runner .* dict \('serving'\)"):
        assert "RuntimeParameter" in exec_properties(serving_spec=inside)["serving_spec"]


@pytest.mark.parametrize(
    ("specs", "field"),
    [
        ({"serving_spec": iv.ServingSpec()}, "ServingSpec: no serving platform"),
        (
            {"serving_spec": iv.ServingSpec(local_process=iv.LocalProcessConfig())},
            "ServingSpec: no serving binary",
        ),
        (
            {
                "serving_spec": iv.ServingSpec(
                    tensorflow_serving=iv.TensorFlowServing(),
                    local_docker=iv.LocalDockerConfig(),
                )
            },
            "neither tags nor digests are set",
        ),
        (
            {
                "serving_spec": tfx_pb2.ServingSpec(
                    tensorflow_serving=tfx_pb2.TensorFlowServing(tags=["1"]),
                    kubernetes=tfx_pb2.KubernetesConfig(active_deadline_seconds=10),
                )
            },
            "ServingSpec.kubernetes.active_deadline_seconds",
        ),
        ({"serving_spec": {**SERVING_DICT, "modelname": "m"}}, "serving_spec: .*modelname"),
        ({"serving_spec": "not json"}, "serving_spec: not a ServingSpec"),
        ({"serving_spec": 7}, "serving_spec: expected a ServingSpec"),
        ({"serving_spec": iv.ValidationSpec()}, "serving_spec: expected a ServingSpec"),
        ({"validation_spec": {"num_tries": -1}}, "ValidationSpec.num_tries"),
        ({"request_spec": iv.RequestSpec()}, "RequestSpec: the kind"),
        (
            {"request_spec": {"tensorflow_serving": {}, "num_examples": -2}},
            "RequestSpec.num_examples",
        ),
        ({"serving_spec": {**SERVING_DICT, "model_name": "a/b"}}, "ServingSpec.model_name"),
        (
            {
                "serving_spec": {
                    **SERVING_DICT,
                    "tensorflow_serving": {"args": ["--rest_api_port=1"]},
                }
            },
            r"tensorflow_serving.args\[0\]: --rest_api_port",
        ),
    ],
)
def test_what_can_never_work_is_refused_by_its_field(specs: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        exec_properties(**specs)


@pytest.mark.parametrize(
    ("with_examples", "with_requests", "missing"),
    [(True, False, "no request_spec"), (False, True, "no examples")],
)
def test_half_a_query_is_warned_about_once(
    with_examples: bool, with_requests: bool, missing: str
) -> None:
    request = iv.RequestSpec(tensorflow_serving=iv.TensorFlowServingRequestSpec())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        iv.InfraValidator(
            model=model(),
            serving_spec=SERVING,
            examples=examples() if with_examples else None,
            request_spec=request if with_requests else None,
        )
    texts = [str(entry.message) for entry in caught if "InfraValidator" in str(entry.message)]
    assert len(texts) == 1
    assert missing in texts[0]
    assert caught[0].filename == __file__


def test_an_empty_request_spec_without_examples_is_taken_as_tfx_takes_it() -> None:
    with pytest.warns(UserWarning, match="no examples"):
        iv.InfraValidator(model=model(), serving_spec=SERVING, request_spec=iv.RequestSpec())


def test_a_source_that_needs_no_examples_is_no_half_a_query() -> None:
    request = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(), from_signature=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        component = iv.InfraValidator(model=model(), serving_spec=SERVING, request_spec=request)
    assert "from_signature" in component.spec.exec_properties["request_spec"]


def test_a_source_is_checked_where_the_pipeline_is_written() -> None:
    with pytest.raises(SpecError, match="kind of request is not set"):
        iv.InfraValidator(
            model=model(), serving_spec=SERVING, request_spec=iv.RequestSpec(from_signature=True)
        )
