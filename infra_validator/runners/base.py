"""The contract of a serving platform."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from infra_validator.faults import Fault, Phase
from infra_validator.model_source import ModelSource
from infra_validator.servers.base import ServingBinary


@dataclasses.dataclass(frozen=True)
class Exit:
    """How a server ended.

    Attributes:
        code: its exit code; 128 + N where signal N ended it, as in a shell.
        reason: what the platform says of it, in a few words.
    """

    code: int
    reason: str


@dataclasses.dataclass(frozen=True)
class ServerTask:
    """What a runner is asked to run.

    Attributes:
        binary: the server.
        model: the model to serve.
        workdir: a private folder that exists for this attempt only.
        wake: to be called, from any thread, whenever something changed that
            the runner's other methods would now tell.
        asking_seconds: what all requests together may take at most.
    """

    binary: ServingBinary
    model: ModelSource
    workdir: Path
    wake: Callable[[], None]
    asking_seconds: float = 0.0


class Runner(Protocol):
    """Owns one model server on one platform, from start to removal.

    One thread calls it. Only `start`, `identity` and `stop` may take a while.
    """

    def start(self) -> None:
        """Starts the server; returns as soon as it is on its way.

        Raises:
            FaultError: if it cannot be started. `stop` is called all the same.
        """

    def phase(self) -> Phase:
        """How far the platform has got: IMAGE, SCHEDULE, START, or LOAD once the process runs."""

    def endpoint(self) -> str | None:
        """The gRPC target of the server ("host:port", "unix:/path"), once it is known."""

    def poll(self) -> Exit | None:
        """None while the server is not ended, else how it ended."""

    def diagnose(self) -> Fault | None:
        """A reason of the platform's own why the server will not run, or None."""

    def logs(self) -> str:
        """The server's output so far, or the end of it; after the end, all that is to come.

        The end is the last MiB or more, or 1000 lines or more: of what is shorter it
        is taken that nothing is missing. Where the beginning may be missing of less than
        that, `infra_validator.tensorflow_errors.without_cut_text` makes it safe to show.
        """

    def identity(self) -> Mapping[str, Any]:
        """What was run, for the report: plain JSON values."""

    def stop(self) -> None:
        """Ends and removes the server; may be called at any time, any number of times."""


class Platform(Protocol):
    """A place where model servers run."""

    @property
    def phase_limits(self) -> Mapping[Phase, float]:
        """Seconds that each phase before LOAD may take; a phase not named has no limit."""

    def prepare(self, binary: ServingBinary, model: ModelSource) -> None:
        """Checks what can be checked, and brings what all attempts share, before any starts.

        Raises:
            FaultError: if no server could run here.
        """

    def create_runner(self, task: ServerTask) -> Runner:
        """A runner that has not started yet."""


@runtime_checkable
class TellsProgress(Protocol):
    """A runner that can also say how far it has got, for people who wait."""

    def progress(self) -> str | None:
        """What is being done, such as "pulling a:1: 3 of 7 layers", or None for nothing to tell."""


@runtime_checkable
class FindsCauses(Protocol):
    """A runner that may know better why an attempt failed than who found the fault."""

    def find_cause(self, found: Fault, log: str) -> Fault:
        """The fault, or the one behind it; asked before the server is stopped.

        Args:
            found: why the attempt failed.
            log: what `logs` tells, without what it quotes of requests: only of this may
                anything be told.
        """


@runtime_checkable
class Closes(Protocol):
    """A platform that wants to be told that nothing more is asked of it."""

    def close(self) -> None:
        """Releases what could not be released before; may take a while, and does not raise.

        Called in any ending, after every runner was stopped.
        """


def progress_of(runner: Runner) -> str | None:
    """How far a runner has got, if it can say."""
    return runner.progress() if isinstance(runner, TellsProgress) else None
