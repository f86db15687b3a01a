"""The step of Kubeflow Pipelines v1 in a Pod of a real cluster, up to the blessing."""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

from tests.kubeflow import metadata_server, pods
from tests.kubeflow.test_v1 import CLAIM, MOUNT, ROOT, Steps, substituted, template, workflow
from tests.platforms.kubernetes_cluster import TestNamespace, machine_mounts
from tests.platforms.test_kubernetes import PIPELINE_RUNNER_RULES


@pytest.mark.skipif(os.getuid() != 0, reason="the step mounts root's own Python")
def test_the_step_in_a_pod_blesses_with_nothing_set(
    kubernetes_namespace: TestNamespace,
    docker_client: Any,
    saved_model: Path,
    split: Path,
    tmp_path: Path,
) -> None:
    """`KubernetesConfig()` alone. The metadata service is a stand-in, Python is this machine's."""
    image, tag = kubernetes_namespace.image
    serving = {"tensorflow_serving": {"image_name": image, "tags": [tag]}, "kubernetes": {}}
    found = workflow(tmp_path, serving_spec=serving)
    kubernetes_namespace.user("pipeline-runner", PIPELINE_RUNNER_RULES, tmp_path)
    server, port = metadata_server.serve(str(tmp_path / "metadata.db"), "0.0.0.0:0")
    [network] = docker_client.networks.get("bridge").attrs["IPAM"]["Config"]
    service = {
        "metadata": {"name": "metadata-grpc-configmap"},
        "data": {
            "METADATA_GRPC_SERVICE_HOST": network["Gateway"],
            "METADATA_GRPC_SERVICE_PORT": str(port),
        },
    }
    try:
        with (
            kubernetes_namespace.having("configmaps", service),
            pods.claim(kubernetes_namespace, saved_model, split) as folder,
        ):
            local = Steps(found, tmp_path, port)
            for name in ("trained", "ingested"):
                done = local.run(name)
                assert done.returncode == 0, done.stderr[-3000:]
            step = template(found, "infravalidator")
            container = copy.deepcopy(step["container"])
            container["image"] = ":".join(kubernetes_namespace.image)
            container["command"][0] = sys.executable
            container["args"] = [
                argument.replace("$", "$$") for argument in substituted(found, container["args"])
            ]
            container["workingDir"] = str(ROOT)
            volumes, mounts = machine_mounts(Path(sys.executable).readlink().parent)
            container["volumeMounts"] += mounts
            code, log = pods.run_step(
                kubernetes_namespace,
                container,
                {**step["metadata"]["labels"], "workflows.argoproj.io/workflow": "p-1"},
                [*step["volumes"], *volumes],
            )
            assert code == 0, log[-5000:]
            assert kubernetes_namespace.pods() == []
            assert len(list(folder.glob("root/InfraValidator/blessing/*/INFRA_BLESSED"))) == 1
    finally:
        server.stop(None).wait()
    assert (CLAIM, MOUNT) == (pods.CLAIM, pods.MOUNT)
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.db")
    store = metadata_store.MetadataStore(config)
    [blessing] = store.get_artifacts_by_type("InfraBlessing")
    assert blessing.custom_properties["blessed"].int_value == 1
    assert blessing.custom_properties["platform"].string_value == "kubernetes"
    assert blessing.custom_properties["requests"].string_value == "2 answered"
