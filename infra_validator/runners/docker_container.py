"""What the Docker engine is asked to run. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from infra_validator.docker_config import CONFIG_FOLDER, MODEL_BASE, DockerSettings, Mount
from infra_validator.servers.base import ServingBinary

_NOBODY = 65534
NOBODY = f"{_NOBODY}:{_NOBODY}"

# What lets root read all files.
_READING_CAPABILITIES = frozenset({"ALL", "DAC_OVERRIDE", "DAC_READ_SEARCH"})

_NO_GROUP = -1

_PIDS = 512
_PIDS_PER_CPU = 64
_LOG_BYTES = "64m"
_TEMPORARY = "/tmp"  # noqa: S108 - the container's own


@dataclasses.dataclass(frozen=True)
class FileMode:
    """Owner and mode of a file or folder, as os.stat tells them."""

    uid: int
    gid: int
    mode: int


def choose_reader(modes: Iterable[FileMode]) -> str | None:
    """Who can read the model, and so who the server runs as.

    Args:
        modes: of all files and folders of the model.

    Returns:
        "uid:gid": nobody, where everybody may read all of it, else an owner who
        may. None where no one user may.
    """
    modes = list(modes)
    owners = sorted({(mode.uid, mode.gid) for mode in modes})
    for uid, gid in [(_NOBODY, _NOBODY), *owners]:
        if all(_may_be_read_by(uid, gid, mode) for mode in modes):
            return f"{uid}:{gid}"
    return None


def surely_cannot_read(user: str, capabilities: Iterable[str], modes: Iterable[FileMode]) -> bool:
    """Whether a user whom the configuration names may not read all of the model.

    Args:
        user: as Docker takes it; of names, which only the image knows, nothing is sure.
        capabilities: that the user keeps, if it is root.
        modes: of all files and folders of the model.
    """
    numbers = re.fullmatch(r"(\d+)(?::(\d+))?", user)
    if numbers is None:
        return False
    uid = int(numbers[1])
    if uid == 0 and not _READING_CAPABILITIES.isdisjoint(capabilities):
        return False
    if numbers[2]:
        gid = int(numbers[2])
        return not all(_may_be_read_by(uid, gid, mode) for mode in modes)
    # The image says which group it is.
    return not all(
        _may_be_read_by(uid, mode.gid, mode) or _may_be_read_by(uid, _NO_GROUP, mode)
        for mode in modes
    )


def _may_be_read_by(uid: int, gid: int, mode: FileMode) -> bool:
    if mode.uid == uid:
        return _may_read(mode.mode, stat.S_IRUSR, stat.S_IXUSR)
    if mode.gid == gid:
        return _may_read(mode.mode, stat.S_IRGRP, stat.S_IXGRP)
    return _may_read(mode.mode, stat.S_IROTH, stat.S_IXOTH)


def _may_read(mode: int, read: int, search: int) -> bool:
    needed = read | search if stat.S_ISDIR(mode) else read
    return mode & needed == needed


def container_config(
    settings: DockerSettings,
    binary: ServingBinary,
    *,
    model: str | None,
    user: str,
    labels: Mapping[str, str],
    processors: int,
    publish_at: str,
    init: bool,
) -> dict[str, Any]:
    """The body of the engine's POST /containers/create.

    Args:
        settings: the platform's configuration.
        binary: the server.
        model: path of the model on the engine's host, to mount; None where it is
            copied into a volume.
        user: who the server runs as.
        labels: by which the container is found again.
        processors: how many the engine has.
        publish_at: address on which the port is published.
        init: whether the engine has an init to put before the server.
    """
    place = f"{MODEL_BASE}/{binary.model_layout()}"
    volumes = [_volume(CONFIG_FOLDER)] if binary.config_files else []
    if model is None:
        volumes.append(_volume(MODEL_BASE))
    else:
        volumes.append(_mount(Mount(model, place, writable=False)))
    port = f"{binary.container_port}/tcp"
    config_files = {flag: f"{CONFIG_FOLDER}/{flag}" for flag in binary.config_files}
    return {
        "Image": binary.image,
        "Cmd": binary.container_arguments(config_files),
        "Env": [
            f"{name}={value}" for name, value in binary.container_environment(MODEL_BASE).items()
        ],
        "User": settings.user or user,
        "Labels": dict(labels),
        "ExposedPorts": {port: {}},
        "HostConfig": {
            # The exit code and the log must outlive the server.
            "AutoRemove": False,
            "Init": init,
            "PortBindings": {port: [{"HostIp": publish_at, "HostPort": ""}]},
            "Mounts": volumes + [_mount(mount) for mount in settings.mounts],
            "ReadonlyRootfs": not settings.writable_root,
            "Tmpfs": {}
            if any(mount.target == _TEMPORARY for mount in settings.mounts)
            else {_TEMPORARY: ""},
            "CapDrop": ["ALL"],
            "CapAdd": list(settings.capabilities),
            "SecurityOpt": [] if settings.allow_new_privileges else ["no-new-privileges"],
            "PidsLimit": settings.pids_limit or _PIDS + _PIDS_PER_CPU * processors,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": _LOG_BYTES}},
            **_resources(settings),
        },
    }


def publish_at(host: str) -> str:
    """The engine's addresses on which a port that is reached at `host`, an address, is published.

    Loopback only, unless it is reached from elsewhere.
    """
    address = ipaddress.ip_address(host)
    if address.is_loopback:
        return host
    return "0.0.0.0" if address.version == 4 else "::"  # noqa: S104 - its own is not known here


def find_endpoint(
    network: Mapping[str, Any], container_port: int, *, host: str, prefer_own_address: bool
) -> str | None:
    """Where a container's port is reached, or None if it has neither address nor published port.

    Args:
        network: the container's NetworkSettings, as the engine tells them.
        container_port: the port on which the server listens.
        host: address at which published ports are reached.
        prefer_own_address: whether the container's own address is the better way.
    """
    addresses = [
        entry["IPAddress"] for entry in network["Networks"].values() if entry.get("IPAddress")
    ]
    published = (network.get("Ports") or {}).get(f"{container_port}/tcp") or ()
    # Not every network publishes ports.
    if addresses and (prefer_own_address or not published):
        return f"{addresses[0]}:{container_port}"
    if not published:
        return None
    # An engine may choose another port for IPv6 than for IPv4.
    is_ipv6 = ":" in host
    of_family = [entry for entry in published if (":" in entry["HostIp"]) is is_ipv6]
    port = (of_family or published)[0]["HostPort"]
    return f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"


def _resources(settings: DockerSettings) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if settings.cpus:
        resources["NanoCpus"] = int(settings.cpus * 1e9)
    if settings.memory:
        # No swap beyond it: production would have killed the server.
        resources |= {"Memory": settings.memory, "MemorySwap": settings.memory}
    if settings.shared_memory:
        resources["ShmSize"] = settings.shared_memory
    if settings.ulimits:
        resources["Ulimits"] = [
            {"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard}
            for limit in settings.ulimits
        ]
    if settings.device_requests:
        resources["DeviceRequests"] = [
            {
                "Driver": request.driver,
                "Count": request.count,
                "DeviceIDs": list(request.device_ids),
                "Capabilities": [list(request.capabilities)],
            }
            for request in settings.device_requests
        ]
    if settings.network:
        resources["NetworkMode"] = settings.network
    return resources


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind" if mount.source.startswith("/") else "volume",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": not mount.writable,
    }


def _volume(target: str) -> dict[str, Any]:
    """An anonymous volume, which goes with its container."""
    return {"Type": "volume", "Target": target}
