"""The `docker run` that does by hand what the engine was asked to do. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from infra_validator.docker_config import CONFIG_FOLDER, MODEL_BASE
from infra_validator.runners.base import ServerTask
from infra_validator.runners.shell import comment, join_lines

# Ours, and without secrets; of all other variables only the names are told.
_SHOWN_VARIABLES = {"MODEL_NAME", "MODEL_BASE_PATH"}


def reproduce(config: Mapping[str, Any], task: ServerTask, platform: str | None) -> str:
    """`docker_script` for the server that a runner is asked to run."""
    return docker_script(
        config,
        model=str(task.model.local_path()),
        model_uri=task.model.own_place(),
        layout=task.binary.model_layout(),
        platform=platform,
    )


def docker_script(
    config: Mapping[str, Any], *, model: str, model_uri: str, layout: str, platform: str | None
) -> str:
    """A shell script that starts the same container again.

    What the validator copied into the container is mounted instead. Values of
    environment variables are not told: they are taken from the shell's own.

    Args:
        config: the body of POST /containers/create.
        model: the model's folder on this machine.
        model_uri: where the model really is, if that folder is a copy.
        layout: where the model lies below the base folder.
        platform: the image's platform, where one was asked for.
    """
    lines = []
    if model_uri != model:
        lines.append(comment(f"Copy {model_uri} into the folder ./model first."))
        source = "$PWD/model"
    else:
        source = model
    place = f"{MODEL_BASE}/{layout}"
    host = config["HostConfig"]
    mounts = [_mount_option(source, place, read_only=True)]
    for flag in _config_flags(config):
        lines.append(comment(f"Write the content of config_files[{flag!r}] to ./{flag} first."))
        mounts.append(_mount_option(f"$PWD/{flag}", f"{CONFIG_FOLDER}/{flag}", read_only=True))
    mounts += [
        _mount_option(mount["Source"], mount["Target"], mount["ReadOnly"], mount["Type"])
        for mount in host["Mounts"]
        if "Source" in mount and mount["Target"] != place
    ]
    variables = [entry.partition("=")[::2] for entry in config["Env"]]
    parts = [
        "docker run --rm",
        *([f"--platform {shlex.quote(platform)}"] if platform else []),
        *(f"--publish {_publish(port, bound)}" for port, bound in host["PortBindings"].items()),
        *mounts,
        *(
            "--env "
            + (shlex.quote(f"{name}={value}") if name in _SHOWN_VARIABLES else shlex.quote(name))
            for name, value in variables
        ),
        *_rights(config),
        *_limits(host),
        *map(shlex.quote, [config["Image"], *config["Cmd"]]),
    ]
    hidden = [name for name, _ in variables if name not in _SHOWN_VARIABLES]
    if hidden:
        lines.append(comment(f"Export these first, with the values you use: {', '.join(hidden)}"))
    return "\n".join([*lines, join_lines(parts)])


def _config_flags(config: Mapping[str, Any]) -> list[str]:
    """The flags that are set to a file which the validator carried into the container."""
    flags = []
    for argument in config["Cmd"]:
        name, _, value = argument.lstrip("-").partition("=")
        if PurePosixPath(value).parent == PurePosixPath(CONFIG_FOLDER):
            flags.append(name)
    return flags


def _mount_option(source: str, target: str, read_only: bool, kind: str = "bind") -> str:
    option = f"type={kind},{_field('source', source)},{_field('target', target)}"
    option += ",readonly" if read_only else ""
    # Docker reads the option as a line of CSV.
    if source.startswith("$PWD/"):
        return f'--mount "{option}"'
    return f"--mount {shlex.quote(option)}"


def _field(name: str, value: str) -> str:
    field = f"{name}={value}"
    if "," in field or '"' in field:
        field = '"' + field.replace('"', '""') + '"'
    return field


def _publish(port: str, bound: list[Mapping[str, str]]) -> str:
    """On the same port, so that it is known where to ask."""
    number = port.partition("/")[0]
    address = bound[0]["HostIp"]
    return f"{address}:{number}:{number}" if address else f"{number}:{number}"


def _rights(config: Mapping[str, Any]) -> list[str]:
    host = config["HostConfig"]
    return [
        f"--user {shlex.quote(config['User'])}",
        *(["--init"] if host["Init"] else []),
        *(["--read-only"] if host["ReadonlyRootfs"] else []),
        *(f"--tmpfs {shlex.quote(place)}" for place in host["Tmpfs"]),
        *(f"--cap-drop {shlex.quote(name)}" for name in host["CapDrop"]),
        *(f"--cap-add {shlex.quote(name)}" for name in host["CapAdd"]),
        *(f"--security-opt {shlex.quote(option)}" for option in host["SecurityOpt"]),
    ]


def _limits(host: Mapping[str, Any]) -> list[str]:
    options = [f"--pids-limit {host['PidsLimit']}"]
    if "NanoCpus" in host:
        options.append(f"--cpus {host['NanoCpus'] / 1e9:g}")
    if "Memory" in host:
        options.append(f"--memory {host['Memory']}b --memory-swap {host['MemorySwap']}b")
    if "ShmSize" in host:
        options.append(f"--shm-size {host['ShmSize']}b")
    for limit in host.get("Ulimits", ()):
        options.append(f"--ulimit {shlex.quote(limit['Name'])}={limit['Soft']}:{limit['Hard']}")
    for request in host.get("DeviceRequests", ()):
        options.append(f"--gpus {shlex.quote(_devices(request))}")
    if "NetworkMode" in host:
        options.append(f"--network {shlex.quote(host['NetworkMode'])}")
    return options


def _devices(request: Mapping[str, Any]) -> str:
    """Docker's command line reads it as CSV; a list in it has quotes of its own."""
    fields = []
    if request["DeviceIDs"]:
        fields.append(f'"device={",".join(request["DeviceIDs"])}"')
    elif request["Count"] == -1:
        fields.append("count=all")
    else:
        fields.append(f"count={request['Count']}")
    if request["Driver"]:
        fields.append(f"driver={request['Driver']}")
    capabilities = [name for names in request["Capabilities"] for name in names]
    if capabilities != ["gpu"]:
        fields.append(f'"capabilities={",".join(capabilities)}"')
    return ",".join(fields)
