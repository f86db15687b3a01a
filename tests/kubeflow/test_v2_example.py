"""The example for Kubeflow Pipelines v2, all of it: its image, and its steps up to Pusher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.kubeflow.test_v2 import EXAMPLE, NAME, step, yaml

ROOT = Path(__file__).parents[2]
ORDER = ("CsvExampleGen", "Trainer", "InfraValidator", "Pusher")


@pytest.fixture(scope="module")
def image(docker_client: Any, component_image: str) -> Iterator[str]:
    """The image of examples/kubeflow/Dockerfile."""
    name = f"infra-validator/penguin:test-{os.getpid()}"
    docker_client.images.build(
        path=str(ROOT),
        dockerfile=str(EXAMPLE.parent / "Dockerfile"),
        buildargs={"BASE": component_image},
        tag=name,
        rm=True,
    )
    yield name
    docker_client.images.remove(name, force=True)


@pytest.fixture
def spec(image: str, tmp_path: Path) -> dict[str, Any]:
    """The pipeline spec that compile.py writes."""
    subprocess.run(
        [
            *(sys.executable, str(EXAMPLE), "v2", "--image", image, "--output", str(tmp_path)),
            *("--root", f"{tmp_path}/root", "--push-to", f"{tmp_path}/pushed"),
        ],
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = yaml.safe_load((tmp_path / "penguin-v2.yaml").read_text())
    return found


class Backend:
    """Starts one container after the other, and hands artifacts on, as Kubeflow does."""

    def __init__(self, client: Any, spec: Mapping[str, Any], folder: Path) -> None:
        self._client = client
        self._spec = spec
        self._folder = folder
        self._made: dict[tuple[str, str], dict[str, Any]] = {}

    def run(self, name: str) -> Mapping[str, Any]:
        """Runs a task, with its driver if it has one; what it says of its outputs, by key."""
        task = self._spec["root"]["dag"]["tasks"][name]
        outputs = self._spec["components"][name]["outputDefinitions"]["artifacts"]
        told = self._folder / "root" / "1" / name / "executor_output.json"
        for key, definition in outputs.items():
            uri = f"{self._folder}/root/{name}/{key}"
            self._made[name, key] = {
                "name": f"{NAME}/{name}-{key}",
                "uri": uri,
                "type": definition["artifactType"],
                "metadata": {},
            }
        given = {
            "inputs": {
                "artifacts": {
                    key: {"artifacts": [self._made[self._source(source)]]}
                    for key, source in task["inputs"].get("artifacts", {}).items()
                },
                "parameterValues": {
                    key: value["runtimeValue"]["constant"]
                    for key, value in task["inputs"]["parameters"].items()
                },
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [self._made[name, key]]} for key in outputs},
                "outputFile": str(told),
            },
        }
        container = step(self._spec, name)
        driver = container.get("lifecycle", {}).get("preCacheCheck")
        if driver is not None:
            self._start(container["image"], driver["command"], driver["args"], given)
            self._take(name, told)
        self._start(container["image"], container["command"], container["args"], given)
        return self._take(name, told)

    @staticmethod
    def _source(source: Mapping[str, Any]) -> tuple[str, str]:
        made = source["taskOutputArtifact"]
        return made["producerTask"], made["outputArtifactKey"]

    def _take(self, name: str, told: Path) -> dict[str, Any]:
        found = {}
        for key, value in json.loads(told.read_text())["artifacts"].items():
            [artifact] = value["artifacts"]
            self._made[name, key]["metadata"].update(artifact.get("metadata", {}))
            found[key] = self._made[name, key]["metadata"]
        return found

    def _start(
        self, image: str, command: Sequence[str], arguments: Sequence[str], given: Mapping[str, Any]
    ) -> None:
        running = self._client.containers.run(
            image,
            entrypoint=list(command),
            command=[json.dumps(given) if one == "{{$}}" else one for one in arguments],
            volumes=[f"{self._folder}:{self._folder}"],
            user=f"{os.getuid()}:{os.getgid()}",
            environment={"HOME": "/tmp"},  # noqa: S108
            detach=True,
        )
        try:
            code = running.wait(timeout=240)["StatusCode"]
            assert code == 0, running.logs().decode(errors="replace")[-4000:]
        finally:
            running.remove(force=True, v=True)


def test_every_step_of_the_example_runs(
    docker_client: Any, spec: dict[str, Any], tmp_path: Path
) -> None:
    backend = Backend(docker_client, spec, tmp_path)
    told = {name: backend.run(name) for name in ORDER}
    assert set(ORDER) == set(spec["root"]["dag"]["tasks"])
    blessing = told["InfraValidator"]["blessing"]
    assert (blessing["verdict"], blessing["requests"]) == ("blessed", "10 answered")
    assert told["Pusher"]["pushed_model"]["pushed"] == 1
    [version] = (tmp_path / "pushed").iterdir()
    assert (version / "saved_model.pb").is_file()
