"""Which Pods are left over."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import pytest

from infra_validator.runners.docker_owner import MANAGED_LABEL
from infra_validator.runners.kubernetes import owner
from infra_validator.runners.kubernetes.step import StepPod

NOW = 1_800_000_000.0
STEP = StepPod("step", "n", "uid-1")
ELSEWHERE = {
    "infra-validator.host": "another",
    "infra-validator.boot": "another",
    "infra-validator.namespace": "pid:[1]",
    "infra-validator.pid": "1",
    "infra-validator.started": "1",
}


def at(seconds: float) -> str:
    """A moment as the API writes it, that many seconds from now."""
    moment = datetime.datetime.fromtimestamp(NOW + seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(
    noted: Mapping[str, str], phase: str = "Running", ended: float | None = None, **labels: str
) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase, "startTime": at(-5000)}
    if ended is not None:
        terminated = {"terminated": {"exitCode": 1, "finishedAt": at(ended)}}
        status["containerStatuses"] = [{"name": "server", "state": terminated}]
    return {
        "metadata": {
            "name": "p",
            "labels": labels or dict(owner.LABELS),
            "annotations": dict(noted),
            "creationTimestamp": at(-5000),
        },
        "status": status,
    }


def nobody(name: str) -> None:
    raise AssertionError(f"{name} was asked for")


def mine(**changed: str) -> dict[str, str]:
    return {
        **owner.annotate(None, 1000),
        "infra-validator.expires": f"{NOW + 1000:.0f}",
        **{f"infra-validator.{key}": value for key, value in changed.items()},
    }


def test_what_is_noted_are_no_labels_but_one() -> None:
    assert owner.LABELS == {MANAGED_LABEL: "true"}
    noted = owner.annotate(STEP, 10)
    assert MANAGED_LABEL not in noted
    assert noted["infra-validator.step-uid"] == "uid-1"
    assert all(isinstance(value, str) for value in noted.values())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (pod(mine()), False),
        (pod(mine(), other="label"), False),
        (pod(mine(pid="4194300")), True),
        (pod(mine(started="1")), True),
        (pod(ELSEWHERE), False),
        (pod({**ELSEWHERE, "infra-validator.expires": f"{NOW - 10:.0f}"}), False),
        (pod({**ELSEWHERE, "infra-validator.expires": f"{NOW - 3700:.0f}"}), True),
        (pod({**ELSEWHERE, "infra-validator.expires": "soon"}), False),
        (pod({**ELSEWHERE, "infra-validator.expires": "²"}), False),
        (pod(mine(pid="²", expires=f"{NOW + 10:.0f}")), False),
        (pod(mine(pid="9999999999")), True),
        (pod(mine(), "Failed", ended=-10), False),
        (pod(mine(), "Failed", ended=-400), True),
        (pod(mine(), "Succeeded", ended=-400), True),
        (pod(ELSEWHERE, "Failed"), True),
        (pod({}, "Pending"), False),
    ],
)
def test_by_its_process_its_expiry_and_its_end(found: dict[str, Any], expected: bool) -> None:
    assert owner.is_left_over(found, nobody, NOW) is expected


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (None, True),
        ({"metadata": {"uid": "uid-1"}, "status": {"phase": "Running"}}, False),
        ({"metadata": {"uid": "uid-1"}, "status": {"phase": "Succeeded"}}, True),
        ({"metadata": {"uid": "uid-1"}, "status": {"phase": "Failed"}}, True),
        ({"metadata": {"uid": "uid-2"}, "status": {"phase": "Running"}}, True),
    ],
)
def test_by_its_step(step: dict[str, Any] | None, expected: bool) -> None:
    noted = {**owner.annotate(STEP, 1000), **ELSEWHERE, "infra-validator.expires": ""}
    asked = []

    def find(name: str) -> dict[str, Any] | None:
        asked.append(name)
        return step

    assert owner.is_left_over(pod(noted), find, NOW) is expected
    assert asked == ["step"]


def test_a_pod_that_failed_without_a_container_is_dated_by_its_conditions() -> None:
    evicted = pod(mine(), "Failed")
    evicted["status"]["conditions"] = [{"type": "Ready", "lastTransitionTime": at(-20)}]
    assert owner.is_left_over(evicted, nobody, NOW) is False
