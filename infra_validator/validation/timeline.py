"""Takes the time of phases."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from infra_validator.faults import Phase
from infra_validator.report import PhaseReport
from infra_validator.validation.progress import (
    Observer,
    PhaseBegan,
    PhaseEnded,
    Subject,
    ignore,
    no_detail,
)

_logger = logging.getLogger(__name__)


class Timeline:
    """The phases of one attempt, or of what comes before all attempts. For one thread."""

    def __init__(
        self,
        origin: float,
        subject: Subject,
        observer: Observer = ignore,
        *,
        limits: Mapping[Phase, float] | None = None,
        detail: Callable[[], str | None] = no_detail,
    ) -> None:
        """Begins with no phase.

        Args:
            origin: start of the validation, on `time.monotonic`.
            subject: what it is about, for log lines and events.
            observer: is told of each phase.
            limits: seconds that each phase may take, for the observer.
            detail: how far the current phase has got, for the observer.
        """
        self._origin = origin
        self._subject = subject
        self._observer = observer
        self._limits = limits or {}
        self._detail = detail
        self._phases: list[PhaseReport] = []
        self._current: tuple[Phase, float] | None = None

    @property
    def current(self) -> Phase | None:
        """The phase that is being gone through."""
        return None if self._current is None else self._current[0]

    def elapsed(self) -> float:
        """Seconds in the current phase."""
        return 0.0 if self._current is None else time.monotonic() - self._current[1]

    def enter(self, phase: Phase) -> None:
        """Ends the current phase, if it is another, and begins this one."""
        if self.current == phase:
            return
        self.finish()
        now = time.monotonic()
        self._current = (phase, now)
        _logger.info("%s: %s, after %.2f s", self._subject, phase.value, now - self._origin)
        self._observer(PhaseBegan(self._subject, phase, now, self._limits.get(phase), self._detail))

    def finish(self) -> None:
        """Ends the current phase."""
        if self._current is not None:
            phase, started = self._current
            self._current = None
            seconds = time.monotonic() - started
            self.add(phase, started, seconds)
            self._observer(PhaseEnded(self._subject, phase, seconds))

    def add(self, phase: Phase, started: float, seconds: float) -> None:
        """Records a phase that was seen by other means.

        Args:
            phase: which.
            started: on `time.monotonic`.
            seconds: how long it took.
        """
        self._phases.append(PhaseReport(phase, round(started - self._origin, 4), round(seconds, 4)))

    def phases(self) -> Sequence[PhaseReport]:
        """What was gone through so far, in order."""
        return tuple(self._phases)
