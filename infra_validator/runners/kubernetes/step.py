"""In which Pod the validator itself runs, if in one. Pure.

Kubeflow Pipelines tells a step by variables: version 1 (TFX's KubeflowDagRunner adds
them to each step) and version 2 (its compiler of workflows does) set KFP_POD_NAME and
KFP_POD_UID, version 1 KFP_NAMESPACE besides. In any other Pod there is HOSTNAME, which
is the Pod's name cut to 63 characters, or something else where the spec says so. So a
name is only believed once the Pod that bears it was looked at.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from infra_validator.runners.kubernetes.places import ClaimModel

_HOSTNAME_CHARACTERS = 63
_SEPARATOR = "/"


@dataclasses.dataclass(frozen=True)
class StepPod:
    """A Pod that was looked at.

    Attributes:
        node: the node that it runs on.
        service_account: its service account.
    """

    name: str
    namespace: str
    uid: str
    node: str | None = None
    service_account: str | None = None


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Who the validator's own Pod may be.

    Attributes:
        namespace: its namespace, None if nothing says which.
        names: names that it may have, the likeliest first.
        uid: its uid, where something says it.
        hostname: its host's name, for a Pod without a uid to check.
    """

    namespace: str | None
    names: tuple[str, ...]
    uid: str | None
    hostname: str | None


def candidates(environ: Mapping[str, str], service_account_namespace: str | None) -> Candidates:
    """What the environment says.

    Args:
        environ: the environment variables.
        service_account_namespace: the file `namespace` in the service account's
            folder; None where there is none.
    """
    hostname = environ.get("HOSTNAME") or None
    named = [environ.get(variable) for variable in ("KFP_POD_NAME", "ARGO_POD_NAME", "POD_NAME")]
    names = dict.fromkeys(name for name in (*named, hostname) if name)
    namespace = environ.get("KFP_NAMESPACE") or service_account_namespace
    return Candidates(
        namespace=(namespace or "").strip() or None,
        names=tuple(names),
        uid=environ.get("KFP_POD_UID") or environ.get("ARGO_POD_UID") or None,
        hostname=hostname,
    )


def is_step(pod: Mapping[str, Any], expected: Candidates) -> StepPod | None:
    """The Pod, if it is the validator's own for sure.

    With a known uid that decides. Without, the Pod must run, and its host's name be
    the one seen from within.

    Args:
        pod: as the API gave it for one of the names.
        expected: who it should be.
    """
    metadata, spec = pod.get("metadata", {}), pod.get("spec", {})
    name = str(metadata.get("name", ""))
    if expected.uid is not None:
        mine = metadata.get("uid") == expected.uid
    else:
        hostname = spec.get("hostname") or name[:_HOSTNAME_CHARACTERS].rstrip("-.")
        own = spec.get("nodeName") if spec.get("hostNetwork") else hostname
        running = pod.get("status", {}).get("phase") == "Running"
        mine = running and expected.hostname is not None and own == expected.hostname
    if not mine:
        return None
    return StepPod(
        name=name,
        namespace=str(metadata.get("namespace", "")),
        uid=str(metadata.get("uid", "")),
        node=spec.get("nodeName"),
        service_account=spec.get("serviceAccountName"),
    )


def own_container(pod: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The container of the step's Pod in which the validator runs; None if it cannot be told.

    Argo names it by a variable, and "main" unless the step says otherwise.
    """
    containers = pod.get("spec", {}).get("containers", [])
    if len(containers) == 1:
        return dict(containers[0])
    for name in (environ.get("ARGO_CONTAINER_NAME"), "main"):
        for container in containers:
            if name and container.get("name") == name:
                return dict(container)
    return None


def claim_for(pod: Mapping[str, Any], environ: Mapping[str, str], path: str) -> ClaimModel | None:
    """On which claim of the step's Pod a folder lies.

    Args:
        pod: the step's, as the API gives it.
        environ: the environment variables.
        path: the folder's absolute path in the step's container, links resolved.

    Returns:
        None where it lies on no claim, or where that cannot be told.
    """
    container = own_container(pod, environ)
    if container is None:
        return None
    mount = _mount_of(container, posixpath.normpath(path))
    if mount is None or mount.get("subPathExpr"):
        return None
    for volume in pod.get("spec", {}).get("volumes", []):
        source = volume.get("persistentVolumeClaim")
        if volume.get("name") == mount["name"]:
            claim = source.get("claimName") if source else _ephemeral_claim(pod, volume)
            if not claim:
                return None
            below = posixpath.relpath(path, mount["mountPath"])
            sub_path = posixpath.normpath(posixpath.join(mount.get("subPath", ""), below))
            return ClaimModel(
                claim=str(claim),
                sub_path="" if sub_path == "." else sub_path,
                read_only=bool(source and source.get("readOnly")),
            )
    return None


def _ephemeral_claim(pod: Mapping[str, Any], volume: Mapping[str, Any]) -> str | None:
    """A generic ephemeral volume is a claim named after its Pod."""
    if "ephemeral" not in volume:
        return None
    return f"{pod.get('metadata', {}).get('name')}-{volume['name']}"


def _mount_of(container: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """The mount that a path is on: of those above it the nearest."""

    def above() -> Iterator[Mapping[str, Any]]:
        for mount in container.get("volumeMounts", []):
            place = posixpath.normpath(mount["mountPath"]).rstrip(_SEPARATOR)
            if path == place or path.startswith(place + _SEPARATOR):
                yield mount

    return max(above(), key=lambda mount: len(mount["mountPath"].rstrip(_SEPARATOR)), default=None)
