"""Whole pipelines up to Pusher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tensorflow_serving.apis import predict_pb2
from tfx import v1 as tfx
from tfx.dsl.components.base import executor_spec
from tfx.dsl.placeholder import placeholder
from tfx.orchestration import pipeline as pipelines
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.proto import infra_validator_pb2 as tfx_pb2

import infra_validator as iv
from infra_validator.executor import Executor
from tests.conftest import example_bytes
from tests.model_server.embedded_server_process import running
from tests.pipelines.components import BringExamples, BringModel, BringText

pytestmark = pytest.mark.usefixtures("leaves_nothing")

SERVING = {"tensorflow_serving": {}, "local_process": {}}
REQUESTS = {"tensorflow_serving": {}, "num_examples": 2}


class MarkingExecutor(Executor):
    """An executor of somebody who wants to know whose the model is."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        output_dict["blessing"][0].set_string_custom_property("team", "birds")


class MarkingValidator(iv.InfraValidator):
    """A component of theirs, with fewer parameters."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(MarkingExecutor)

    def __init__(self, model: Any) -> None:
        super().__init__(model=model, serving_spec=SERVING)


class Pipeline:
    """A pipeline whose pieces a test can change between runs."""

    def __init__(self, folder: Path, saved_model: Path, split: Path) -> None:
        self.folder = folder
        self.saved_model = saved_model
        self.split = split
        self.runner: Any = tfx.orchestration.LocalDagRunner()
        self.cache = False
        self.run_options: Any = None

    def run(
        self,
        serving_spec: Any = None,
        push_stamped: bool = False,
        extra: Callable[[], tuple[Any, Any]] | None = None,
        **specs: Any,
    ) -> None:
        """Runs it; `extra` makes one more component and the serving spec that rests on it."""
        model = BringModel(saved_model=str(self.saved_model))
        examples = BringExamples(split=str(self.split))
        nodes = [model, examples]
        if extra is not None:
            node, serving_spec = extra()
            nodes.append(node)
        validator = iv.InfraValidator(
            model=model.outputs["model"],
            examples=examples.outputs["examples"],
            serving_spec=SERVING if serving_spec is None else serving_spec,
            **{"request_spec": REQUESTS, **specs},
        )
        pusher = tfx.components.Pusher(
            **({} if push_stamped else {"model": model.outputs["model"]}),
            infra_blessing=validator.outputs["blessing"],
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(
                    base_directory=str(self.folder / "pushed")
                )
            ),
        )
        self.run_nodes([*nodes, validator, pusher])

    def run_nodes(self, nodes: list[Any]) -> None:
        """Runs a pipeline of these nodes, with the same root and metadata."""
        self.runner.run(
            tfx.dsl.Pipeline(
                pipeline_name="p",
                pipeline_root=str(self.folder / "root"),
                components=nodes,
                enable_cache=self.cache,
                metadata_connection_config=self._connection(),
            ),
            **({} if self.run_options is None else {"run_options": self.run_options}),
        )

    def _connection(self) -> Any:
        return tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(self.folder / "metadata.db")
        )

    def store(self) -> Any:
        return metadata_store.MetadataStore(self._connection())

    @property
    def blessing(self) -> dict[str, Any]:
        """Custom properties of the newest blessing."""
        newest = max(self.store().get_artifacts_by_type("InfraBlessing"), key=lambda a: a.id)
        return {
            name: getattr(value, value.WhichOneof("value"))
            for name, value in newest.custom_properties.items()
        }

    @property
    def states(self) -> list[str]:
        """States of InfraValidator's executions, oldest first."""
        store = self.store()
        return [
            metadata_store_pb2.Execution.State.Name(execution.last_known_state)
            for type_ in store.get_execution_types()
            if type_.name.endswith("InfraValidator")
            for execution in store.get_executions_by_type(type_.name)
        ]

    @property
    def pushed(self) -> list[Path]:
        return sorted((self.folder / "pushed").glob("*"))


@pytest.fixture
def pipeline(tmp_path: Path, saved_model: Path, split: Path) -> Pipeline:
    return Pipeline(tmp_path, saved_model, split)


def test_a_good_model_is_pushed(pipeline: Pipeline) -> None:
    pipeline.run(
        validation_spec=tfx_pb2.ValidationSpec(num_tries=2),
        request_spec=tfx_pb2.RequestSpec(
            tensorflow_serving=tfx_pb2.TensorFlowServingRequestSpec(), num_examples=3
        ),
    )
    assert pipeline.blessing["blessed"] == 1
    assert pipeline.blessing["requests"] == "3 answered"
    report = json.loads(Path(pipeline.blessing["report_uri"]).read_text())
    assert report["verdict"] == "blessed"
    assert [(path / "saved_model.pb").is_file() for path in pipeline.pushed] == [True]


def test_a_broken_model_is_not_pushed_and_the_pipeline_ends_well(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(pipeline.saved_model, broken)
    (broken / "saved_model.pb").write_bytes(b"\x08\x01")
    pipeline.saved_model = broken
    pipeline.run()
    assert pipeline.blessing["blessed"] == 0
    assert pipeline.blessing["verdict"] == "not_blessed"
    assert pipeline.pushed == []
    assert pipeline.states == ["COMPLETE"]


def test_the_stamped_model_is_pushed_from_the_blessing_and_replays_its_warm_up(
    pipeline: Pipeline,
) -> None:
    pipeline.run(push_stamped=True, request_spec={**REQUESTS, "make_warmup": True})
    assert pipeline.blessing["has_model"] == 1
    [pushed] = pipeline.pushed
    report = json.loads(Path(pipeline.blessing["report_uri"]).read_text())
    assert [attempt["model"] for attempt in report["binaries"][0]["attempts"]] == [
        "candidate",
        "stamped",
    ]
    # As in production: a server that is given the folder that Pusher pushes to.
    with running(pushed.parent) as (client, server):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["examples"].CopyFrom(tf.make_tensor_proto([example_bytes(x=3.0)], shape=[1]))
        answer = client.call("Predict", request)
    assert f"Number of warmup records read: {report['warm_up']['records']}." in server.log
    assert f"{pushed}/assets.extra/tf_serving_warmup_requests" in server.log
    assert list(answer.outputs["y"].float_val) == [6.0]


def test_a_runtime_parameter_and_a_placeholder_reach_the_executor(pipeline: Pipeline) -> None:
    named = json.dumps({**SERVING, "model_name": "from-parameter"})
    parameter = tfx.dsl.experimental.RuntimeParameter(name="s", ptype=str, default=named)
    pipeline.run(serving_spec=parameter)
    report = json.loads(Path(pipeline.blessing["report_uri"]).read_text())
    assert report["configuration"]["serving_spec"]["model_name"] == "from-parameter"

    def from_upstream() -> tuple[Any, Any]:
        node = BringText(value=json.dumps({**SERVING, "model_name": "from-placeholder"}))
        return node, node.outputs["text"].future()[0].value

    pipeline.run(extra=from_upstream)
    report = json.loads(Path(pipeline.blessing["report_uri"]).read_text())
    assert report["configuration"]["serving_spec"]["model_name"] == "from-placeholder"


@pytest.mark.parametrize("module", [iv, tfx_pb2], ids=["ours", "TFX's"])
def test_a_message_that_a_placeholder_makes_reaches_the_executor(
    pipeline: Pipeline, module: Any
) -> None:
    model, examples = (
        BringModel(saved_model=str(pipeline.saved_model)),
        BringExamples(split=str(pipeline.split)),
    )
    split = BringText(value="train")
    request = placeholder.make_proto(
        module.RequestSpec(
            tensorflow_serving=module.TensorFlowServingRequestSpec(), num_examples=1
        ),
        split_name=split.outputs["text"].future()[0].value,
    )
    validator = iv.InfraValidator(
        model=model.outputs["model"],
        examples=examples.outputs["examples"],
        serving_spec=SERVING,
        request_spec=request,
    )
    pipeline.run_nodes([model, examples, split, validator])
    assert pipeline.blessing["requests"] == "1 answered"
    report = json.loads(Path(pipeline.blessing["report_uri"]).read_text())
    assert report["configuration"]["request_spec"]["split_name"] == "train"


def test_a_component_and_an_executor_of_ones_own(pipeline: Pipeline) -> None:
    model = BringModel(saved_model=str(pipeline.saved_model))
    pipeline.run_nodes([model, MarkingValidator(model=model.outputs["model"])])
    assert (pipeline.blessing["blessed"], pipeline.blessing["team"]) == (1, "birds")


def test_a_later_part_of_the_pipeline_is_run_again_with_the_old_blessing(
    pipeline: Pipeline,
) -> None:
    pipeline.run()
    pipeline.run_options = pipelines.RunOptions(from_nodes=["Pusher"])
    pipeline.run()
    assert pipeline.states.count("COMPLETE") == 1
    assert len(pipeline.store().get_artifacts_by_type("PushedModel")) == 2


def test_a_spec_known_only_at_run_time_is_checked_there(pipeline: Pipeline) -> None:
    wrong = json.dumps({**SERVING, "modelname": "typo"})
    parameter = tfx.dsl.experimental.RuntimeParameter(name="s", ptype=str, default=wrong)
    with pytest.raises(Exception, match=r"serving_spec: .*modelname"):
        pipeline.run(serving_spec=parameter)
    assert pipeline.states == ["FAILED"]
    [report] = (pipeline.folder / "root").rglob("infra_validation_report.json")
    assert json.loads(report.read_text())["fault"]["category"] == "configuration_invalid"


def test_a_runner_that_uses_another_thread(pipeline: Pipeline) -> None:
    pipeline.runner = BeamDagRunner()
    pipeline.run()
    assert pipeline.blessing["blessed"] == 1
    assert len(pipeline.pushed) == 1


def test_a_model_and_a_blessing_that_are_resolved_from_an_earlier_run(pipeline: Pipeline) -> None:
    pipeline.run()

    def latest(type_: Any) -> Any:
        return tfx.dsl.Resolver(
            strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
            found=tfx.dsl.Channel(type=type_),
        ).with_id(f"latest_{type_.TYPE_NAME}")

    model, blessing = (
        latest(getattr(tfx.types.standard_artifacts, name)) for name in ("Model", "InfraBlessing")
    )
    validator = iv.InfraValidator(model=model.outputs["found"], serving_spec=SERVING)
    pusher = tfx.components.Pusher(
        model=model.outputs["found"],
        infra_blessing=blessing.outputs["found"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=str(pipeline.folder / "pushed again")
            )
        ),
    )
    pipeline.run_nodes([model, blessing, validator, pusher])
    assert pipeline.states == ["COMPLETE", "COMPLETE"]
    assert pipeline.blessing["mode"] == "LOAD_ONLY"
    assert pipeline.blessing["blessed"] == 1
    assert len(list((pipeline.folder / "pushed again").iterdir())) == 1


def test_a_second_run_is_served_from_the_cache(pipeline: Pipeline) -> None:
    pipeline.cache = True
    pipeline.run()
    pipeline.run()
    assert pipeline.states == ["COMPLETE", "CACHED"]


@pytest.mark.parametrize("fail", [False, True])
def test_caching_through_an_undetermined_outcome_and_its_repair(
    pipeline: Pipeline, stand_in: str, tmp_path: Path, fail: bool
) -> None:
    """The server fails on the first run only; what that means for the second is the spec's."""
    pipeline.cache = True
    serving = {
        "tensorflow_serving": {
            "env": {
                "STAND_IN_FAULT": "exit_at_start",
                "STAND_IN_ONCE": str(tmp_path / "failed once"),
            }
        },
        "local_process": {"executable": stand_in},
    }
    validation = {"fail_execution_when_undetermined": fail}
    if fail:
        with pytest.raises(Exception, match="ended before it was ready"):
            pipeline.run(serving_spec=serving, validation_spec=validation)
        pipeline.run(serving_spec=serving, validation_spec=validation)
        assert pipeline.states == ["FAILED", "COMPLETE"]
        assert pipeline.blessing["blessed"] == 1
    else:
        pipeline.run(serving_spec=serving, validation_spec=validation)
        pipeline.run(serving_spec=serving, validation_spec=validation)
        assert pipeline.states == ["COMPLETE", "CACHED"]
        assert pipeline.blessing["verdict"] == "undetermined"
        assert "fail_execution_when_undetermined" in pipeline.blessing["fault_hint"]
        assert pipeline.pushed == []
