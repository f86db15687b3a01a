"""Keeps what C++ libraries write to standard error off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import TextIO

_STDERR = 2


@contextlib.contextmanager
def copy_of_stderr() -> Iterator[TextIO]:
    """Standard error under a descriptor of its own, which `silenced` leaves alone."""
    with os.fdopen(
        os.dup(_STDERR), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
    ) as stream:
        yield stream


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keeps back what is written to standard error; shows it after all if an exception comes.

    TensorFlow 2.21 writes of its own start whatever TF_CPP_MIN_LOG_LEVEL says.
    """
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
