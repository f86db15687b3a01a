"""One execution by each side: TFX's own executor and ours, with the same artifacts and specs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tfx.components.infra_validator import executor as tfx_executor
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact

from infra_validator import executor as our_executor
from infra_validator import report
from infra_validator.tfrecord import read_records
from tests.conftest import example_bytes, write_split

EXECUTORS: Mapping[str, type[BaseExecutor]] = {
    "TFX": tfx_executor.Executor,
    "ours": our_executor.Executor,
}
WARM_UP = "stamped_model/assets.extra/tf_serving_warmup_requests"


@dataclasses.dataclass(frozen=True)
class Left:
    """What an execution leaves.

    Attributes:
        error: the text of the exception; None if the execution succeeded.
        files: contents by path below the blessing, without our report.
        properties: the blessing's custom properties, the kind of each with its value.
        report: our report, where it lies with the blessing.
    """

    error: str | None
    files: Mapping[str, bytes]
    properties: Mapping[str, tuple[str, Any]]
    report: Mapping[str, Any] | None

    @property
    def end(self) -> str:
        """ "blessed", "not blessed" or "failed"."""
        if self.error is not None:
            return "failed"
        return "blessed" if "INFRA_BLESSED" in self.files else "not blessed"

    @property
    def tfx_properties(self) -> dict[str, tuple[str, Any]]:
        """The properties that TFX's component knows."""
        return {
            key: self.properties[key] for key in ("blessed", "has_model") & self.properties.keys()
        }

    @property
    def files_but_warm_up(self) -> dict[str, bytes]:
        """The files whose bytes must be the same on both sides."""
        return {path: content for path, content in self.files.items() if path != WARM_UP}

    def warm_up(self, folder: Path) -> list[tuple[str, bytes]]:
        """The requests in the stamped model: each without its record, and its record."""
        if WARM_UP not in self.files:
            return []
        path = folder / "warm-up"
        path.write_bytes(self.files[WARM_UP])
        with path.open("rb") as file:
            return [_taken_apart(bytes(record)) for record in read_records(file)]


def _taken_apart(logged: bytes) -> tuple[str, bytes]:
    log = prediction_log_pb2.PredictionLog.FromString(logged)
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request
    if kind == "predict_log":
        [tensor] = request.inputs.values()
        [record] = tensor.string_val
        tensor.string_val[0] = b""
    else:
        [example] = request.input.example_list.examples
        record = example.SerializeToString()
        example.Clear()
    return str(log), record


def execute(
    whose: str, folder: Path, inputs: Mapping[str, list[Artifact]], specs: Mapping[str, Any]
) -> Left:
    """Runs one executor in a folder of its own, as TFX's launcher does."""
    home = folder / whose
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(home / "blessing")
    context = BaseExecutor.Context(
        tmp_dir=str(home / "tmp"), unique_id="1", stateful_working_dir=str(home / "state")
    )
    for path in (blessing.uri, context.stateful_working_dir, home / "tmp"):
        Path(path).mkdir(parents=True)
    exec_properties = {
        key: value if value is None or isinstance(value, str) else json.dumps(value)
        for key, value in specs.items()
    }
    error = None
    try:
        EXECUTORS[whose](context).Do(dict(inputs), {"blessing": [blessing]}, exec_properties)
    except Exception as raised:  # whatever an executor raises fails the execution
        error = f"{type(raised).__name__}: {raised}"
    root = Path(blessing.uri)
    files = {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    files.pop(report.PAGE_NAME, None)
    told = files.pop(report.FILE_NAME, None)
    return Left(
        error=error,
        files=files,
        properties={
            key: (value.WhichOneof("value"), getattr(value, value.WhichOneof("value")))
            for key, value in blessing.mlmd_artifact.custom_properties.items()
        },
        report=None if told is None else json.loads(told),
    )


def model_artifact(folder: Path, saved_model: Path, layout: str = "Format-Serving") -> Artifact:
    """A Model artifact with a copy of a SavedModel, as a Trainer of some time laid it out.

    Args:
        folder: a new folder.
        saved_model: what to copy.
        layout: "Format-Serving" as since TFX 0.29; "serving_model_dir" as before that; "estimator"
            with the two folders of an Estimator's export.
    """
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    below = {"estimator": "Format-Serving/export/exporter/1600000000"}.get(layout, layout)
    shutil.copytree(saved_model, folder / below)
    if layout == "serving_model_dir":
        artifact.mlmd_artifact.state = metadata_store_pb2.Artifact.LIVE
        artifact.set_string_custom_property("tfx_version", "0.28.0")
    return artifact


def examples_artifact(folder: Path, **splits: list[bytes]) -> Artifact:
    """An Examples artifact with these records in its splits."""
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    for name, records in splits.items():
        write_split(folder / f"Split-{name}", records)
    artifact.split_names = artifact_utils.encode_split_names(list(splits))
    return artifact


def numbers(*values: float) -> list[bytes]:
    """Records that fit the models of these tests."""
    return [example_bytes(x=value) for value in values]
