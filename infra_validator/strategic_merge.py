"""Kubernetes' strategic merge, for Pods. Pure.

Objects are merged key by key, null removes a key, and lists replace each other,
except for those whose elements the API tells apart by a key: these are merged
element by element (k8s.io/api/core/v1/types.go, patchStrategy and patchMergeKey).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

_PATCH = "$patch"
_RETAIN_KEYS = "$retainKeys"

_MERGE_KEYS: Mapping[str, str] = {
    "metadata.ownerReferences": "uid",
    "spec.containers": "name",
    "spec.initContainers": "name",
    "spec.ephemeralContainers": "name",
    "spec.volumes": "name",
    "spec.imagePullSecrets": "name",
    "spec.hostAliases": "ip",
    "spec.topologySpreadConstraints": "topologyKey",
    "spec.resourceClaims": "name",
    "spec.schedulingGates": "name",
    **{
        f"spec.{containers}[].{field}": key
        for containers in ("containers", "initContainers", "ephemeralContainers")
        for field, key in {
            "env": "name",
            "ports": "containerPort",
            "volumeMounts": "mountPath",
            "volumeDevices": "devicePath",
        }.items()
    },
}


class MergeError(ValueError):
    """Raised for a patch that cannot be merged; names the place in it."""


def merge_pod(pod: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The Pod with the patch merged into it; neither is changed.

    `$patch: replace` and `$patch: delete` are taken where the API takes them, and
    `$retainKeys`.

    Raises:
        MergeError: for a patch that does not have the form of a Pod.
    """
    return _merge_objects(pod, patch, "")


def _merge_objects(old: Mapping[str, Any], patch: Mapping[str, Any], place: str) -> dict[str, Any]:
    directive = patch.get(_PATCH)
    if directive not in (None, "merge", "replace", "delete"):
        raise MergeError(f"{place or 'the patch'}: {_PATCH} cannot be {directive!r}")
    if directive == "delete":
        return {}
    base = {} if directive == "replace" else old
    merged = copy.deepcopy(dict(base))
    if _RETAIN_KEYS in patch:
        retained = _expect_list(patch[_RETAIN_KEYS], f"{place}.{_RETAIN_KEYS}")
        merged = {key: value for key, value in merged.items() if key in retained}
    for key, value in patch.items():
        if key in {_PATCH, _RETAIN_KEYS}:
            continue
        there = f"{place}.{key}" if place else key
        if key.startswith("$"):
            raise MergeError(f"{there}: this directive is not known here")
        if value is None:
            merged.pop(key, None)
        elif there in _MERGE_KEYS:
            before = merged.get(key) or []
            merged[key] = _merge_lists(before, _expect_list(value, there), there)
        elif isinstance(value, Mapping):
            before = merged.get(key)
            before = before if isinstance(before, Mapping) else {}
            merged[key] = _merge_objects(before, value, there)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _merge_lists(
    old: Sequence[Mapping[str, Any]], patch: Sequence[Any], place: str
) -> list[dict[str, Any]]:
    key = _MERGE_KEYS[place]
    replace = any(
        isinstance(element, Mapping) and dict(element) == {_PATCH: "replace"} for element in patch
    )
    merged = [] if replace else [copy.deepcopy(dict(element)) for element in old]
    for index, element in enumerate(patch):
        if not isinstance(element, Mapping):
            raise MergeError(f"{place}[{index}]: not an object")
        if dict(element) == {_PATCH: "replace"}:
            continue
        if not isinstance(element.get(key), (str, int)) or element[key] == "":
            raise MergeError(
                f"{place}[{index}].{key}: not set, or no text or number; elements are told apart "
                "by it"
            )
        at = next((at for at, own in enumerate(merged) if own.get(key) == element[key]), None)
        if element.get(_PATCH) == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(_merge_objects({}, element, f"{place}[]"))
        else:
            merged[at] = _merge_objects(merged[at], element, f"{place}[]")
    return merged


def _expect_list(value: Any, place: str) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise MergeError(f"{place}: not a list")
    return value
