"""A local process that never outlives the validator, with its output and its end as events."""

from __future__ import annotations

import collections
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from infra_validator.runners import supervisor

_SUPERVISOR = Path(supervisor.__file__)
_KEPT_OUTPUT_BYTES = 1024 * 1024
_STOP_SECONDS = 5.0


class SupervisedProcess:
    """Runs a command under `supervisor`, keeping the end of its output."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        workdir: Path,
        workspace: Path,
        wake: Callable[[], None],
    ) -> None:
        """Starts the command.

        Args:
            command: absolute path of the program, and its arguments.
            env: its whole environment.
            workdir: folder to run it in.
            workspace: folder to remove should this process be killed.
            wake: called, from other threads, upon output and upon its end.

        Raises:
            OSError: if not even the supervisor can be started.
        """
        self._wake = wake
        self._kept: collections.deque[bytes] = collections.deque()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._exit_code: int | None = None
        # -I, -S and an empty environment: nothing of the user's runs in the supervisor.
        self._process = subprocess.Popen(  # noqa: S603 - a list, no shell
            [
                *(sys.executable, "-I", "-S", str(_SUPERVISOR)),
                *(str(os.getpid()), str(workspace), *command),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            cwd=workdir,
            start_new_session=True,
        )
        try:
            _pipe(self._process.stdin).write(supervisor.pack_environment(env))
            _pipe(self._process.stdin).flush()
            self._reader = _start_thread(self._read, "server-output")
            self._waiter = _start_thread(self._wait, "server-exit")
        except BaseException as error:
            self._process.kill()
            self._process.wait()
            if isinstance(error, RuntimeError):  # no more threads are to be had
                raise OSError(str(error)) from error
            raise

    def poll(self) -> int | None:
        """None while it runs, else its exit code, 128 + N where signal N ended it."""
        return self._exit_code

    def output(self) -> str:
        """Standard output and error so far, together; the last MiB of it."""
        with self._lock:
            kept = b"".join(self._kept)
        return kept.decode(errors="replace")

    def wait(self, seconds: float) -> int | None:
        """Waits for its end at most that long; returns as `poll` does."""
        self._waiter.join(seconds)
        return self._exit_code

    def stop(self) -> None:
        """Ends it and all its descendants at once, by force; returns when they are gone."""
        if self._exit_code is None:
            with contextlib.suppress(BrokenPipeError), _pipe(self._process.stdin) as stdin:
                stdin.write(b"\n")
            self._waiter.join(_STOP_SECONDS)
            if self._waiter.is_alive():
                self._process.kill()
                self._waiter.join()
        self._reader.join(_STOP_SECONDS)

    def _read(self) -> None:
        with _pipe(self._process.stdout) as stdout:
            while chunk := stdout.read1(65536):
                with self._lock:
                    self._kept.append(chunk)
                    self._kept_bytes += len(chunk)
                    while self._kept_bytes - len(self._kept[0]) > _KEPT_OUTPUT_BYTES:
                        self._kept_bytes -= len(self._kept.popleft())
                self._wake()

    def _wait(self) -> None:
        code = self._process.wait()
        # The supervisor has ended all writers, so what is left to read is there already.
        self._reader.join(_STOP_SECONDS)
        self._exit_code = code if code >= 0 else 128 - code
        self._wake()


def _pipe(stream: IO[bytes] | None) -> Any:
    if stream is None:
        raise ValueError("the process was started without this pipe")
    return stream


def _start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
