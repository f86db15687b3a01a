"""Steps in Pods of a real cluster, whose one node is this machine."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.platforms.kubernetes_cluster import TestNamespace, wait_for

CLAIM, MOUNT = "pipeline-data", "/mnt/pipeline"
STEP_SECONDS = 280.0


@contextlib.contextmanager
def claim(namespace: TestNamespace, saved_model: Path, split: Path) -> Iterator[Path]:
    """A claim that holds a model and examples.

    Yields:
        Its folder on this machine.
    """
    body = {
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    with namespace.having("persistentvolumeclaims", body):

        def bound() -> Any:
            return namespace.get(f"persistentvolumeclaims/{CLAIM}")["spec"].get("volumeName")

        volume = namespace.api.get(f"/api/v1/persistentvolumes/{wait_for(bound, 'the volume')}")
        folder = Path(volume["spec"]["hostPath"]["path"])
        shutil.copytree(saved_model, folder / "trained" / "Format-Serving")
        shutil.copytree(split, folder / "ingested" / "Split-train")
        yield folder
        namespace.remove_pods()
    wait_for(lambda: namespace.find(f"persistentvolumeclaims/{CLAIM}") is None, "the claim's end")


def run_step(
    namespace: TestNamespace,
    container: Mapping[str, Any],
    labels: Mapping[str, str],
    volumes: list[dict[str, Any]],
) -> tuple[int, str]:
    """Runs a step's container as `main`, beside the one that waits for it.

    Returns:
        Its exit code and log.
    """
    namespace.create_object(
        "pods",
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p-step", "labels": dict(labels)},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "serviceAccountName": "pipeline-runner",
                "containers": [
                    {
                        "name": "wait",
                        "image": ":".join(namespace.image),
                        "command": ["cat"],
                        "stdin": True,
                    },
                    {**container, "name": "main"},
                ],
                "volumes": volumes,
            },
        },
    )

    def ended() -> Any:
        found = namespace.get("pods/p-step")["status"].get("containerStatuses") or []
        return next(
            (
                one["state"]["terminated"]
                for one in found
                if one["name"] == "main" and "terminated" in one["state"]
            ),
            None,
        )

    state = wait_for(ended, "the step's end", STEP_SECONDS)
    path = namespace.path("pods/p-step/log")
    with namespace.api.lines(path, threading.Event(), container="main") as lines:
        return int(state["exitCode"]), b"".join(lines.chunks()).decode(errors="replace")
