"""The port brought here through the API server: when its threads begin and end.

The API server is a stand-in; tests/platforms has the real one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator.runners.kubernetes.api import ApiError, ConnectionFailed
from infra_validator.runners.kubernetes.forward import Forwarder

LIMIT_SECONDS = 20


class Frame:
    def __init__(self, data: bytes) -> None:
        self.data = data


class Connection:
    """A WebSocket to a server that speaks first, as HTTP/2's do, then gives back what it gets."""

    def __init__(self, when_answered: Callable[[], None], first: bytes) -> None:
        self.sock, self._far = socket.socketpair()
        self._when_answered = when_answered
        self._frames = [b"\0\0\0", b"\1\0\0", b"", first]
        self._far.send(b"x" * len(self._frames))

    def recv_data_frame(self, control_frame: bool) -> tuple[int, Frame]:
        if not self.sock.recv(1):
            return 8, Frame(b"")
        data = self._frames.pop(0)
        if data == b"\0hello":
            self._when_answered()
        return (2 if data else 9), Frame(data)

    def send_binary(self, data: bytes) -> None:
        self._frames.append(data)
        self._far.send(b"x")

    def shutdown(self) -> None:
        self.sock.close()
        self._far.close()


class StandIn:
    """What Forwarder uses of the API."""

    def __init__(self) -> None:
        self.opened: list[Connection] = []
        self.first = b"\0hello"
        self.when_opened: Callable[[], None] = lambda: None
        self.when_answered: Callable[[], None] = lambda: None

    def websocket(self, path: str, query: Any, timeout: float) -> Connection:
        assert (path, query) == ("/pod/portforward", [("ports", "8500")])
        self.when_opened()
        self.opened.append(Connection(self.when_answered, self.first))
        return self.opened[-1]


class Told:
    def __init__(self, api: StandIn) -> None:
        self.ready, self.refused = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.endpoint: str | None = None
        self.forwarder = Forwarder(api, "/pod", 8500, self._lead, self._refuse)  # type: ignore[arg-type]

    def _lead(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.ready.set()

    def _refuse(self, error: Exception) -> None:
        self.error = error
        self.refused.set()


@pytest.fixture(autouse=True)
def _all_threads_end() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive(), thread.name


@pytest.fixture
def api() -> StandIn:
    return StandIn()


def ask(forwarder: Forwarder, words: bytes) -> bytes:
    host, port = forwarder.endpoint.split(":")
    with socket.create_connection((host, int(port)), timeout=LIMIT_SECONDS) as connection:
        assert connection.recv(5) == b"hello"
        connection.sendall(words)
        return connection.recv(len(words))


def test_connections_are_led_to_the_server_each_by_one_of_its_own(api: StandIn) -> None:
    another = threading.Event()
    told = Told(api)
    assert told.ready.wait(LIMIT_SECONDS)
    api.when_opened = another.set
    assert ask(told.forwarder, b"first") == b"first"
    assert another.wait(LIMIT_SECONDS)
    assert told.endpoint == told.forwarder.endpoint
    told.forwarder.close()
    told.forwarder.close()


@pytest.fixture
def _many_files() -> Iterator[None]:
    """So many that the next has a number which select does not know."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with contextlib.ExitStack() as files:
        while files.enter_context(Path(os.devnull).open()).fileno() < 1024:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_many_files")
def test_a_process_may_have_many_files_open(api: StandIn) -> None:
    told = Told(api)
    assert told.ready.wait(LIMIT_SECONDS)
    assert ask(told.forwarder, b"a") == b"a"
    told.forwarder.close()


@pytest.mark.parametrize("moment", ["when_opened", "when_answered"])
def test_closing_while_the_first_connection_is_made_ends_it(api: StandIn, moment: str) -> None:
    begun, closed = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        closed.wait(LIMIT_SECONDS)

    setattr(api, moment, wait)
    told = Told(api)
    assert begun.wait(LIMIT_SECONDS)
    told.forwarder.close()
    closed.set()


def test_closing_while_the_next_connection_is_made_ends_it(api: StandIn) -> None:
    told = Told(api)
    assert told.ready.wait(LIMIT_SECONDS)
    begun, closed = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        closed.wait(LIMIT_SECONDS)

    api.when_opened = wait
    assert ask(told.forwarder, b"x") == b"x"
    assert begun.wait(LIMIT_SECONDS)
    told.forwarder.close()
    closed.set()


def test_what_the_api_refuses_is_told_and_what_may_pass_is_tried_again(api: StandIn) -> None:
    errors = [
        ConnectionFailed("no way"),
        ApiError(503, "busy", "get", "pods/portforward"),
        ApiError(403, "no", "get", "pods/portforward"),
    ]

    def refuse() -> None:
        raise errors.pop(0)

    api.when_opened = refuse
    told = Told(api)
    assert told.refused.wait(LIMIT_SECONDS)
    assert isinstance(told.error, ApiError)
    assert told.error.status == 403
    assert errors == []
    told.forwarder.close()


def test_what_nobody_foresaw_is_told_too(api: StandIn) -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    api.when_opened = fail
    told = Told(api)
    assert told.refused.wait(LIMIT_SECONDS)
    assert str(told.error) == "a defect"
    told.forwarder.close()


def test_why_the_port_is_not_reached_is_kept_until_it_is(api: StandIn) -> None:
    seen: list[tuple[str | None, str | None]] = []
    turns: list[Exception | bytes] = [
        ApiError(500, "error dialing backend", "get", "pods/portforward"),
        b"\1unable to do port forwarding: socat not found",
        b"\0hello",
    ]

    def turn() -> None:
        forwarder = told.forwarder
        seen.append((forwarder.problem, forwarder.refusal))
        now = turns.pop(0)
        if isinstance(now, Exception):
            raise now
        api.first = now

    begun = threading.Event()
    api.when_opened = lambda: begun.wait(LIMIT_SECONDS) and turn()  # type: ignore[func-returns-value]
    told = Told(api)
    begun.set()
    assert told.ready.wait(LIMIT_SECONDS)
    seen.append((told.forwarder.problem, told.forwarder.refusal))
    told.forwarder.close()
    assert seen == [
        (None, None),
        ("get pods/portforward: 500 error dialing backend", None),
        (None, "unable to do port forwarding: socat not found"),
        (None, None),
    ]
