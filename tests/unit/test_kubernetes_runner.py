"""What a runner makes of what its threads are told, in moments that no cluster can be held in."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra_validator.faults import Fault, Phase
from infra_validator.runners.base import Exit
from infra_validator.runners.kubernetes import runner as runner_module
from infra_validator.runners.kubernetes.runner import KubernetesRunner

LIMIT_SECONDS = 20


class Cluster:
    """What a runner uses of its platform."""

    settings = None
    phase_limits: Mapping[Phase, float] = {Phase.SCHEDULE: 600, Phase.START: 300}

    def __init__(self, pod: Mapping[str, Any] | None = None) -> None:
        self.pod = pod

    def place(self) -> Any:
        api = SimpleNamespace(get=lambda path, stopped: self.pod, address="")
        return SimpleNamespace(api=api, namespace="n")


def make(cluster: Cluster) -> KubernetesRunner:
    binary = SimpleNamespace(name="x:y", read_version=lambda log: {})
    task = SimpleNamespace(binary=binary, workdir=Path(), wake=lambda: None)
    return KubernetesRunner(cluster, task)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("annotation", "category"),
    [
        ("", "memory_limit_exceeded"),
        ("LimitRanger plugin set: memory limit for container server", "out_of_memory"),
    ],
)
def test_an_end_that_only_the_last_look_shows_has_its_reason(
    annotation: str, category: str
) -> None:
    terminated = {"exitCode": 137, "reason": "OOMKilled"}
    resources = {"limits": {"memory": "1Gi"}}
    runner = make(
        Cluster(
            {
                "metadata": {"annotations": {"kubernetes.io/limit-ranger": annotation}},
                "spec": {"containers": [{"name": "server", "resources": resources}]},
                "status": {
                    "containerStatuses": [{"name": "server", "state": {"terminated": terminated}}]
                },
            }
        )
    )
    runner._phase = Phase.LOAD
    runner.identity()
    ended, found = runner.poll(), runner.diagnose()
    assert isinstance(ended, Exit)
    assert ended.code == 137
    assert found is not None
    assert found.category == category


def test_a_new_phase_is_not_judged_by_the_time_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(runner_module.time, "monotonic", lambda: now)
    runner = make(Cluster())
    runner._enter(Phase.SCHEDULE)
    now += 400
    found: list[Fault | None] = []
    asking = threading.Thread(target=lambda: found.append(runner.diagnose()))

    def ask_meanwhile() -> float:
        monkeypatch.setattr(runner_module.time, "monotonic", lambda: now)
        asking.start()
        asking.join(0.2)
        return now

    monkeypatch.setattr(runner_module.time, "monotonic", ask_meanwhile)
    runner._enter(Phase.START)
    asking.join(LIMIT_SECONDS)
    assert found == [None]
