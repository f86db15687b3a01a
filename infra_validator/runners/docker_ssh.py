"""The way to an engine on another machine by ssh, as Docker's own client goes it.

Each connection is an `ssh` that runs `docker system dial-stdio` there. So the
user's own configuration, keys and agent of ssh are used, and no library of it.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from infra_validator.faults import FaultError
from infra_validator.runners import docker_faults

_CONNECT_SECONDS = 30
_ERRORS_CHARACTERS = 2000

# A unix socket's path holds 107 bytes (sockaddr_un).
_MAX_ROOT_BYTES = 60


def ssh_arguments(url: str) -> list[str]:
    """What ssh is told to reach the engine at "ssh://[user@]host[:port][/socket]".

    Raises:
        ValueError: if it is no such address.
    """
    parts = urlsplit(url)
    # A host that begins with a hyphen would be an option of somebody's making.
    if not parts.hostname or parts.hostname.startswith("-"):
        raise ValueError(f"{url!r} is not an address such as ssh://user@host")
    arguments = ["-o", f"ConnectTimeout={_CONNECT_SECONDS}", "-T"]
    if parts.username:
        arguments += ["-l", parts.username]
    if parts.port:
        arguments += ["-p", str(parts.port)]
    there = ["docker"]
    if parts.path.strip("/"):
        there += ["--host", f"unix://{parts.path}"]
    return [*arguments, "--", parts.hostname, *there, "system", "dial-stdio"]


class Way:
    """A unix socket here that leads to the engine there.

    Attributes:
        address: the socket's, as a client of Docker takes it.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command = command
        path = folder / "engine.sock"
        self.address = f"unix://{path}"
        self._errors_path = folder / "errors"
        self._errors = self._errors_path.open("wb")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._thread = threading.Thread(target=self._accept, args=(self._errors,), daemon=True)
        self._thread.start()

    def _accept(self, errors: IO[bytes]) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                self._processes.append(
                    subprocess.Popen(  # noqa: S603 - no shell; the host cannot be an option
                        self._command,
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                        stderr=errors,
                    )
                )

    def errors(self) -> str:
        """What ssh and the engine's host said of failures."""
        return self._errors_path.read_text(errors="replace")[-_ERRORS_CHARACTERS:].strip()

    def close(self) -> None:
        """Ends all connections."""
        with contextlib.suppress(OSError):  # some systems refuse it for a listener
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for process in self._processes:
            process.kill()
            process.wait()
        self._errors.close()


@contextlib.contextmanager
def open_way(url: str) -> Iterator[Way]:
    """A way to the engine at an ssh:// address.

    Raises:
        FaultError: if there is no ssh, or it is no such address.
    """
    try:
        arguments = ssh_arguments(url)
    except ValueError as error:
        raise FaultError(
            docker_faults.diagnose_engine_settings(
                f"The Docker engine's address cannot be used: {error}.",
                "Correct ServingSpec.local_docker.client_base_url, DOCKER_HOST or the context.",
            )
        ) from error
    ssh = shutil.which("ssh")
    if ssh is None:
        raise FaultError(
            docker_faults.diagnose_engine_settings(
                f"The Docker engine at {url} cannot be reached: there is no ssh on PATH.",
                "Install the ssh client (openssh-client) where the component runs.",
            )
        )
    root = tempfile.gettempdir()
    if len(root.encode()) > _MAX_ROOT_BYTES:
        root = "/tmp"  # noqa: S108 - a private folder is made in it
    with tempfile.TemporaryDirectory(prefix="infra-validator-ssh-", dir=root) as folder:
        way = Way([ssh, *arguments], Path(folder))
        try:
            yield way
        finally:
            way.close()
