"""The step of Kubeflow Pipelines v2 in a Pod of a real cluster, in the component's own image."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kubeflow import pods
from tests.kubeflow.test_v2 import compiled, executor_input, step
from tests.platforms.kubernetes_cluster import TestNamespace
from tests.platforms.test_kubernetes import PIPELINE_RUNNER_RULES


def test_the_step_in_a_pod_blesses_with_nothing_set(
    kubernetes_namespace: TestNamespace,
    component_image: str,
    saved_model: Path,
    split: Path,
    tmp_path: Path,
) -> None:
    image, tag = kubernetes_namespace.image
    serving = {"tensorflow_serving": {"image_name": image, "tags": [tag]}, "kubernetes": {}}
    spec = compiled(tmp_path, serving_spec=serving)
    kubernetes_namespace.user("pipeline-runner", PIPELINE_RUNNER_RULES, tmp_path)
    container = step(spec, "InfraValidator")
    told = f"{pods.MOUNT}/root/1/InfraValidator/executor_output.json"
    given = executor_input(
        spec,
        "InfraValidator",
        {
            "model": artifact("Model", "trained"),
            "examples": artifact("Examples", "ingested", split_names='["train"]'),
        },
        artifact("InfraBlessing", "blessing"),
        told,
    )
    with pods.claim(kubernetes_namespace, saved_model, split) as folder:
        code, log = pods.run_step(
            kubernetes_namespace,
            {
                "image": component_image,
                "command": container["command"],
                "args": [
                    (json.dumps(given) if argument == "{{$}}" else argument).replace("$", "$$")
                    for argument in container["args"]
                ],
                "env": [
                    {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}
                    for name, field in (("KFP_POD_NAME", "name"), ("KFP_POD_UID", "uid"))
                ],
                "volumeMounts": [{"name": "data", "mountPath": pods.MOUNT}],
            },
            {},
            [{"name": "data", "persistentVolumeClaim": {"claimName": pods.CLAIM}}],
        )
        assert code == 0, log[-5000:]
        assert kubernetes_namespace.pods() == []
        output = json.loads((folder / Path(told).relative_to(pods.MOUNT)).read_text())
        assert (folder / "blessing" / "INFRA_BLESSED").is_file()
    [blessing] = output["artifacts"]["blessing"]["artifacts"]
    assert blessing["metadata"]["blessed"] == 1
    assert blessing["metadata"]["platform"] == "kubernetes"
    assert blessing["metadata"]["requests"] == "2 answered"


def artifact(kind: str, name: str, **metadata: str) -> dict[str, object]:
    """An artifact on the claim."""
    return {
        "name": f"projects/p/locations/l/metadataStores/default/artifacts/{name}",
        "uri": f"{pods.MOUNT}/{name}",
        "type": {"instanceSchema": f"title: tfx.{kind}\ntype: object\n"},
        "metadata": metadata,
    }
