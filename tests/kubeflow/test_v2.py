"""Kubeflow Pipelines v2: what KubeflowV2DagRunner makes of the component, and its step, run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tfx import v1 as tfx
from tfx.types import standard_artifacts

import infra_validator as iv

kfp = pytest.importorskip("kfp", reason="Kubeflow Pipelines is not installed")
if int(kfp.__version__.partition(".")[0]) < 2:
    pytest.skip("this is Kubeflow Pipelines v1", allow_module_level=True)

import yaml  # noqa: E402
from kfp import compiler, components, dsl  # noqa: E402
from kfp.pipeline_spec import pipeline_spec_pb2  # noqa: E402
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner  # noqa: E402

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubeflow" / "compile.py"
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "kubeflow.md"
OWN_IMAGE = "registry.example/validator:1"
SERVING = {"tensorflow_serving": {}, "local_process": {}}
REQUESTS = {"tensorflow_serving": {}, "num_examples": 2, "make_warmup": True}
NAME = "projects/p/locations/l/metadataStores/default/artifacts"


def pipeline(**specs: Any) -> Any:
    """Import of model and examples, validation, push."""
    model, examples = (
        tfx.dsl.Importer(source_uri=f"/data/{name}", artifact_type=kind).with_id(name)
        for name, kind in (
            ("trained", standard_artifacts.Model),
            ("ingested", standard_artifacts.Examples),
        )
    )
    validator = iv.InfraValidator(
        model=model.outputs["result"],
        examples=examples.outputs["result"],
        **{"serving_spec": SERVING, "request_spec": REQUESTS, **specs},
    )
    pusher = tfx.components.Pusher(
        infra_blessing=validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory="/data/pushed")
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name="p",
        pipeline_root="/data/root",
        components=[model, examples, validator, pusher],
    )


def compiled(folder: Path, *, schema_2_1: bool = True, **specs: Any) -> dict[str, Any]:
    """The pipeline spec, as the runner writes it into a file."""
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image={"InfraValidator": OWN_IMAGE, "__default__": "tfx:1"}
            if _takes_images_by_component()
            else OWN_IMAGE,
            use_pipeline_spec_2_1=schema_2_1,
        ),
        output_dir=str(folder),
        output_filename="pipeline.yaml",
    )
    runner.run(pipeline(**specs))
    found: dict[str, Any] = yaml.safe_load((folder / "pipeline.yaml").read_text())
    return found


def _takes_images_by_component() -> bool:
    return hasattr(kubeflow_v2_dag_runner, "_DEFAULT_IMAGE_PATH_KEY")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compiled(tmp_path_factory.mktemp("v2"))


def step(spec: Mapping[str, Any], component: str) -> dict[str, Any]:
    """The container that Kubeflow starts for a component."""
    found: dict[str, Any] = spec["deploymentSpec"]["executors"][f"{component}_executor"][
        "container"
    ]
    return found


@pytest.mark.parametrize("schema_2_1", [False, True])
def test_the_spec_passes_kubeflows_own_validation(tmp_path: Path, schema_2_1: bool) -> None:
    spec = compiled(tmp_path, schema_2_1=schema_2_1)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # refuses unknown fields
    if not schema_2_1:
        return  # kfp 2 reads nothing older
    loaded = components.load_component_from_file(str(tmp_path / "pipeline.yaml"))

    @dsl.pipeline(name="outer")
    def outer():  # type: ignore[no-untyped-def]  # kfp takes an annotation for an output
        loaded()

    compiler.Compiler().compile(outer, str(tmp_path / "outer.yaml"))
    assert "InfraValidator" in (tmp_path / "outer.yaml").read_text()


def test_the_step_has_its_own_image_and_our_executor(spec: dict[str, Any]) -> None:
    container = step(spec, "InfraValidator")
    assert container["image"] == OWN_IMAGE
    assert container["command"][-1].endswith("kubeflow_v2_run_executor")
    assert container["args"][:4] == [
        "--executor_class_path",
        "infra_validator.executor.Executor",
        "--json_serialized_invocation_args",
        "{{$}}",
    ]


def test_specs_are_parameters_of_the_task(spec: dict[str, Any]) -> None:
    task = spec["root"]["dag"]["tasks"]["InfraValidator"]
    given = {
        key: json.loads(value["runtimeValue"]["constant"])
        for key, value in task["inputs"]["parameters"].items()
    }
    assert given == {"serving_spec": SERVING, "request_spec": REQUESTS}
    assert set(task["inputs"]["artifacts"]) == {"model", "examples"}
    pusher = spec["root"]["dag"]["tasks"]["Pusher"]
    assert pusher["inputs"]["artifacts"]["infra_blessing"]["taskOutputArtifact"] == {
        "producerTask": "InfraValidator",
        "outputArtifactKey": "blessing",
    }


def test_a_runtime_parameter_becomes_a_parameter_of_the_pipeline(tmp_path: Path) -> None:
    parameter = tfx.dsl.experimental.RuntimeParameter(
        name="serving", ptype=str, default=json.dumps(SERVING)
    )
    spec = compiled(tmp_path, serving_spec=parameter)
    assert spec["root"]["inputDefinitions"]["parameters"]["serving"]["parameterType"] == "STRING"
    task = spec["root"]["dag"]["tasks"]["InfraValidator"]
    assert task["inputs"]["parameters"]["serving_spec"] == {"componentInputParameter": "serving"}


def executor_input(
    spec: Mapping[str, Any],
    component: str,
    inputs: Mapping[str, Any],
    output: Mapping[str, Any],
    told: str,
    **parameters: str,
) -> dict[str, Any]:
    """What Kubeflow puts in the place of `{{$}}`: the artifacts and parameters of one task."""
    [key] = spec["components"][component]["outputDefinitions"]["artifacts"]
    constants = {
        name: value["runtimeValue"]["constant"]
        for name, value in spec["root"]["dag"]["tasks"][component]["inputs"]["parameters"].items()
    }
    return {
        "inputs": {
            "artifacts": {name: {"artifacts": [given]} for name, given in inputs.items()},
            "parameterValues": {**constants, **parameters},
        },
        "outputs": {"artifacts": {key: {"artifacts": [output]}}, "outputFile": told},
    }


class Step:
    """Runs steps of a compiled pipeline in the component's image, as Kubeflow starts them."""

    def __init__(self, client: Any, image: str, spec: Mapping[str, Any], folder: Path) -> None:
        self.folder = folder
        self._client = client
        self._image = image
        self._spec = spec

    def artifact(self, kind: str, uri: str, **metadata: Any) -> dict[str, Any]:
        """An artifact as Kubeflow describes it to a step."""
        return {
            "name": f"{NAME}/{uri}",
            "uri": f"{self.folder}/{uri}",
            "type": {"instanceSchema": f"title: tfx.{kind}\ntype: object\n"},
            "metadata": metadata,
        }

    def run(
        self,
        component: str,
        inputs: Mapping[str, dict[str, Any]],
        output: dict[str, Any],
        **parameters: str,
    ) -> tuple[int, str, dict[str, Any]]:
        """Runs a component's step; its exit code, its log, and what it tells Kubeflow."""
        container = step(self._spec, component)
        told = self.folder / "root" / "1" / component / "executor_output.json"
        given = executor_input(self._spec, component, inputs, output, str(told), **parameters)
        [key] = given["outputs"]["artifacts"]
        running = self._client.containers.run(
            self._image,
            entrypoint=container["command"],
            command=[
                json.dumps(given) if argument == "{{$}}" else argument
                for argument in container["args"]
            ],
            volumes=[f"{self.folder}:{self.folder}"],
            user=f"{os.getuid()}:{os.getgid()}",
            environment={"HOME": "/tmp", "TF_CPP_MIN_LOG_LEVEL": "3"},  # noqa: S108
            detach=True,
        )
        try:
            code = running.wait(timeout=240)["StatusCode"]
            log = running.logs().decode(errors="replace")
        finally:
            running.remove(force=True, v=True)
        output_told = json.loads(told.read_text()) if told.exists() else {}
        return (
            code,
            log,
            output_told.get("artifacts", {}).get(key, {"artifacts": [{}]})["artifacts"][0],
        )


@pytest.fixture
def steps(
    docker_client: Any,
    component_image: str,
    spec: dict[str, Any],
    saved_model: Path,
    split: Path,
    tmp_path: Path,
) -> Step:
    shutil.copytree(saved_model, tmp_path / "trained" / "Format-Serving")
    shutil.copytree(split, tmp_path / "ingested" / "Split-train")
    return Step(docker_client, component_image, spec, tmp_path)


def test_the_step_blesses_and_pushers_step_pushes(steps: Step) -> None:
    code, log, blessing = steps.run(
        "InfraValidator",
        {
            "model": steps.artifact("Model", "trained"),
            "examples": steps.artifact("Examples", "ingested", split_names='["train"]'),
        },
        steps.artifact("InfraBlessing", "blessing"),
    )
    assert code == 0, log[-4000:]
    assert blessing["metadata"]["blessed"] == 1
    assert blessing["metadata"]["has_model"] == 1
    assert blessing["metadata"]["verdict"] == "blessed"
    assert blessing["metadata"]["requests"] == "2 answered"
    assert (steps.folder / "blessing" / "INFRA_BLESSED").read_bytes() == b""
    report = json.loads(Path(blessing["metadata"]["report_uri"]).read_text())
    assert report["verdict"] == "blessed"

    blessing["type"] = {"instanceSchema": "title: tfx.InfraBlessing\ntype: object\n"}
    destination = {"filesystem": {"base_directory": f"{steps.folder}/pushed"}}
    code, log, pushed = steps.run(
        "Pusher",
        {"infra_blessing": blessing},
        steps.artifact("PushedModel", "pushed-model"),
        push_destination=json.dumps(destination),
    )
    assert code == 0, log[-4000:]
    assert pushed["metadata"]["pushed"] == 1
    [version] = (steps.folder / "pushed").iterdir()
    assert (version / "saved_model.pb").is_file()
    assert (version / "assets.extra" / "tf_serving_warmup_requests").is_file()


def test_the_step_of_a_broken_model_ends_well_and_pusher_pushes_nothing(steps: Step) -> None:
    (steps.folder / "trained" / "Format-Serving" / "saved_model.pb").write_bytes(b"\x08\x01")
    code, log, blessing = steps.run(
        "InfraValidator",
        {
            "model": steps.artifact("Model", "trained"),
            "examples": steps.artifact("Examples", "ingested", split_names='["train"]'),
        },
        steps.artifact("InfraBlessing", "blessing"),
    )
    assert code == 0, log[-4000:]
    assert blessing["metadata"]["blessed"] == 0
    assert blessing["metadata"]["verdict"] == "not_blessed"
    assert blessing["metadata"]["fault_blame"] == "model"

    blessing["type"] = {"instanceSchema": "title: tfx.InfraBlessing\ntype: object\n"}
    code, log, pushed = steps.run(
        "Pusher", {"infra_blessing": blessing}, steps.artifact("PushedModel", "pushed-model")
    )
    assert code == 0, log[-4000:]
    assert pushed["metadata"]["pushed"] == 0


def test_a_step_that_fails_says_why_and_where_the_report_is(steps: Step) -> None:
    code, log, blessing = steps.run(
        "InfraValidator",
        {
            "model": steps.artifact("Model", "trained"),
            "examples": steps.artifact("Examples", "ingested", split_names='["train"]'),
        },
        steps.artifact("InfraBlessing", "blessing"),
        request_spec=json.dumps({**REQUESTS, "split_name": "absent"}),
    )
    assert code != 0
    assert "absent" in log
    place = Path(log.rpartition("Report: ")[2].split()[0])
    assert json.loads(place.read_text())["fault"]["blame"] == "data"
    assert blessing == {}


def test_a_volume_is_mounted_by_a_second_document(tmp_path: Path) -> None:
    """What docs/kubeflow.md says to append is read with the example's spec, and names its steps."""
    path = compiled_example(tmp_path)
    executors = yaml.safe_load(path.read_text())["deploymentSpec"]["executors"]
    [appended] = re.findall(r"```yaml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    with path.open("a") as file:
        file.write(appended)
    loaded = components.load_component_from_file(str(path))
    mounted = json_format.MessageToDict(loaded.platform_spec)["platforms"]["kubernetes"][
        "deploymentSpec"
    ]["executors"]
    assert set(mounted) == {"CsvExampleGen_executor", "Pusher_executor"}
    assert set(mounted) <= set(executors)
    for config in mounted.values():
        assert config == {"pvcMount": [{"constant": "pipeline-data", "mountPath": "/mnt/data"}]}


def compiled_example(folder: Path) -> Path:
    """What examples/kubeflow writes for v2."""
    done = subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "v2", "--image", "penguin", "--root", "gs://b/root"),
            *("--push-to", "gs://b/models", "--output", str(folder)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "penguin-v2.yaml"


def test_the_example_compiles(tmp_path: Path) -> None:
    spec = yaml.safe_load(compiled_example(tmp_path).read_text())
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert step(spec, "InfraValidator")["image"] == "penguin"
    assert set(spec["root"]["dag"]["tasks"]) == {
        *("CsvExampleGen", "Trainer", "InfraValidator", "Pusher")
    }
