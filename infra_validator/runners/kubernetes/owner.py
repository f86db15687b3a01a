"""Whose a Pod is, as annotations on it, and which Pods are left over. Pure but for the clock."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra_validator.runners.docker_owner import MANAGED_LABEL, Owner
from infra_validator.runners.kubernetes.step import StepPod

LABELS: Mapping[str, str] = {MANAGED_LABEL: "true"}
"""By these the Pods are listed; all else about the owner is no valid value of a label."""

_STEP_NAME = "infra-validator.step-name"
_STEP_UID = "infra-validator.step-uid"

# A validator reads the last of a Pod that has ended, and then deletes it; this is time enough.
_ENDED_SECONDS = 300.0
_ENDED_PHASES = frozenset({"Succeeded", "Failed"})


def annotate(step: StepPod | None, lifetime_seconds: float) -> dict[str, str]:
    """Annotations of a Pod of this process.

    Args:
        step: the Pod in which this process runs, if it is known.
        lifetime_seconds: after which nobody can need the Pod any more.
    """
    found = Owner.this_process().labels(time.time() + lifetime_seconds)
    del found[MANAGED_LABEL]
    if step is not None:
        found |= {_STEP_NAME: step.name, _STEP_UID: step.uid}
    return found


def is_left_over(
    pod: Mapping[str, Any],
    find_pod: Callable[[str], Mapping[str, Any] | None],
    now: float | None = None,
) -> bool:
    """Whether a Pod that bears our label is in nobody's use any more.

    It is, if it ended a while ago, if the pipeline step that made it is gone or has
    ended, though Argo keeps that one's Pod, if the process that made it ran on this
    machine and is gone, or if it has expired.

    Args:
        pod: as the API gives it.
        find_pod: gives the Pod of a name, of the same namespace, or None.
        now: wall-clock time.
    """
    now = time.time() if now is None else now
    metadata = pod.get("metadata", {})
    if metadata.get("labels", {}).get(MANAGED_LABEL) != "true":
        return False
    if _has_ended(pod) and now - _ended_at(pod) > _ENDED_SECONDS:
        return True
    noted = metadata.get("annotations") or {}
    if _STEP_NAME in noted:
        step = find_pod(noted[_STEP_NAME])
        if (
            step is None
            or step.get("metadata", {}).get("uid") != noted.get(_STEP_UID)
            or _has_ended(step)
        ):
            return True
    return Owner.this_process().may_remove(
        {**noted, MANAGED_LABEL: "true"}, engine_is_local=False, now=now
    )


def _has_ended(pod: Mapping[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in _ENDED_PHASES


def _ended_at(pod: Mapping[str, Any]) -> float:
    """When it ended, or at least when it was there."""
    status = pod.get("status", {})
    times = [pod["metadata"].get("creationTimestamp"), status.get("startTime")]
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            times.append((container.get("state", {}).get("terminated") or {}).get("finishedAt"))
    times += [condition.get("lastTransitionTime") for condition in status.get("conditions") or []]
    return max((_seconds(text) for text in times if text), default=0.0)


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
