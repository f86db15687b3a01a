"""What LocalDockerConfig says, checked and with the defaults filled in. Pure."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import TypeVar

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import SpecError

MODEL_BASE = "/model"
"""Where the model's base folder is in the container, as with TFX's component."""

CONFIG_FOLDER = "/infra-validator"
"""Where configuration files are in the container."""

TAKEN_PLACES = frozenset({MODEL_BASE, CONFIG_FOLDER})
"""What the platform itself mounts something at."""

ADDRESS_REFUSED = (
    "it holds a password, which Docker takes in no address; use TLS, or ssh with a key."
)

DEFAULT_CLIENT_TIMEOUT_SECONDS = 60
DEFAULT_PULL_TIMEOUT_SECONDS = 1200

Choice = TypeVar("Choice")

# Before the host; what follows "host:port/" is a path, but a password may hold slashes too.
_PASSWORD = re.compile(r"[^/]*:[^/]*@|[^/@]*:(?!\d*/).*@", re.DOTALL)

_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}

# Least that engines take of a processor (moby, daemon/daemon_unix.go).
_MIN_CPUS = 0.01

# Smallest memory limit that engines take (moby, daemon/daemon_unix.go).
_MIN_MEMORY_BYTES = 6 * 1024**2

# Greatest number of processes that Linux counts (include/linux/threads.h).
_MAX_PIDS = 4 * 1024**2

# Reference of an image without tag and digest (distribution/reference).
_IMAGE_NAME = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PullPolicy(str, enum.Enum):
    """When an image is pulled."""

    IF_NOT_PRESENT = "if not present"
    ALWAYS = "always"
    NEVER = "never"


class Delivery(str, enum.Enum):
    """How the model gets into the container."""

    AUTO = "auto"
    MOUNT = "mount"
    COPY = "copy"


@dataclasses.dataclass(frozen=True)
class Ulimit:
    """A resource limit; -1 for none."""

    name: str
    soft: int
    hard: int


@dataclasses.dataclass(frozen=True)
class DeviceRequest:
    """Devices of one kind; a count of -1 means all."""

    driver: str
    count: int
    device_ids: tuple[str, ...]
    capabilities: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Mount:
    """A bind mount, where the source is an absolute path, or a volume."""

    source: str
    target: str
    writable: bool


@dataclasses.dataclass(frozen=True)
class DockerSettings:
    """LocalDockerConfig with defaults; sizes in bytes, 0 or None for the engine's own."""

    base_url: str | None
    api_version: str | None
    timeout_seconds: int
    host_ip_address: str | None
    cpus: float
    memory: int
    shared_memory: int
    ulimits: tuple[Ulimit, ...]
    device_requests: tuple[DeviceRequest, ...]
    platform: str | None
    network: str | None
    mounts: tuple[Mount, ...]
    pull_policy: PullPolicy
    pull_timeout_seconds: int
    delivery: Delivery
    user: str | None
    capabilities: tuple[str, ...]
    allow_new_privileges: bool
    writable_root: bool
    pids_limit: int


def parse(config: pb.LocalDockerConfig) -> DockerSettings:
    """Checks the configuration of the local Docker platform.

    Raises:
        SpecError: for the first field that can never work.
    """
    return DockerSettings(
        base_url=_base_url(config.client_base_url),
        api_version=_api_version(config.client_api_version),
        timeout_seconds=_count("client_timeout_seconds", config.client_timeout_seconds)
        or DEFAULT_CLIENT_TIMEOUT_SECONDS,
        host_ip_address=_host(config.host_ip_address),
        cpus=_cpus(config.cpus),
        memory=_size("memory", config.memory, minimum=_MIN_MEMORY_BYTES),
        shared_memory=_size("shared_memory", config.shared_memory),
        ulimits=tuple(_ulimit(index, limit) for index, limit in enumerate(config.ulimits)),
        device_requests=tuple(
            _device_request(index, request) for index, request in enumerate(config.device_requests)
        ),
        platform=_platform(config.platform),
        network=_network(config.network),
        mounts=_mounts(config.mounts),
        pull_policy=_choice("pull_policy", config.pull_policy, _PULL_POLICIES),
        pull_timeout_seconds=_count("pull_timeout_seconds", config.pull_timeout_seconds)
        or DEFAULT_PULL_TIMEOUT_SECONDS,
        delivery=_choice("model_delivery", config.model_delivery, _DELIVERIES),
        user=_user(config.user),
        capabilities=_capabilities(config.capabilities),
        allow_new_privileges=config.allow_new_privileges,
        writable_root=config.writable_root,
        pids_limit=_count("pids_limit", config.pids_limit, maximum=_MAX_PIDS),
    )


def check_image(image_name: str, tags: Sequence[str], digests: Sequence[str]) -> None:
    """Checks the parts of an image's reference.

    Raises:
        SpecError: for a part that no engine takes.
    """
    field = "ServingSpec.tensorflow_serving"
    if image_name and not _IMAGE_NAME.fullmatch(image_name):
        raise SpecError(
            f"{field}.image_name: {image_name!r} is not the name of an image; leave tag and digest "
            "to their own fields."
        )
    for index, tag in enumerate(tags):
        if not _TAG.fullmatch(tag):
            raise SpecError(f"{field}.tags[{index}]: {tag!r} is not a tag.")
    for index, digest in enumerate(digests):
        if not _DIGEST.fullmatch(digest):
            raise SpecError(
                f"{field}.digests[{index}]: {digest!r} is not a digest; write sha256: and 64 "
                "hexadecimal digits in small letters."
            )


_PULL_POLICIES: Mapping[int, PullPolicy] = {
    pb.LocalDockerConfig.PULL_POLICY_UNSPECIFIED: PullPolicy.IF_NOT_PRESENT,
    pb.LocalDockerConfig.IF_NOT_PRESENT: PullPolicy.IF_NOT_PRESENT,
    pb.LocalDockerConfig.ALWAYS: PullPolicy.ALWAYS,
    pb.LocalDockerConfig.NEVER: PullPolicy.NEVER,
}
_DELIVERIES: Mapping[int, Delivery] = {
    pb.LocalDockerConfig.MODEL_DELIVERY_UNSPECIFIED: Delivery.AUTO,
    pb.LocalDockerConfig.AUTO: Delivery.AUTO,
    pb.LocalDockerConfig.MOUNT: Delivery.MOUNT,
    pb.LocalDockerConfig.COPY: Delivery.COPY,
}


def _refuse(field: str, problem: str) -> SpecError:
    return SpecError(f"ServingSpec.local_docker.{field}: {problem}")


def _choice(field: str, value: int, choices: Mapping[int, Choice]) -> Choice:
    if value not in choices:
        raise _refuse(field, f"{value} is none of its values.")
    return choices[value]


def _count(field: str, value: int, maximum: int | None = None) -> int:
    if value < 0:
        raise _refuse(field, f"{value} is negative.")
    if maximum is not None and value > maximum:
        raise _refuse(field, f"{value} is more than engines take ({maximum}).")
    return value


def holds_password(address: str) -> bool:
    """Whether an engine's address holds a password; Docker takes none there."""
    if address.startswith(("unix:", "http+unix:", "npipe:")):
        return False
    place = (address.partition("://")[2] or address).lstrip("/")
    return _PASSWORD.match(place) is not None


def _base_url(address: str) -> str | None:
    if holds_password(address):
        raise _refuse("client_base_url", ADDRESS_REFUSED)
    return address or None


def _host(text: str) -> str | None:
    """A host's name or address, without the brackets that an IPv6 address has in a URL."""
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if text and not re.fullmatch(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?", text):
            raise _refuse(
                "host_ip_address",
                f"{text!r} is neither an address nor the name of a host; leave out scheme and "
                "port.",
            ) from None
    return host or None


def _cpus(value: float) -> float:
    if value and not _MIN_CPUS <= value < float("inf"):
        raise _refuse("cpus", f"{value} is not a number of processors, at least {_MIN_CPUS}.")
    return value


def _size(field: str, text: str, minimum: int = 0) -> int:
    if not text:
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([bkmg]?)b?", text.strip().lower())
    size = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1 <= size < 2**63:
        raise _refuse(field, f'{text!r} is not a size; write for example "512m" or "4g".')
    if size < minimum:
        raise _refuse(field, f"{text!r} is less than engines take ({minimum // 1024**2}m).")
    return int(size)


def _api_version(text: str) -> str | None:
    if text and not re.fullmatch(r"\d+\.\d+|auto", text):
        raise _refuse("client_api_version", f'{text!r} is not a version such as "1.41".')
    return text or None


def _network(name: str) -> str | None:
    if name in {"host", "none"} or name.startswith("container:"):
        raise _refuse("network", f"{name!r} publishes no port; name a network of its own.")
    return name or None


def _platform(text: str) -> str | None:
    if text and not re.fullmatch(r"[a-z0-9]+(?:/[a-z0-9_]+){0,2}", text):
        raise _refuse("platform", f'{text!r} is not a platform such as "linux/amd64".')
    return text or None


def _user(text: str) -> str | None:
    if text and not re.fullmatch(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)?", text):
        raise _refuse("user", f'{text!r} is not a user; write for example "1000:1000".')
    return text or None


def _capabilities(names: Sequence[str]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if not re.fullmatch(r"[A-Z_]+", name):
            raise _refuse(f"capabilities[{index}]", f'{name!r} is not one such as "SYS_NICE".')
    return tuple(names)


def _ulimit(index: int, limit: pb.Ulimit) -> Ulimit:
    field = f"ulimits[{index}]"
    if not re.fullmatch(r"[a-z]+", limit.name):
        raise _refuse(f"{field}.name", f'{limit.name!r} is not a limit such as "nofile".')
    hard = limit.hard or limit.soft
    if min(limit.soft, hard) < -1 or (hard != -1 and not -1 < limit.soft <= hard):
        raise _refuse(field, f"a soft limit of {limit.soft} and a hard one of {hard} do not fit.")
    return Ulimit(limit.name, limit.soft, hard)


def _device_request(index: int, request: pb.DeviceRequest) -> DeviceRequest:
    field = f"device_requests[{index}]"
    if request.count < -1:
        raise _refuse(f"{field}.count", f"{request.count} is negative; -1 asks for all.")
    if bool(request.count) == bool(request.device_ids):
        raise _refuse(field, "set either count or device_ids.")
    return DeviceRequest(
        driver=request.driver,
        count=request.count,
        device_ids=tuple(request.device_ids),
        capabilities=tuple(request.capabilities) or ("gpu",),
    )


def _mounts(mounts: Sequence[pb.Mount]) -> tuple[Mount, ...]:
    parsed: list[Mount] = []
    for index, mount in enumerate(mounts):
        parsed.append(_mount(index, mount))
        if parsed[-1].target in {*TAKEN_PLACES, *(other.target for other in parsed[:-1])}:
            raise _refuse(f"mounts[{index}].target", f"{mount.target!r} is taken already.")
    return tuple(parsed)


def _mount(index: int, mount: pb.Mount) -> Mount:
    field = f"mounts[{index}]"
    if not mount.source:
        raise _refuse(f"{field}.source", "not set.")
    if not mount.source.startswith("/") and not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*", mount.source
    ):
        raise _refuse(
            f"{field}.source",
            f"{mount.source!r} is neither an absolute path nor the name of a volume.",
        )
    # Two slashes at the beginning would stay two.
    target = PurePosixPath(re.sub(r"^/+", "/", mount.target))
    if not target.is_absolute() or ".." in target.parts or len(target.parts) < 2:
        raise _refuse(f"{field}.target", f"{mount.target!r} is not an absolute path below /.")
    return Mount(mount.source, str(target), mount.writable)
