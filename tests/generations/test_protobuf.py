"""The generated code on every protobuf that a generation of TFX brings, each in an environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")
SCRIPT = Path(__file__).with_name("protobuf_round_trip.py")

# The last of each major version, and the first and the oldest that TFX brings.
VERSIONS = ("3.20.3", "4.25.8", "5.29.5", "6.31.1", "6.33.0")


@pytest.fixture(scope="module")
def pythons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An interpreter with protobuf and nothing else, for each version."""
    found = {}
    for version in VERSIONS:
        folder = tmp_path_factory.mktemp("protobuf") / version
        python = found[version] = str(folder / "bin" / "python")
        for command in (
            ["venv", "--quiet", "--python", sys.executable, str(folder)],
            ["pip", "install", "--quiet", "--python", python, f"protobuf=={version}"],
        ):
            done = subprocess.run([UV, *command], capture_output=True, text=True)
            assert done.returncode == 0, f"{command}: {done.stderr}"
    return found


def run(python: str, *arguments: Path, implementation: str | None = None) -> dict[str, Any]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    if implementation:
        variables["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = implementation
    done = subprocess.run(
        [python, "-W", "error::UserWarning", str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=variables,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def oldest(pythons: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the oldest protobuf writes."""
    path = tmp_path_factory.mktemp("written") / "oldest.json"
    path.write_text(json.dumps(run(pythons[VERSIONS[0]])))
    return path


@pytest.mark.parametrize("implementation", [None, "python"])
@pytest.mark.parametrize("version", VERSIONS)
def test_messages_go_round_on_every_protobuf(
    pythons: dict[str, str], oldest: Path, version: str, implementation: str | None
) -> None:
    written = run(pythons[version], oldest, implementation=implementation)
    assert written["version"] == version
    if implementation:
        assert written["implementation"] == implementation
    expected = json.loads(oldest.read_text())["messages"]
    assert {name: message["wire"] for name, message in written["messages"].items()} == {
        name: message["wire"] for name, message in expected.items()
    }
    assert {name: json.loads(message["json"]) for name, message in written["messages"].items()} == {
        name: json.loads(message["json"]) for name, message in expected.items()
    }


def test_enough_is_written(oldest: Path) -> None:
    messages = json.loads(oldest.read_text())["messages"]
    assert {"infra_validator.ServingSpec", "infra_validator.RequestSpec"} <= messages.keys()
    assert sum(len(message["wire"]) for message in messages.values()) > 2000
