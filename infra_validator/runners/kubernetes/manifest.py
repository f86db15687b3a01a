"""The server's Pod, as the API takes it. Pure; plain values, so that no client's classes matter."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from infra_validator.kubernetes_config import (
    CLAIM_VOLUME,
    CONFIG_FOLDER,
    ISTIO_INJECT,
    MEMORY_LIMIT,
    MODEL_BASE,
    RECEIVED_VOLUME,
    RECEIVER,
    SERVER,
    TEMPORARY_VOLUME,
    KubernetesSettings,
)
from infra_validator.runners.kubernetes.places import (
    ClaimModel,
    ModelPlace,
    StreamedModel,
    UriModel,
)
from infra_validator.runners.kubernetes.step import StepPod
from infra_validator.servers.base import ServingBinary
from infra_validator.strategic_merge import merge_pod

RECEIVED = "/infra-validator-received"
"""Where files are sent to: `model/...` and `config/<flag>` below it."""

RECEIVED_FIFO = f"{RECEIVED}/done"
"""The init container ends with the exit code that is written here."""

NOBODY = (65534, 65534)

_PORT_NAME = "grpc"

# Opens the pipe and waits on it: nothing polls. Ends by itself where nobody ever writes.
_RECEIVE = 'mkfifo -m 600 "$1" && code=$(timeout "$2" cat "$1") && exit "${code:-1}"'


def pod_manifest(
    settings: KubernetesSettings,
    binary: ServingBinary,
    *,
    name: str,
    namespace: str,
    model: ModelPlace,
    user: tuple[int, int] = NOBODY,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    owner: StepPod | None,
    service_account: str | None,
    node: str | None,
    asking_seconds: float = 0.0,
) -> dict[str, Any]:
    """The body of POST /api/v1/namespaces/{namespace}/pods.

    Args:
        settings: the platform's configuration.
        binary: the server.
        name: the Pod's.
        namespace: the Pod's.
        model: how the model gets there.
        user: uid and gid that the server runs as.
        labels: by which the Pod is found again.
        annotations: of the validator's own.
        owner: the Pod, of the same namespace, with which this one goes; None for none.
        service_account: its name; None for the namespace's own.
        node: the only node on which it may run; None for any.
        asking_seconds: what all requests together may take at most.
    """
    lifetime = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": settings.deadline_with(asking_seconds),
    }
    own: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(settings.labels),
            "annotations": dict(settings.annotations),
        },
        "spec": {**_spec(settings, binary, model, user, service_account), **lifetime},
    }
    if not settings.istio_sidecar:
        for kind in ("labels", "annotations"):  # older Istio reads the one, newer the other
            if ISTIO_INJECT not in settings.annotations:
                own["metadata"][kind][ISTIO_INJECT] = "false"
    pod = merge_pod(own, settings.pod_patch)
    # What the validator relies on stands whatever was patched.
    pod["spec"].update(lifetime)
    pod["metadata"].update(name=name, namespace=namespace)
    pod["metadata"].setdefault("labels", {}).update(labels)
    pod["metadata"].setdefault("annotations", {}).update(annotations)
    limit = _memory_limit(pod["spec"])
    if limit:
        pod["metadata"]["annotations"][MEMORY_LIMIT] = str(limit)
    if owner is not None:
        pod["metadata"]["ownerReferences"] = [_owner_reference(owner)]
    if node is not None:
        _pin(pod["spec"], node)
    if not _needs_receiver(binary, model):
        _drop_receiver(pod["spec"])
    return pod


def _spec(
    settings: KubernetesSettings,
    binary: ServingBinary,
    model: ModelPlace,
    user: tuple[int, int],
    service_account: str | None,
) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [{"name": TEMPORARY_VOLUME, "emptyDir": {}}]
    if _needs_receiver(binary, model):
        volumes.append({"name": RECEIVED_VOLUME, "emptyDir": {}})
    if isinstance(model, ClaimModel):
        volumes.append(
            {
                "name": CLAIM_VOLUME,
                "persistentVolumeClaim": {
                    "claimName": model.claim,
                    **({"readOnly": True} if model.read_only else {}),
                },
            }
        )
    spec: dict[str, Any] = {
        # The entry point passes no signal on, so a polite end would only take the time.
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": isinstance(model, UriModel),
        "enableServiceLinks": False,
        "securityContext": _pod_security(user),
        "containers": [_server(settings, binary, model)],
        "volumes": [*volumes, *(dict(volume) for volume in settings.volumes)],
    }
    if _needs_receiver(binary, model):
        spec["initContainers"] = [_receiver(settings, binary)]
    optional = {
        "serviceAccountName": service_account,
        "imagePullSecrets": [{"name": secret} for secret in settings.image_pull_secrets],
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(toleration) for toleration in settings.tolerations],
        "affinity": dict(settings.affinity),
        "priorityClassName": settings.priority_class_name,
        "runtimeClassName": settings.runtime_class_name,
    }
    return spec | {key: value for key, value in optional.items() if value}


def _memory_limit(spec: Mapping[str, Any]) -> Any:
    """The server's; None for none, and where a patch made of it what only the API will refuse."""
    [found] = [one for one in spec["containers"] if one["name"] == SERVER]
    for key in ("resources", "limits", "memory"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _needs_receiver(binary: ServingBinary, model: ModelPlace) -> bool:
    return isinstance(model, StreamedModel) or bool(binary.config_files)


def _drop_receiver(spec: dict[str, Any]) -> None:
    """A patch may have spoken of a container that this Pod does not have."""
    others = [own for own in spec.get("initContainers", []) if own.get("name") != RECEIVER]
    spec.pop("initContainers", None)
    if others:
        spec["initContainers"] = others


def _server(
    settings: KubernetesSettings, binary: ServingBinary, model: ModelPlace
) -> dict[str, Any]:
    config_files = {flag: f"{CONFIG_FOLDER}/{flag}" for flag in binary.config_files}
    arguments = binary.container_arguments(config_files)
    if isinstance(model, UriModel):
        # Of a flag given twice the last one counts; what the image's entry point says is before.
        arguments.append(f"--model_base_path={model.parent}")
    env = [
        {"name": name, "value": _literal(value)}
        for name, value in binary.container_environment(MODEL_BASE).items()
    ]
    mounts: list[dict[str, Any]] = [_temporary_mount()]
    if isinstance(model, StreamedModel):
        mounts.append(_received_mount("model", MODEL_BASE))
    elif isinstance(model, ClaimModel):
        mounts.append(
            {
                "name": CLAIM_VOLUME,
                "mountPath": posixpath.join(MODEL_BASE, binary.model_layout()),
                "readOnly": True,
                **({"subPath": model.sub_path} if model.sub_path else {}),
            }
        )
    if binary.config_files:
        mounts.append(_received_mount("config", CONFIG_FOLDER))
    overridden = {variable["name"] for variable in settings.env}
    return {
        "name": SERVER,
        "image": binary.image,
        "imagePullPolicy": settings.pull_policy.value,
        "args": [_literal(argument) for argument in arguments],
        "env": [
            *(variable for variable in env if variable["name"] not in overridden),
            *(dict(variable) for variable in settings.env),
        ],
        "ports": [{"name": _PORT_NAME, "containerPort": binary.container_port, "protocol": "TCP"}],
        "resources": dict(settings.resources),
        "securityContext": _container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, *(dict(mount) for mount in settings.volume_mounts)],
    }


def _receiver(settings: KubernetesSettings, binary: ServingBinary) -> dict[str, Any]:
    """Nothing but the server's own image, with the same resources: a Pod needs the larger."""
    return {
        "name": RECEIVER,
        "image": binary.image,
        "imagePullPolicy": settings.pull_policy.value,
        "command": ["sh", "-c", _RECEIVE, "sh", RECEIVED_FIFO],
        "args": [str(settings.delivery_timeout_seconds)],
        "resources": _without_devices(settings.resources),
        "securityContext": _container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            _temporary_mount(),
            {"name": RECEIVED_VOLUME, "mountPath": RECEIVED},
        ],
    }


def _without_devices(resources: Mapping[str, Any]) -> dict[str, Any]:
    """A quota may want processors and memory of every container; devices it need not have."""
    return {
        kind: {name: amount for name, amount in resources[kind].items() if "/" not in name}
        for kind in ("requests", "limits")
        if kind in resources
    }


def _temporary_mount() -> dict[str, Any]:
    return {"name": TEMPORARY_VOLUME, "mountPath": "/tmp"}  # noqa: S108 - the container's own


def _received_mount(folder: str, place: str) -> dict[str, Any]:
    return {
        "name": RECEIVED_VOLUME,
        "mountPath": place,
        "subPath": folder,
        "readOnly": True,
    }


def _pod_security(user: tuple[int, int]) -> dict[str, Any]:
    uid, gid = user
    return {
        "runAsUser": uid,
        "runAsGroup": gid,
        "runAsNonRoot": uid != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _owner_reference(owner: StepPod) -> dict[str, Any]:
    """Without blockOwnerDeletion, for which one would need rights on the owner's finalizers."""
    return {"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}


def _pin(spec: dict[str, Any], node: str) -> None:
    """Lets the scheduler take this node only; unlike nodeName, resources and taints still count."""
    affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    # Terms are alternatives, so each of them is narrowed.
    required["nodeSelectorTerms"] = [
        {**term, "matchFields": [*term.get("matchFields", []), field]}
        for term in required.get("nodeSelectorTerms") or [{}]
    ]


def _literal(text: str) -> str:
    """Kubernetes would put the values of variables in place of $(NAME)."""
    return text.replace("$", "$$")
