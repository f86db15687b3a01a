"""Side by side: a step that is told to stop while it waits for its server.

Told a little earlier, while Docker starts the container, TFX's component leaves it behind.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.drop_in.sides import EXECUTORS, execute, model_artifact

pytestmark = pytest.mark.usefixtures("leaves_nothing")

_SECONDS = 300.0


def run_here(whose: str, folder: str, saved_model: str, image: str) -> None:
    """One execution in this process; how it ended goes to standard output."""
    left = execute(
        whose,
        Path(folder),
        {"model": [model_artifact(Path(folder) / "model", Path(saved_model))]},
        {
            "serving_spec": {
                "tensorflow_serving": {"image_name": image, "tags": ["mute"]},
                "local_docker": {},
            }
        },
    )
    print(json.dumps({"end": left.end, "error": left.error, "files": sorted(left.files)}))


@pytest.mark.parametrize("whose", EXECUTORS)
def test_sigterm_fails_the_execution_and_leaves_no_container(
    whose: str, docker_client: Any, image: str, saved_model: Path, tmp_path: Path
) -> None:
    def containers() -> list[Any]:
        found: list[Any] = docker_client.containers.list(
            all=True, ignore_removed=True, filters={"ancestor": f"{image}:mute"}
        )
        return found

    script = f"from {__name__} import run_here; import sys; run_here(*sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", script, whose, str(tmp_path), str(saved_model), image],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + _SECONDS
            while not any(b"called" in container.logs() for container in containers()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=_SECONDS)
        finally:
            process.kill()  # else leaving the block would wait for it
    told = json.loads(out.splitlines()[-1])
    assert (told["end"], told["files"]) == ("failed", []), told
    # TFX's component leaves the removal to the engine, which is done with it a moment later.
    deadline = time.monotonic() + _SECONDS
    while containers():
        assert time.monotonic() < deadline
        time.sleep(0.1)
