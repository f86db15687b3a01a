"""What a validation tells while it runs, for whoever shows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from infra_validator.faults import Fault, Phase


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is being worked on.

    Attributes:
        binary: the serving binary's name, or None for what comes before and
            after all of them.
        attempt: from 1; 0 where there is no serving binary.
        stamped: whether the model is the copy with warm-up requests.
    """

    binary: str | None = None
    attempt: int = 0
    stamped: bool = False

    def __str__(self) -> str:
        if self.binary is None:
            return "Validation"
        return f"{self.binary}, attempt {self.attempt}{' (with warm-up)' * self.stamped}"


def no_detail() -> str | None:
    """Where nothing more is known than the phase."""
    return None


@dataclasses.dataclass(frozen=True)
class PhaseBegan:
    """A phase began.

    Attributes:
        subject: of what.
        phase: which.
        at: when, on `time.monotonic`.
        limit: seconds that it may take, or None.
        detail: tells, at any time and quickly, how far the phase has got, such
            as what was pulled of an image; None where it does not know.
    """

    subject: Subject
    phase: Phase
    at: float
    limit: float | None = None
    detail: Callable[[], str | None] = no_detail


@dataclasses.dataclass(frozen=True)
class PhaseEnded:
    """A phase ended.

    Attributes:
        subject: of what.
        phase: which.
        seconds: how long it took.
    """

    subject: Subject
    phase: Phase
    seconds: float


@dataclasses.dataclass(frozen=True)
class AttemptEnded:
    """An attempt ended, its server removed.

    Attributes:
        subject: which.
        fault: why it failed, or None.
    """

    subject: Subject
    fault: Fault | None


Event = PhaseBegan | PhaseEnded | AttemptEnded

Observer = Callable[[Event], None]
"""Is told what happens. Called from several threads; must be quick and not raise."""


def ignore(_: Event) -> None:
    """Shows nothing."""
