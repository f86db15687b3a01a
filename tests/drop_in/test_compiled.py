"""The same pipeline with TFX's component and with ours, compiled by TFX."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from google.protobuf import json_format
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler
from tfx.orchestration import pipeline as pipelines
from tfx.proto import infra_validator_pb2 as tfx_pb
from tfx.types import standard_artifacts

import infra_validator as iv

# What may differ: where in the intermediate representation, TFX's value, ours.
TYPE = (
    "tfx.components.infra_validator.component.InfraValidator",
    "infra_validator.component.InfraValidator",
)
EXECUTOR = (
    "tfx.components.infra_validator.executor.Executor",
    "infra_validator.executor.Executor",
)

SPECS: dict[str, dict[str, Any]] = {
    "load only": {
        "serving_spec": tfx_pb.ServingSpec(
            tensorflow_serving=tfx_pb.TensorFlowServing(tags=["2.16.1"]),
            local_docker=tfx_pb.LocalDockerConfig(),
        )
    },
    "everything": {
        "serving_spec": tfx_pb.ServingSpec(
            tensorflow_serving=tfx_pb.TensorFlowServing(
                image_name="mine", tags=["1", "2"], digests=[f"sha256:{'a' * 64}"]
            ),
            local_docker=tfx_pb.LocalDockerConfig(
                client_base_url="unix:///run/docker.sock",
                client_api_version="1.41",
                client_timeout_seconds=9,
                host_ip_address="127.0.0.1",
            ),
            model_name="m",
        ),
        "validation_spec": tfx_pb.ValidationSpec(max_loading_time_seconds=7, num_tries=2),
        "request_spec": tfx_pb.RequestSpec(
            tensorflow_serving=tfx_pb.TensorFlowServingRequestSpec(
                tag_set=["serve"], signature_names=["serving_default"]
            ),
            split_name="eval",
            num_examples=4,
            make_warmup=True,
        ),
    },
    "dicts": {
        "serving_spec": {"tensorflow_serving": {"tags": ["1"]}, "local_docker": {}},
        "validation_spec": {"num_tries": 2},
        "request_spec": {"tensorflow_serving": {}, "num_examples": 2},
    },
    "runtime parameter": {
        "serving_spec": tfx.dsl.experimental.RuntimeParameter(
            name="serving", ptype=str, default='{"local_docker": {}}'
        )
    },
}


def pipeline(component: Any, specs: Mapping[str, Any]) -> Any:
    """Import of model and examples, validation, push."""
    model, examples = (
        tfx.dsl.Importer(source_uri=f"/data/{name}", artifact_type=kind).with_id(name)
        for name, kind in (
            ("trained", standard_artifacts.Model),
            ("ingested", standard_artifacts.Examples),
        )
    )
    given = {"examples": examples.outputs["result"]} if "request_spec" in specs else {}
    validator = component(model=model.outputs["result"], **given, **specs)
    pusher = tfx.components.Pusher(
        model=model.outputs["result"],
        infra_blessing=validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory="/pushed")
        ),
    )
    return pipelines.Pipeline(
        pipeline_name="p",
        pipeline_root="/root-of-pipeline",
        components=[model, examples, validator, pusher],
        enable_cache=True,
    )


def compiled(component: Any, specs: Mapping[str, Any]) -> dict[str, Any]:
    ir = compiler.Compiler().compile(pipeline(component, specs))
    found: dict[str, Any] = json_format.MessageToDict(ir, preserving_proto_field_name=True)
    return found


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two trees of JSON differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from differences(theirs.get(key), ours.get(key), f"{path}/{key}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{path}/{number}")
    elif theirs != ours and not same_json(theirs, ours):
        yield path, theirs, ours


def same_json(one: Any, other: Any) -> bool:
    """Whether two texts are the same JSON; TFX writes a dict in one line, a message in several."""
    if not (isinstance(one, str) and isinstance(other, str) and one.startswith("{")):
        return False
    return bool(json.loads(one) == json.loads(other))


@pytest.mark.parametrize("specs", SPECS.values(), ids=SPECS.keys())
def test_only_the_type_and_the_executor_differ(specs: Mapping[str, Any]) -> None:
    theirs, ours = (
        compiled(component, specs)
        for component in (tfx.components.InfraValidator, iv.InfraValidator)
    )
    found = list(differences(theirs, ours))
    assert [(one, other) for _, one, other in found] == [EXECUTOR, TYPE]
    assert found[0][0].endswith("executor_specs/InfraValidator/class_path")
    assert found[1][0].endswith("node_info/type/name")


def test_a_field_of_ours_is_the_only_other_difference() -> None:
    specs = SPECS["everything"]
    validation = iv.ValidationSpec.FromString(specs["validation_spec"].SerializeToString())
    validation.fail_execution_when_undetermined = True
    theirs = compiled(tfx.components.InfraValidator, specs)
    ours = compiled(iv.InfraValidator, {**specs, "validation_spec": validation})
    found = [
        (path, one, other)
        for path, one, other in differences(theirs, ours)
        if (one, other) not in (TYPE, EXECUTOR)
    ]
    [(path, one, other)] = found
    assert path.endswith("parameters/validation_spec/field_value/string_value")
    assert json.loads(other) == {**json.loads(one), "fail_execution_when_undetermined": True}


def test_what_tfx_keeps_of_a_spec_is_read_here() -> None:
    """The JSON that stands in a compiled pipeline of TFX's component is a spec for ours."""
    specs = SPECS["everything"]
    kept = tfx.components.InfraValidator(
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        examples=tfx.dsl.Channel(type=standard_artifacts.Examples),
        **specs,
    ).exec_properties
    ours = iv.InfraValidator(
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
        examples=tfx.dsl.Channel(type=standard_artifacts.Examples),
        **{key: kept[key] for key in specs},
    ).exec_properties
    assert {key: ours[key] for key in specs} == {key: kept[key] for key in specs}


def test_a_renamed_component_keeps_its_name() -> None:
    for component in (tfx.components.InfraValidator, iv.InfraValidator):
        node = component(
            model=tfx.dsl.Channel(type=standard_artifacts.Model), **SPECS["load only"]
        ).with_id("Try")
        assert node.id == "Try"
