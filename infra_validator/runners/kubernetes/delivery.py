"""How the model gets to the server: by the step's own claim, by its URI, or sent into the Pod."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.files import local_path, storage_fault
from infra_validator.kubernetes_config import Delivery, KubernetesSettings
from infra_validator.model_source import ModelSource
from infra_validator.runners.docker_archive import is_self_contained, modes_of
from infra_validator.runners.docker_container import choose_reader
from infra_validator.runners.kubernetes.api import Api, ApiError
from infra_validator.runners.kubernetes.manifest import NOBODY
from infra_validator.runners.kubernetes.places import (
    ClaimModel,
    ModelPlace,
    StreamedModel,
    UriModel,
)
from infra_validator.runners.kubernetes.step import StepPod, claim_for

_logger = logging.getLogger(__name__)

# What TensorFlow Serving is built to read; other schemes need plugins that it cannot load.
_SERVER_SCHEMES = frozenset({"gs"})

_SHARED_MODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@dataclasses.dataclass(frozen=True)
class Step:
    """The Pod in which the validator itself runs.

    Attributes:
        pod: what it is called, and where it runs.
        manifest: as the API gives it.
    """

    pod: StepPod
    manifest: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Way:
    """How the model gets there.

    Attributes:
        name: what the report calls it.
        place: where the model is for the Pod.
        user: uid and gid that can read it there.
        node: the only node on which it can be had; None for any.
    """

    name: str
    place: ModelPlace
    user: tuple[int, int] = NOBODY
    node: str | None = None


class _NoWay(Exception):  # noqa: N818 - no error where there is another way
    """Why a way cannot be gone."""


def choose_way(
    settings: KubernetesSettings, api: Api, namespace: str, step: Step | None, model: ModelSource
) -> Way:
    """Chooses the way, and has the model at hand where it must be.

    Raises:
        FaultError: if the way that the settings force cannot be gone, or the
            model cannot be read.
        ApiError, ConnectionFailed: if the cluster cannot be asked.
    """
    ways: dict[Delivery, Callable[[], Way]] = {
        Delivery.URI: lambda: _by_uri(model, forced=settings.delivery == Delivery.URI),
        Delivery.CLAIM: lambda: _by_claim(
            api, namespace, step, model, forced=settings.delivery == Delivery.CLAIM
        ),
    }
    for kind, go in ways.items():
        if settings.delivery not in {kind, Delivery.AUTO}:
            continue
        try:
            return go()
        except _NoWay as reason:
            if settings.delivery == kind:
                raise FaultError(
                    fault(
                        "model_not_shareable",
                        Phase.STAGE,
                        f"ServingSpec.kubernetes.model_delivery is {kind.name}, but {reason}.",
                        hint="Leave ServingSpec.kubernetes.model_delivery unset, so that a way is "
                        "chosen, or set it to STREAM.",
                    )
                ) from reason
            _logger.debug("Not by %s: %s", kind.value, reason)
    model.local_path()
    return Way("stream", StreamedModel())


def _by_uri(model: ModelSource, *, forced: bool) -> Way:
    parts = urlsplit(model.uri)
    if not parts.scheme or local_path(model.uri) is not None:
        raise _NoWay(f"{model.uri} is no URI that a server could read")
    if not forced and parts.scheme not in _SERVER_SCHEMES:
        raise _NoWay(f"TensorFlow Serving does not read {parts.scheme}://")
    parent, _, version = model.uri.rpartition("/")
    if not _is_version(version):
        raise _NoWay(
            f"a server takes a folder for a version only if its name is a number, not {version!r}"
        )
    others = sorted(name for name in model.siblings() if _is_version(name))
    if others:
        raise _NoWay(f"the server would see other versions beside it: {', '.join(others)}")
    return Way("uri", UriModel(parent))


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _by_claim(
    api: Api, namespace: str, step: Step | None, model: ModelSource, *, forced: bool
) -> Way:
    if step is None:
        raise _NoWay("the validator does not run in a Pod of this cluster that it knows")
    if step.pod.namespace != namespace:
        raise _NoWay("the validator's own Pod is in another namespace")
    path = local_path(model.uri)
    if path is None:
        raise _NoWay(f"{model.uri} is no path on a volume")
    real = Path(os.path.realpath(path))
    claim = claim_for(step.manifest, os.environ, str(real))
    if claim is None:
        raise _NoWay(f"{real} lies on no claim that the validator's own Pod has mounted")
    try:
        if not is_self_contained(real):
            raise _NoWay("links in the model lead out of its folder")
        user = choose_reader(modes_of(real))
    except OSError as error:
        raise storage_fault(f"The model cannot be read: {real}", Phase.STAGE, error) from error
    if user is None:
        raise _NoWay("no one user may read all of the model's files")
    uid, gid = (int(number) for number in user.split(":"))
    if uid == 0 and not forced:
        raise _NoWay("only root may read the model there, and the server does not run as root")
    return Way("claim", claim, (uid, gid), _node_of(api, namespace, step, claim))


def _node_of(api: Api, namespace: str, step: Step, claim: ClaimModel) -> str | None:
    """The node that the claim is bound to as long as the step has it mounted."""
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim.claim}")
    except ApiError as error:
        if error.status != 403:
            raise
        _logger.info(
            "The claim %s may not be looked at, so the server runs on this node.", claim.claim
        )
        return step.pod.node
    modes = set(
        found.get("status", {}).get("accessModes") or found["spec"].get("accessModes") or []
    )
    if modes & _SHARED_MODES:
        return None
    if "ReadWriteOncePod" in modes:
        raise _NoWay(f"the claim {claim.claim} is for one Pod only")
    return step.pod.node
