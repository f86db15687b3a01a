"""From what a Docker engine answers to a fault. Pure.

The texts are moby's (20.10 to 28), a registry's, or Docker Desktop's; the tests
give the source of each.
"""

from __future__ import annotations

import re

from infra_validator.faults import Evidence, Fault, Phase, fault
from infra_validator.text import first_line

# tini, which engines carry as docker-init, when it cannot run a program (src/tini.c).
_INIT_FAILED = re.compile(r"^\[FATAL tini[^\]]*\] (.*)$", re.MULTILINE)
_CANNOT_RUN_EXITS = frozenset({126, 127})

_Table = tuple[tuple[re.Pattern[str], str, str], ...]


def _table(*rows: tuple[str, str, str]) -> _Table:
    return tuple(
        (re.compile(pattern, re.IGNORECASE), category, summary)
        for pattern, category, summary in rows
    )


_DOCKER = "ServingSpec.local_docker"

# Looked for in this order; what is more special comes first.
_PULLING: _Table = _table(
    (
        r"no such host|dial tcp|dial unix|timeout|connection refused",
        "image_pull_failed",
        "The image cannot be pulled",
    ),
    (
        r"pull access denied|unauthorized|authentication required|no basic auth|denied: |"
        r"access forbidden|http 403|403 forbidden|authorization token has expired",
        "image_pull_denied",
        "The registry refuses to give the image",
    ),
    (
        r"no matching manifest for|does not match the specified platform",
        "image_unusable",
        "The image is not there for the platform asked for",
    ),
    (
        r"manifest .*(?:not found|unknown)|repository .* not found|no such image|name unknown",
        "image_not_found",
        "The image does not exist",
    ),
)
_STARTING: _Table = _table(
    (
        r"could not select device driver|nvidia-container-cli|no such device",
        "device_unavailable",
        f"{_DOCKER}.device_requests: the engine has no such device",
    ),
    (
        r"bind source path does not exist",
        "mount_source_missing",
        f"{_DOCKER}.mounts: a source does not exist on the engine's host",
    ),
    (
        r"mounts denied|is not shared from the host|filesharing|declined directory sharing|"
        r"invalid mount config .* permission denied|error mounting .* permission denied",
        "mount_denied",
        "The Docker engine may not share the folder with containers",
    ),
    (
        r"port is already allocated|address already in use",
        "port_taken",
        "The server's port was taken",
    ),
    (r"network .* not found", "configuration_invalid", f"{_DOCKER}.network: there is none such"),
    (r"range of cpus", "configuration_invalid", f"{_DOCKER}.cpus: more than there are"),
    (
        r"unable to find (?:user|group)|uids and gids must be in range",
        "configuration_invalid",
        f"{_DOCKER}.user: the image has no such user or group",
    ),
    (r"unknown capability", "configuration_invalid", f"{_DOCKER}.capabilities: there is none such"),
    (r"rlimit", "configuration_invalid", f"{_DOCKER}.ulimits: the limit cannot be set"),
    (r"duplicate mount point", "configuration_invalid", f"{_DOCKER}.mounts: a target is taken"),
    (r"no such image", "image_not_found", "The image does not exist"),
    (r"no such container", "server_killed", "Somebody removed the server's container"),
    (
        r"does not match the specified platform|exec format error|executable file not found|"
        r"no such file or directory: unknown|exec: .* permission denied",
        "image_unusable",
        "The image cannot be run",
    ),
)
_REMOVED_HINT = "See who removes containers on that engine, such as docker prune."


def diagnose_engine_error(message: str, phase: Phase, image: str) -> Fault:
    """What an engine means that refuses to do something.

    Args:
        message: its own words.
        phase: what it was asked for.
        image: reference of the image that it is about.
    """
    if phase == Phase.IMAGE:
        table = _PULLING
        otherwise = ("image_pull_failed", "The image cannot be pulled")
    else:
        table = _STARTING
        otherwise = ("platform_failed", "The Docker engine refuses to run the server")
    known = ((category, summary) for pattern, category, summary in table if pattern.search(message))
    category, summary = next(known, otherwise)
    hint = _REMOVED_HINT if category == "server_killed" else None
    about = f" ({image})" if phase == Phase.IMAGE and image not in message else ""
    return fault(
        category,
        phase,
        f"{summary}{about}: {first_line(message)}",
        detail=message,
        hint=hint,
        evidence=Evidence(events=(first_line(message),)),
    )


def diagnose_no_credentials(registry: str, message: str) -> Fault:
    """The program that keeps the credentials for a registry does not give them.

    Args:
        registry: whose they are.
        message: what the client library says.
    """
    return fault(
        "image_pull_denied",
        Phase.IMAGE,
        f"Docker's credentials for {registry} cannot be had: {first_line(message)}",
        detail=message,
        hint="Correct credsStore and credHelpers in Docker's config.json, so that `docker pull` "
        "works for the user who runs the validator, or remove them.",
    )


def diagnose_no_engine(address: str, message: str) -> Fault:
    """Why the engine cannot be reached at all.

    Args:
        address: where it was looked for.
        message: what the client library says.
    """
    # ssh names the ways that it tried: "me@there: Permission denied (publickey)."
    if re.search(r"permission denied(?! \()", message, re.IGNORECASE):
        category, problem = "engine_access_denied", "may not be used by this user"
    elif re.search(r"client version .* is too (?:new|old)|API versions below", message):
        category, problem = "engine_api_mismatch", "does not speak the API version asked for"
    else:
        category, problem = "engine_unavailable", "cannot be reached"
    return fault(
        category, Phase.STAGE, f"The Docker engine at {address} {problem}.", detail=message
    )


def diagnose_engine_settings(summary: str, hint: str) -> Fault:
    """What says where the engine is cannot be used."""
    return fault("engine_unavailable", Phase.STAGE, summary, hint=hint)


def diagnose_unknown_host(host: str, message: str) -> Fault:
    """The host at which the engine's ports are to be reached has no address."""
    return fault(
        "platform_failed",
        Phase.START,
        f"The host {host!r}, where the ports that the Docker engine publishes are reached, has no "
        f"address: {first_line(message)}",
        hint="Set ServingSpec.local_docker.host_ip_address to the address of the engine's host.",
    )


def diagnose_old_api(phase: Phase, message: str) -> Fault:
    """The engine's API is older than what is asked of it."""
    return fault(
        "engine_api_mismatch",
        phase,
        f"The Docker engine's API is too old for what is asked of it: {first_line(message)}",
        hint="Upgrade the engine, or leave ServingSpec.local_docker.platform unset.",
    )


def diagnose_init(exit_code: int, log: str) -> Fault | None:
    """Whether the engine's init could not run the image's entry point.

    Args:
        exit_code: the container's.
        log: its output.
    """
    found = _INIT_FAILED.search(log) if exit_code in _CANNOT_RUN_EXITS else None
    if found is None:
        return None
    return fault(
        "image_unusable",
        Phase.START,
        f"The image's entry point cannot be run: {first_line(found[1])}",
        detail=first_line(found[0]),
        evidence=Evidence(exit_code=exit_code, log_line=first_line(found[0])),
    )


def diagnose_missing_source(index: int, source: str) -> Fault:
    """A source of `mounts` that is not there."""
    return fault(
        "mount_source_missing",
        Phase.STAGE,
        f"{_DOCKER}.mounts[{index}].source: {source} does not exist on the engine's host.",
    )


def diagnose_missing_volume(index: int, name: str) -> Fault:
    """A volume of `mounts` that the engine does not have, and would make and keep."""
    return fault(
        "mount_source_missing",
        Phase.STAGE,
        f"{_DOCKER}.mounts[{index}].source: the engine has no volume {name!r}.",
        hint="Make it with `docker volume create`, or correct ServingSpec.local_docker.mounts.",
    )


def diagnose_engine_lost(phase: Phase, message: str) -> Fault:
    """The engine was there, and is not any more."""
    return fault("engine_lost", phase, "The Docker engine went away.", detail=message)


def diagnose_memory(limit: int, phase: Phase, exit_code: int) -> Fault:
    """The kernel killed the server for memory.

    Args:
        limit: the server's own limit in bytes, 0 for none.
        phase: what it was doing.
        exit_code: with which it ended.
    """
    evidence = Evidence(exit_code=exit_code, events=("OOMKilled",))
    if limit:
        return fault(
            "memory_limit_exceeded",
            phase,
            f"The server needs more than the {limit / 1024**2:.0f} MiB of memory that "
            "ServingSpec.local_docker.memory gives it.",
            evidence=evidence,
        )
    return fault(
        "out_of_memory", phase, "The server was killed for want of memory.", evidence=evidence
    )
