"""What a runner makes of what its threads are told, in moments that no cluster can be held in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra_validator.faults import Blame, Fault, Phase, fault
from infra_validator.kubernetes_config import MEMORY_LIMIT
from infra_validator.runners.base import Exit
from infra_validator.runners.kubernetes import runner as runner_module
from infra_validator.runners.kubernetes.api import ApiError, ConnectionFailed
from infra_validator.runners.kubernetes.runner import KubernetesRunner

LIMIT_SECONDS = 20


class Cluster:
    """What a runner uses of its platform."""

    settings = None
    phase_limits: Mapping[Phase, float] = {Phase.SCHEDULE: 600, Phase.START: 300}

    def __init__(self, pod: Mapping[str, Any] | Exception | None = None) -> None:
        self.pod = pod
        self.deleted: list[str] = []
        self.deletions: list[bool | Exception] = []

    def delete(self, path: str) -> bool:
        self.deleted.append(path)
        answer = self.deletions.pop(0) if self.deletions else True
        if isinstance(answer, Exception):
            raise answer
        return answer

    def place(self) -> Any:
        api = SimpleNamespace(
            get=lambda path, stopped: self.look(path),
            look=self.look,
            delete=self.delete,
            address="",
        )
        return SimpleNamespace(api=api, namespace="n")

    def look(self, path: str) -> Any:
        if isinstance(self.pod, Exception):
            raise self.pod
        return self.pod


def make(cluster: Cluster) -> KubernetesRunner:
    binary = SimpleNamespace(name="x:y", read_version=lambda log: {})
    task = SimpleNamespace(binary=binary, workdir=Path(), wake=lambda: None)
    return KubernetesRunner(cluster, task)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("annotations", "category"),
    [({MEMORY_LIMIT: "1Gi"}, "memory_limit_exceeded"), ({}, "out_of_memory")],
)
def test_an_end_that_only_the_last_look_shows_has_its_reason(
    annotations: dict[str, str], category: str
) -> None:
    terminated = {"exitCode": 137, "reason": "OOMKilled"}
    resources = {"limits": {"memory": "1Gi"}}
    runner = make(
        Cluster(
            {
                "metadata": {"annotations": annotations},
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


RUNNING = {
    "spec": {"containers": [{"name": "server"}]},
    "status": {"containerStatuses": [{"name": "server", "state": {"running": {}}}]},
}
OUT_OF_MEMORY = {
    "spec": {"containers": [{"name": "server"}]},
    "status": {
        "containerStatuses": [
            {
                "name": "server",
                "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            }
        ]
    },
}


@pytest.mark.parametrize(
    ("category", "phase"),
    [
        ("load_timeout", Phase.LOAD),
        ("request_timeout", Phase.QUERY),
        ("server_not_ready", Phase.LOAD),
    ],
)
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (ConnectionFailed("no route"), "cluster_lost"),
        (ApiError(503, "no", "get", "pods"), "cluster_lost"),
        (ApiError(404, "no", "get", "pods"), "pod_lost"),
        (OUT_OF_MEMORY, "out_of_memory"),
        (RUNNING, None),
    ],
)
def test_a_time_limit_is_held_against_the_model_only_if_the_cluster_stands_behind_it(
    category: str, phase: Phase, answer: Any, cause: str | None
) -> None:
    runner = make(Cluster(answer))
    runner._phase = Phase.LOAD
    found = fault(category, phase, "too slow")
    better = runner.find_cause(found, "")
    assert (better.category, better.phase) == (cause or category, phase)
    assert cause is None or better.blame != Blame.MODEL


def test_a_time_limit_is_not_held_against_the_model_where_the_way_to_it_is_cut() -> None:
    found = fault("load_timeout", Phase.LOAD, "too slow")
    runner = make(Cluster(RUNNING))
    runner._phase = Phase.LOAD
    runner._log_problem = "get pods/log: 502 error dialing backend"
    assert runner.find_cause(found, "").category == "cluster_lost"
    assert "error dialing backend" in runner.find_cause(found, "").summary
    runner._log_problem = None
    runner._forwarder = SimpleNamespace(problem="500 error dialing backend", refusal=None)  # type: ignore[assignment]
    assert runner.find_cause(found, "").category == "cluster_lost"
    runner._forwarder = SimpleNamespace(problem=None, refusal="connection refused")  # type: ignore[assignment]
    assert runner.find_cause(found, "") is found


def test_what_the_node_says_of_the_port_is_told() -> None:
    runner = make(Cluster(RUNNING))
    runner._phase = Phase.LOAD
    runner._forwarder = SimpleNamespace(problem=None, refusal="socat not found")  # type: ignore[assignment]
    found = runner.find_cause(
        fault("server_not_ready", Phase.LOAD, "x", detail="the last line"), ""
    )
    assert found.detail == "the last line\nsocat not found"


@pytest.mark.parametrize(
    ("category", "limit", "told"),
    [
        ("server_not_ready", "50m", True),
        ("server_not_ready", "0.5", True),
        ("server_not_ready", "1", False),
        ("server_not_ready", "0", False),
        ("server_not_ready", None, False),
        ("load_timeout", "50m", False),
    ],
)
def test_a_server_with_little_of_a_processor_may_only_be_slow(
    category: str, limit: str | None, told: bool
) -> None:
    server = {"name": "server", "resources": {"limits": {"cpu": limit}}}
    runner = make(Cluster({**RUNNING, "spec": {"containers": [server]}}))
    runner._phase = Phase.LOAD
    runner._pod = {"spec": {"containers": [server]}}
    found = fault(category, Phase.LOAD, "x")
    cause = runner.find_cause(found, "")
    assert cause.category == category
    assert ("resources.limits.cpu" in cause.hint) == told
    assert cause.hint.endswith(found.hint)
    assert (cause == found) != told


class Broken:
    def interrupt(self) -> None:
        raise RuntimeError("cannot be interrupted")


def stoppable(cluster: Cluster) -> KubernetesRunner:
    runner = make(cluster)
    runner._spawn("pod", lambda: None)
    runner._asked_for = True
    return runner


def test_the_pod_is_removed_even_if_something_cannot_be_interrupted() -> None:
    cluster = Cluster()
    runner = stoppable(cluster)
    runner._open.add(Broken())
    with pytest.raises(RuntimeError):
        runner.stop()
    assert len(cluster.deleted) == 1


def test_that_a_pod_is_left_is_told_whatever_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.deletions = [RuntimeError("the token's file is gone")]
    runner = stoppable(cluster)
    runner.stop()
    [told] = caplog.messages
    assert "cannot be deleted: the token's file is gone" in told


CREATION = ApiError(504, "timeout", "create", "pods")


@pytest.mark.parametrize("error", [ConnectionFailed("timed out"), CREATION])
def test_a_pod_that_appears_late_is_removed(error: Exception) -> None:
    """The answer to its creation was not waited for; the request was still on its way."""
    cluster = Cluster()
    cluster.deletions = [False, False, True]
    runner = stoppable(cluster)
    with pytest.raises(type(error)), runner._allowed_to_create():
        raise error
    runner.stop()
    assert len(cluster.deleted) == 3


REFUSAL = ApiError(403, "no", "create", "pods")


def test_a_pod_that_is_gone_is_not_waited_for() -> None:
    cluster = Cluster()
    cluster.deletions = [False]
    runner = stoppable(cluster)
    with runner._allowed_to_create():
        pass
    runner.stop()
    assert len(cluster.deleted) == 1


@pytest.mark.parametrize(
    ("errors", "deleted"),
    [
        ([REFUSAL], False),
        # The first try may have been heard, whatever becomes of the next.
        ([CREATION, REFUSAL], True),
        ([ConnectionFailed("timed out"), REFUSAL], True),
    ],
)
def test_only_a_pod_that_may_be_there_is_deleted(errors: list[Exception], deleted: bool) -> None:
    cluster = Cluster()
    runner = stoppable(cluster)
    for error in errors:
        with contextlib.suppress(type(error)), runner._allowed_to_create():
            raise error
    runner.stop()
    assert bool(cluster.deleted) == deleted


def test_a_port_that_cannot_be_brought_here_fails_the_platform_not_the_model() -> None:
    runner = make(Cluster())
    runner._phase = Phase.LOAD
    runner._not_forwarded(RuntimeError("a defect"))
    found = runner.diagnose()
    assert found is not None
    assert (found.category, found.phase) == ("internal_error", Phase.LOAD)
    assert "a defect" in found.summary


def crashed(message: str) -> dict[str, Any]:
    terminated = {"exitCode": 1, "reason": "Error", "message": message}
    return {
        "spec": {"containers": [{"name": "server"}]},
        "status": {"containerStatuses": [{"name": "server", "state": {"terminated": terminated}}]},
    }


def test_where_no_log_could_be_had_its_end_is_what_the_kubelet_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_module, "_LAST_WORDS_SECONDS", 0.1)
    runner = make(Cluster(crashed("F the model is broken")))
    runner._phase, runner._reading = Phase.LOAD, True
    runner.identity()
    assert runner.poll() == Exit(1, "exit code 1")
    assert runner.logs() == "F the model is broken"
    runner._keep(iter([b"E first\n", b"F the model is broken\n"]))
    assert runner.logs() == "E first\nF the model is broken\n"


def test_of_a_log_that_was_rotated_the_beginning_is_unknown() -> None:
    """The kubelet may have done so in the midst of a quoted text."""
    runner = make(Cluster())
    line = b"2026-01-02 03:04:05.6: I server.cc:1] up\n"
    runner._keep(iter([b"exec: x\n", line]))
    assert runner.logs() == f"exec: x\n{line.decode()}"
    runner._keep(iter([b"hunter2\nhunter2\n", line]))
    assert runner.logs() == line.decode()


@pytest.mark.parametrize("pieces", [[b"exec: x\nfirst\n"], [b"exec", b": x\nfirst\n"]])
def test_a_log_whose_stream_broke_is_read_from_its_beginning(pieces: list[bytes]) -> None:
    runner = make(Cluster())
    runner._keep(iter([b"exec: x\n"]))
    runner._keep(iter(pieces))
    assert runner.logs() == "exec: x\nfirst\n"


def test_the_last_look_waits_for_the_logs_end() -> None:
    runner = make(Cluster(crashed("F the model is broken")))
    runner._phase, runner._reading = Phase.LOAD, True

    def read() -> None:
        runner._server_ended.wait(LIMIT_SECONDS)
        assert runner.poll() is None
        runner._keep(iter([b"all of it"]))
        runner._log_ended.set()

    reading = threading.Thread(target=read)
    reading.start()
    runner.identity()
    ended, log = runner.poll(), runner.logs()
    reading.join(LIMIT_SECONDS)
    assert ended is not None
    assert log == "all of it"


def test_the_first_of_the_log_is_waited_for_where_the_server_answers_sooner() -> None:
    runner = make(Cluster(RUNNING))
    runner._task.binary.read_version = lambda log: {"log": log}
    runner._phase, runner._reading = Phase.LOAD, True

    class Heard(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            runner._keep(iter([b"TensorFlow Library: 2"]))
            return super().wait(0)

    runner._log_heard = Heard()
    assert runner.identity()["versions"] == {"log": "TensorFlow Library: 2"}
    assert runner._log_heard.is_set()


def test_a_log_that_is_not_to_be_had_is_not_waited_for() -> None:
    runner = make(Cluster(RUNNING))
    runner._phase, runner._reading = Phase.LOAD, True
    runner._guarded(runner._follow_log)  # a defect of this stand-in: its API reads no log
    assert runner._log_heard.is_set()


def test_what_is_sent_is_told() -> None:
    runner = make(Cluster())
    runner._phase, runner._waits = Phase.STAGE, "PodInitializing"
    assert runner.progress() == "PodInitializing"
    runner._to_send, runner._sent = 2300 << 20, 120 << 20
    assert runner.progress() == "sent 120 of 2300 MiB"
    runner._phase = Phase.LOAD
    assert runner.progress() is None
    for refusal, told in (("Connection refused", None), ("no socat\nhere", "no socat")):
        runner._forwarder = SimpleNamespace(problem=None, refusal=refusal)  # type: ignore[assignment]
        assert runner.progress() == told


def test_other_faults_stand() -> None:
    found = fault("server_exited", Phase.LOAD, "ended")
    assert make(Cluster(ConnectionFailed("no route"))).find_cause(found, "") is found


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
