"""The engine against runners that go wrong at every place."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from infra_validator.faults import Blame, Fault, Phase, fault
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Verdict
from infra_validator.runners.base import Exit
from infra_validator.validation import engine
from infra_validator.validation.progress import Event, PhaseBegan
from infra_validator.waiting import Cancellation, Cancelled
from tests.engine import faulty
from tests.engine.helpers import run

pytestmark = pytest.mark.usefixtures("leaves_nothing")


@pytest.fixture(autouse=True)
def _no_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_RETRY_WAIT", lambda _: 0)


@pytest.mark.parametrize(
    ("kind", "tries", "phase", "category", "verdict"),
    [
        (faulty.FailsAtStart, 3, Phase.START, "platform_failed", Verdict.UNDETERMINED),
        (faulty.CannotBeScheduled, 1, Phase.SCHEDULE, "access_denied", Verdict.UNDETERMINED),
        (faulty.NeverRuns, 3, Phase.SCHEDULE, "platform_failed", Verdict.UNDETERMINED),
        (faulty.NeverReady, 1, Phase.LOAD, "server_not_ready", Verdict.UNDETERMINED),
        (faulty.ExitsWhileLoading, 1, Phase.START, "server_exited", Verdict.UNDETERMINED),
        (faulty.IsKilledWhileLoading, 3, Phase.LOAD, "server_killed", Verdict.UNDETERMINED),
    ],
)
def test_fault_is_told_and_only_a_passing_one_is_tried_again(
    saved_model: Path, kind: Any, tries: int, phase: Phase, category: str, verdict: Verdict
) -> None:
    platform = faulty.FaultyPlatform(
        [kind], {Phase.SCHEDULE: 0.1 if kind is faulty.NeverRuns else 30}
    )
    report = run(
        saved_model,
        platform=platform,
        limits=pb.ValidationSpec(
            num_tries=3, max_loading_time_seconds=1 if kind is faulty.NeverReady else 30
        ),
    )
    assert report.verdict == verdict
    assert report.fault is not None
    assert (report.fault.phase, report.fault.category) == (phase, category)
    assert "fail_execution_when_undetermined" in report.fault.hint
    assert len(report.binaries[0].attempts) == tries
    assert [runner.stopped for runner in platform.runners] == [1] * tries
    assert platform.closed == 1


def test_what_a_runner_tells_of_its_progress_is_in_the_fault_of_a_timeout(
    saved_model: Path,
) -> None:
    report = run(saved_model, platform=faulty.FaultyPlatform([faulty.Pulls], {Phase.IMAGE: 0.1}))
    assert report.fault is not None
    assert (report.fault.category, report.fault.detail) == ("image_pull_timeout", "3 of 7 layers")


class KnowsTheCause(faulty.ExitsWhileLoading):
    """Its platform finds the cause in the log."""

    def logs(self) -> str:
        return "Could not parse example input, value: 'hunter2'\n"

    def find_cause(self, found: Fault, log: str) -> Fault:
        return fault("configuration_invalid", found.phase, f"It is {log}")


def test_who_finds_a_cause_sees_nothing_of_requests(saved_model: Path) -> None:
    report = run(saved_model, platform=faulty.FaultyPlatform([KnowsTheCause]))
    assert report.fault is not None
    assert report.fault.category == "configuration_invalid"
    assert "Could not parse example input" in report.fault.summary
    assert "hunter2" not in report.fault.summary


class EndsUnheard(faulty.NeverReady):
    """Its platform hears of the server's end only when it is asked."""

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self._exit: Exit | None = None

    def poll(self) -> Exit | None:
        return self._exit

    def logs(self) -> str:
        return "Loading servable version {name: m version: 1}\n"

    def find_cause(self, found: Fault, log: str) -> Fault:
        if found.category == "load_timeout":
            self._exit = Exit(128 + signal.SIGKILL, "signal SIGKILL")
            return found
        return dataclasses.replace(found, hint="its platform's own")


def test_an_end_that_is_heard_late_decides_over_a_time_limit(saved_model: Path) -> None:
    report = run(
        saved_model,
        platform=faulty.FaultyPlatform([EndsUnheard]),
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=1),
    )
    assert report.fault is not None
    assert (report.fault.category, report.fault.phase) == ("server_killed", Phase.LOAD)
    assert report.fault.blame == Blame.INFRASTRUCTURE
    assert report.fault.hint.startswith("its platform's own")


class LosesTheEngine(faulty.NeverReady):
    """Its platform tells so only once it is asked whether the server still runs, or a moment on."""

    def __init__(self, task: Any, serve: Any) -> None:
        super().__init__(task)
        self._served = serve(task)
        self._found: Any = None

    def start(self) -> None:
        super().start()
        self._served.start()

    def endpoint(self) -> Any:
        return self._served.endpoint()

    def stop(self) -> None:
        super().stop()
        self._served.stop()

    def lose(self) -> None:
        from infra_validator.faults import fault

        self._found = fault("engine_lost", Phase.LOAD, "The engine went away.")
        self.task.wake()

    def identity(self) -> Any:
        self.lose()
        return super().identity()

    def diagnose(self) -> Any:
        return self._found


@pytest.mark.parametrize("when", ["while it is asked", "after the last answer"])
def test_an_engine_that_is_lost_decides_over_answers_that_seem_good(
    saved_model: Path, split: Path, stand_in: str, when: str
) -> None:
    from infra_validator.runners.local_process import LocalProcessPlatform

    local = LocalProcessPlatform({"executable": stand_in})
    platform = faulty.FaultyPlatform([lambda task: LosesTheEngine(task, local.create_runner)])

    def lose(event: Event) -> None:
        asks = isinstance(event, PhaseBegan) and event.phase == Phase.QUERY
        if asks and when == "while it is asked":
            platform.runners[0].lose()

    report = run(
        saved_model,
        split=split,
        env={"STAND_IN_FAULT": "hang_on_request"} if when == "while it is asked" else {},
        platform=platform,
        limits=pb.ValidationSpec(num_tries=1, request_timeout_seconds=1000),
        observer=lose,
    )
    assert report.fault is not None
    assert (report.fault.category, report.fault.phase) == ("engine_lost", Phase.QUERY)


def test_a_fault_that_passes_is_forgotten_by_the_verdict_and_kept_in_the_report(
    saved_model: Path, stand_in: str
) -> None:
    from infra_validator.runners.local_process import LocalProcessPlatform

    local = LocalProcessPlatform({"executable": stand_in})
    platform = faulty.FaultyPlatform([faulty.FailsAtStart, local.create_runner])
    report = run(saved_model, platform=platform, limits=pb.ValidationSpec(num_tries=3))
    assert report.verdict == Verdict.BLESSED
    assert report.fault is None
    first, second = report.binaries[0].attempts
    assert first.fault is not None
    assert second.fault is None


def test_binaries_run_side_by_side_up_to_the_limit(saved_model: Path) -> None:
    running = 0
    most = 0
    lock = threading.Lock()
    full = threading.Event()

    class Counted(faulty.NeverReady):
        def start(self) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                if running == 2:
                    full.set()
            full.wait(10)

        def stop(self) -> None:
            nonlocal running
            with lock:
                running -= 1
                full.clear()

    report = run(
        saved_model,
        images=("1", "2", "3", "4"),
        platform=faulty.FaultyPlatform([Counted]),
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=1, max_parallel_servers=2),
    )
    assert most == 2
    assert [binary.name for binary in report.binaries] == [
        f"tensorflow/serving:{tag}" for tag in "1234"
    ]


def test_a_fault_of_memory_among_several_is_tried_again_alone(
    saved_model: Path, stand_in: str
) -> None:
    from infra_validator.runners.local_process import LocalProcessPlatform

    local = LocalProcessPlatform({"executable": stand_in})
    both_started = threading.Barrier(2, timeout=10)
    alone: list[bool] = []
    running: set[object] = set()

    class KilledInCompany(faulty.IsKilledWhileLoading):
        def start(self) -> None:
            both_started.wait()
            super().start()

    def create(task: Any) -> Any:
        if len(platform.runners) < 2:
            return KilledInCompany(task)
        alone.append(not running)
        runner = local.create_runner(task)
        running.add(runner)
        stop = runner.stop

        def stopped() -> None:
            stop()
            running.discard(runner)

        runner.stop = stopped  # type: ignore[method-assign]
        return runner

    platform = faulty.FaultyPlatform([create])
    report = run(
        saved_model,
        images=("1", "2"),
        platform=platform,
        limits=pb.ValidationSpec(num_tries=1),
    )
    assert report.verdict == Verdict.BLESSED
    assert [len(binary.attempts) for binary in report.binaries] == [2, 2]
    assert alone == [True, True]


def test_one_binary_that_cannot_serve_the_model_decides(saved_model: Path, stand_in: str) -> None:
    from infra_validator.runners.local_process import LocalProcessPlatform

    class RefusesTheModel(faulty.ExitsWhileLoading):
        def logs(self) -> str:
            return (
                "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
                "{{{name: m version: 1} due to error: DATA_LOSS: variables/x is short}, }"
            )

    local = LocalProcessPlatform({"executable": stand_in})
    report = run(
        saved_model,
        images=("1", "2", "3"),
        platform=faulty.FaultyPlatform([faulty.FailsAtStart, RefusesTheModel, local.create_runner]),
        limits=pb.ValidationSpec(num_tries=1, max_parallel_servers=1),
    )
    assert [binary.verdict for binary in report.binaries] == [
        Verdict.UNDETERMINED,
        Verdict.NOT_BLESSED,
        Verdict.BLESSED,
    ]
    assert report.verdict == Verdict.NOT_BLESSED
    assert report.fault is not None
    assert report.fault.blame == Blame.MODEL
    assert report.reason.startswith("tensorflow/serving:2: ")


@pytest.mark.parametrize("kind", [faulty.NeverRuns, faulty.NeverReady])
def test_cancellation_ends_every_wait_and_stops_the_server(saved_model: Path, kind: Any) -> None:
    cancellation = Cancellation()
    started = threading.Event()

    class Told(kind):  # type: ignore[misc]
        def start(self) -> None:
            super().start()
            started.set()

    platform = faulty.FaultyPlatform([Told])

    def cancel() -> None:
        started.wait(30)
        cancellation.cancel("enough")

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled, match="enough"):
        run(saved_model, platform=platform, cancellation=cancellation)
    canceller.join()
    assert [runner.stopped for runner in platform.runners] == [1]
    assert platform.closed == 1


def test_cancellation_ends_the_pause_between_tries(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_RETRY_WAIT", lambda _: 3600)
    cancellation = Cancellation()

    class CancelsWhenStopped(faulty.FailsAtStart):
        def stop(self) -> None:
            super().stop()
            threading.Timer(0.1, cancellation.cancel, ["enough"]).start()

    with pytest.raises(Cancelled):
        run(
            saved_model,
            platform=faulty.FaultyPlatform([CancelsWhenStopped]),
            cancellation=cancellation,
            limits=pb.ValidationSpec(num_tries=2),
        )


def test_an_unexpected_error_still_stops_the_server(saved_model: Path) -> None:
    class Buggy(faulty.NeverReady):
        def poll(self) -> Any:
            raise ZeroDivisionError

    platform = faulty.FaultyPlatform([Buggy])
    with pytest.raises(ZeroDivisionError):
        run(saved_model, platform=platform)
    assert [runner.stopped for runner in platform.runners] == [1]
    assert platform.closed == 1


def test_a_storage_that_recovers_is_asked_again(
    saved_model: Path, stand_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra_validator.faults import FaultError, fault
    from infra_validator.runners.local_process import LocalProcessPlatform

    class Unsteady(LocalProcessPlatform):
        asked = 0

        def prepare(self, *given: Any) -> None:
            self.asked += 1
            if self.asked < 3:
                raise FaultError(fault("storage_failed", Phase.STAGE, "The bucket is away."))
            super().prepare(*given)

    platform = Unsteady({"executable": stand_in})
    report = run(saved_model, platform=platform, limits=pb.ValidationSpec(num_tries=3))
    assert report.verdict == Verdict.BLESSED
    assert platform.asked == 3
    again = Unsteady({"executable": stand_in})
    report = run(saved_model, platform=again, limits=pb.ValidationSpec(num_tries=2))
    assert report.reason == "The bucket is away."
    assert again.asked == 2


def test_waiting_takes_no_processor_time(saved_model: Path) -> None:
    before = time.process_time()
    run(
        saved_model,
        platform=faulty.FaultyPlatform([faulty.NeverRuns], {Phase.SCHEDULE: 2.0}),
        limits=pb.ValidationSpec(num_tries=1),
    )
    assert time.process_time() - before < 1.0
