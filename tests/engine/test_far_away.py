"""A server at the other end of a slow network."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator.report import Verdict
from infra_validator.runners.local_process import LocalProcessPlatform
from tests.engine import faulty
from tests.engine.helpers import run

pytestmark = pytest.mark.usefixtures("leaves_nothing")

# gRPC needs a round trip for its connection, and one more for HTTP/2's settings.
_ONE_WAY_SECONDS = 0.2


class Relay:
    """Leads to a unix socket, and takes its time."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Takes no more connections; those there are end with their server."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.socket(socket.AF_UNIX)
                try:
                    there.connect(self._target)
                except OSError:  # nobody listens yet
                    here.close()
                    there.close()
                    continue
                for ends in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                time.sleep(_ONE_WAY_SECONDS)
                target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def far_away(stand_in: str) -> Iterator[faulty.FaultyPlatform]:
    local = LocalProcessPlatform({"executable": stand_in})
    relays: list[Relay] = []

    def create(task: Any) -> Any:
        runner = local.create_runner(task)
        near = runner.endpoint

        def endpoint() -> str | None:
            target = near()
            if target is None:
                return None
            relays.append(Relay(target.removeprefix("unix:")))
            return relays[-1].endpoint

        runner.endpoint = endpoint  # type: ignore[method-assign]
        return runner

    yield faulty.FaultyPlatform([create])
    for relay in relays:
        relay.close()


def test_a_server_far_away_is_reached(
    saved_model: Path, split: Path, far_away: faulty.FaultyPlatform
) -> None:
    report = run(saved_model, split=split, platform=far_away)
    assert report.verdict == Verdict.BLESSED, report.reason
    [attempt] = report.binaries[0].attempts
    assert all(request.seconds >= 2 * _ONE_WAY_SECONDS for request in attempt.requests)
