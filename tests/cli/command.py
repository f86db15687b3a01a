"""Runs the command line as a process of its own, plainly or on a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from infra_validator.cli.main import main

_SECONDS = 120.0
ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07)")


@dataclasses.dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"NO_COLOR", "TERM", "COLUMNS"}
    }
    return {**kept, "TERM": "xterm-256color", **extra}


def arguments(*given: object) -> list[str]:
    return [sys.executable, "-m", "infra_validator", *map(str, given)]


def run(*given: object, stdin: str | None = None, cwd: Path | None = None, **env: str) -> Done:
    """Runs it with pipes."""
    done = subprocess.run(
        arguments(*given),
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        cwd=cwd,
        env=environment(env),
        timeout=_SECONDS,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def run_here(capsys: pytest.CaptureFixture[str], *given: object) -> Done:
    """Runs it in this process, which is quick."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in given])
    written = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return Done(ended.value.code, written.out, written.err)


@contextlib.contextmanager
def started(*given: object, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Starts it with pipes; it is gone after the block."""
    with subprocess.Popen(
        arguments(*given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(env),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A command, or another program, on a terminal of its own."""

    def __init__(
        self,
        *given: object,
        columns: int = 80,
        program: Sequence[str] | None = None,
        cwd: Path | None = None,
        **env: str,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

        def control() -> None:  # so that Ctrl-C reaches the command
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self._process = subprocess.Popen(
            program or arguments(*given),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environment(env),
            start_new_session=True,
            preexec_fn=control,
        )
        os.close(slave)
        self.output = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read_until(self, text: str) -> None:
        """Reads until the terminal showed that text."""
        self._read(lambda: text in self.output)
        assert text in self.output, self.output

    def wait(self) -> Done:
        """Reads to the end."""
        self._read(lambda: False)
        code = self._process.wait(_SECONDS)
        os.close(self._master)
        return Done(code, self.output, "")

    def _read(self, enough: object) -> None:
        limit = time.monotonic() + _SECONDS
        while not enough() and time.monotonic() < limit:  # type: ignore[operator]
            ready, _, _ = select.select([self._master], [], [], 1.0)
            if not ready:
                continue
            try:
                content = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            if not content:
                return
            self.output += content.decode(errors="replace")


def visible(output: str) -> list[str]:
    """The lines that a terminal shows in the end, for output that only ever rewrites one line."""
    lines = []
    for line in ESCAPE.sub(lambda match: "\r" if match[0] == "\x1b[2K" else "", output).split("\n"):
        lines.append(line.rstrip("\r").rpartition("\r")[2])
    return lines
