"""TFX's own InfraValidator and this one on Kubernetes, in turn, on the same image and claim.

Both executors are driven inside a Pod that looks like a step of Kubeflow Pipelines 1,
the only place where TFX's runs, with the same artifacts and exec properties; all of a
call is measured. The step's Pod runs this machine's Python, so the cluster's node must
be this machine. Needs the full TFX, and an image with the contract of
tensorflow/serving on the node:

    export KUBECONFIG=...
    python benchmarks/on_kubernetes.py [--runs N]

The image's name is in the variable MODEL_SERVER_IMAGE.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from infra_validator.runners.kubernetes.api import Api, find_cluster
from tests.platforms.kubernetes_cluster import TestNamespace, machine_mounts, wait_for

_ROOT = "/mnt/pipeline"
_STEP_SECONDS = 1800.0
_RULES = [
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["pods", "pods/exec", "pods/log"], "verbs": ["*"]},
]


def main(arguments: Sequence[str]) -> None:
    """Makes the step's Pod and prints what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        logging.disable(logging.CRITICAL)
        Inside(json.loads(options.inside)).measure(options.runs)
        return
    api = Api(find_cluster(None, None))
    namespace = TestNamespace.create(api)
    volume = f"benchmark-{uuid.uuid4().hex[:8]}"
    accounts = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        _make_claim(api, namespace, volume)
        namespace.user("pipeline-runner", _RULES, accounts)
        _run_step(namespace, options.runs)
    finally:
        namespace.remove()
        api.delete(f"/api/v1/persistentvolumes/{volume}")
        shutil.rmtree(_volume_folder(namespace), ignore_errors=True)
        shutil.rmtree(accounts)


def _volume_folder(namespace: TestNamespace) -> Path:
    """On the node; the kubelet makes it."""
    return Path(tempfile.gettempdir()) / namespace.name


def _make_claim(api: Api, namespace: TestNamespace, volume: str) -> None:
    """A claim that many nodes may write to, which TFX insists on."""
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    size = {"storage": "1Gi"}
    path = {"path": str(_volume_folder(namespace)), "type": "DirectoryOrCreate"}
    body = {
        "metadata": {"name": volume},
        "spec": {**spec, "capacity": size, "hostPath": path},
    }
    api.call("POST", "/api/v1/persistentvolumes", body)
    namespace.create_object(
        "persistentvolumeclaims",
        {
            "metadata": {"name": "pipeline"},
            "spec": {**spec, "volumeName": volume, "resources": {"requests": size}},
        },
    )


def _run_step(namespace: TestNamespace, runs: int) -> None:
    volumes, mounts = machine_mounts()
    here = Path(__file__).resolve()
    fields = {
        "KFP_POD_NAME": "metadata.name",
        "KFP_POD_UID": "metadata.uid",
        "KFP_NAMESPACE": "metadata.namespace",
    }
    given = {"image": namespace.image, "namespace": namespace.name}
    container = {
        "name": "main",
        "image": ":".join(namespace.image),
        "workingDir": str(here.parents[1]),
        "command": [sys.executable, str(here), "--runs", str(runs), "--inside", json.dumps(given)],
        "env": [
            {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for name, path in fields.items()
        ],
        "volumeMounts": [*mounts, {"name": "pipeline", "mountPath": _ROOT}],
    }
    claim = {"name": "pipeline", "persistentVolumeClaim": {"claimName": "pipeline"}}
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": "pipeline-runner",
        "containers": [container],
        "volumes": [*volumes, claim],
    }
    namespace.create_object(
        "pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "step"}, "spec": spec}
    )
    wait_for(
        lambda: namespace.get("pods/step")["status"]["phase"] in {"Succeeded", "Failed"},
        "the step's end",
        _STEP_SECONDS,
    )
    print(namespace.text("pods/step/log"), end="")


class Inside:
    """What is measured in the step's container."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        import local_docker as common

        self._common = common
        self._image = given["image"]
        self._api = Api(find_cluster(None, None))
        self._pods = f"/api/v1/namespaces/{given['namespace']}/pods"
        self._root = Path(_ROOT)
        self._model = common.make_model(self._root / "model")
        self._runs = 0
        records = (common.example_bytes(x=float(number)) for number in range(common.REQUESTS))
        common.write_split(self._root / "examples" / "Split-train", records)

    def measure(self, runs: int) -> None:
        """Measures and prints."""
        common = self._common
        self._validate("ours", {})  # imports, bytecode, the image in the page cache
        bare: list[tuple[float, float]] = []
        kinds: dict[str, tuple[str, dict[str, str]]] = {
            "TFX": ("TFX", {}),
            "ours, by the claim": ("ours", {}),
            "ours, streamed": ("ours", {"model_delivery": "STREAM"}),
        }
        found: dict[str, list[Any]] = {name: [] for name in kinds}
        for _ in range(runs):
            bare.append(self._serve_bare())
            for name, (whose, fields) in kinds.items():
                found[name].append(self._validate(whose, fields))
        print(
            f"TFX {common.tfx_version}, Kubernetes {self._api.get('/version')['gitVersion']}, "
            f"{os.cpu_count()} processors; a healthy model, {common.REQUESTS} requests, "
            f"{runs} runs in turn (medians)"
        )
        alone = statistics.median(seconds for _, seconds in bare)
        common.show("the server alone: Pod, start, load, answers", alone)
        common.show("  of which until the Pod runs", statistics.median(runs for runs, _ in bare))
        for name, all_of_it in found.items():
            seconds = common.median(all_of_it)
            beyond = statistics.median(
                one.seconds - server for one, (_, server) in zip(all_of_it, bare, strict=True)
            )
            common.show(name, seconds, f"{beyond:.2f} s beyond the server alone")
            if all_of_it[-1].report:
                print(f"    {all_of_it[-1].phases()}")

    def _validate(self, whose: str, kubernetes: Mapping[str, str]) -> Any:
        common = self._common
        self._runs += 1
        home = self._root / f"run-{self._runs}"
        blessing = common.standard_artifacts.InfraBlessing()
        blessing.uri = str(home / "blessing")
        context = common.BaseExecutor.Context(
            tmp_dir=str(home / "tmp"),
            unique_id=str(self._runs),
            stateful_working_dir=str(home / "state"),
        )
        for folder in (blessing.uri, home / "state", home / "tmp"):
            Path(folder).mkdir(parents=True)
        examples = common.standard_artifacts.Examples()
        examples.uri = str(self._root / "examples")
        examples.split_names = common.artifact_utils.encode_split_names(["train"])
        name, tag = self._image
        serving_spec = {
            "tensorflow_serving": {"image_name": name, "tags": [tag]},
            "kubernetes": dict(kubernetes),
            "model_name": common.MODEL_NAME,
        }
        request_spec = {"tensorflow_serving": {}, "num_examples": common.REQUESTS}
        executor = common.EXECUTORS[whose](context)
        started = time.monotonic()
        executor.Do(
            {"model": [common.model_artifact(self._model)], "examples": [examples]},
            {"blessing": [blessing]},
            {
                "serving_spec": json.dumps(serving_spec),
                "validation_spec": json.dumps({"num_tries": 1}),
                "request_spec": json.dumps(request_spec),
            },
        )
        seconds = time.monotonic() - started
        report = Path(blessing.uri) / common.REPORT_FILE
        measured = common.Measured(
            seconds=seconds,
            blessed=blessing.get_int_custom_property("blessed") == 1,
            written=0,
            report=json.loads(report.read_text()) if report.exists() else {},
        )
        return common.expect(True, measured)

    def _serve_bare(self) -> tuple[float, float]:
        """A Pod without a validator: until it runs, and until it has answered."""
        common = self._common
        name = f"bare-{uuid.uuid4().hex[:8]}"
        mount = {
            "name": "model",
            "mountPath": f"/model/{common.MODEL_NAME}/1",
            "subPath": str((self._model / "Format-Serving").relative_to(self._root)),
            "readOnly": True,
        }
        container = {
            "name": "server",
            "image": ":".join(self._image),
            "env": [
                {"name": "MODEL_NAME", "value": common.MODEL_NAME},
                {"name": "MODEL_BASE_PATH", "value": "/model"},
            ],
            "volumeMounts": [mount],
        }
        claim = {"name": "model", "persistentVolumeClaim": {"claimName": "pipeline"}}
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": [claim]}
        started = time.monotonic()
        self._api.call("POST", self._pods, {"metadata": {"name": name}, "spec": spec})
        try:
            pod = wait_for(lambda: self._running(name), "the Pod")
            runs = time.monotonic() - started
            common.ask(f"{pod['status']['podIP']}:8500")
            return runs, time.monotonic() - started
        finally:
            self._api.delete(f"{self._pods}/{name}")

    def _running(self, name: str) -> Any:
        pod = self._api.get(f"{self._pods}/{name}")
        return pod if pod["status"]["phase"] == "Running" else None


if __name__ == "__main__":
    main(sys.argv[1:])
