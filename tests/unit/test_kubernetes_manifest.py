"""The server's Pod: what it must be whatever is asked for, and what each field does to it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from infra_validator import kubernetes_config
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.kubernetes.manifest import NOBODY, pod_manifest
from infra_validator.runners.kubernetes.places import (
    ClaimModel,
    ModelPlace,
    StreamedModel,
    UriModel,
)
from infra_validator.runners.kubernetes.step import StepPod
from infra_validator.servers.tensorflow_serving import TensorFlowServing

TEMPORARY = "/tmp"  # noqa: S108 - the container's own
STREAMED = StreamedModel()
CLAIM = ClaimModel("claim", "run/model")
URI = UriModel("gs://bucket/models/m")
CONFIG = {"batching_parameters_file": b"max_batch_size { value: 8 }"}


def binary(**fields: Any) -> TensorFlowServing:
    return TensorFlowServing(**{"model_name": "m", "image": "serving:1", **fields})


def build(
    model: ModelPlace = STREAMED,
    *,
    serving: TensorFlowServing | None = None,
    user: tuple[int, int] = NOBODY,
    owner: StepPod | None = None,
    service_account: str | None = None,
    node: str | None = None,
    **config: Any,
) -> dict[str, Any]:
    settings = kubernetes_config.parse(
        json_format.ParseDict(config, pb.KubernetesConfig()), max_loading_seconds=300
    )
    return pod_manifest(
        settings,
        serving or binary(),
        name="infra-validator-1",
        namespace="ns",
        model=model,
        user=user,
        labels={"infra-validator.managed": "true"},
        annotations={"infra-validator.host": "h"},
        owner=owner,
        service_account=service_account,
        node=node,
    )


def server(pod: dict[str, Any]) -> dict[str, Any]:
    [found] = [own for own in pod["spec"]["containers"] if own["name"] == "server"]
    return dict(found)


def volumes(pod: dict[str, Any]) -> dict[str, Any]:
    return {volume["name"]: volume for volume in pod["spec"]["volumes"]}


def mounts(container: dict[str, Any]) -> dict[str, Any]:
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def test_the_whole_of_a_streamed_pod() -> None:
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    script = 'mkfifo -m 600 "$1" && code=$(timeout "$2" cat "$1") && exit "${code:-1}"'
    assert build() == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "infra-validator-1",
            "namespace": "ns",
            "labels": {"infra-validator.managed": "true", "sidecar.istio.io/inject": "false"},
            "annotations": {"infra-validator.host": "h", "sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 4200,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsUser": 65534,
                "runAsGroup": 65534,
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "initContainers": [
                {
                    "name": "receive-files",
                    "image": "serving:1",
                    "imagePullPolicy": "IfNotPresent",
                    "command": [*("sh", "-c", script, "sh"), "/infra-validator-received/done"],
                    "args": ["1800"],
                    "resources": {},
                    "securityContext": security,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        {"name": "infra-validator-tmp", "mountPath": TEMPORARY},
                        {
                            "name": "infra-validator-received",
                            "mountPath": "/infra-validator-received",
                        },
                    ],
                }
            ],
            "containers": [
                {
                    "name": "server",
                    "image": "serving:1",
                    "imagePullPolicy": "IfNotPresent",
                    "args": binary().container_arguments({}),
                    "env": [
                        {"name": "MODEL_NAME", "value": "m"},
                        {"name": "MODEL_BASE_PATH", "value": "/model"},
                    ],
                    "ports": [{"name": "grpc", "containerPort": 8500, "protocol": "TCP"}],
                    "resources": {},
                    "securityContext": security,
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        {"name": "infra-validator-tmp", "mountPath": TEMPORARY},
                        {
                            "name": "infra-validator-received",
                            "mountPath": "/model",
                            "subPath": "model",
                            "readOnly": True,
                        },
                    ],
                }
            ],
            "volumes": [
                {"name": "infra-validator-tmp", "emptyDir": {}},
                {"name": "infra-validator-received", "emptyDir": {}},
            ],
        },
    }


# How the model gets there.


def test_a_claim_is_mounted_read_only_where_the_server_looks() -> None:
    pod = build(CLAIM, user=(1000, 100))
    assert "initContainers" not in pod["spec"]
    assert volumes(pod)["infra-validator-model"] == {
        "name": "infra-validator-model",
        "persistentVolumeClaim": {"claimName": "claim"},
    }
    assert mounts(server(pod))["/model/m/1"] == {
        "name": "infra-validator-model",
        "mountPath": "/model/m/1",
        "subPath": "run/model",
        "readOnly": True,
    }
    assert pod["spec"]["securityContext"]["runAsUser"] == 1000
    assert pod["spec"]["securityContext"]["runAsGroup"] == 100


def test_a_claim_is_shared_in_the_way_in_which_the_step_has_it() -> None:
    pod = build(ClaimModel("claim", "", read_only=True))
    source = volumes(pod)["infra-validator-model"]["persistentVolumeClaim"]
    assert source == {"claimName": "claim", "readOnly": True}
    assert "subPath" not in mounts(server(pod))["/model/m/1"]


def test_the_server_reads_a_uri_itself_with_its_service_account() -> None:
    pod = build(URI, service_account="reader", serving=binary(args=("--flush_filesystem_caches",)))
    assert pod["spec"]["automountServiceAccountToken"] is True
    assert pod["spec"]["serviceAccountName"] == "reader"
    assert "initContainers" not in pod["spec"]
    assert volumes(pod).keys() == {"infra-validator-tmp"}
    # After what the image's entry point says, and after all else: the last one counts.
    assert server(pod)["args"][-1] == "--model_base_path=gs://bucket/models/m"


@pytest.mark.parametrize("model", [STREAMED, CLAIM, URI])
def test_configuration_files_are_sent_in_whatever_brings_the_model(model: ModelPlace) -> None:
    pod = build(model, serving=binary(config_files=CONFIG))
    [receiver] = pod["spec"]["initContainers"]
    assert "/infra-validator-received" in mounts(receiver)
    assert mounts(server(pod))["/infra-validator"] == {
        "name": "infra-validator-received",
        "mountPath": "/infra-validator",
        "subPath": "config",
        "readOnly": True,
    }
    place = "/infra-validator/batching_parameters_file"
    assert f"--batching_parameters_file={place}" in server(pod)["args"]


def test_the_receiver_waits_no_longer_than_delivery_may_take() -> None:
    [receiver] = build(delivery_timeout_seconds=7)["spec"]["initContainers"]
    assert receiver["args"] == ["7"]


@pytest.mark.parametrize("model", [STREAMED, CLAIM])
def test_without_need_the_pod_gets_no_token(model: ModelPlace) -> None:
    pod = build(model, service_account="step")
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_a_user_that_is_root_is_told_so() -> None:
    assert build(CLAIM, user=(0, 0))["spec"]["securityContext"]["runAsNonRoot"] is False


# What users set.


@pytest.mark.parametrize(
    ("config", "key", "expected"),
    [
        ({"image_pull_secrets": ["a", "b"]}, "imagePullSecrets", [{"name": "a"}, {"name": "b"}]),
        ({"node_selector": {"gpu": "a100"}}, "nodeSelector", {"gpu": "a100"}),
        (
            {"tolerations": [{"operator": "Exists"}]},
            "tolerations",
            [{"operator": "Exists"}],
        ),
        ({"affinity": {"podAffinity": {}}}, "affinity", {"podAffinity": {}}),
        ({"priority_class_name": "low"}, "priorityClassName", "low"),
        ({"runtime_class_name": "gvisor"}, "runtimeClassName", "gvisor"),
        ({"active_deadline_seconds": 999}, "activeDeadlineSeconds", 999),
        ({"pod_patch": {"spec": {"hostname": "h"}}}, "hostname", "h"),
    ],
)
def test_a_field_of_the_spec(config: dict[str, Any], key: str, expected: Any) -> None:
    plain, changed = build()["spec"], build(**config)["spec"]
    assert changed[key] == expected
    assert {**plain, key: expected} == changed


def test_labels_and_annotations() -> None:
    pod = build(
        labels={"team": "x"}, serving_pod_overrides={"annotations": {"example.com/a": "any text"}}
    )
    assert pod["metadata"]["labels"]["team"] == "x"
    assert pod["metadata"]["annotations"]["example.com/a"] == "any text"


@pytest.mark.parametrize(
    ("config", "label", "annotation"),
    [
        ({}, "false", "false"),
        ({"istio_sidecar": True}, None, None),
        # What TFX's users wrote keeps its meaning.
        (
            {
                "serving_pod_overrides": {"annotations": {"sidecar.istio.io/inject": "true"}},
            },
            None,
            "true",
        ),
    ],
)
def test_istio(config: dict[str, Any], label: str | None, annotation: str | None) -> None:
    metadata = build(**config)["metadata"]
    assert metadata["labels"].get("sidecar.istio.io/inject") == label
    assert metadata["annotations"].get("sidecar.istio.io/inject") == annotation


def test_overrides_of_the_servers_container() -> None:
    secret = {"name": "s", "key": "k"}
    resources = {"limits": {"memory": "2Gi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "1"}}
    pod = build(
        image_pull_policy="ALWAYS",
        serving=binary(env={"A": "1", "B": "$(A) $$ $x"}, args=("--x=$(A)",)),
        serving_pod_overrides={
            "env": [
                {"name": "A", "value": "$(B)"},
                {"name": "C", "value_from": {"secret_key_ref": secret}},
            ],
            "resources": resources,
        },
        volumes=[{"name": "v", "emptyDir": {}}],
        volume_mounts=[{"name": "v", "mountPath": "/v"}],
    )
    found = server(pod)
    # Of TensorFlowServing.env the value is meant as it stands, as on all platforms.
    assert found["env"] == [
        {"name": "B", "value": "$$(A) $$$$ $$x"},
        {"name": "MODEL_NAME", "value": "m"},
        {"name": "MODEL_BASE_PATH", "value": "/model"},
        {"name": "A", "value": "$(B)"},
        {"name": "C", "valueFrom": {"secretKeyRef": secret}},
    ]
    assert "--x=$$(A)" in found["args"]
    assert found["resources"] == resources
    assert found["imagePullPolicy"] == "Always"
    assert mounts(found)["/v"] == {"name": "v", "mountPath": "/v"}
    assert volumes(pod)["v"] == {"name": "v", "emptyDir": {}}
    # A quota wants resources of every container; a device it would only take from the server.
    [receiver] = pod["spec"]["initContainers"]
    assert receiver["resources"] == {"limits": {"memory": "2Gi"}, "requests": {"cpu": "1"}}
    assert receiver["imagePullPolicy"] == "Always"


# The patch.


def test_a_patch_reaches_everything() -> None:
    pod = build(
        pod_patch={
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "securityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": 2000},
                "containers": [
                    {
                        "name": "server",
                        "securityContext": {"readOnlyRootFilesystem": False},
                        "env": [{"name": "A", "value": "1"}],
                    },
                    {"name": "sidecar", "image": "x"},
                ],
                "volumes": [{"name": "infra-validator-tmp", "emptyDir": {"medium": "Memory"}}],
            },
        }
    )
    assert pod["metadata"]["labels"]["a"] == "b"
    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "fsGroup": 2000,
    }
    assert server(pod)["securityContext"]["readOnlyRootFilesystem"] is False
    assert server(pod)["securityContext"]["allowPrivilegeEscalation"] is False
    assert variables(server(pod)).keys() == {"MODEL_NAME", "MODEL_BASE_PATH", "A"}
    assert [container["name"] for container in pod["spec"]["containers"]] == ["server", "sidecar"]
    assert volumes(pod)["infra-validator-tmp"]["emptyDir"] == {"medium": "Memory"}


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"labels": None, "annotations": None}},
        {"metadata": {"$patch": "replace"}},
        {"metadata": {"labels": {"$patch": "delete"}, "annotations": {"$patch": "replace"}}},
    ],
)
def test_what_the_validator_finds_its_pods_by_stands_whatever_is_patched(
    patch: dict[str, Any],
) -> None:
    step = StepPod("step", "ns", "uid-1")
    metadata = build(pod_patch=patch, owner=step)["metadata"]
    assert metadata["name"] == "infra-validator-1"
    assert metadata["namespace"] == "ns"
    assert metadata["labels"]["infra-validator.managed"] == "true"
    assert metadata["annotations"]["infra-validator.host"] == "h"
    assert metadata["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "step", "uid": "uid-1"}
    ]


def limited(**limits: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "server", "resources": {"limits": limits}}]}}


@pytest.mark.parametrize(
    ("config", "noted"),
    [
        ({}, None),
        ({"serving_pod_overrides": {"resources": {"limits": {"cpu": "1"}}}}, None),
        ({"serving_pod_overrides": {"resources": {"limits": {"memory": "4Gi"}}}}, "4Gi"),
        ({"pod_patch": limited(memory="2Gi")}, "2Gi"),
        ({"pod_patch": limited(memory=2000000000)}, "2000000000"),
        # The API will refuse these.
        ({"pod_patch": {"spec": {"containers": [{"name": "server", "resources": "x"}]}}}, None),
        ({"pod_patch": limited(memory=None)}, None),
    ],
)
def test_the_limit_of_memory_that_the_user_gave_is_noted(
    config: dict[str, Any], noted: str | None
) -> None:
    found = build(**config)["metadata"]["annotations"]
    assert found.get("infra-validator.memory-limit") == noted


def test_a_pod_is_not_restarted_and_ends_whatever_is_patched() -> None:
    """Also by a patch that was never checked."""
    kept = ["containers", "initContainers", "volumes"]
    settings = dataclasses.replace(
        kubernetes_config.parse(pb.KubernetesConfig(active_deadline_seconds=99), 30),
        pod_patch={"spec": {"$retainKeys": kept, "restartPolicy": "Always"}},
    )
    pod = pod_manifest(
        settings,
        binary(),
        name="p",
        namespace="ns",
        model=STREAMED,
        labels={},
        annotations={},
        owner=None,
        service_account=None,
        node=None,
    )
    spec = pod["spec"]
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("Never", 99)
    assert "enableServiceLinks" not in spec


def test_a_patch_of_the_receiver_adds_none_where_there_is_none() -> None:
    patch = {
        "spec": {
            "initContainers": [
                {"name": "receive-files", "resources": {"limits": {"cpu": "1"}}},
                {"name": "mine", "image": "x"},
            ]
        }
    }
    names = [own["name"] for own in build(CLAIM, pod_patch=patch)["spec"]["initContainers"]]
    assert names == ["mine"]
    first, second = build(pod_patch=patch)["spec"]["initContainers"]
    assert first["resources"] == {"limits": {"cpu": "1"}}
    assert second["name"] == "mine"


# The node.

HERE = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}


def terms(pod: dict[str, Any]) -> Any:
    required = pod["spec"]["affinity"]["nodeAffinity"]
    return required["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]


def test_a_claim_of_one_node_pins_the_pod_there() -> None:
    assert terms(build(CLAIM, node="node-1")) == [{"matchFields": [HERE]}]


def test_pinned_it_still_needs_what_the_user_asked_for() -> None:
    gpu = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    big = {"matchExpressions": [{"key": "big", "operator": "Exists"}]}
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [gpu, big]}
        },
        "podAffinity": {},
    }
    pod = build(CLAIM, node="node-1", affinity=affinity)
    assert terms(pod) == [{**gpu, "matchFields": [HERE]}, {**big, "matchFields": [HERE]}]
    assert pod["spec"]["affinity"]["podAffinity"] == {}
    # Settings are shared by all attempts.
    assert affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == {
        "nodeSelectorTerms": [gpu, big]
    }


def test_nothing_is_shared_between_pods() -> None:
    settings = kubernetes_config.parse(
        json_format.ParseDict(
            {"affinity": {"nodeAffinity": {}}, "labels": {"a": "b"}}, pb.KubernetesConfig()
        ),
        300,
    )
    before = repr(settings)
    for node in ("node-1", "node-2"):
        pod = pod_manifest(
            settings,
            binary(),
            name="a",
            namespace="ns",
            model=CLAIM,
            labels={"infra-validator.managed": "true"},
            annotations={},
            owner=None,
            service_account=None,
            node=node,
        )
        assert len(terms(pod)) == 1
    assert repr(settings) == before


# Everything.


@given(
    model=st.sampled_from([STREAMED, CLAIM, URI]),
    config_files=st.sampled_from([{}, CONFIG]),
    config=st.fixed_dictionaries(
        {},
        optional={
            "istio_sidecar": st.booleans(),
            "image_pull_secrets": st.just(["s"]),
            "runtime_class_name": st.just("gvisor"),
            "affinity": st.just({"nodeAffinity": {}}),
            "pod_patch": st.sampled_from(
                [{}, {"spec": {"containers": [{"name": "b", "image": "x"}]}}]
            ),
        },
    ),
    node=st.none() | st.just("node-1"),
)
def test_every_pod_is_strict_and_whole(
    model: ModelPlace, config_files: dict[str, bytes], config: dict[str, Any], node: str | None
) -> None:
    pod = build(model, serving=binary(config_files=config_files), node=node, **config)
    assert json.loads(json.dumps(pod)) == pod
    spec = pod["spec"]
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] > 300
    assert len(mounts(server(pod))) == len(server(pod)["volumeMounts"])
    own = [container for container in spec["containers"] if container["name"] != "b"]
    for container in (*own, *spec.get("initContainers", ())):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes(pod).keys()
    model_mounts = [mount for path, mount in mounts(server(pod)).items() if "/model" in path]
    assert all(mount["readOnly"] for mount in model_mounts)
    assert bool(model_mounts) == (model is not URI)
