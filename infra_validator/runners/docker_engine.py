"""Where the Docker engine is, and a way to it."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra_validator.docker_config import ADDRESS_REFUSED, DockerSettings, holds_password
from infra_validator.faults import FaultError
from infra_validator.runners import docker_faults
from infra_validator.runners.docker_ssh import open_way
from infra_validator.text import first_line

if TYPE_CHECKING:
    import docker

LOOPBACK = "127.0.0.1"

_DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_DEFAULT_CONTEXT = "default"


class Engine:
    """Where the engine is; found as Docker's own client finds it."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings

    @functools.cached_property
    def _address(self) -> tuple[str, Any]:
        """Address and TLS configuration: the field, DOCKER_HOST, then the current context.

        Raises:
            FaultError: if one of these is set and cannot be used.
        """
        _check_configuration()
        url = self._settings.base_url or os.environ.get("DOCKER_HOST")
        if url:
            tls = _tls_of_environment() if url.startswith("tcp:") else None
        else:
            url, tls = _find_context()
        if holds_password(url):
            raise FaultError(
                docker_faults.diagnose_engine_settings(
                    f"The Docker engine's address cannot be used: {ADDRESS_REFUSED}",
                    "Correct DOCKER_HOST or Docker's current context.",
                )
            )
        return url, tls

    @property
    def address(self) -> str:
        """The engine's address."""
        return self._address[0]

    @property
    def is_local(self) -> bool:
        """Whether it is reached by a socket of this machine."""
        return self.address.startswith(("unix:", "http+unix:", "npipe:", "/"))

    @property
    def host(self) -> str:
        """Where ports that it publishes are reached: as set, else as its address tells."""
        host = self._settings.host_ip_address
        if host is None and not self.is_local:
            address = self.address
            host = urlsplit(address if "://" in address else f"//{address}").hostname
        return LOOPBACK if host in (None, "localhost") else host

    def find_addresses(self) -> list[str]:
        """The addresses of `host`, best first.

        Raises:
            FaultError: if it has none.
        """
        host = self.host
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return [host]
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FaultError(docker_faults.diagnose_unknown_host(host, str(error))) from error
        return [str(address) for *_, (address, *_) in found]

    @contextlib.contextmanager
    def connect(self) -> Iterator[docker.DockerClient]:
        """A client of its own, since clients are not made for several threads.

        Raises:
            FaultError: if the engine cannot be reached.
        """
        import docker

        url, tls = self._address
        with contextlib.ExitStack() as closing:
            way = closing.enter_context(open_way(url)) if url.startswith("ssh:") else None
            try:
                client = docker.DockerClient(
                    base_url=url if way is None else way.address,
                    version=self._settings.api_version or "auto",
                    timeout=self._settings.timeout_seconds,
                    tls=tls or False,
                )
                closing.callback(client.close)
                if self._settings.api_version:  # else the engine has been asked for its own
                    client.version()
            # The library refuses an address that is none by a ValueError.
            except (docker.errors.DockerException, OSError, ValueError) as error:
                said = str(error) if way is None else f"{way.errors()}\n{error}".strip()
                raise FaultError(docker_faults.diagnose_no_engine(url, said)) from error
            yield client


def _check_configuration() -> None:
    """Of Docker's config.json the library tells damage late, by errors of any type or as no engine.

    A file that is no JSON counts as none, as the library has it.
    """
    from docker.auth import load_config
    from docker.utils.config import find_config_file, load_general_config

    import docker

    path = find_config_file()
    content = load_general_config(path) if path is not None else {}
    problem = _find_misshapen(content)
    if problem is None:
        try:
            load_config(path)
        except (docker.errors.DockerException, ValueError) as error:
            problem = f"auths: {first_line(str(error))}"
    if problem is not None:
        raise FaultError(
            docker_faults.diagnose_engine_settings(
                f"Docker's configuration {path} cannot be used: {problem.rstrip('.')}.",
                "Correct that file; `docker login` writes its auths anew.",
            )
        )


def _find_misshapen(content: Any) -> str | None:
    if not isinstance(content, dict):
        return "it is no JSON object"
    for key in ("auths", "credHelpers", "HttpHeaders", "proxies"):
        if not isinstance(content.get(key, {}), dict):
            return f"{key} is no object"
    for key in ("credsStore", "currentContext"):
        if not isinstance(content.get(key, ""), str):
            return f"{key} is no text"
    return None


def _tls_of_environment() -> Any:
    """What DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say."""
    from docker.utils import kwargs_from_env

    import docker

    try:
        return kwargs_from_env().get("tls")
    except (docker.errors.TLSParameterError, OSError) as error:
        raise FaultError(
            docker_faults.diagnose_engine_settings(
                "The certificates that DOCKER_TLS_VERIFY and DOCKER_CERT_PATH ask for cannot be "
                f"used: {first_line(str(error))}",
                "Correct DOCKER_CERT_PATH, a folder with ca.pem, cert.pem and key.pem, or unset "
                "DOCKER_TLS_VERIFY.",
            )
        ) from error


def _find_context() -> tuple[str, Any]:
    """Address and TLS configuration of the current context.

    One that is not there is no reason to take another engine.
    """
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name, get_meta_file

    import docker

    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name() or _DEFAULT_CONTEXT
    if name == _DEFAULT_CONTEXT:
        return _DEFAULT_ADDRESS, None
    try:
        # The library tells damage by a bare Exception, so it is read here before.
        meta = json.loads(Path(get_meta_file(name)).read_text())
        host = str(meta["Endpoints"]["docker"]["Host"])
        context = ContextAPI.get_context(name)
    except FileNotFoundError as error:
        raise _refuse_context(name, "does not exist") from error
    except (docker.errors.DockerException, OSError, ValueError, KeyError, TypeError) as error:
        raise _refuse_context(name, f"cannot be used: {first_line(str(error))}") from error
    return host, getattr(context, "TLSConfig", None)


def _refuse_context(name: str, problem: str) -> FaultError:
    return FaultError(
        docker_faults.diagnose_engine_settings(
            f"Docker's current context {name!r} {problem}.",
            "Choose one that `docker context ls` shows by `docker context use`, or say where the "
            "engine is in ServingSpec.local_docker.client_base_url or DOCKER_HOST.",
        )
    )
