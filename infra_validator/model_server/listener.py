"""Opening the gRPC port and the UNIX socket."""

import os
import socket
import stat
from collections.abc import Iterable, Sequence
from concurrent import futures
from pathlib import Path

import grpc

from infra_validator.model_server import log
from infra_validator.model_server.status import StatusError, invalid_argument

_ANY_ADDRESS = "0.0.0.0"  # noqa: S104  TensorFlow Serving listens on every IPv4 address.

_SHARED_PORT = "grpc.so_reuseport"
_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path without its closing NUL


def _refused(reason: str) -> StatusError:
    return invalid_argument(f"Failed to BuildAndStart gRPC server: {reason}")


def check_port(port: int) -> None:
    """Refuses a TCP port that cannot be listened on.

    Raises:
        StatusError: it is taken, or not a port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_ANY_ADDRESS, port))
            probe.listen()
        except (OSError, OverflowError) as error:
            raise _refused(f"port {port}: {getattr(error, 'strerror', None) or error}") from error


def check_socket_path(path: str) -> None:
    """Refuses a socket path that gRPC would take from another server; it unlinks what is there.

    Raises:
        StatusError: somebody listens there, or it is no socket, or none can be made there.
    """
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        raise _refused(f"UNIX socket {path}: longer than {_SOCKET_PATH_BYTES} bytes")
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        if not Path(path).parent.is_dir():
            raise _refused(f"UNIX socket {path}: No such file or directory") from None
        return
    except OSError as error:
        raise _refused(f"UNIX socket {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise _refused(f"UNIX socket {path}: there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return  # left behind by a server that is gone
        except OSError as error:
            raise _refused(f"UNIX socket {path}: {error}") from error
    raise _refused(f"UNIX socket {path}: Address already in use")


def _bind(server: grpc.Server, address: str) -> None:
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise _refused(str(error)) from error
    if not bound:  # how gRPC before 1.60 says it
        raise _refused(f"Failed to bind to address {address}")


def open_server(
    handlers: Iterable[grpc.GenericRpcHandler],
    *,
    port: int,
    socket_path: str,
    max_threads: int,
    arguments: Sequence[tuple[str, int | str]],
) -> grpc.Server:
    """Listens, serves, and says so in the log.

    Args:
        handlers: the services.
        port: TCP port on every IPv4 address; 0 for none.
        socket_path: UNIX socket; empty for none.
        max_threads: requests that are handled at a time.
        arguments: further arguments of gRPC's server.

    Raises:
        StatusError: the port or the socket cannot be had.
    """
    options: dict[str, int | str] = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        **dict(arguments),
        # Else a second server on the same port would silently share its connections.
        _SHARED_PORT: 0,
    }
    if dict(arguments).get(_SHARED_PORT, 0) != 0:
        log.warning(f"the embedded server ignores --grpc_channel_arguments' {_SHARED_PORT}")
    server = grpc.server(
        futures.ThreadPoolExecutor(max(max_threads, 1)), options=list(options.items())
    )
    server.add_generic_rpc_handlers(tuple(handlers))
    if port:
        check_port(port)
    if socket_path:
        check_socket_path(socket_path)
    if port:
        _bind(server, f"{_ANY_ADDRESS}:{port}")
    if socket_path:
        _bind(server, f"unix:{socket_path}")
    server.start()
    if port:
        log.info(f"Running gRPC ModelServer at {_ANY_ADDRESS}:{port} ...")
    if socket_path:
        log.info(f"Running gRPC ModelServer at UNIX socket {socket_path} ...")
    return server
