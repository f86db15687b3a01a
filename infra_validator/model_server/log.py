"""Log lines on stderr in the form of TensorFlow's own, which share the stream."""

import contextlib
import datetime
import sys
from pathlib import Path
from typing import TextIO


def _write(severity: str, message: str) -> None:
    caller = sys._getframe(2)
    now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")
    place = f"model_server/{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
    _emit(sys.stderr, f"{now}: {severity} {place}] {message}\n")


def _emit(stream: TextIO | None, text: str) -> None:
    """Writes what can be written: as in C++, a stream that is closed or full stops nobody."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def plain(message: str) -> None:
    """Prints a line on stdout, as it is."""
    _emit(sys.stdout, f"{message}\n")


def info(message: str) -> None:
    """Logs what happens in the ordinary course of things."""
    _write("I", message)


def warning(message: str) -> None:
    """Logs what the operator should look at."""
    _write("W", message)


def error(message: str) -> None:
    """Logs a failure."""
    _write("E", message)
