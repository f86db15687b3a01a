"""The executor inside a Pod, as a step of Kubeflow Pipelines and without it, on a real cluster.

The step's Pod runs this machine's Python, so the cluster's node must be this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.platforms.kubernetes_cluster import (
    TestNamespace,
    machine_mounts,
    stand_in_server,
    wait_for,
)
from tests.platforms.kubernetes_step import REPORT
from tests.platforms.test_kubernetes import PIPELINE_RUNNER_RULES, STEP_RULES, server_runs

ROOT = Path(__file__).parents[2]
_STEP_SECONDS = 150.0
_PIPELINE_ROOT = "/mnt/pipeline"


def _field(path: str) -> dict[str, Any]:
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


# How a step is told who it is.
ENVIRONMENTS: dict[str, list[dict[str, Any]]] = {
    "kubeflow-v1": [
        {"name": "KFP_POD_NAME", **_field("metadata.name")},
        {"name": "KFP_POD_UID", **_field("metadata.uid")},
        {"name": "KFP_NAMESPACE", **_field("metadata.namespace")},
    ],
    "kubeflow-v2": [
        {"name": "KFP_POD_NAME", **_field("metadata.name")},
        {"name": "KFP_POD_UID", **_field("metadata.uid")},
    ],
    "plain": [],
}


@pytest.fixture(scope="module")
def accounts(
    kubernetes_namespace: TestNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("accounts")
    kubernetes_namespace.user("pipeline-runner", PIPELINE_RUNNER_RULES, folder)
    kubernetes_namespace.user("least", STEP_RULES, folder)
    return


@pytest.fixture
def claim(kubernetes_namespace: TestNamespace) -> Iterator[str]:
    """A claim for one node."""
    body = {
        "metadata": {"name": "pipeline-claim"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    with kubernetes_namespace.having("persistentvolumeclaims", body):
        yield "pipeline-claim"
        kubernetes_namespace.remove_pods()
    wait_for(
        lambda: kubernetes_namespace.find("persistentvolumeclaims/pipeline-claim") is None,
        "the claim's end",
    )


class Step:
    """A step's Pod."""

    def __init__(
        self,
        namespace: TestNamespace,
        model: Path,
        split: Path,
        *,
        name: str,
        environment: str,
        account: str,
        volume: dict[str, Any],
        kubernetes: dict[str, Any],
    ) -> None:
        self._namespace = namespace
        self.name = name
        image, tag = namespace.image
        given = {
            "root": _PIPELINE_ROOT,
            "model": str(model),
            "split": str(split),
            "serving_spec": json.dumps(
                {
                    "tensorflow_serving": {"image_name": image, "tags": [tag]},
                    "kubernetes": kubernetes,
                }
            ),
            "validation_spec": json.dumps({"num_tries": 1, "max_loading_time_seconds": 50}),
        }
        self._given = given
        volumes, mounts = machine_mounts(model, split)
        self.made = namespace.create_object(
            "pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name},
                "spec": {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 0,
                    "serviceAccountName": account,
                    "containers": [
                        {
                            "name": "wait",
                            "image": ":".join(namespace.image),
                            "command": ["cat"],
                            "stdin": True,
                        },
                        {
                            "name": "main",
                            "image": ":".join(namespace.image),
                            "workingDir": str(ROOT),
                            "command": [
                                sys.executable,
                                "-m",
                                "tests.platforms.kubernetes_step",
                                json.dumps(given).replace("$", "$$"),
                            ],
                            "env": [
                                {"name": "TF_CPP_MIN_LOG_LEVEL", "value": "3"},
                                *ENVIRONMENTS[environment],
                            ],
                            "volumeMounts": [
                                *mounts,
                                {
                                    "name": "pipeline",
                                    "mountPath": _PIPELINE_ROOT,
                                    "subPath": "team/a",
                                },
                            ],
                        },
                    ],
                    "volumes": [*volumes, {"name": "pipeline", **volume}],
                },
            },
        )

    def log(self) -> str:
        """What the step's own container said so far."""
        return self._namespace.text(f"pods/{self.name}/log", container="main")

    def kill(self) -> None:
        """Kills the step's process, which the cluster shares with this machine."""
        mark = f"tests.platforms.kubernetes_step\0{json.dumps(self._given)}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        [number] = found
        os.kill(number, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Waits for the container's end."""

        def ended() -> bool:
            pod = self._namespace.get(f"pods/{self.name}")
            return any(
                container["name"] == "main" and "terminated" in container["state"]
                for container in pod["status"].get("containerStatuses") or []
            )

        wait_for(ended, "the step's end", _STEP_SECONDS)

    def report(self) -> Any:
        """Its report, once it has ended."""
        self.wait()
        log = self.log()
        found = [line for line in log.splitlines() if line.startswith(REPORT)]
        assert found, log[-3000:]
        return json.loads(found[0].removeprefix(REPORT))


@pytest.fixture(autouse=True)
def _leaves_nothing(kubernetes_namespace: TestNamespace) -> Iterator[None]:
    if not Path("/proc/1").exists() or os.getuid() != 0:
        pytest.skip("the step mounts root's own Python")
    yield
    kubernetes_namespace.remove_pods()


def claimed(claim: str) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": claim}}


@pytest.mark.parametrize(
    ("environment", "account", "name"),
    [
        ("kubeflow-v1", "pipeline-runner", "penguin-abcde-1234"),
        ("kubeflow-v2", "pipeline-runner", "penguin-abcde-1235"),
        ("plain", "least", "a-pod-whose-name-is-longer-than-a-host-may-be-called-" + "x" * 20),
    ],
)
@pytest.mark.usefixtures("accounts")
def test_a_step_shares_its_claim_with_the_server(
    kubernetes_namespace: TestNamespace,
    saved_model: Path,
    split: Path,
    claim: str,
    environment: str,
    account: str,
    name: str,
) -> None:
    step = Step(
        kubernetes_namespace,
        saved_model,
        split,
        name=name,
        environment=environment,
        account=account,
        volume=claimed(claim),
        kubernetes={},
    )
    report = step.report()
    assert report["verdict"] == "blessed", report["reason"]
    [binary] = report["binaries"]
    server = binary["attempts"][-1]["server"]
    assert server["model_delivery"] == "claim"
    assert server["reached_by"] == "Pod IP"
    assert server["namespace"] == kubernetes_namespace.name
    assert "sent_bytes" not in server
    assert kubernetes_namespace.pods() == []


@pytest.mark.usefixtures("accounts")
def test_a_step_without_shared_storage_sends_the_model(
    kubernetes_namespace: TestNamespace, saved_model: Path, split: Path
) -> None:
    step = Step(
        kubernetes_namespace,
        saved_model,
        split,
        name="without-storage",
        environment="kubeflow-v2",
        account="pipeline-runner",
        volume={"emptyDir": {}},
        kubernetes={},
    )
    report = step.report()
    assert report["verdict"] == "blessed", report["reason"]
    [binary] = report["binaries"]
    assert binary["attempts"][-1]["server"]["model_delivery"] == "stream"
    assert kubernetes_namespace.pods() == []


@pytest.mark.parametrize("end", ["the step's Pod is deleted", "the step ends and its Pod stays"])
@pytest.mark.usefixtures("accounts")
def test_the_server_goes_with_its_step(
    kubernetes_namespace: TestNamespace,
    saved_model: Path,
    split: Path,
    claim: str,
    end: str,
) -> None:
    """Killed without warning, with a claim that is for one node."""
    patch = stand_in_server(STAND_IN_FAULT="never_ready")
    options: dict[str, Any] = {
        "environment": "kubeflow-v1",
        "account": "pipeline-runner",
        "volume": claimed(claim),
    }
    step = Step(
        kubernetes_namespace,
        saved_model,
        split,
        name="killed",
        kubernetes={"pod_patch": patch},
        **options,
    )
    wait_for(lambda: server_runs(kubernetes_namespace), "the server", _STEP_SECONDS)
    [server] = kubernetes_namespace.pods()
    [reference] = server["metadata"]["ownerReferences"]
    assert reference["uid"] == step.made["metadata"]["uid"]
    assert server["spec"]["serviceAccountName"] == "pipeline-runner"
    assert server["spec"]["automountServiceAccountToken"] is False
    [mount] = [
        mount
        for mount in server["spec"]["containers"][0]["volumeMounts"]
        if mount["mountPath"].startswith("/model/")
    ]
    assert mount["readOnly"] is True
    assert mount["subPath"] == "team/a/Trainer/model/7/Format-Serving"
    [term] = server["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    node = kubernetes_namespace.get("pods/killed")["spec"]["nodeName"]
    assert term["matchFields"][0]["values"] == [node]
    if end == "the step's Pod is deleted":
        kubernetes_namespace.delete("pods/killed")
        wait_for(lambda: kubernetes_namespace.pods() == [], "the garbage collector")
        return
    step.kill()  # so that it cannot tidy up when its Pod ends
    pod = kubernetes_namespace.get("pods/killed")
    pod["spec"]["activeDeadlineSeconds"] = 1
    del pod["metadata"]["resourceVersion"]  # whatever else becomes of it meanwhile
    kubernetes_namespace.api.call("PUT", kubernetes_namespace.path("pods/killed"), pod)
    wait_for(
        lambda: kubernetes_namespace.get("pods/killed")["status"]["phase"] == "Failed", "its end"
    )
    assert kubernetes_namespace.pods() != []
    following = Step(
        kubernetes_namespace,
        saved_model,
        split,
        name="following",
        kubernetes={"model_delivery": "STREAM"},
        **{**options, "volume": {"emptyDir": {}}},
    )
    assert following.report()["verdict"] == "blessed"
    assert kubernetes_namespace.pods() == []
