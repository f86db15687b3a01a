"""The local Docker platform: the server is a container of a Docker engine."""

from __future__ import annotations

import collections
import contextlib
import datetime
import functools
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from infra_validator.docker_config import (
    CONFIG_FOLDER,
    MODEL_BASE,
    Delivery,
    DockerSettings,
    PullPolicy,
)
from infra_validator.faults import Fault, FaultError, Phase, fault
from infra_validator.files import storage_fault
from infra_validator.model_source import ModelSource
from infra_validator.runners import docker_faults
from infra_validator.runners.base import Exit, ServerTask
from infra_validator.runners.docker_archive import (
    is_self_contained,
    modes_of,
    pack_files,
    stream_folder,
)
from infra_validator.runners.docker_container import (
    NOBODY,
    choose_reader,
    container_config,
)
from infra_validator.runners.docker_owner import MANAGED_LABEL, Owner
from infra_validator.runners.exits import exit_reason
from infra_validator.saved_model.reader import MODEL_FILES
from infra_validator.servers.base import ServingBinary
from infra_validator.text import first_line

if TYPE_CHECKING:
    import docker

_logger = logging.getLogger(__name__)

_KEPT_OUTPUT_BYTES = 1024 * 1024
_LOOPBACK = "127.0.0.1"
_EXPIRES_SECONDS = 24 * 3600.0
_START_SECONDS = 600.0
_STOP_SECONDS = 10.0
_OUT_OF_MEMORY_EXIT = 137


class LocalDockerPlatform:
    """Runs servers as containers."""

    def __init__(self, settings: DockerSettings) -> None:
        """Contacts no engine yet.

        Args:
            settings: the checked LocalDockerConfig.
        """
        self._settings = settings
        self._engine = Engine(settings)

    @property
    def phase_limits(self) -> Mapping[Phase, float]:
        """Pulling has its own limit; starting may have to wait for a large model to be copied."""
        return {
            Phase.IMAGE: self._settings.pull_timeout_seconds,
            Phase.START: _START_SECONDS,
        }

    def prepare(self, binary: ServingBinary, model: ModelSource) -> None:
        """Finds the engine, sweeps what dead validators left there, has the model at hand."""
        with self._engine.connect() as client:
            _sweep(client, self._engine.is_local)
        model.local_path()

    def create_runner(self, task: ServerTask) -> LocalDockerRunner:
        """A runner that has not started yet."""
        return LocalDockerRunner(self._engine, self._settings, task)


class Engine:
    """Where the engine is; found as Docker's own client finds it."""

    def __init__(self, settings: DockerSettings) -> None:
        self._settings = settings

    @functools.cached_property
    def _address(self) -> tuple[str, Any]:
        """Address and TLS configuration: the field, DOCKER_HOST, then the current context."""
        from docker.context import ContextAPI
        from docker.utils import kwargs_from_env

        if self._settings.base_url:
            return self._settings.base_url, None
        from_environment = kwargs_from_env()
        if "base_url" in from_environment:
            return from_environment["base_url"], from_environment.get("tls")
        context = ContextAPI.get_current_context()
        host = getattr(context, "Host", None) if context is not None else None
        return host or "unix:///var/run/docker.sock", getattr(context, "TLSConfig", None)

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
        """Where ports that it publishes are reached, as far as its address tells."""
        return _LOOPBACK if self.is_local else urlsplit(self.address).hostname or _LOOPBACK

    @contextlib.contextmanager
    def connect(self) -> Iterator[docker.DockerClient]:
        """A client of its own, since clients are not made for several threads.

        Raises:
            FaultError: if the engine cannot be reached.
        """
        import docker

        address, tls = self._address
        try:
            client = docker.DockerClient(
                base_url=address,
                version=self._settings.api_version or "auto",
                timeout=self._settings.timeout_seconds,
                tls=tls or False,
            )
            client.version()
        except (docker.errors.DockerException, OSError) as error:
            raise FaultError(docker_faults.diagnose_no_engine(address, str(error))) from error
        try:
            yield client
        finally:
            client.close()


class LocalDockerRunner:
    """One container. A thread of its own brings it up and follows it."""

    def __init__(self, engine: Engine, settings: DockerSettings, task: ServerTask) -> None:
        self._engine = engine
        self._settings = settings
        self._task = task
        # Named before it is created, so that it can be removed in any ending.
        self._name = f"infra-validator-{uuid.uuid4().hex[:12]}"
        self._phase = Phase.START
        self._endpoint: str | None = None
        self._exit: Exit | None = None
        self._fault: Fault | None = None
        self._identity: dict[str, Any] = {"server": task.binary.name, "container": self._name}
        self._output: collections.deque[bytes] = collections.deque()
        self._output_bytes = 0
        self._lock = threading.Lock()
        self._creating = threading.Lock()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Lets the thread begin."""
        self._thread = threading.Thread(target=self._bring_up, name=self._name, daemon=True)
        self._thread.start()

    def phase(self) -> Phase:
        """IMAGE, START, then LOAD."""
        return self._phase

    def endpoint(self) -> str | None:
        """Where the server's port is published."""
        return self._endpoint

    def poll(self) -> Exit | None:
        """None until the container has ended."""
        return self._exit

    def diagnose(self) -> Fault | None:
        """What the engine says is wrong."""
        return self._fault

    def logs(self) -> str:
        """Standard output and error of the container; the last MiB of it."""
        with self._lock:
            return b"".join(self._output).decode(errors="replace")

    def identity(self) -> Mapping[str, Any]:
        """Image, digest, versions, engine, and how the model got in.

        Asks the engine whether the container still runs: of its end the log
        may tell late, and its address may be another's by then.
        """
        if self._exit is None and self._phase == Phase.LOAD and not self._stopped:
            self._note_end()
        versions = self._identity.get("versions") or self._task.binary.read_version(self.logs())
        return {**self._identity, "versions": versions}

    def _note_end(self) -> None:
        import docker

        try:
            with self._engine.connect() as client:
                state = client.api.inspect_container(self._name)["State"]
        except (FaultError, docker.errors.DockerException, OSError) as error:
            self._exit = Exit(_OUT_OF_MEMORY_EXIT, f"it cannot be found any more: {error}")
            return
        if not state.get("Running"):
            code = int(state["ExitCode"])
            self._exit = Exit(code, exit_reason(code))

    def stop(self) -> None:
        """Removes the container by force: its entry point passes no signal on."""
        with self._creating:
            self._stopped = True
        if self._thread is None:
            return
        self._remove()
        if self._phase != Phase.IMAGE:  # a pull ends by itself, and creates nothing any more
            self._thread.join(_STOP_SECONDS)
        if self._exit is None and self._phase == Phase.LOAD:
            self._exit = Exit(_OUT_OF_MEMORY_EXIT, "removed")

    # What follows runs in the thread.

    def _bring_up(self) -> None:
        import urllib3

        import docker

        try:
            with self._engine.connect() as client:
                self._follow(client, self._create(client))
        except FaultError as error:
            self._fault = error.fault
        except docker.errors.APIError as error:
            message = str(error.explanation or error)
            self._fault = docker_faults.diagnose_engine_error(message, self._phase)
        except (docker.errors.DockerException, urllib3.exceptions.HTTPError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:  # no socket has one
                summary = f"The model cannot be read: {self._task.model.uri}"
                self._fault = storage_fault(summary, self._phase, error).fault
            else:
                self._fault = docker_faults.diagnose_engine_lost(self._phase, str(error))
        except Exception as error:
            # It would end with this thread, and the attempt would wait for nothing.
            _logger.exception("A defect in the local Docker platform")
            self._fault = fault(
                "internal_error",
                self._phase,
                f"The platform itself failed: {type(error).__name__}: {error}",
            )
        finally:
            self._task.wake()

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._task.wake()

    def _create(self, client: docker.DockerClient) -> Any:
        self._have_image(client)
        self._enter(Phase.START)
        model = self._task.model.local_path()
        container = None
        if self._settings.delivery != Delivery.COPY:
            container = self._create_with_mount(client, model)
        if container is None:
            container = self._create_with_copy(client, model)
        if self._task.binary.config_files:
            container.put_archive(CONFIG_FOLDER, pack_files(self._task.binary.config_files))
        return container

    def _have_image(self, client: docker.DockerClient) -> None:
        import docker

        policy, image = self._settings.pull_policy, str(self._task.binary.image)
        if policy != PullPolicy.ALWAYS:
            try:
                self._note_image(client.images.get(image))
                return
            except docker.errors.ImageNotFound as error:
                if policy == PullPolicy.NEVER:
                    raise FaultError(
                        fault(
                            "image_not_found",
                            Phase.IMAGE,
                            f"The engine does not have the image {image}, and "
                            "ServingSpec.local_docker.pull_policy says NEVER.",
                            detail=str(error.explanation),
                        )
                    ) from error
        self._enter(Phase.IMAGE)
        name, separator, version = image.partition("@")
        if not separator:
            name, _, version = image.rpartition(":")
        for message in client.api.pull(
            name, tag=version, stream=True, decode=True, platform=self._settings.platform
        ):
            if self._stopped:
                return
            if "error" in message:
                raise FaultError(
                    docker_faults.diagnose_engine_error(str(message["error"]), Phase.IMAGE)
                )
        self._note_image(client.images.get(image))

    def _note_image(self, image: Any) -> None:
        labels = image.labels or {}
        versions = {
            key: value
            for key, value in labels.items()
            if key.startswith("tensorflow_serving_") and value
        }
        self._identity |= {
            "image_id": image.id,
            "image_digests": list(image.attrs.get("RepoDigests") or []),
            "versions": versions,
        }

    def _create_with_mount(self, client: docker.DockerClient, model: Path) -> Any | None:
        """A container that has the model mounted, or None where that is not to be had."""
        import docker

        container = None
        user = self._settings.user or choose_reader(modes_of(model))
        if user is None:
            problem = "no one user may read all of its files"
        elif not is_self_contained(model):
            problem = "links lead out of its folder"
        else:
            try:
                container = self._create_container(client, model=str(model), user=user)
            except docker.errors.APIError as error:
                problem = str(error.explanation or error)
                # Of all mounts, only the model's may be refused without anybody's mistake.
                if str(model) not in problem and "denied" not in problem:
                    raise
        if container is not None:
            if self._sees(container, model):
                self._identity["model_delivery"] = "mount"
                return container
            container.remove(force=True, v=True)
            problem = "the engine has other files at its path"
        if self._settings.delivery == Delivery.MOUNT:
            raise FaultError(
                fault(
                    "mount_denied",
                    Phase.START,
                    f"The model cannot be mounted: {first_line(problem)}",
                    detail=problem,
                )
            )
        _logger.info("The model is copied into the container: %s", problem)
        return None

    def _sees(self, container: Any, model: Path) -> bool:
        """Whether the engine has mounted the very files that lie here."""
        import docker

        file = next(path for path in map(model.joinpath, MODEL_FILES) if path.exists())
        try:
            stream, found = container.get_archive(
                f"{MODEL_BASE}/{self._task.binary.model_layout()}/{file.name}"
            )
        except docker.errors.NotFound:
            return False
        stream.close()
        here = file.stat()
        changed = datetime.datetime.fromisoformat(
            re.sub(r"\.\d+", "", found["mtime"]).replace("Z", "+00:00")
        )
        return (found["size"], int(changed.timestamp())) == (here.st_size, int(here.st_mtime))

    def _create_with_copy(self, client: docker.DockerClient, model: Path) -> Any:
        container = self._create_container(client, model=None, user=NOBODY)
        archive = stream_folder(model, self._task.binary.model_layout())
        container.put_archive(MODEL_BASE, archive)
        self._identity["model_delivery"] = "copy"
        return container

    def _create_container(
        self, client: docker.DockerClient, *, model: str | None, user: str
    ) -> Any:
        info = client.info()
        config = container_config(
            self._settings,
            self._task.binary,
            model=model,
            user=user,
            labels=Owner.this_process().labels(time.time() + _EXPIRES_SECONDS),
            processors=int(info.get("NCPU") or os.cpu_count() or 1),
            publish_at=self._publish_at(),
        )
        given = {"platform": self._settings.platform} if self._settings.platform else {}
        with self._creating:  # so that stop() removes what is created, or nothing is
            if self._stopped:
                raise FaultError(fault("platform_failed", self._phase, "The server was stopped."))
            client.api.create_container_from_config(config, self._name, **given)
        self._identity |= {"engine": info.get("ServerVersion"), "user": config["User"]}
        return client.containers.get(self._name)

    def _host(self) -> str:
        return self._settings.host_ip_address or self._engine.host

    def _publish_at(self) -> str:
        """Loopback, unless the port is reached from elsewhere."""
        return _LOOPBACK if self._host() in {_LOOPBACK, "localhost", "::1"} else ""

    def _follow(self, client: docker.DockerClient, container: Any) -> None:
        """Starts the container and stays with it until it ends."""
        if self._stopped:
            return
        container.start()
        container.reload()
        self._endpoint = self._find_endpoint(container)
        self._enter(Phase.LOAD)
        for chunk in container.logs(stream=True, follow=True):
            with self._lock:
                self._output.append(chunk)
                self._output_bytes += len(chunk)
                while self._output_bytes - len(self._output[0]) > _KEPT_OUTPUT_BYTES:
                    self._output_bytes -= len(self._output.popleft())
            self._task.wake()
        if self._stopped:
            return
        container.wait(timeout=self._settings.timeout_seconds)  # the log ends a little sooner
        container.reload()
        state = container.attrs["State"]
        code = int(state["ExitCode"])
        if state.get("OOMKilled"):
            self._fault = docker_faults.diagnose_memory(self._settings.memory, self._phase, code)
        self._exit = Exit(code, exit_reason(code))

    def _find_endpoint(self, container: Any) -> str:
        port = f"{self._task.binary.container_port}/tcp"
        network = container.attrs["NetworkSettings"]
        own_addresses = [
            entry["IPAddress"] for entry in network["Networks"].values() if entry.get("IPAddress")
        ]
        if self._settings.host_ip_address is None and _in_container() and own_addresses:
            return f"{own_addresses[0]}:{self._task.binary.container_port}"
        published = network["Ports"].get(port)
        if not published:
            if own_addresses:  # a network that publishes no port
                return f"{own_addresses[0]}:{self._task.binary.container_port}"
            raise FaultError(
                fault(
                    "platform_failed",
                    Phase.START,
                    "The container has neither an address nor a published port.",
                )
            )
        return f"{self._host()}:{published[0]['HostPort']}"

    def _remove(self) -> None:
        import docker

        try:
            with self._engine.connect() as client:
                client.api.remove_container(self._name, force=True, v=True)
        except docker.errors.NotFound:
            return
        except (FaultError, docker.errors.DockerException, OSError) as error:
            if "already in progress" not in str(error):
                _logger.warning("The container %s cannot be removed: %s", self._name, error)


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _sweep(client: docker.DockerClient, engine_is_local: bool) -> None:
    """Removes containers whose validator is gone."""
    import docker

    owner = Owner.this_process()
    for found in client.api.containers(all=True, filters={"label": f"{MANAGED_LABEL}=true"}):
        if not owner.may_remove(found.get("Labels") or {}, engine_is_local=engine_is_local):
            continue
        _logger.info("Removing the container %s of a validator that is gone", found["Id"][:12])
        with contextlib.suppress(docker.errors.NotFound):
            try:
                client.api.remove_container(found["Id"], force=True, v=True)
            except docker.errors.APIError as error:
                _logger.warning("It cannot be removed: %s", error.explanation or error)
