"""Side by side in whole pipelines: what Pusher does with the blessing, and what a cache keeps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx

import infra_validator as iv
from tests.drop_in.test_executors import LIMITS, SHORT
from tests.pipelines.components import BringExamples, BringModel

pytestmark = pytest.mark.usefixtures("leaves_nothing")

COMPONENTS = {"TFX": tfx.components.InfraValidator, "ours": iv.InfraValidator}


class Pipeline:
    """Model and examples, one of the components, Pusher; each run has the same root."""

    def __init__(
        self,
        folder: Path,
        whose: str,
        image: str,
        saved_model: Path,
        split: Path,
        *,
        served: bool,
    ) -> None:
        self.folder = folder / whose
        self.folder.mkdir()
        self._component = COMPONENTS[whose]
        self._limits = LIMITS if served else SHORT
        self._image = image
        self._saved_model = saved_model
        self._split = split

    def run(self, *, cache: bool = False, push_stamped: bool = False, **request: Any) -> None:
        model = BringModel(saved_model=str(self._saved_model))
        examples = BringExamples(split=str(self._split))
        validator = self._component(
            model=model.outputs["model"],
            examples=examples.outputs["examples"],
            serving_spec=tfx.proto.ServingSpec(
                tensorflow_serving=tfx.proto.TensorFlowServing(image_name=self._image, tags=["a"]),
                local_docker=tfx.proto.LocalDockerConfig(),
            ),
            validation_spec=tfx.proto.ValidationSpec(**self._limits),
            request_spec=tfx.proto.RequestSpec(
                tensorflow_serving=tfx.proto.TensorFlowServingRequestSpec(), **request
            ),
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
        tfx.orchestration.LocalDagRunner().run(
            tfx.dsl.Pipeline(
                pipeline_name="p",
                pipeline_root=str(self.folder / "root"),
                components=[model, examples, validator, pusher],
                enable_cache=cache,
                metadata_connection_config=self._connection(),
            )
        )

    def _connection(self) -> Any:
        return tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(self.folder / "metadata.db")
        )

    @property
    def states(self) -> list[str]:
        """States of all executions of InfraValidator and Pusher, oldest first."""
        store = metadata_store.MetadataStore(self._connection())
        names = {type_.id: type_.name.rpartition(".")[2] for type_ in store.get_execution_types()}
        return [
            f"{names[found.type_id]} "
            f"{metadata_store_pb2.Execution.State.Name(found.last_known_state)}"
            for found in sorted(store.get_executions(), key=lambda execution: execution.id)
            if names[found.type_id] in ("InfraValidator", "Pusher")
        ]

    @property
    def pushed(self) -> list[dict[str, int]]:
        """The files of every pushed model with their sizes, oldest first."""
        return [
            {
                str(path.relative_to(version)): path.stat().st_size
                for path in version.rglob("*")
                if path.is_file()
            }
            for version in sorted((self.folder / "pushed").glob("*"))
        ]

    @property
    def pushed_property(self) -> list[int]:
        """What Pusher says of each pushed model."""
        store = metadata_store.MetadataStore(self._connection())
        return [
            artifact.custom_properties["pushed"].int_value
            for artifact in store.get_artifacts_by_type("PushedModel")
        ]


@pytest.mark.parametrize(
    ("model", "push_stamped", "pushes"),
    [("good", False, 1), ("good", True, 1), ("no variables", False, 0)],
)
def test_pusher_does_the_same_after_both(
    image: str,
    models: Mapping[str, Path],
    split: Path,
    tmp_path: Path,
    model: str,
    push_stamped: bool,
    pushes: int,
) -> None:
    found = {}
    for whose in COMPONENTS:
        found[whose] = Pipeline(
            tmp_path, whose, image, models[model], split, served=model == "good"
        )
        found[whose].run(push_stamped=push_stamped, make_warmup=push_stamped, num_examples=2)
    assert found["ours"].pushed == found["TFX"].pushed
    assert found["ours"].pushed_property == found["TFX"].pushed_property == [pushes]
    assert len(found["ours"].pushed) == pushes
    assert found["ours"].states == found["TFX"].states
    if push_stamped:
        assert "assets.extra/tf_serving_warmup_requests" in found["ours"].pushed[0]


@pytest.mark.parametrize("model", ["good", "no variables"])
def test_a_cache_keeps_the_same_of_both(
    image: str, models: Mapping[str, Path], split: Path, tmp_path: Path, model: str
) -> None:
    """A second run is cached, whatever the verdict; another spec or another model is not."""
    found = {}
    for whose in COMPONENTS:
        folder = Path(shutil.copytree(models[model], tmp_path / f"model of {whose}"))
        found[whose] = Pipeline(tmp_path, whose, image, folder, split, served=model == "good")
        for examples in (1, 1, 2):
            found[whose].run(cache=True, num_examples=examples)
    validator = [state for state in found["ours"].states if state.startswith("InfraValidator")]
    assert validator == [f"InfraValidator {state}" for state in ("COMPLETE", "CACHED", "COMPLETE")]
    assert found["ours"].states == found["TFX"].states
    assert found["ours"].pushed == found["TFX"].pushed
