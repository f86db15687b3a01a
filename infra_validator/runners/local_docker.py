"""The local Docker platform: the server is a container of a Docker engine."""

from __future__ import annotations

import dataclasses
import logging
import platform as this_platform
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra_validator.docker_config import MODEL_BASE, DockerSettings
from infra_validator.faults import TIME_CATEGORIES, Fault, FaultError, Phase, fault
from infra_validator.files import storage_fault
from infra_validator.model_source import ModelSource
from infra_validator.runners import docker_causes, docker_faults
from infra_validator.runners.base import Exit, ServerTask
from infra_validator.runners.docker_container import (
    find_own_id,
    own_endpoint,
    publish_at,
    published_endpoint,
    published_ports,
)
from infra_validator.runners.docker_creation import ContainerMaker, Gate
from infra_validator.runners.docker_engine import Engine
from infra_validator.runners.docker_follow import (
    Output,
    OutputFollower,
    ask_version,
    ran_out_of_memory,
)
from infra_validator.runners.docker_images import ImageProvider, describe_image
from infra_validator.runners.docker_removal import Removal, sweep
from infra_validator.runners.exits import exit_reason
from infra_validator.servers.base import ServingBinary
from infra_validator.tensorflow_errors import hide_content_of_log
from infra_validator.waiting import Deadline

if TYPE_CHECKING:
    import docker

_logger = logging.getLogger(__name__)

_START_SECONDS = 600.0
_STOP_SECONDS = 10.0
_END_KNOWN_SECONDS = 10.0
_KILLED_EXIT = 137
_STOPPED_EXITS = frozenset({_KILLED_EXIT, 143})


class LocalDockerPlatform:
    """Runs servers as containers."""

    def __init__(self, settings: DockerSettings) -> None:
        """Contacts no engine yet.

        Args:
            settings: the checked LocalDockerConfig.
        """
        self._settings = settings
        self._engine = Engine(settings)
        self._removal = Removal(self._engine)
        self._prepared = False

    @property
    def phase_limits(self) -> Mapping[Phase, float]:
        """Pulling has its own limit; starting may have to wait for a large model to be copied."""
        return {
            Phase.IMAGE: self._settings.pull_timeout_seconds,
            Phase.START: _START_SECONDS,
        }

    def prepare(self, binary: ServingBinary, model: ModelSource) -> None:
        """Finds the engine, sweeps what dead validators left there, has the model at hand."""
        if not self._prepared:  # all binaries share the engine
            self._prepare_engine()
            self._prepared = True
        model.local_path()

    def create_runner(self, task: ServerTask) -> LocalDockerRunner:
        """A runner that has not started yet."""
        self._removal.retry()
        return LocalDockerRunner(self._engine, self._settings, self._removal, task)

    def close(self) -> None:
        """Removes what could not be removed while the engine was away."""
        self._removal.retry_for_a_while()

    def _prepare_engine(self) -> None:
        import docker

        with self._engine.connect() as client:
            try:
                if self._engine.is_local and not _in_container():
                    self._check_mounts(str(client.info().get("Name")))
                self._check_volumes(client)
                sweep(client, engine_is_local=self._engine.is_local)
            except (docker.errors.DockerException, OSError) as error:
                raise FaultError(
                    docker_faults.diagnose_engine_lost(Phase.STAGE, str(error))
                ) from error
        self._removal.retry()

    def _check_mounts(self, engine_host: str) -> None:
        """Refuses sources that are not there, where the engine's host is this one for sure."""
        if engine_host != this_platform.node():
            return
        for index, mount in enumerate(self._settings.mounts):
            if mount.source.startswith("/") and not _exists(Path(mount.source)):
                raise FaultError(docker_faults.diagnose_missing_source(index, mount.source))

    def _check_volumes(self, client: docker.DockerClient) -> None:
        """Refuses volumes that are not there; the engine would make them, and keep them."""
        import docker

        for index, mount in enumerate(self._settings.mounts):
            if not mount.source.startswith("/"):
                try:
                    client.api.inspect_volume(mount.source)
                except docker.errors.NotFound as error:
                    missing = docker_faults.diagnose_missing_volume(index, mount.source)
                    raise FaultError(missing) from error
                except docker.errors.APIError as error:  # a plugin's; creation tells, if need be
                    _logger.info("The volume %s cannot be looked at: %s", mount.source, error)


class LocalDockerRunner:
    """One container. A thread of its own brings it up and waits for its end."""

    def __init__(
        self, engine: Engine, settings: DockerSettings, removal: Removal, task: ServerTask
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._removal = removal
        self._task = task
        # Named before it is created, so that it can be removed in any ending.
        self._name = f"infra-validator-{uuid.uuid4().hex[:12]}"
        self._phase = Phase.START
        self._endpoint: str | None = None
        self._exit: Exit | None = None
        self._fault: Fault | None = None
        self._follower: OutputFollower | None = None
        self._identity: dict[str, Any] = {"server": task.binary.name, "container": self._name}
        self._printed_version: str | None = None
        self._output = Output()
        self._image = ImageProvider(str(task.binary.image), settings)
        self._gate = Gate()
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
        """What the engine says is wrong, or that the server misses a part of the mounted model."""
        if self._fault is None and self._identity.get("model_delivery") == "mount":
            return self._find_unseen_variables()
        return self._fault

    def _find_unseen_variables(self) -> Fault | None:
        place = f"{MODEL_BASE}/{self._task.binary.model_layout()}"
        found = docker_causes.find_unseen_variables(place, self._settings.user, self.logs())
        there = self._task.model.local_path() / "variables" / "variables.index"
        return found if found is not None and there.exists() else None

    def find_cause(self, found: Fault, log: str) -> Fault:
        """What of LocalDockerConfig is behind a fault, or the engine, if that is so.

        An engine elsewhere that is cut off looks like a model that takes too long.
        """
        if found.category in TIME_CATEGORIES and self._seems_to_run():
            self._look_again()
            if self._fault is not None:
                return dataclasses.replace(self._fault, phase=found.phase)
        delivery = self._identity.get("model_delivery")
        return docker_causes.find_cause(found, self._settings, log, delivery)

    def logs(self) -> str:
        """Standard output and error of the container; the last MiB of it."""
        return self._output.text()

    def progress(self) -> str | None:
        """How far a pull is."""
        return self._image.progress

    def identity(self) -> Mapping[str, Any]:
        """Image, digest, versions, engine, and how the model got in.

        Asks the engine whether the container still runs, whose address may be
        another's by now.
        """
        if self._seems_to_run():
            self._look_again()
        return {**self._identity, "versions": self._versions()}

    def stop(self) -> None:
        """Removes the container by force: its entry point passes no signal on."""
        self._gate.close()
        self._image.end()
        if self._thread is None:
            return
        if self._gate.passed:
            self._removal.remove(self._name)
        if self._phase != Phase.IMAGE:  # a pull ends by itself, and nothing is created any more
            limit = Deadline.after(_STOP_SECONDS)
            self._thread.join(limit.remaining())
            if self._follower is not None:
                self._follower.end(limit.remaining())
        if self._exit is None and self._gate.passed:
            self._exit = Exit(_KILLED_EXIT, "removed")

    def _seems_to_run(self) -> bool:
        return self._phase == Phase.LOAD and self._exit is None and self._fault is None

    def _versions(self) -> Mapping[str, str]:
        """By the image's labels, else by what the server itself says."""
        said = self._printed_version or hide_content_of_log(self.logs())
        return self._identity.get("versions") or self._task.binary.read_version(said)

    def _look_again(self) -> None:
        import docker

        if self._gate.closed or self._thread is None:
            return
        try:
            with self._engine.connect() as client:
                running = client.api.inspect_container(self._name)["State"].get("Running")
                # Where memory is scarce, to ask could be what kills the server.
                unknown = self._printed_version is None and not self._settings.memory
                if running and unknown and not self._versions():
                    program = self._task.binary.program
                    self._printed_version = ask_version(client, self._name, program)
        except docker.errors.NotFound:
            running = False
        except (FaultError, docker.errors.DockerException, OSError) as error:
            self._fault = docker_faults.diagnose_engine_lost(self._phase, str(error))
            return
        if not running:
            self._thread.join(_STOP_SECONDS)  # it hears of the end too, and learns all of it
            if self._seems_to_run():
                self._exit = Exit(_KILLED_EXIT, "it does not run any more")

    # What follows runs in the thread.

    def _bring_up(self) -> None:
        import urllib3

        import docker

        try:
            with self._engine.connect() as client:
                if self._have_image(client):
                    self._create_and_follow(client)
        except FaultError as error:
            self._fault = error.fault
            if error.fault.category == "engine_unavailable":  # it was there when all began
                self._fault = docker_faults.diagnose_engine_lost(self._phase, error.fault.detail)
        except docker.errors.APIError as error:
            message = str(error.explanation or error)
            image = str(self._task.binary.image)
            self._fault = docker_faults.diagnose_engine_error(message, self._phase, image)
        except docker.errors.InvalidVersion as error:
            self._fault = docker_faults.diagnose_old_api(self._phase, str(error))
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

    def _have_image(self, client: docker.DockerClient) -> bool:
        image = self._image.provide(client, before_pull=lambda: self._enter(Phase.IMAGE))
        if image is None:
            return False
        self._identity |= describe_image(image)
        self._enter(Phase.START)
        return True

    def _create_and_follow(self, client: docker.DockerClient) -> None:
        maker = ContainerMaker(
            client,
            self._settings,
            self._task,
            name=self._name,
            publish_at=publish_at(self._engine.host),
            gate=self._gate,
        )
        self._identity |= maker.make()
        self._gate.check()
        client.api.start(self._name)
        follower = OutputFollower(self._engine, self._name, self._output, self._task.wake)
        follower.start()
        self._follower = follower
        self._endpoint = self._find_endpoint(client)
        self._enter(Phase.LOAD)
        code = int(client.api.wait(self._name)["StatusCode"])
        if not self._gate.closed:
            follower.finish(client, self._settings.timeout_seconds)
            self._note_end(client, code)

    def _note_end(self, client: docker.DockerClient, code: int) -> None:
        import docker

        try:
            state = client.api.inspect_container(self._name)["State"]
        except docker.errors.NotFound:
            state = {}  # somebody else removed it
        except (docker.errors.DockerException, OSError) as error:
            if code in _STOPPED_EXITS:  # by the engine's own end, as likely as not
                raise
            _logger.info("The state of %s is not to be had: %s", self._name, error)
            state = {}  # a crash is one, whatever became of the engine
        limited = state and code == _KILLED_EXIT and self._settings.memory
        suspected = state.get("OOMKilled") or limited
        if suspected and ran_out_of_memory(client, self._name, state):
            self._fault = docker_faults.diagnose_memory(self._settings.memory, self._phase, code)
        else:
            self._fault = docker_faults.diagnose_init(code, hide_content_of_log(self.logs()))
        self._exit = Exit(code, exit_reason(code))

    def _find_endpoint(self, client: docker.DockerClient) -> str | None:
        """Where the server is reached, or None if it has ended already."""
        import requests

        container = client.api.inspect_container(self._name)
        network = container["NetworkSettings"]
        port = self._task.binary.container_port
        endpoint = own_endpoint(network, port)
        ports = published_ports(network, port)  # not every network publishes
        if ports and not (endpoint and self._prefers_own_address(client, network)):
            endpoint = published_endpoint(ports, self._engine.find_addresses())
        if endpoint is None and container["State"].get("Running"):
            # Its address goes a moment before the engine says that it has ended.
            try:
                client.api.wait(self._name, timeout=_END_KNOWN_SECONDS)
            except requests.exceptions.RequestException as error:
                raise FaultError(
                    fault(
                        "platform_failed",
                        Phase.START,
                        "The container has neither an address nor a published port.",
                    )
                ) from error
        return endpoint

    def _prefers_own_address(self, client: docker.DockerClient, network: Mapping[str, Any]) -> bool:
        """Within a container, the quicker way to another one beside it."""
        if self._settings.host_ip_address is not None or not _in_container():
            return False
        # An engine elsewhere may be one in Docker, whose networks are its own.
        return self._engine.is_local or bool(_own_networks(client) & _network_ids(network))


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def _own_networks(client: docker.DockerClient) -> set[str]:
    """Ids of the networks of the container in which this process is, if it is of that engine."""
    import docker

    own = find_own_id(Path("/proc/self/mountinfo").read_text())
    if own is None:
        return set()
    try:
        return _network_ids(client.api.inspect_container(own)["NetworkSettings"])
    except docker.errors.APIError as error:
        _logger.info("The engine does not run this container: %s", error)
        return set()


def _network_ids(network: Mapping[str, Any]) -> set[str]:
    return {str(entry["NetworkID"]) for entry in network["Networks"].values()}


def _exists(path: Path) -> bool:
    """Whether something is there; where that may not be known, the engine is to tell."""
    try:
        return path.exists()
    except OSError:
        return True
