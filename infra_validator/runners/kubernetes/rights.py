"""What the validator needs to be allowed in the namespace of its Pods; as in docs/platforms.md."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra_validator.runners.kubernetes.api import Api

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclasses.dataclass(frozen=True)
class Right:
    """To do something with a resource of the core API group.

    Attributes:
        resource: as in a Role, for example "pods/log".
        verb: as in a Role.
        needed: whether nothing can be validated without it.
    """

    resource: str
    verb: str
    needed: bool = True


_ALWAYS = (
    *(Right("pods", verb) for verb in ("create", "delete", "get", "list", "watch")),
    Right("pods/log", "get"),
    # The connection is a WebSocket, which begins with a GET.
    *(Right("pods/exec", verb) for verb in ("get", "create")),
)
_EVENTS = tuple(Right("events", verb, needed=False) for verb in ("list", "watch"))

IN_A_STEP = (*_ALWAYS, *_EVENTS, Right("persistentvolumeclaims", "get", needed=False))
"""In a Pod of the same cluster."""

FROM_OUTSIDE = (
    *_ALWAYS,
    *(Right("pods/portforward", verb) for verb in ("get", "create")),
    *_EVENTS,
)
"""Anywhere else, where the server is reached by port-forward."""


def missing(api: Api, namespace: str, rights: Iterable[Right]) -> list[Right]:
    """Those of the rights that we do not have, as the cluster says.

    Raises:
        ApiError: if it does not tell.
        ConnectionFailed: if it cannot be reached.
    """
    return [right for right in rights if not _is_allowed(api, namespace, right)]


def _is_allowed(api: Api, namespace: str, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {
        "namespace": namespace,
        "verb": right.verb,
        "group": "",
        "resource": resource,
        "subresource": subresource,
    }
    review: Mapping[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = api.call("POST", _REVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))


def role_rules(rights: Sequence[Right]) -> str:
    """The rules of a Role that grants them, on one line."""
    verbs: dict[str, list[str]] = {}
    for right in rights:
        verbs.setdefault(right.resource, []).append(right.verb)
    resources: dict[tuple[str, ...], list[str]] = {}
    for resource, wanted in verbs.items():
        resources.setdefault(tuple(wanted), []).append(resource)
    return ", ".join(
        json.dumps({"apiGroups": [""], "resources": named, "verbs": list(wanted)})
        for wanted, named in resources.items()
    )
