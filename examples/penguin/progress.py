"""Says which component runs and how long it took, and leaves TFX's other messages out."""

from __future__ import annotations

import logging
import time

from absl import logging as absl_logging

_RUNNING = "Component %s is running."
_FINISHED = "Component %s is finished."
_CACHED = "A cached execution %d is used."
_FAILED = "Execution %d failed."


def follow_tfx() -> Progress:
    """Starts to tell the progress."""
    progress = Progress()
    logging.getLogger("absl").addFilter(progress)
    # By absl's own setting: Keras silences absl for a moment, and would restore another level.
    absl_logging.set_verbosity(absl_logging.INFO)
    return progress


class Progress(logging.Filter):
    """A filter for TFX's logger: prints a line per component, and lets only errors pass."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._cached = False
        self._ended = True
        self._running: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Takes the messages that tell the progress; True for what is to be logged."""
        if record.msg == _RUNNING and isinstance(record.args, tuple):
            self._running = str(record.args[0])
            self._began, self._cached, self._ended = time.monotonic(), False, False
            print(f"  {self._running:<16}", end="", flush=True)
        elif record.msg == _CACHED:
            self._cached = True
        elif record.msg == _FINISHED:
            self._end("cached" if self._cached else f"{time.monotonic() - self._began:.1f} s")
        elif record.msg == _FAILED:
            self._end("failed")
            return False
        return record.levelno >= logging.ERROR

    def fail(self) -> str | None:
        """The component that was running when the pipeline failed, its line ended."""
        self._end("failed")
        return self._running

    def _end(self, how: str) -> None:
        if not self._ended:
            print(f"{how:>8}", flush=True)
        self._ended = True
