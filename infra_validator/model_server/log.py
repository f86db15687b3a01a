"""Log lines on stderr in the form of TensorFlow's own, which share the stream."""

import datetime
import sys
from pathlib import Path


def _write(severity: str, message: str) -> None:
    caller = sys._getframe(2)
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")
    place = f"model_server/{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
    sys.stderr.write(f"{now}: {severity} {place}] {message}\n")
    sys.stderr.flush()


def info(message: str) -> None:
    """Logs what happens in the ordinary course of things."""
    _write("I", message)


def warning(message: str) -> None:
    """Logs what the operator should look at."""
    _write("W", message)


def error(message: str) -> None:
    """Logs a failure."""
    _write("E", message)
