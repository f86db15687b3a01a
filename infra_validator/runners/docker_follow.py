"""A running container: its output as it is written, its end as it happens, its server's version."""

from __future__ import annotations

import collections
import datetime
import logging
import re
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from infra_validator.faults import FaultError
from infra_validator.runners.docker_engine import Engine
from infra_validator.tensorflow_errors import without_cut_text

if TYPE_CHECKING:
    import docker

_logger = logging.getLogger(__name__)

_KEPT_BYTES = 1024 * 1024
_TAIL_LINES = 2000
_COMPARED_BYTES = 4096

# The output whose stream the engine ended too early is read anew after so long.
_REREAD_SECONDS = 1.0

_EVENT_LATE_SECONDS = 2

# A program that does not know --version may run for ever.
_VERSION_SECONDS = 10.0


class Output:
    """The last MiB of a server's output. May be read and written by several threads."""

    def __init__(self) -> None:
        self._chunks: collections.deque[bytes] = collections.deque()
        self._bytes = 0
        self._replaced = False
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        """Takes what comes next."""
        with self._lock:
            self._chunks.append(chunk)
            self._bytes += len(chunk)
            while self._bytes - len(self._chunks[0]) > _KEPT_BYTES:
                self._bytes -= len(self._chunks.popleft())

    def content(self) -> bytes:
        """What is kept of it."""
        with self._lock:
            return b"".join(self._chunks)

    def text(self) -> str:
        """The same as text, safe to show by the contract of `Runner.logs`."""
        with self._lock:
            content, replaced = b"".join(self._chunks), self._replaced
        text = content.decode(errors="replace")
        return without_cut_text(text) if replaced else text

    def renew(self, end: Iterable[bytes]) -> None:
        """Takes the end of the output in place of all that was before, if it has anything new.

        Before that there may have been more, however short this is.
        """
        other = Output()
        for chunk in end:
            other.add(chunk)
        if self.content().endswith(other.content()[-_COMPARED_BYTES:]):
            return
        with self._lock:
            self._chunks, self._bytes, self._replaced = other._chunks, other._bytes, True


class OutputFollower:
    """Follows a container's output in a thread of its own, with a client of its own."""

    def __init__(self, engine: Engine, name: str, output: Output, wake: Callable[[], None]) -> None:
        self._engine = engine
        self._name = name
        self._output = output
        self._wake = wake
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"{name} output", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def end(self, seconds: float) -> None:
        """Asks for nothing more, and waits that long for what is on its way."""
        self._ended.set()
        self._thread.join(seconds)

    def finish(self, client: docker.DockerClient, seconds: float) -> None:
        """After the container's end: has all of the output, or the end of it.

        Args:
            client: of the engine.
            seconds: how long the rest may take to come.
        """
        import docker

        self.end(seconds)
        try:
            self._output.renew(_read_output(client, self._name, tail=_TAIL_LINES))
        except (docker.errors.DockerException, OSError) as error:
            # Somebody else removed it, most often; what was followed is kept.
            _logger.info("The end of the output of %s is not to be had: %s", self._name, error)

    def _follow(self) -> None:
        import docker

        try:
            with self._engine.connect() as client:
                for chunk in _read_output(client, self._name, follow=True):
                    self._output.add(chunk)
                    self._wake()
                # An engine that rotates a log ends the stream of it, and nobody tells when there
                # is more. What is read at once is swapped in whole.
                while not self._ended.wait(_REREAD_SECONDS):
                    self._output.renew(_read_output(client, self._name, tail=_TAIL_LINES))
                    self._wake()
        except (FaultError, docker.errors.DockerException, OSError) as error:
            # Whoever waits for the container's end hears of a lost engine too, and says so.
            _logger.info("The output of %s is not followed any more: %s", self._name, error)


def _read_output(client: docker.DockerClient, name: str, **options: Any) -> Iterator[bytes]:
    """A container's output, piece by piece.

    Raises:
        docker.errors.APIError: if the engine refuses it.
        OSError: if the connection breaks.
    """
    import urllib3

    try:
        # Else the library follows whatever it streams.
        yield from client.api.logs(name, stream=True, **{"follow": False, **options})
    except (urllib3.exceptions.HTTPError, struct.error) as error:  # of a piece that is cut off
        raise ConnectionResetError(f"The stream of its output broke: {error}") from error


def ran_out_of_memory(client: docker.DockerClient, name: str, state: Mapping[str, Any]) -> bool:
    """Whether the kernel killed a container's program for its memory limit.

    An engine that hears of the exit first does not note it in the state (moby, daemon/monitor.go),
    and tells an event a moment later.

    Args:
        client: of the engine.
        name: the container's.
        state: its State after its end, as the engine tells it.
    """
    import docker

    if state.get("OOMKilled"):
        return True
    try:
        events = client.api.events(
            since=_seconds(state["StartedAt"]),
            until=_seconds(state["FinishedAt"]) + _EVENT_LATE_SECONDS,
            filters={"container": name, "event": "oom"},
            decode=True,
        )
    except docker.errors.APIError as error:  # not everybody may see events
        _logger.info("The events of %s are not to be had: %s", name, error)
        return False
    return any(True for _ in events)


def _seconds(time: str) -> int:
    """A time as engines tell it, 2026-01-31T12:00:00.123456789Z, in seconds since 1970."""
    whole = re.sub(r"\.\d+", "", time).replace("Z", "+00:00")
    return int(datetime.datetime.fromisoformat(whole).timestamp())


def ask_version(client: docker.DockerClient, name: str, program: str) -> str:
    """What the server's program prints for --version, or nothing if it does not end."""
    import docker

    printed: list[bytes] = []

    def ask() -> None:
        try:
            asked: Any = client.api.exec_create(name, [program, "--version"])
            printed.append(client.api.exec_start(asked["Id"]))
        except (docker.errors.DockerException, OSError) as error:
            _logger.info("The version of %s cannot be asked for: %s", program, error)

    thread = threading.Thread(target=ask, name=f"{name} version", daemon=True)
    thread.start()
    thread.join(_VERSION_SECONDS)
    return b"".join(printed).decode(errors="replace")
