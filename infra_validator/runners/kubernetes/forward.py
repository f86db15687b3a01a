"""The server's port, brought to this machine through the API server.

A connection from here is handed one to the server that has already been answered:
gRPC may give a new connection less time than the way through the API server takes, and a
server that does not listen yet is asked again here. While there is none at hand,
connections from here are closed at once, since those that queue up are given up by
gRPC, and would only take the place of fresh ones.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

from infra_validator.runners.kubernetes.api import Api, ApiError, ConnectionFailed
from infra_validator.runners.kubernetes.channels import Channels

_logger = logging.getLogger(__name__)

_DATA, _ERROR = 0, 1
_LOOPBACK = "127.0.0.1"
_IO_SECONDS = 60.0
_BYTES = 64 * 1024

# An HTTP/2 server speaks first. If nothing came for so long, another connection may do better.
_SILENT_SECONDS = 10.0

_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 0.5


class Forwarder:
    """Listens on loopback and leads to a port of a Pod."""

    def __init__(
        self,
        api: Api,
        pod_path: str,
        port: int,
        ready: Callable[[str], None],
        refused: Callable[[Exception], None],
    ) -> None:
        """Begins at once to look whether the server listens.

        Args:
            api: the cluster's.
            pod_path: the Pod's path in the API.
            port: the Pod's port.
            ready: called with the address here, from another thread, once the server has answered.
            refused: called, from another thread, if the API refuses to forward, or it cannot be
                gone on for another reason.
        """
        self._api = api
        self._path = f"{pod_path}/portforward"
        self._port = port
        self._ready = ready
        self._refused = refused
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._open: set[Channels] = set()
        self._at_hand: _Link | None = None
        self.problem: str | None = None  # why the API server cannot be had for it just now
        self.refusal: str | None = None  # what the node last said instead of the server
        self._listener = socket.create_server((_LOOPBACK, 0))
        self.endpoint = f"{_LOOPBACK}:{self._listener.getsockname()[1]}"
        for target in (self._keep_at_hand, self._accept):
            threading.Thread(target=target, name="port-forward", daemon=True).start()

    def close(self) -> None:
        """Ends all connections; may be called at any time, any number of times."""
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()
            channels = tuple(self._open)
        for one in channels:
            one.interrupt()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _keep_at_hand(self) -> None:
        """Sees to it that there is an answered connection to the server for the next from here."""
        first = True
        try:
            while (link := self._connect()) is not None:
                with self._changed:
                    self._at_hand = link
                if first:
                    first = False
                    self._ready(self.endpoint)
                with self._changed:
                    self._changed.wait_for(lambda: self._at_hand is None or self._stopped.is_set())
        except Exception as error:  # else the thread would end, and the attempt wait for nothing
            if not self._stopped.is_set():
                self._refused(error)
        finally:
            link = self._take_at_hand()
            if link is not None:
                self._forget(link.channels)

    def _take_at_hand(self) -> _Link | None:
        with self._changed:
            link, self._at_hand = self._at_hand, None
            self._changed.notify_all()
        return link

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                local, _ = self._listener.accept()
            except OSError:
                return
            link = self._take_at_hand()
            if link is None:
                local.close()
                continue
            local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(
                target=self._bridge, args=(link, local), name="port-forward", daemon=True
            ).start()

    def _connect(self) -> _Link | None:
        """A connection that the server has answered; None once stopped."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            try:
                channels = Channels(
                    self._api.websocket(self._path, [("ports", str(self._port))], _IO_SECONDS)
                )
            except ConnectionFailed as error:
                _logger.debug("No connection to the API server: %s", error)
                self.problem = str(error)
            except ApiError as error:
                if not error.passing:
                    raise
                self.problem = str(error)
            else:
                if not self._remember(channels):
                    return None
                self.problem = None
                link = _Link(channels)
                try:
                    if link.answered():
                        self.refusal = None
                        return link
                except ConnectionFailed as error:
                    _logger.debug("The forwarded connection broke: %s", error)
                self.refusal = link.said
                self._forget(channels)
            self._stopped.wait(pause)
            pause = min(2 * pause, _LAST_PAUSE_SECONDS)
        return None

    def _bridge(self, link: _Link, local: socket.socket) -> None:
        try:
            with local:
                link.run(local)
        except (ConnectionFailed, OSError) as error:
            if not self._stopped.is_set():
                _logger.debug("A forwarded connection broke: %s", error)
        finally:
            self._forget(link.channels)

    def _remember(self, channels: Channels) -> bool:
        with self._changed:
            if not self._stopped.is_set():
                self._open.add(channels)
                return True
        channels.close()
        return False

    def _forget(self, channels: Channels) -> None:
        with self._changed:
            self._open.discard(channels)
        channels.close()


class _Link:
    """One connection to the server."""

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self.said: str | None = None
        self._received: collections.deque[bytes] = collections.deque()
        # Each channel begins with the port's number in two bytes.
        self._to_skip = {_DATA: 2, _ERROR: 2}

    def answered(self) -> bool:
        """Waits for the server's first bytes; False if none come."""
        limit = time.monotonic() + _SILENT_SECONDS
        while not self._received:
            here, _ = self.channels.wait(seconds=max(0.0, limit - time.monotonic()))
            if not here or not self._take():
                return False
        return True

    def run(self, local: socket.socket) -> None:
        """Carries bytes both ways until one side ends."""
        while True:
            while self._received:
                local.sendall(self._received.popleft())
            far, near = self.channels.wait(local)
            if far and not self._take():
                return
            if near:
                data = local.recv(_BYTES)
                if not data:
                    return
                self.channels.send(_DATA, data)

    def _take(self) -> bool:
        """Takes a message; False if it is the last."""
        message = self.channels.receive()
        if message is None:
            return False
        channel, data = message
        skipped = min(self._to_skip.get(channel, 0), len(data))
        if skipped:
            self._to_skip[channel] -= skipped
            data = data[skipped:]
        if channel == _ERROR and data:
            self.said = data.decode(errors="replace").strip()
            _logger.debug("The API server says of the port: %s", self.said)
            return False
        if channel == _DATA and data:
            self._received.append(data)
        return True
