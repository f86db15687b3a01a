"""What TFX's language lets one do with its component: it compiles the same with ours, and runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from tfx import v1 as tfx
from tfx.dsl.compiler import compiler
from tfx.dsl.control_flow import for_each
from tfx.dsl.experimental.node_execution_options.utils import NodeExecutionOptions
from tfx.dsl.input_resolution.strategies.span_range_strategy import SpanRangeStrategy
from tfx.dsl.placeholder import placeholder as placeholders
from tfx.orchestration import pipeline as pipelines
from tfx.proto import range_config_pb2
from tfx.types import channel, standard_artifacts

import infra_validator as iv
from infra_validator.executor import ValidationFailedError
from tests.drop_in.test_compiled import EXECUTOR, TYPE, differences
from tests.pipelines.components import BringExamples, BringModel, BringSpan, BringText
from tests.pipelines.test_pipelines import Pipeline

pytestmark = pytest.mark.usefixtures("leaves_nothing")

Component = Callable[..., Any]

# A spec that both know, for what is only compiled; and one that runs here.
COMPILED = {
    "serving_spec": {"tensorflow_serving": {"tags": ["1"]}, "local_docker": {}},
}
SERVING = {"tensorflow_serving": {}, "local_process": {}}
RUN = {"serving_spec": SERVING}


def condition(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """One validation whose condition holds, and one whose does not."""
    brought, text = BringModel(saved_model=model), BringText(value="yes")
    nodes = [brought, text]
    for answer in ("yes", "no"):
        with tfx.dsl.Cond(text.outputs["text"].future()[0].value == answer):
            node = component(model=brought.outputs["model"], **specs)
            nodes.append(node.with_id(f"InfraValidator-{answer}"))
    return nodes


def depending(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """What follows depends on the verdict."""
    brought = BringModel(saved_model=model)
    node = component(model=brought.outputs["model"], **specs)
    blessed = node.outputs["blessing"].future()[0].custom_property("blessed") == 1
    with tfx.dsl.Cond(blessed):
        told = BringText(value="blessed")
    return [brought, node, told]


def loop(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """A validation of each model in a channel."""
    brought = BringModel(saved_model=model)
    with for_each.ForEach(brought.outputs["model"]) as each:
        node = component(model=each, **specs)
    return [brought, node]


def nested(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """A pipeline in a pipeline, which hands the blessing out."""
    brought = BringModel(saved_model=model)
    inputs = pipelines.PipelineInputs({"model": brought.outputs["model"]})
    node = component(model=inputs.inputs["model"], **specs)
    inner = pipelines.Pipeline(
        pipeline_name="inner",
        components=[node],
        inputs=inputs,
        outputs={"blessing": node.outputs["blessing"]},
    )
    pusher = tfx.components.Pusher(
        model=brought.outputs["model"],
        infra_blessing=inner.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory="/pushed")
        ),
    )
    return [brought, inner, pusher]


def resolved(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """The newest model there is."""
    resolver = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        model=tfx.dsl.Channel(type=standard_artifacts.Model),
    ).with_id("newest")
    return [resolver, component(model=resolver.outputs["model"], **specs)]


def parameters(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """All three specs as runtime parameters."""
    brought, examples = BringModel(saved_model=model), BringExamples(split="/split")
    given = {
        name: tfx.dsl.experimental.RuntimeParameter(name=name, ptype=str, default="{}")
        for name in ("serving_spec", "validation_spec", "request_spec")
    }
    node = component(model=brought.outputs["model"], examples=examples.outputs["examples"], **given)
    return [brought, examples, node]


def placeholder(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """A spec that an upstream component writes."""
    brought, text = BringModel(saved_model=model), BringText(value="{}")
    spec = text.outputs["text"].future()[0].value
    return [brought, text, component(model=brought.outputs["model"], serving_spec=spec)]


def parameters_within(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """Specs whose fields are runtime parameters, of text and of a number."""
    brought = BringModel(saved_model=model)
    name = tfx.dsl.experimental.RuntimeParameter(name="name", ptype=str, default="mine")
    tries = tfx.dsl.experimental.RuntimeParameter(name="tries", ptype=int, default=1)
    node = component(
        model=brought.outputs["model"],
        serving_spec={**specs["serving_spec"], "model_name": name},
        validation_spec={"num_tries": tries},
    )
    return [brought, node]


def concatenated(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """A spec of which a part is known only when the pipeline runs."""
    brought, text = BringModel(saved_model=model), BringText(value="mine")
    spec = '{"model_name": "' + text.outputs["text"].future()[0].value + '"}'
    return [brought, text, component(model=brought.outputs["model"], serving_spec=spec)]


def made(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """The same as a message."""
    brought, text = BringModel(saved_model=model), BringText(value="mine")
    spec = placeholders.make_proto(
        tfx.proto.ServingSpec(local_docker=tfx.proto.LocalDockerConfig()),
        model_name=text.outputs["text"].future()[0].value,
    )
    return [brought, text, component(model=brought.outputs["model"], serving_spec=spec)]


def joined(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """Channels joined to one, and one that may be empty."""
    one, other = (BringModel(saved_model=model).with_id(name) for name in ("one", "other"))
    examples = BringExamples(split="/split")
    node = component(
        model=channel.union([one.outputs["model"], other.outputs["model"]]),
        examples=examples.outputs["examples"].as_optional(),
        request_spec={"tensorflow_serving": {}},
        **specs,
    )
    return [one, other, examples, node]


def with_options(component: Component, specs: Any, model: str = "/model") -> list[Any]:
    """What a runner is told of the node alone."""
    brought, first = BringModel(saved_model=model), BringText(value="first")
    platform = struct_pb2.Struct()
    platform["machine"] = "large"
    node = component(model=brought.outputs["model"], **specs)
    node.with_node_execution_options(
        NodeExecutionOptions(
            success_optional=True, max_execution_retries=2, execution_timeout_sec=600
        )
    )
    node.with_platform_config(platform)
    node.add_upstream_node(first)
    return [brought, first, node]


SHAPES = [
    *(condition, depending, loop, nested, resolved, parameters, placeholder),
    *(concatenated, made, joined, with_options),
    pytest.param(
        parameters_within, marks=pytest.mark.filterwarnings("ignore:.*RuntimeParameter within")
    ),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_compiles_the_same(shape: Callable[[Component, Any], list[Any]]) -> None:
    theirs, ours = (
        json_format.MessageToDict(
            compiler.Compiler().compile(
                pipelines.Pipeline(
                    pipeline_name="p",
                    pipeline_root="/root-of-pipeline",
                    components=shape(component, COMPILED),
                )
            )
        )
        for component in (tfx.components.InfraValidator, iv.InfraValidator)
    )
    found = {(one, other) for _, one, other in differences(theirs, ours)}
    assert found == {EXECUTOR, TYPE}


@pytest.fixture
def pipeline(tmp_path: Path, saved_model: Path, split: Path) -> Pipeline:
    return Pipeline(tmp_path, saved_model, split)


def test_under_a_condition_only_what_holds_is_run(pipeline: Pipeline) -> None:
    pipeline.run_nodes(condition(iv.InfraValidator, RUN, str(pipeline.saved_model)))
    markers = sorted((pipeline.folder / "root").rglob("INFRA_*"))
    assert [path.relative_to(pipeline.folder / "root").parts[0] for path in markers] == [
        "InfraValidator-yes"
    ]


def test_a_condition_reads_the_verdict(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.run_nodes(depending(iv.InfraValidator, RUN, str(pipeline.saved_model)))
    assert len(pipeline.store().get_artifacts_by_type("String")) == 1
    (tmp_path / "empty").mkdir()
    pipeline.run_nodes(depending(iv.InfraValidator, RUN, str(tmp_path / "empty")))
    assert pipeline.blessing["blessed"] == 0
    assert len(pipeline.store().get_artifacts_by_type("String")) == 1


def test_a_loop_over_a_channel_runs(pipeline: Pipeline) -> None:
    pipeline.run_nodes(loop(iv.InfraValidator, RUN, str(pipeline.saved_model)))
    assert pipeline.blessing["blessed"] == 1


def test_the_newest_of_several_models(pipeline: Pipeline) -> None:
    brought = [
        BringModel(saved_model=str(pipeline.saved_model)).with_id(name) for name in ("a", "b")
    ]
    pipeline.run_nodes(brought)
    pipeline.run_nodes(resolved(iv.InfraValidator, RUN))
    assert pipeline.blessing["blessed"] == 1


def test_runtime_parameters_within_a_dict_are_filled_in_for_neither(pipeline: Pipeline) -> None:
    """TFX's component meets the parameter's own JSON where a number should be."""
    model = str(pipeline.saved_model)
    with pytest.raises(json_format.ParseError, match="num_tries"):
        pipeline.run_nodes(parameters_within(tfx.components.InfraValidator, COMPILED, model))
    with (
        pytest.warns(UserWarning, match="within a dict"),
        pytest.raises(ValidationFailedError, match=r"'name'.* as one RuntimeParameter of JSON"),
    ):
        pipeline.run_nodes(parameters_within(iv.InfraValidator, RUN, model))


@pytest.mark.parametrize("window", [1, 2])
def test_spans_are_chosen_by_a_resolver(pipeline: Pipeline, split: Path, window: int) -> None:
    """A window of several spans holds several artifacts, which TFX's component refuses."""
    pipeline.run_nodes(
        [BringSpan(split=str(split), span=span).with_id(f"span-{span}") for span in (1, 2, 3)]
    )
    model = BringModel(saved_model=str(pipeline.saved_model))
    resolver = tfx.dsl.Resolver(
        strategy_class=SpanRangeStrategy,
        config={
            "range_config": range_config_pb2.RangeConfig(
                rolling_range=range_config_pb2.RollingRange(num_spans=window)
            )
        },
        examples=tfx.dsl.Channel(type=standard_artifacts.Examples),
    ).with_id("window")
    validator = iv.InfraValidator(
        model=model.outputs["model"],
        examples=resolver.outputs["examples"],
        request_spec={"tensorflow_serving": {}, "num_examples": 2},
        **RUN,
    )
    pipeline.run_nodes([model, resolver, validator])
    assert pipeline.blessing["requests"] == "2 answered"
