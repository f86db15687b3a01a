"""Nothing is left in the engine: removal, and what could not be removed at once."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

from infra_validator.faults import FaultError
from infra_validator.runners.docker_engine import Engine
from infra_validator.runners.docker_owner import MANAGED_LABEL, Owner
from infra_validator.waiting import Deadline

if TYPE_CHECKING:
    import docker

_logger = logging.getLogger(__name__)

# An engine that is restarted is back by then.
_LAST_TRY_SECONDS = 10.0
_PAUSE_SECONDS = 0.25

# Names that could not be removed, by the engine's address. They outlive their validation, since in
# a process that goes on, a later one can still remove them.
_kept: dict[str, set[str]] = {}
_lock = threading.Lock()


class Removal:
    """Removes containers of an engine; keeps the names of those that it could not remove."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def remove(self, name: str) -> None:
        """Removes a container by force, and its volumes; one that is not there is removed."""
        if not self._try([name]):
            with _lock:
                _kept.setdefault(self._engine.address, set()).add(name)

    def retry(self) -> bool:
        """Removes what could not be removed before.

        Returns:
            Whether nothing is left of it.
        """
        names = self._left()
        if not names or not self._try(names):
            return not names
        with _lock:
            _kept[self._engine.address].difference_update(names)
        return True

    def retry_for_a_while(self) -> None:
        """The last chance: waits for an engine that is being restarted."""
        limit = Deadline.after(_LAST_TRY_SECONDS)
        while not self.retry():
            if limit.expired():
                _logger.error(
                    "These containers are left over; the next validation on the engine at %s "
                    "removes them: %s",
                    self._engine.address,
                    ", ".join(self._left()),
                )
                return
            time.sleep(_PAUSE_SECONDS)  # nobody tells when an engine begins to listen

    def _left(self) -> list[str]:
        with _lock:
            if not _kept:  # the address need not be known yet
                return []
            return sorted(_kept.get(self._engine.address, ()))

    def _try(self, names: list[str]) -> bool:
        import docker

        try:
            with self._engine.connect() as client:
                for name in names:
                    remove_container(client, name)
        except (FaultError, docker.errors.DockerException, OSError) as error:
            _logger.warning("Not removed yet: %s: %s", ", ".join(names), error)
            return False
        return True


def remove_container(client: docker.DockerClient, name: str) -> None:
    """Removes a container by force, and its volumes; returns when it is gone.

    Raises:
        docker.errors.APIError: if the engine refuses it.
        OSError: if the engine does not answer.
    """
    import docker

    with contextlib.suppress(docker.errors.NotFound):
        try:
            client.api.remove_container(name, force=True, v=True)
        except docker.errors.APIError as error:
            if "already in progress" not in str(error.explanation):
                raise
            client.api.wait(name, timeout=client.api.timeout, condition="removed")


def sweep(client: docker.DockerClient, *, engine_is_local: bool) -> None:
    """Removes containers whose validator is gone."""
    import docker

    owner = Owner.this_process()
    for found in client.api.containers(all=True, filters={"label": f"{MANAGED_LABEL}=true"}):
        if not owner.may_remove(found.get("Labels") or {}, engine_is_local=engine_is_local):
            continue
        _logger.info("Removing the container %s of a validator that is gone", found["Id"][:12])
        try:
            remove_container(client, found["Id"])
        except docker.errors.APIError as error:
            _logger.warning("It cannot be removed: %s", error.explanation or error)
