"""Kubernetes' strategic merge: which lists are merged, and what removes something.

The expectations are those of `kubectl patch --type strategic`; the real API server is
asked the same in tests/platforms.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.strategic_merge import MergeError, merge_pod

POD: dict[str, Any] = {
    "metadata": {"name": "a", "labels": {"x": "1"}},
    "spec": {
        "containers": [
            {
                "name": "server",
                "image": "serving:1",
                "args": ["--a", "--b"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 8500, "name": "grpc"}],
                "volumeMounts": [{"mountPath": "/t", "name": "tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "securityContext": {"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
    },
}


def server(**patch: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "server", **patch}]}}


def merged_server(**patch: Any) -> dict[str, Any]:
    [found] = merge_pod(POD, server(**patch))["spec"]["containers"]
    return dict(found)


def test_objects_are_merged_and_null_removes() -> None:
    patch = {"spec": {"securityContext": {"runAsUser": None, "fsGroup": 5}, "hostname": "h"}}
    spec = merge_pod(POD, patch)["spec"]
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 5}
    assert spec["hostname"] == "h"
    assert spec["containers"] == POD["spec"]["containers"]


@pytest.mark.parametrize(
    ("patch", "key", "expected"),
    [
        (
            {"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]},
            "env",
            [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "3"},
                {"name": "C", "value": "4"},
            ],
        ),
        (
            {"env": [{"name": "A", "$patch": "delete"}]},
            "env",
            [{"name": "B", "value": "2"}],
        ),
        (
            {"env": [{"$patch": "replace"}, {"name": "C", "value": "4"}]},
            "env",
            [{"name": "C", "value": "4"}],
        ),
        (
            {"env": [{"name": "A", "value": None, "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
            "env",
            [
                {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}},
                {"name": "B", "value": "2"},
            ],
        ),
        ({"args": ["--c"]}, "args", ["--c"]),
        (
            {"ports": [{"containerPort": 8501, "name": "rest"}]},
            "ports",
            [{"containerPort": 8500, "name": "grpc"}, {"containerPort": 8501, "name": "rest"}],
        ),
        (
            {"volumeMounts": [{"mountPath": "/t", "readOnly": True}]},
            "volumeMounts",
            [{"mountPath": "/t", "name": "tmp", "readOnly": True}],
        ),
        ({"resources": {"limits": {"cpu": "1"}}}, "resources", {"limits": {"cpu": "1"}}),
    ],
)
def test_the_servers_container(patch: dict[str, Any], key: str, expected: Any) -> None:
    found = merged_server(**patch)
    assert found[key] == expected
    [own] = POD["spec"]["containers"]
    assert {name: value for name, value in found.items() if name != key} == {
        name: value for name, value in own.items() if name != key
    }


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        (
            {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}, {"name": "b"}]},
            [{"name": "tmp", "emptyDir": {"medium": "Memory"}}, {"name": "b"}],
        ),
        (
            {"volumes": [{"name": "tmp", "$retainKeys": ["name", "hostPath"], "hostPath": {}}]},
            [{"name": "tmp", "hostPath": {}}],
        ),
        ({"volumes": [{"name": "tmp", "$patch": "delete"}]}, []),
        ({"volumes": [{"name": "none", "$patch": "delete"}]}, POD["spec"]["volumes"]),
    ],
)
def test_volumes(patch: dict[str, Any], expected: Any) -> None:
    assert merge_pod(POD, {"spec": patch})["spec"]["volumes"] == expected


def test_tolerations_are_one_value() -> None:
    patch = {"spec": {"tolerations": [{"key": "b"}]}}
    assert merge_pod(POD, patch)["spec"]["tolerations"] == [{"key": "b"}]


def test_a_new_container_gets_no_directives_and_no_nulls() -> None:
    sidecar = {"name": "b", "image": "x", "env": [{"name": "A", "value": None}], "args": None}
    containers = merge_pod(POD, {"spec": {"containers": [sidecar]}})["spec"]["containers"]
    assert containers[1] == {"name": "b", "image": "x", "env": [{"name": "A"}]}


def test_an_object_may_be_replaced_or_removed() -> None:
    replaced = {"spec": {"securityContext": {"$patch": "replace", "fsGroup": 5}}}
    assert merge_pod(POD, replaced)["spec"]["securityContext"] == {"fsGroup": 5}
    removed = {"spec": {"securityContext": {"$patch": "delete"}}}
    assert merge_pod(POD, removed)["spec"]["securityContext"] == {}


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"spec": {"containers": {}}}, "spec.containers"),
        ({"spec": {"containers": "server"}}, "spec.containers: not a list"),
        ({"spec": {"containers": ["server"]}}, "spec.containers[0]: not an object"),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers[0].name: not set"),
        (server(env=[{"value": "1"}]), "env[0].name"),
        ({"spec": {"$patch": "merge it"}}, "spec: $patch"),
        ({"spec": {"$setElementOrder/containers": []}}, "not known here"),
        ({"spec": {"$retainKeys": "name"}}, "not a list"),
    ],
)
def test_what_cannot_be_merged_is_refused_with_its_place(patch: dict[str, Any], said: str) -> None:
    with pytest.raises(MergeError) as caught:
        merge_pod(POD, patch)
    assert said in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=5), inner, max_size=3)
    ),
    max_leaves=15,
)
FIELDS = st.sampled_from(
    ["containers", "volumes", "env", "name", "args", "securityContext", "$patch", "x"]
)
PATCHES = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4)
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), PATCHES, max_size=2))
def test_any_patch_is_merged_or_refused_and_changes_neither(patch: dict[str, Any]) -> None:
    pod, before = copy.deepcopy(POD), copy.deepcopy(patch)
    with contextlib.suppress(MergeError):
        merge_pod(pod, patch)
    assert pod == POD
    assert patch == before


@given(st.dictionaries(st.sampled_from("abcd"), st.integers() | st.none(), max_size=4))
def test_a_patch_applied_twice_changes_nothing_more(labels: dict[str, Any]) -> None:
    patch = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", **labels}]}}
    once = merge_pod(POD, patch)
    assert merge_pod(once, patch) == once
    assert merge_pod(POD, {}) == POD
