"""Time limits, wake-ups and cancellation: what every wait is made of."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import queue
import threading
import time
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock, which no change of the wall clock moves.

    Attributes:
        at: seconds on `time.monotonic`; infinity for never.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that many seconds from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def never(cls) -> Deadline:
        """A deadline that does not come."""
        return cls(math.inf)

    def remaining(self) -> float:
        """Seconds left, never negative; infinity for a deadline that does not come."""
        return max(0.0, self.at - time.monotonic())

    def expired(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self.at


class Wake:
    """Lets many sources wake one waiting thread; a wake-up is never lost.

    May be called from a signal handler, even one that interrupts the waiting
    thread: a SimpleQueue's put is reentrant, an Event's set is not.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __call__(self) -> None:
        """Wakes the waiting thread, or the next to wait."""
        self._calls.put(None)

    def wait(self, seconds: float) -> None:
        """Returns at the next wake-up, or after that many seconds."""
        timeout = None if math.isinf(seconds) else min(seconds, threading.TIMEOUT_MAX)
        with contextlib.suppress(queue.Empty):
            self._calls.get(timeout=timeout)
            while True:  # one look at what changed is enough for all of them
                self._calls.get_nowait()


class Cancelled(Exception):  # noqa: N818 - named after what happened, as in asyncio
    """Raised where work is given up because somebody asked for it."""


class Cancellation:
    """A request to give up, made once and seen by everyone.

    Safe to use from a signal handler: `cancel` takes no lock that the
    interrupted thread may hold.
    """

    def __init__(self) -> None:
        self._reason: str | None = None
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._subscribing = threading.Lock()

    def cancel(self, reason: str) -> None:
        """Asks everyone to give up; the first reason stays."""
        if self._reason is None:
            self._reason = reason
        for callback in self._callbacks:
            callback()

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Has `callback` called upon cancellation, at once if that is past."""
        with self._subscribing:
            self._callbacks = (*self._callbacks, callback)
        if self._reason is not None:
            callback()

    def unsubscribe(self, callback: Callable[[], None]) -> None:
        """Forgets `callback`."""
        with self._subscribing:
            self._callbacks = tuple(other for other in self._callbacks if other is not callback)

    def check(self) -> None:
        """Raises `Cancelled` if cancellation was asked for."""
        if self._reason is not None:
            raise Cancelled(self._reason)

    def sleep(self, seconds: float) -> None:
        """Waits that long.

        Raises:
            Cancelled: as soon as cancellation is asked for.
        """
        wake = Wake()
        self.subscribe(wake)
        try:
            wake.wait(seconds)
        finally:
            self.unsubscribe(wake)
        self.check()
