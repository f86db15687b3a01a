"""Who the step's Pod is, and on which of its claims a folder lies."""

from __future__ import annotations

from typing import Any

import pytest

from infra_validator.runners.kubernetes.places import ClaimModel
from infra_validator.runners.kubernetes.step import (
    Candidates,
    StepPod,
    candidates,
    claim_for,
    is_step,
    own_container,
)

UID = "a1b2c3d4-0000-4000-8000-000000000000"
LONG = "penguin-pipeline-with-a-long-name-4hx8z-infra-validator-2938475610"  # 66 characters


@pytest.mark.parametrize(
    ("environ", "namespace", "expected"),
    [
        # Kubeflow Pipelines v1: kfp.compiler, transformer add_kfp_pod_env, which TFX 1.15 asks for
        (
            {
                "KFP_POD_NAME": LONG,
                "KFP_POD_UID": UID,
                "KFP_NAMESPACE": "kubeflow",
                "WORKFLOW_ID": "penguin-4hx8z",
                "ARGO_CONTAINER_NAME": "main",
                "HOSTNAME": LONG[:63],
            },
            "kubeflow",
            Candidates("kubeflow", (LONG, LONG[:63]), UID, LONG[:63]),
        ),
        # Kubeflow Pipelines v2: backend/src/v2/compiler/argocompiler/common.go; no namespace
        (
            {"KFP_POD_NAME": LONG, "KFP_POD_UID": UID, "HOSTNAME": LONG[:63]},
            "kubeflow-user-example-com\n",
            Candidates("kubeflow-user-example-com", (LONG, LONG[:63]), UID, LONG[:63]),
        ),
        # Argo Workflows 3.4 in a container that it adds to the Pod
        (
            {"ARGO_POD_NAME": "step", "ARGO_POD_UID": UID, "HOSTNAME": "step"},
            "argo",
            Candidates("argo", ("step",), UID, "step"),
        ),
        # A plain Pod
        ({"HOSTNAME": "trainer-x"}, "ml", Candidates("ml", ("trainer-x",), None, "trainer-x")),
        # A laptop
        ({"HOSTNAME": "laptop"}, None, Candidates(None, ("laptop",), None, "laptop")),
        ({}, None, Candidates(None, (), None, None)),
        (
            {"KFP_POD_NAME": "", "KFP_POD_UID": "", "KFP_NAMESPACE": ""},
            "",
            Candidates(None, (), None, None),
        ),
    ],
)
def test_what_the_environment_says(
    environ: dict[str, str], namespace: str | None, expected: Candidates
) -> None:
    assert candidates(environ, namespace) == expected


def pod(name: str = LONG, uid: str = UID, phase: str = "Running", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ml", "uid": uid},
        "spec": {"nodeName": "node-1", "serviceAccountName": "runner", **spec},
        "status": {"phase": phase},
    }


FOUND = StepPod(LONG, "ml", UID, "node-1", "runner")


def who(uid: str | None = None, hostname: str | None = LONG[:63]) -> Candidates:
    return Candidates("ml", (LONG,), uid, hostname)


@pytest.mark.parametrize(
    ("candidate", "expected", "mine"),
    [
        (pod(), who(UID), True),
        (pod(phase="Pending"), who(UID), True),  # the API may lag behind
        (pod(uid="other"), who(UID), False),  # a name of old, taken by another Pod
        (pod(), who(), True),
        (pod(name=LONG[:62] + "-x"), who(None, LONG[:62]), True),  # cut at a dash: none at the end
        (pod(), who(None, "laptop"), False),
        (pod(), who(None, None), False),
        (pod(phase="Succeeded"), who(), False),
        (pod(hostname="web-0"), who(None, "web-0"), True),
        (pod(hostname="web-0"), who(), False),
        # With the host's network the host's name is seen within.
        (pod(hostNetwork=True), who(None, "node-1"), True),
        (pod(hostNetwork=True), who(), False),
    ],
)
def test_a_name_is_believed_only_of_a_pod_that_was_looked_at(
    candidate: dict[str, Any], expected: Candidates, mine: bool
) -> None:
    found = is_step(candidate, expected)
    assert (found is not None) == mine
    if mine and candidate["metadata"]["name"] == LONG:
        assert found == FOUND


def test_any_object_is_looked_at() -> None:
    assert is_step({}, who(UID)) is None
    assert is_step({}, who()) is None


# The container.


@pytest.mark.parametrize(
    ("names", "environ", "expected"),
    [
        (["main"], {}, "main"),
        (["trainer"], {}, "trainer"),
        (["wait", "main"], {}, "main"),
        (["wait", "main"], {"ARGO_CONTAINER_NAME": "main"}, "main"),
        (["a", "b"], {"ARGO_CONTAINER_NAME": "b"}, "b"),
        (["a", "b"], {}, None),
        ([], {}, None),
    ],
)
def test_the_validators_own_container(
    names: list[str], environ: dict[str, str], expected: str | None
) -> None:
    found = own_container(pod(containers=[{"name": name} for name in names]), environ)
    assert (found or {}).get("name") == expected


# The claim.


def mounted(mounts: list[dict[str, Any]], volumes: list[dict[str, Any]]) -> dict[str, Any]:
    return pod(
        containers=[{"name": "wait"}, {"name": "main", "volumeMounts": mounts}], volumes=volumes
    )


CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "claim"}}
READ_ONLY = {"name": "data", "persistentVolumeClaim": {"claimName": "claim", "readOnly": True}}


@pytest.mark.parametrize(
    ("mounts", "volumes", "path", "expected"),
    [
        (
            [{"name": "data", "mountPath": "/mnt"}],
            [CLAIM],
            "/mnt/run/model",
            ClaimModel("claim", "run/model"),
        ),
        # TFX forgets the mount's own sub-path.
        (
            [{"name": "data", "mountPath": "/mnt/", "subPath": "tfx/pipelines"}],
            [CLAIM],
            "/mnt/run/model/",
            ClaimModel("claim", "tfx/pipelines/run/model"),
        ),
        ([{"name": "data", "mountPath": "/mnt"}], [CLAIM], "/mnt", ClaimModel("claim", "")),
        (
            [{"name": "data", "mountPath": "/mnt", "subPath": "x"}],
            [CLAIM],
            "/mnt",
            ClaimModel("claim", "x"),
        ),
        (
            [{"name": "data", "mountPath": "/mnt"}],
            [READ_ONLY],
            "/mnt/m",
            ClaimModel("claim", "m", read_only=True),
        ),
        ([{"name": "data", "mountPath": "/"}], [CLAIM], "/a/b", ClaimModel("claim", "a/b")),
        # The nearest mount counts.
        (
            [{"name": "data", "mountPath": "/mnt"}, {"name": "own", "mountPath": "/mnt/run"}],
            [CLAIM, {"name": "own", "emptyDir": {}}],
            "/mnt/run/model",
            None,
        ),
        (
            [{"name": "own", "mountPath": "/mnt"}, {"name": "data", "mountPath": "/mnt/run"}],
            [CLAIM, {"name": "own", "emptyDir": {}}],
            "/mnt/run/model",
            ClaimModel("claim", "model"),
        ),
        ([{"name": "data", "mountPath": "/mnt"}], [CLAIM], "/mnt2/model", None),
        ([{"name": "data", "mountPath": "/mnt"}], [CLAIM], "/elsewhere", None),
        ([{"name": "data", "mountPath": "/mnt"}], [], "/mnt/model", None),
        ([], [CLAIM], "/mnt/model", None),
        (
            [{"name": "data", "mountPath": "/mnt", "subPathExpr": "$(POD_NAME)"}],
            [CLAIM],
            "/mnt/model",
            None,
        ),
        # A generic ephemeral volume is a claim named after its Pod.
        (
            [{"name": "data", "mountPath": "/mnt"}],
            [{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}],
            "/mnt/model",
            ClaimModel(f"{LONG}-data", "model"),
        ),
    ],
)
def test_on_which_claim_a_folder_lies(
    mounts: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
    path: str,
    expected: ClaimModel | None,
) -> None:
    assert claim_for(mounted(mounts, volumes), {}, path) == expected


def test_of_an_unknown_container_nothing_is_said() -> None:
    several = pod(containers=[{"name": "a"}, {"name": "b"}], volumes=[CLAIM])
    assert claim_for(several, {}, "/mnt/model") is None
