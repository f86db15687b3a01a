"""What the signals do by which a person or a system ends a command."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from infra_validator.waiting import Cancellation

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def postponed_interrupt() -> Iterator[None]:
    """Has SIGINT raise KeyboardInterrupt at the end of the block; only in the main thread.

    Amid the import of a C extension it would become an ImportError, or be lost.
    """
    came = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came:
        raise KeyboardInterrupt


class Interruption:
    """Which signal came, if one did.

    Attributes:
        cancellation: asked for by the first signal.
        signal: its number, or None.
    """

    def __init__(self) -> None:
        self.cancellation = Cancellation()
        self.signal: int | None = None

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Takes the signals for the time of the block; only in the main thread."""
        previous = {
            number: signal.signal(number, self._take)
            for number in _SIGNALS
            # What nohup and shells have set to be ignored stays so.
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number
        self.cancellation.cancel(f"the validation was told to end ({signal.Signals(number).name})")
