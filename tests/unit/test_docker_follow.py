"""What is kept of a container's output, when the engine rotates, breaks off, or forgets it."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import urllib3

import docker
from infra_validator.runners import docker_follow
from infra_validator.runners.docker_engine import Engine
from infra_validator.runners.docker_follow import Output, OutputFollower
from infra_validator.tensorflow_errors import hide_content_of_log

STARTED = b"2026-01-02 03:04:05.6: I server.cc:1] up\n"
QUOTED = b"2026-01-02 03:04:05.7: W x.cc:1] Could not parse example input, value: 'hunter1\n"
REST = b"hunter2\nhunter2\n"
FAILED = b"2026-01-02 03:04:06.7: E x.cc:1] no\n"
SECONDS = 10.0

Read = Callable[..., Iterator[bytes]]


class StandIn:
    """In place of engine, client and its API: a real engine rotates only after 64 MB."""

    def __init__(self, read: Read) -> None:
        self.api = self
        self.logs = lambda name, stream, **options: read(**options)

    @contextlib.contextmanager
    def connect(self) -> Iterator[StandIn]:
        yield self


def follower(read: Read, output: Output, wake: Callable[[], None] = lambda: None) -> Any:
    stand_in = StandIn(read)
    return OutputFollower(cast(Engine, stand_in), "x", output, wake), stand_in


def test_a_whole_output_stays() -> None:
    output = Output()
    output.add(b"exec: no such ")
    output.add(b"file\n")
    output.renew([b"such file\n"])
    output.renew([])
    assert output.text() == "exec: no such file\n"


def test_of_what_is_read_anew_the_beginning_is_unknown() -> None:
    output = Output()
    output.add(STARTED + QUOTED)
    output.renew([REST, FAILED])
    assert output.text() == FAILED.decode()
    output.add(STARTED)
    assert output.text() == (FAILED + STARTED).decode()
    assert output.content() == REST + FAILED + STARTED


def test_what_is_read_anew_is_seen_when_it_is_whole() -> None:
    output = Output()
    output.add(STARTED + QUOTED)

    def come() -> Iterator[bytes]:
        for chunk in (REST, FAILED):
            assert output.content() == STARTED + QUOTED
            yield chunk

    output.renew(come())
    assert output.content() == REST + FAILED


def test_a_quoted_text_is_not_shown_after_the_engine_rotated_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(docker_follow, "_REREAD_SECONDS", 0.01)
    output, seen, woken = Output(), [], threading.Event()

    def read(**options: Any) -> Iterator[bytes]:
        if options["follow"]:
            yield STARTED + QUOTED  # and the engine ends the stream
            return
        assert options == {"follow": False, "tail": 2000}
        for chunk in (b"hunter2\n", b"hunter2\n", FAILED):
            seen.append(hide_content_of_log(output.text()))
            yield chunk

    def wake() -> None:
        seen.append(hide_content_of_log(output.text()))
        if output.content().endswith(FAILED):
            woken.set()

    following, client = follower(read, output, wake)
    following.start()
    assert woken.wait(SECONDS)
    following.finish(client, SECONDS)
    seen.append(hide_content_of_log(output.text()))
    assert seen[-1] == FAILED.decode()
    assert not any("hunter" in text for text in seen)


@pytest.mark.parametrize(
    "error",
    [
        docker.errors.APIError("no such container"),
        docker.errors.DockerException("no engine"),
        urllib3.exceptions.ProtocolError("broken"),
        struct.error("unpack requires 8 bytes"),
        ConnectionResetError("reset"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_end_that_cannot_be_read_leaves_what_was_followed(error: Exception) -> None:
    output = Output()

    def read(**options: Any) -> Iterator[bytes]:
        if options.get("follow"):
            yield STARTED
            raise error
        yield b"half a"
        raise error

    following, client = follower(read, output)
    following.start()
    following.finish(client, SECONDS)
    assert output.text() == STARTED.decode()
