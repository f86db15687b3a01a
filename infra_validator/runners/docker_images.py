"""Images: whether the engine has the one that is wanted, and pulling it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from infra_validator.docker_config import DockerSettings, PullPolicy
from infra_validator.faults import FaultError, Phase, fault
from infra_validator.runners import docker_faults

if TYPE_CHECKING:
    import requests

    import docker

_logger = logging.getLogger(__name__)

_LOG_SECONDS = 5.0
_MB = 1e6

# Names that people and kernels give to what images call otherwise (containerd, platforms).
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd"})
_VERSION_LABELS = "tensorflow_serving_"


def is_of_platform(asked: str, image: Mapping[str, Any]) -> bool:
    """Whether an image is for a platform.

    Args:
        asked: "os", "architecture", "os/architecture" or "os/architecture/variant".
        image: what the engine says of the image.
    """
    system, architecture, variant = "", "", ""
    parts = asked.lower().split("/")
    if len(parts) == 1 and parts[0] not in _SYSTEMS:
        architecture = parts[0]
    else:
        system, architecture, variant = [*parts, "", ""][:3]
    pairs = (
        (system, str(image.get("Os") or "")),
        (_ARCHITECTURES.get(architecture, architecture), str(image.get("Architecture") or "")),
        (variant, str(image.get("Variant") or "")),
    )
    # What either side leaves open does not differ.
    return all(not wanted or not there or wanted == there for wanted, there in pairs)


def describe_image(image: Any) -> dict[str, Any]:
    """What the report says of an image: id, digests, and versions by its labels."""
    labels = image.labels or {}
    return {
        "image_id": image.id,
        "image_digests": list(image.attrs.get("RepoDigests") or []),
        "versions": {
            key: value for key, value in labels.items() if key.startswith(_VERSION_LABELS) and value
        },
    }


@dataclasses.dataclass
class _Layer:
    current: int = 0
    total: int = 0
    there: bool = False
    done: bool = False


class PullProgress:
    """How far a pull is, from what the engine tells of it. Pure."""

    def __init__(self) -> None:
        self._layers: dict[str, _Layer] = {}

    def add(self, message: Mapping[str, Any]) -> None:
        """Takes a message of the engine."""
        status, name = str(message.get("status") or ""), message.get("id")
        if not name or status.startswith("Pulling from"):  # the id is the tag's here
            return
        layer = self._layers.setdefault(str(name), _Layer())
        if status == "Downloading":
            detail = message.get("progressDetail") or {}
            layer.current = int(detail.get("current") or 0)
            layer.total = max(0, int(detail.get("total") or 0))
        elif status in {"Download complete", "Extracting"}:
            layer.current = layer.total = max(layer.current, layer.total)
        elif status in {"Pull complete", "Already exists"}:
            layer.done = True
            layer.there = status == "Already exists"
            layer.current = layer.total = max(layer.current, layer.total)

    def __str__(self) -> str:
        """For people, such as "3 of 7 layers, 120 of 800 MB"."""
        if not self._layers:
            return "waiting for the registry"
        layers = self._layers.values()
        done = sum(layer.done for layer in layers)
        loaded = sum(layer.current for layer in layers)
        total = sum(layer.total for layer in layers)
        # The engine loads a few layers at a time, and knows no size of the others.
        known = all(layer.total or layer.there for layer in layers)
        amount = f"{loaded / _MB:.0f} of {total / _MB:.0f}" if known else f"{loaded / _MB:.0f}"
        return f"{done} of {len(layers)} layers, {amount} MB"


class ImageProvider:
    """Sees that the engine has an image. One thread runs it, another may end it."""

    def __init__(self, image: str, settings: DockerSettings) -> None:
        """Asks nothing yet.

        Args:
            image: reference of the image, with tag or digest.
            settings: the platform's configuration.
        """
        self._image = image
        self._settings = settings
        self._lock = threading.Lock()
        self._pulling: requests.Response | None = None
        self._ended = False
        self.progress: str | None = None

    def provide(self, client: docker.DockerClient, before_pull: Callable[[], None]) -> Any | None:
        """Pulls the image where the policy says so.

        Args:
            client: of the engine.
            before_pull: called before a pull, if there is one.

        Returns:
            The image, or None if it was ended.

        Raises:
            FaultError: if it is not to be had.
        """
        policy = self._settings.pull_policy
        if policy != PullPolicy.ALWAYS:
            image = self._find(client)
            if image is not None or policy == PullPolicy.NEVER:
                return image
        before_pull()
        progress = PullProgress()
        self._note(progress, log=True)
        logged = time.monotonic()
        for message in self._pull(client):
            if "error" in message:
                raise FaultError(
                    docker_faults.diagnose_engine_error(
                        str(message["error"]), Phase.IMAGE, self._image
                    )
                )
            progress.add(message)
            due = time.monotonic() - logged > _LOG_SECONDS
            self._note(progress, log=due)
            if due:
                logged = time.monotonic()
        self.progress = None
        return None if self._ended else client.images.get(self._image)

    def end(self) -> None:
        """Has a pull given up, by the engine too; may be called at any time."""
        with self._lock:
            self._ended = True
            if self._pulling is not None:
                _shut(self._pulling)

    def _find(self, client: docker.DockerClient) -> Any | None:
        """The image, if the engine has it.

        Raises:
            FaultError: if it has not, and it may not be pulled.
        """
        import docker

        never = self._settings.pull_policy == PullPolicy.NEVER
        forbidden = "ServingSpec.local_docker.pull_policy says NEVER"
        try:
            image = client.images.get(self._image)
        except docker.errors.ImageNotFound as error:
            if not never:
                return None
            raise FaultError(
                fault(
                    "image_not_found",
                    Phase.IMAGE,
                    f"The engine does not have the image {self._image}, and {forbidden}.",
                    detail=str(error.explanation),
                )
            ) from error
        asked = self._settings.platform
        if asked is None or is_of_platform(asked, image.attrs):
            return image
        if not never:
            return None
        raise FaultError(
            fault(
                "image_unusable",
                Phase.IMAGE,
                f"The engine has the image {self._image} for "
                f"{image.attrs.get('Os')}/{image.attrs.get('Architecture')}, but "
                f"ServingSpec.local_docker.platform asks for {asked}, and {forbidden}.",
            )
        )

    def _note(self, progress: PullProgress, *, log: bool) -> None:
        self.progress = f"pulling {self._image}: {progress}"
        if log:
            _logger.info("%s", self.progress)

    def _pull(self, client: docker.DockerClient) -> Iterator[Mapping[str, Any]]:
        """Pulls, and gives what the engine tells of it; ends early if `end` is called."""
        import requests
        import urllib3

        import docker

        # Asked for by hand, since the library's own pull lets nobody end it.
        try:
            response = client.api.post(
                f"{client.api.base_url}/v{client.api.api_version}/images/create",
                params=self._parameters(),
                headers=self._credentials(client),
                stream=True,
                timeout=(self._settings.timeout_seconds, self._settings.pull_timeout_seconds),
            )
            with contextlib.closing(response):
                try:
                    response.raise_for_status()
                except requests.HTTPError as error:
                    # Raises the library's own kind, with the engine's words.
                    docker.errors.create_api_error_from_http_exception(error)
                with self._lock:
                    if self._ended:
                        return
                    self._pulling = response
                try:
                    for line in response.iter_lines():
                        if line.strip():
                            yield json.loads(line)
                finally:
                    with self._lock:
                        self._pulling = None
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError) as error:
            raise FaultError(
                fault(
                    "image_pull_timeout",
                    Phase.IMAGE,
                    f"The engine told nothing of the pull of {self._image} for "
                    f"{self._settings.pull_timeout_seconds} s.",
                    detail=str(error),
                )
            ) from error

    def _parameters(self) -> dict[str, str]:
        name, separator, version = self._image.partition("@")
        if not separator:
            name, _, version = self._image.rpartition(":")
        platform = self._settings.platform
        return {"fromImage": name, "tag": version, **({"platform": platform} if platform else {})}

    def _credentials(self, client: docker.DockerClient) -> dict[str, str]:
        """Those of Docker's own configuration.

        Raises:
            FaultError: if the program that keeps them cannot be asked.
        """
        import docker
        from docker import auth, credentials

        registry, _ = auth.resolve_repository_name(self._parameters()["fromImage"])
        try:
            header = auth.get_config_header(client.api, registry)
        except (
            docker.errors.DockerException,
            credentials.StoreError,  # of older versions of the library
            ValueError,  # of what the program prints
            KeyError,
        ) as error:
            raise FaultError(docker_faults.diagnose_no_credentials(registry, str(error))) from error
        return {"X-Registry-Auth": header} if header else {}


def _shut(response: requests.Response) -> None:
    """Ends a connection in the midst of an answer; whoever reads it, reads its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it has just ended by itself
        connection = socket.socket(fileno=os.dup(response.raw.fileno()))
        with connection:
            connection.shutdown(socket.SHUT_RDWR)
