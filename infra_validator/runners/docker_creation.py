"""Creating a container with the model in it: mounted where that is possible, else copied."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra_validator.docker_config import CONFIG_FOLDER, MODEL_BASE, Delivery, DockerSettings
from infra_validator.faults import FaultError, Phase, fault
from infra_validator.files import storage_fault
from infra_validator.runners.base import ServerTask
from infra_validator.runners.docker_archive import (
    is_self_contained,
    modes_of,
)
from infra_validator.runners.docker_command import reproduce
from infra_validator.runners.docker_container import (
    NOBODY,
    choose_reader,
    container_config,
    surely_cannot_read,
)
from infra_validator.runners.docker_owner import Owner
from infra_validator.runners.tar_stream import Archive
from infra_validator.saved_model.reader import MODEL_FILES
from infra_validator.text import first_line

if TYPE_CHECKING:
    import docker

_logger = logging.getLogger(__name__)

_EXPIRES_SECONDS = 24 * 3600.0

# What an engine says of an init that it does not have (moby, daemon/info_unix.go).
_NO_INIT = "N/A"

# The first version of the engine's API that can be asked for a platform.
_PLATFORM_API = "1.41"


class Gate:
    """Between a thread that creates a container and one that has it stopped.

    Attributes:
        closed: whether nothing may be created any more.
        passed: whether a container may have been created.
    """

    def __init__(self) -> None:
        self.closed = False
        self.passed = False
        self._lock = threading.Lock()

    def close(self) -> None:
        """Lets nothing more through; returns when nothing is on its way through."""
        with self._lock:
            self.closed = True

    def check(self) -> None:
        """Raises a FaultError if it is closed; nobody looks at that fault any more."""
        if self.closed:
            raise FaultError(fault("platform_failed", Phase.START, "The server was stopped."))

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        """Creation happens in here."""
        with self._lock:
            self.check()
            self.passed = True
            yield


class ContainerMaker:
    """Makes the container of one task."""

    def __init__(
        self,
        client: docker.DockerClient,
        settings: DockerSettings,
        task: ServerTask,
        *,
        name: str,
        publish_at: str,
        gate: Gate,
    ) -> None:
        """Creates nothing yet.

        Args:
            client: of the engine.
            settings: the platform's configuration.
            task: what is to run.
            name: what the container is to be called.
            publish_at: address on which its port is published.
            gate: asked before anything is created or sent.
        """
        self._api = client.api
        self._settings = settings
        self._task = task
        self._name = name
        self._publish_at = publish_at
        self._gate = gate
        self._info: Mapping[str, Any] = client.info()
        self._reproduce = ""

    def make(self) -> dict[str, Any]:
        """Creates it, and brings model and configuration files in.

        Returns:
            What the report says of it.

        Raises:
            FaultError: if the model cannot be delivered as it is asked for.
            docker.errors.APIError: if the engine refuses the container.
            OSError: if a file or the engine cannot be read.
        """
        model = self._task.model.local_path()
        user = None if self._settings.delivery == Delivery.COPY else self._make_with_mount(model)
        delivery = "mount"
        if user is None:
            user, delivery = self._make_with_copy(model), "copy"
        if self._task.binary.config_files:
            files = b"".join(Archive({}, self._task.binary.config_files).chunks())
            self._api.put_archive(self._name, CONFIG_FOLDER, files)
        return {
            "engine": self._info.get("ServerVersion"),
            "user": user,
            "model_delivery": delivery,
            "reproduce": self._reproduce,
        }

    def _make_with_mount(self, model: Path) -> str | None:
        """A container that has the model mounted, and its user; None where that is not possible."""
        import docker

        given = self._settings.user
        user = given or choose_reader(modes_of(model))
        if user is None:
            problem = "no one user may read all of its files"
        elif self._gets_copy_for(given, model):
            problem = f"the user {given} may not read all of its files"
        elif not is_self_contained(model):
            problem = "links lead out of its folder"
        else:
            try:
                self._create(model=str(model), user=user)
            except docker.errors.APIError as error:
                problem = str(error.explanation or error)
                # Of all mounts, only the model's may be refused without anybody's mistake.
                if str(model) not in problem and "denied" not in problem:
                    raise
            else:
                if self._sees(model):
                    return user
                self._api.remove_container(self._name, force=True, v=True)
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

    def _gets_copy_for(self, given: str | None, model: Path) -> bool:
        """Whether the user's number here is one who may not read the model.

        A guess, for the engine may number users otherwise (rootless, Docker Desktop); where no
        copy may be made, the server is to tell.
        """
        return (
            given is not None
            and self._settings.delivery == Delivery.AUTO
            and surely_cannot_read(given, self._settings.capabilities, modes_of(model))
        )

    def _sees(self, model: Path) -> bool:
        """Whether the engine has mounted the very files that lie here."""
        import docker

        main = next(path for path in map(model.joinpath, MODEL_FILES) if path.exists())
        # The engine tells of a link itself, and not of the file that it leads to.
        file, folder = main.resolve(), model.resolve()
        if not file.is_relative_to(folder):
            return False
        there = f"{MODEL_BASE}/{self._task.binary.model_layout()}/{file.relative_to(folder)}"
        try:
            stream, found = self._api.get_archive(self._name, there)
        except docker.errors.NotFound:
            return False
        stream.close()
        here = file.stat()
        changed = datetime.datetime.fromisoformat(
            re.sub(r"\.\d+", "", found["mtime"]).replace("Z", "+00:00")
        )
        return (found["size"], int(changed.timestamp())) == (here.st_size, int(here.st_mtime))

    def _make_with_copy(self, model: Path) -> str:
        user = self._settings.user or NOBODY
        self._create(model=None, user=user)
        self._api.put_archive(self._name, MODEL_BASE, self._stream(model))
        return user

    def _stream(self, model: Path) -> Iterator[bytes]:
        try:
            for chunk in Archive({self._task.binary.model_layout(): model}, {}).chunks():
                self._gate.check()
                yield chunk
        except OSError as error:  # else it would be taken for one of the connection
            summary = f"The model cannot be read: {self._task.model.uri}"
            raise storage_fault(summary, Phase.START, error) from error

    def _create(self, *, model: str | None, user: str) -> None:
        config = container_config(
            self._settings,
            self._task.binary,
            model=model,
            user=user,
            labels=Owner.this_process().labels(time.time() + _EXPIRES_SECONDS),
            processors=int(self._info.get("NCPU") or os.cpu_count() or 1),
            publish_at=self._publish_at,
            init=(self._info.get("InitCommit") or {}).get("ID") != _NO_INIT,
        )
        asked = self._settings.platform
        self._reproduce = reproduce(config, self._task, asked)
        with self._gate.passing():
            if asked is None:
                self._api.create_container_from_config(config, self._name)
            else:
                self._create_for(asked, config)

    def _create_for(self, platform: str, config: Mapping[str, Any]) -> None:
        """By hand, since the library passes no platform on before its version 5."""
        import requests

        import docker

        version = self._api.api_version
        if docker.utils.version_lt(version, _PLATFORM_API):
            raise docker.errors.InvalidVersion(
                f"API {version} takes no platform of a container; {_PLATFORM_API} does"
            )
        response = self._api.post(
            f"{self._api.base_url}/v{version}/containers/create",
            params={"name": self._name, "platform": platform},
            json=config,
            timeout=self._settings.timeout_seconds,
        )
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            docker.errors.create_api_error_from_http_exception(error)
