"""What the Docker engine is asked to run. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra_validator.docker_config import CONFIG_FOLDER, MODEL_BASE, DockerSettings, Mount
from infra_validator.servers.base import ServingBinary

_NOBODY = 65534
NOBODY = f"{_NOBODY}:{_NOBODY}"

# What lets root read all files.
_READING_CAPABILITIES = frozenset({"ALL", "DAC_OVERRIDE", "DAC_READ_SEARCH"})

_NO_GROUP = -1

_OWN_FILE = re.compile(r"containers/([0-9a-f]{64})/\S+ /etc/(?:hosts|hostname|resolv\.conf) ")

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


def find_own_id(mountinfo: str) -> str | None:
    """The id of the container in which a process is, or None if its mounts do not tell.

    Args:
        mountinfo: its /proc/self/mountinfo. Engines bind files such as /etc/hosts from a folder
            that is named by the id; on their own host other containers' mounts are there too.
    """
    found = _OWN_FILE.search(mountinfo)
    return found[1] if found else None


def publish_at(host: str) -> str:
    """The address on which a port that is reached at `host` is published.

    Loopback only, unless it is reached from elsewhere: then as the engine's own settings have it.
    """
    try:
        return host if ipaddress.ip_address(host).is_loopback else ""
    except ValueError:
        return ""


def published_ports(network: Mapping[str, Any], container_port: int) -> Mapping[bool, str]:
    """The ports at which a container's port is published, by whether that is for IPv6.

    An engine may choose another port for IPv6 than for IPv4 (moby issue 42442).

    Args:
        network: the container's NetworkSettings, as the engine tells them.
        container_port: the port on which the server listens.
    """
    published = (network.get("Ports") or {}).get(f"{container_port}/tcp") or ()
    return {":" in entry["HostIp"]: entry["HostPort"] for entry in reversed(published)}


def own_endpoint(network: Mapping[str, Any], container_port: int) -> str | None:
    """Where the container is reached in its own network, or None if it has no address there.

    Args:
        network: the container's NetworkSettings, as the engine tells them.
        container_port: the port on which the server listens.
    """
    for entry in network["Networks"].values():
        if entry.get("IPAddress"):
            return f"{entry['IPAddress']}:{container_port}"
    return None


def published_endpoint(ports: Mapping[bool, str], addresses: Sequence[str]) -> str:
    """Where a published port is reached.

    One address, not the host's name: gRPC asks all addresses that a name has, IPv6 first, and
    there a port that was published for IPv4 may be another container's.

    Args:
        ports: as `published_ports` tells them, at least one.
        addresses: the host's, best first, at least one.
    """
    for address in addresses:
        if (":" in address) in ports:
            return _join(address, ports[":" in address])
    return _join(addresses[0], next(iter(ports.values())))  # it may lead on to that


def _join(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


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
