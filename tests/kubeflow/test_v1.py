"""Kubeflow Pipelines v1: what KubeflowDagRunner of TFX 1.15 makes of the component, and its steps.

The steps are run as Argo would start them, with the workflow's own arguments, but as processes of
this machine; the metadata service is a stand-in (metadata_server.py).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

kubeflow_dag_runner = pytest.importorskip(
    "tfx.orchestration.kubeflow.kubeflow_dag_runner",
    reason="TFX's runner for Kubeflow Pipelines v1 is last in TFX 1.15",
)

import yaml  # noqa: E402
from kfp import onprem  # noqa: E402
from ml_metadata import metadata_store  # noqa: E402
from ml_metadata.proto import metadata_store_pb2  # noqa: E402
from tfx import v1 as tfx  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

import infra_validator as iv  # noqa: E402
from tests.kubeflow import metadata_server  # noqa: E402

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "kubeflow" / "compile.py"
SERVING = {"tensorflow_serving": {}, "local_process": {}}
REQUESTS = {"tensorflow_serving": {}, "num_examples": 2, "make_warmup": True}
CLAIM, MOUNT = "pipeline-data", "/mnt/pipeline"


def pipeline(folder: str, **specs: Any) -> Any:
    """Import of model and examples, validation, push."""
    model, examples = (
        tfx.dsl.Importer(source_uri=f"{folder}/{name}", artifact_type=kind, **more).with_id(name)
        for name, kind, more in (
            ("trained", standard_artifacts.Model, {}),
            (
                "ingested",
                standard_artifacts.Examples,
                {"properties": {"split_names": '["train"]'}},
            ),
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
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=f"{folder}/pushed")
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name="p",
        pipeline_root=f"{folder}/root",
        components=[model, examples, validator, pusher],
    )


def workflow(folder: Path, data: str = MOUNT, **specs: Any) -> dict[str, Any]:
    """The Argo workflow that the runner writes."""
    config = kubeflow_dag_runner.KubeflowDagRunnerConfig(
        tfx_image="registry.example/validator:1",
        pipeline_operator_funcs=[
            *kubeflow_dag_runner.get_default_pipeline_operator_funcs(),
            onprem.mount_pvc(CLAIM, "data", MOUNT),
        ],
    )
    kubeflow_dag_runner.KubeflowDagRunner(
        output_dir=str(folder), output_filename="workflow.yaml", config=config
    ).run(pipeline(data, **specs))
    found: dict[str, Any] = yaml.safe_load((folder / "workflow.yaml").read_text())
    return found


def template(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The step of a component."""
    [one] = [one for one in found["spec"]["templates"] if one["name"] == name]
    result: dict[str, Any] = one
    return result


def test_the_component_is_a_step_with_the_pipelines_image_and_claim(tmp_path: Path) -> None:
    found = workflow(tmp_path)
    assert found["kind"] == "Workflow"
    step = template(found, "infravalidator")
    container = step["container"]
    assert container["image"] == "registry.example/validator:1"
    assert container["volumeMounts"] == [{"mountPath": MOUNT, "name": "data"}]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}} in step["volumes"]
    assert container["command"][-1].endswith("container_entrypoint.py") or container["command"][
        -2:
    ] == ["-m", "tfx.orchestration.kubeflow.container_entrypoint"]
    arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=False))
    ir = json.loads(arguments["--tfx_ir"])
    [node] = ir["nodes"]
    assert node["pipelineNode"]["nodeInfo"]["type"]["name"] == (
        "infra_validator.component.InfraValidator"
    )
    assert "infra_validator.executor.Executor" in arguments["--tfx_ir"]


def test_a_runtime_parameter_is_a_parameter_of_the_workflow(tmp_path: Path) -> None:
    parameter = tfx.dsl.experimental.RuntimeParameter(
        name="serving", ptype=str, default=json.dumps(SERVING)
    )
    found = workflow(tmp_path, serving_spec=parameter)
    given = {one["name"]: one.get("value") for one in found["spec"]["arguments"]["parameters"]}
    assert json.loads(given["serving"]) == SERVING
    arguments = template(found, "infravalidator")["container"]["args"]
    assert "serving=STRING:{{inputs.parameters.serving}}" in arguments


def substituted(found: Mapping[str, Any], arguments: Sequence[str]) -> list[str]:
    """A step's arguments with the workflow's values for their placeholders, as Argo puts them."""
    values = {one["name"]: one["value"] for one in found["spec"]["arguments"]["parameters"]}
    filled = []
    for argument in arguments:
        for key, value in values.items():
            argument = argument.replace(f"{{{{inputs.parameters.{key}}}}}", value)
        filled.append(argument)
    return filled


class Steps:
    """Runs the steps of a workflow in the order in which it is told."""

    def __init__(self, found: Mapping[str, Any], folder: Path, port: int, *modules: Path) -> None:
        self._found = found
        self._folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *modules))),
            "WORKFLOW_ID": "p-1",
            "METADATA_GRPC_SERVICE_HOST": "127.0.0.1",
            "METADATA_GRPC_SERVICE_PORT": str(port),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Runs one, with the workflow's values where its arguments have placeholders."""
        container = template(self._found, name)["container"]
        arguments = substituted(self._found, container["args"])
        place = arguments.index("--metadata_ui_path") + 1
        arguments[place] = str(self._folder / f"{name}.json")  # not in the root folder
        command = [sys.executable if part == "python" else part for part in container["command"]]
        return subprocess.run(
            [*command, *arguments], env=self._environment, capture_output=True, text=True
        )


@pytest.fixture
def metadata(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The database and the port of the metadata service."""
    database = str(tmp_path / "metadata.db")
    server, port = metadata_server.serve(database)
    yield database, port
    server.stop(None).wait()


@pytest.mark.parametrize("broken", [False, True])
def test_the_steps_run_up_to_pusher(
    saved_model: Path, split: Path, tmp_path: Path, metadata: tuple[str, int], broken: bool
) -> None:
    data = tmp_path / "data"
    shutil.copytree(saved_model, data / "trained" / "Format-Serving")
    shutil.copytree(split, data / "ingested" / "Split-train")
    if broken:
        (data / "trained" / "Format-Serving" / "saved_model.pb").write_bytes(b"\x08\x01")
    database, port = metadata
    steps = Steps(workflow(tmp_path, str(data)), tmp_path, port)
    for name in ("trained", "ingested", "infravalidator", "pusher"):
        done = steps.run(name)
        assert done.returncode == 0, f"{name}: {(done.stdout + done.stderr)[-4000:]}"
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = database
    store = metadata_store.MetadataStore(config)
    [blessing] = store.get_artifacts_by_type("InfraBlessing")
    assert blessing.custom_properties["blessed"].int_value == (0 if broken else 1)
    assert blessing.custom_properties["verdict"].string_value == (
        "not_blessed" if broken else "blessed"
    )
    [pushed] = store.get_artifacts_by_type("PushedModel")
    assert pushed.custom_properties["pushed"].int_value == (0 if broken else 1)
    found = list((data / "pushed").glob("*/assets.extra/tf_serving_warmup_requests"))
    assert len(found) == (0 if broken else 1)
    # What Kubeflow's own page shows of the step.
    shown = json.loads((tmp_path / "infravalidator.json").read_text())
    assert "serving" in shown["outputs"][0]["source"]


def compiled_example(folder: Path, data: str) -> dict[str, Any]:
    """The workflow that examples/kubeflow writes for v1, with a claim that is mounted at `data`."""
    done = subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "v1", "--image", "penguin", "--root", f"{data}/root"),
            *("--push-to", f"{data}/models", "--claim", f"data:{data}", "--output", str(folder)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = yaml.safe_load((folder / "penguin-v1.yaml").read_text())
    return found


def test_every_step_of_the_example_runs(tmp_path: Path, metadata: tuple[str, int]) -> None:
    """With data and training code from the repository in place of the image."""
    penguin = ROOT / "examples" / "penguin"
    found = compiled_example(tmp_path, str(tmp_path / "data"))
    found = json.loads(json.dumps(found).replace("/pipeline/data", str(penguin / "data")))
    steps = Steps(found, tmp_path, metadata[1], penguin)
    for name in ("csvexamplegen", "trainer", "infravalidator", "pusher"):
        done = steps.run(name)
        assert done.returncode == 0, f"{name}: {(done.stdout + done.stderr)[-4000:]}"
    [report] = (tmp_path / "data" / "root").rglob("infra_validation_report.json")
    assert json.loads(report.read_text())["verdict"] == "blessed"
    [pushed] = (tmp_path / "data" / "models").iterdir()
    assert (pushed / "saved_model.pb").is_file()


def test_the_example_compiles(tmp_path: Path) -> None:
    found = compiled_example(tmp_path, "/data")
    container = template(found, "infravalidator")["container"]
    assert container["image"] == "penguin"
    assert container["volumeMounts"] == [{"mountPath": "/data", "name": "data"}]
