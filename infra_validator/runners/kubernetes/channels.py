"""Kubernetes' channel protocol: several byte streams over one WebSocket."""

from __future__ import annotations

import math
import select
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from infra_validator.runners.kubernetes.api import ConnectionFailed, break_off

NO_CHANNEL, STDIN, STDOUT, STDERR, ERROR = range(-1, 4)


class Channels:
    """One WebSocket, used by one thread; any thread may interrupt it."""

    def __init__(self, connection: Any) -> None:
        """Takes over an open WebSocket."""
        self._connection = connection

    def __enter__(self) -> Channels:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def socket(self) -> Any:
        """The connection's socket."""
        return self._connection.sock

    def send(self, channel: int, data: bytes) -> None:
        """Sends on a channel; blocks while the other side takes nothing.

        Raises:
            ConnectionFailed: if the connection breaks, or takes nothing for too long.
        """
        import websocket

        try:
            self._connection.send_binary(bytes([channel]) + data)
        except (websocket.WebSocketException, OSError) as error:
            raise ConnectionFailed(f"{type(error).__name__}: {error}") from error

    def readable(self) -> bool:
        """Whether something has come already, be it only in the TLS layer."""
        if self._pending():
            return True
        return bool(_readable([self.socket], 0))

    def wait(self, other: Any = None, seconds: float | None = None) -> tuple[bool, bool]:
        """Waits until something has come, here or at another socket.

        Returns:
            Whether something has come here, and whether at the other socket.
        """
        if self._pending():
            seconds = 0  # the kernel knows nothing of what TLS has read already
        mine = self.socket
        readable = _readable([mine] if other is None else [mine, other], seconds)
        return mine in readable or self._pending(), other in readable

    def receive(self) -> tuple[int, bytes] | None:
        """The next message, or None once the other side has closed.

        A frame that carries none, such as a proxy's ping, is a message on the channel NO_CHANNEL:
        were the next frame awaited, what this side has to send would wait as well.

        Raises:
            ConnectionFailed: if the connection breaks, or nothing comes for too long.
        """
        import websocket

        try:
            opcode, frame = self._connection.recv_data_frame(control_frame=True)
        except websocket.WebSocketConnectionClosedException:
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise ConnectionFailed(f"{type(error).__name__}: {error}") from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return None
        if opcode in {websocket.ABNF.OPCODE_PING, websocket.ABNF.OPCODE_PONG} or not frame.data:
            return NO_CHANNEL, b""
        return frame.data[0], bytes(frame.data[1:])

    def interrupt(self) -> None:
        """Breaks the connection, from any thread."""
        sock = self.socket
        if sock is not None:
            break_off(sock)

    def close(self) -> None:
        """Gives the connection up without a farewell that nobody would answer."""
        self._connection.shutdown()

    def _pending(self) -> bool:
        pending = getattr(self.socket, "pending", None)
        return bool(pending and pending())


def _readable(sockets: Sequence[Any], seconds: float | None) -> list[Any]:
    """Those at which something has come, or that have ended.

    By poll: select knows no descriptor above 1023, and a pipeline may have more files open.
    """
    poll = select.poll()
    at = {one.fileno(): one for one in sockets}
    for number in at:
        poll.register(number, select.POLLIN)
    limit = None if seconds is None else math.ceil(1000 * seconds)
    return [at[number] for number, _ in poll.poll(limit)]
