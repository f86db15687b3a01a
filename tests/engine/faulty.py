"""Tiny runners that go wrong at a chosen place, and a platform that hands them out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra_validator.faults import Fault, FaultError, Phase, fault
from infra_validator.model_source import ModelSource
from infra_validator.runners.base import Exit, ServerTask
from infra_validator.servers.base import ServingBinary


class NeverRuns:
    """The platform never gets so far as to run the server."""

    def __init__(self, task: ServerTask) -> None:
        self.task = task
        self.started = 0
        self.stopped = 0

    def start(self) -> None:
        self.started += 1

    def phase(self) -> Phase:
        return Phase.SCHEDULE

    def endpoint(self) -> str | None:
        return None

    def poll(self) -> Exit | None:
        return None

    def diagnose(self) -> Fault | None:
        return None

    def logs(self) -> str:
        return ""

    def identity(self) -> Mapping[str, Any]:
        return {"server": type(self).__name__}

    def stop(self) -> None:
        self.stopped += 1


class Pulls(NeverRuns):
    """Never gets beyond a pull, of which it tells."""

    def phase(self) -> Phase:
        return Phase.IMAGE

    def progress(self) -> str | None:
        return "3 of 7 layers"


class FailsAtStart(NeverRuns):
    def start(self) -> None:
        super().start()
        raise FaultError(fault("platform_failed", Phase.START, "The platform is broken."))


class CannotBeScheduled(NeverRuns):
    """Diagnosed by the platform a moment after start."""

    def __init__(self, task: ServerTask) -> None:
        super().__init__(task)
        self._found: Fault | None = None

    def start(self) -> None:
        super().start()
        threading.Timer(0.05, self._find).start()

    def _find(self) -> None:
        self._found = fault("access_denied", Phase.SCHEDULE, "The quota is used up.")
        self.task.wake()

    def diagnose(self) -> Fault | None:
        return self._found


class NeverReady(NeverRuns):
    """Runs, at an address where nobody listens."""

    def phase(self) -> Phase:
        return Phase.LOAD

    def endpoint(self) -> str | None:
        return f"unix:{self.task.workdir}/nobody"


class ExitsWhileLoading(NeverReady):
    exit = Exit(3, "exit code 3")

    def __init__(self, task: ServerTask) -> None:
        super().__init__(task)
        self._exit: Exit | None = None

    def start(self) -> None:
        super().start()
        threading.Timer(0.05, self._end).start()

    def _end(self) -> None:
        self._exit = self.exit
        self.task.wake()

    def poll(self) -> Exit | None:
        return self._exit


class IsKilledWhileLoading(ExitsWhileLoading):
    exit = Exit(128 + signal.SIGKILL, "signal SIGKILL")


class FaultyPlatform:
    """Hands out one kind of runner after another; the last kind for ever."""

    def __init__(
        self,
        kinds: Sequence[Callable[[ServerTask], Any]],
        phase_limits: Mapping[Phase, float] | None = None,
    ) -> None:
        self._kinds = list(kinds)
        self.phase_limits = phase_limits or {}
        self.runners: list[Any] = []
        self.closed = 0

    def prepare(self, binary: ServingBinary, model: ModelSource) -> None:
        pass

    def create_runner(self, task: ServerTask) -> Any:
        kind = self._kinds.pop(0) if len(self._kinds) > 1 else self._kinds[0]
        self.runners.append(kind(task))
        return self.runners[-1]

    def close(self) -> None:
        ours = [runner for runner in self.runners if isinstance(runner, NeverRuns)]
        assert all(runner.stopped for runner in ours if runner.started)
        self.closed += 1
