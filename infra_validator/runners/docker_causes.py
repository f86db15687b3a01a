"""Whether a server failed by what ServingSpec.local_docker allows it. Pure.

A server that may start no more threads, open no more files, or not read the
model, says so in words of its own; whom its end is blamed on depends on what
the configuration says.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from infra_validator.docker_config import DockerSettings
from infra_validator.faults import Fault, Phase, fault
from infra_validator.text import first_line

_DOCKER = "ServingSpec.local_docker"

# What a server that lacks threads or files may look like. Whatever else it complains of is not
# explained by that.
_OF_LIMITS = frozenset(
    {
        "connection_lost",
        "image_unusable",
        "load_timeout",
        "model_load_failed",
        "out_of_memory",
        "platform_failed",
        "request_timeout",
        "server_crashed",
        "server_exited",
        "server_not_ready",
    }
)
# An answer that is an error says itself whether it is for that.
_OF_LIMITS_IF_IT_SAYS_SO = frozenset({"request_failed"})
_OF_READING = frozenset({"model_missing", "model_not_delivered"})


@dataclasses.dataclass(frozen=True)
class _Limit:
    """Something that a server may run out of.

    Attributes:
        said: how that is worded.
        what: it, as the end of "The server could ...".
        fields: those of LocalDockerConfig that are set and limit it.
        hint: where none is set.
    """

    said: re.Pattern[str]
    what: str
    fields: Callable[[DockerSettings], tuple[str, ...]]
    hint: str


def _ulimit(settings: DockerSettings, name: str) -> tuple[str, ...]:
    return tuple(
        f"ulimits[{index}]" for index, limit in enumerate(settings.ulimits) if limit.name == name
    )


def _of_threads(settings: DockerSettings) -> tuple[str, ...]:
    pids = ("pids_limit",) if settings.pids_limit else ()
    return pids + _ulimit(settings, "nproc")


def _of_files(settings: DockerSettings) -> tuple[str, ...]:
    return _ulimit(settings, "nofile")


_LIMITS = (
    _Limit(
        # Of bash, tini, TensorFlow (tsl/platform/default/env.cc), gRPC (gprpp/posix/thd.cc), the
        # C++ library, Python, Go, and of runc in the engine's words.
        re.compile(
            r"fork(?:: retry)?(?: failed)?: Resource temporarily unavailable|"
            r"pthread_create(?:\(\))? failed|can't start new thread|"
            r"what\(\): +Resource temporarily unavailable|failed to create new OS thread|"
            r"(?:fork/exec|clone|starting \S+ process).*: resource temporarily unavailable",
            re.IGNORECASE,
        ),
        "start no more threads or processes",
        _of_threads,
        f"Raise {_DOCKER}.pids_limit (by default 512, and 64 for each processor), or see what else "
        "limits processes on the engine's host.",
    ),
    _Limit(
        re.compile(r"too many open files", re.IGNORECASE),
        "open no more files",
        _of_files,
        f"Raise the limit nofile in {_DOCKER}.ulimits, or what the engine gives by default.",
    ),
)


def find_cause(found: Fault, settings: DockerSettings, log: str, delivery: str | None) -> Fault:
    """The fault, or the one behind it.

    Args:
        found: a fault of a server that was to run, or ran.
        settings: the platform's configuration.
        log: the server's output.
        delivery: "mount" or "copy"; None where it did not come to that.
    """
    if found.category in _OF_READING and found.phase == Phase.LOAD:
        return _blame_reader(found, settings.user, delivery)
    texts = [found.detail] if found.category in _OF_LIMITS | _OF_LIMITS_IF_IT_SAYS_SO else []
    texts += [log] if found.category in _OF_LIMITS else []
    for limit in _LIMITS:
        line = next(filter(None, (_find_line(limit.said, text) for text in texts)), None)
        if line is not None:
            return _blame_limit(found, limit, limit.fields(settings), line)
    return found


def blame_user(user: str, phase: Phase, problem: str) -> Fault:
    """The user whom the configuration names cannot read the model."""
    return fault(
        "configuration_invalid",
        phase,
        f"{_DOCKER}.user: {user} cannot read the model: {first_line(problem)}",
        detail=problem,
        hint="Let this user read the model's files, leave the field unset to have the server run "
        "as their owner, or set model_delivery to COPY.",
    )


def _find_line(said: re.Pattern[str], text: str) -> str | None:
    match = said.search(text)
    if match is None:
        return None
    return text[text.rfind("\n", 0, match.start()) + 1 :].partition("\n")[0].strip()


def _blame_limit(found: Fault, limit: _Limit, fields: tuple[str, ...], line: str) -> Fault:
    if fields:
        category, hint = "configuration_invalid", "Raise it to what the server has in production."
        summary = f"{_DOCKER}.{' or '.join(fields)}: the server could {limit.what}"
    elif found.category == "platform_failed":  # the engine's own words, with a hint of their own
        return found
    else:
        category, hint = "platform_failed", limit.hint
        summary = f"The server could {limit.what}"
    return fault(
        category,
        found.phase,
        f"{summary}: {first_line(line)}",
        detail=found.summary,
        hint=hint,
        evidence=dataclasses.replace(found.evidence, log_line=first_line(line)),
    )


def _blame_reader(found: Fault, user: str | None, delivery: str | None) -> Fault:
    """A model that was looked at before, and cannot be found or read in the container."""
    said = found.detail or found.summary
    if user is not None:
        return dataclasses.replace(blame_user(user, found.phase, said), evidence=found.evidence)
    if delivery == "mount":  # by another mapping of users, or a label (SELinux) that it lacks
        return fault(
            "mount_denied",
            found.phase,
            f"The server cannot read the model where it is mounted: {first_line(said)}",
            detail=said,
            evidence=found.evidence,
        )
    return found
