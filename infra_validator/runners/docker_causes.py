"""Whether a server failed by what ServingSpec.local_docker allows it. Pure.

A server that may start no more threads, open no more files, or not read the
model, says so in words of its own. A model can write such words too, so they
count only where the configuration sets a limit, and where the server's end
begins; and what they excuse is never tried again.
"""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from infra_validator.docker_config import MODEL_BASE, DockerSettings
from infra_validator.faults import Fault, Phase, fault
from infra_validator.servers.tensorflow_serving_log import has_begun_loading
from infra_validator.text import first_line

_DOCKER = "ServingSpec.local_docker"

# What a server that lacks threads or files may look like, by where it says so: before it has the
# model, all of its words are its own; later only the last of them, and what is told as the fault.
_BEFORE_LOADING = frozenset({"image_unusable", "server_exited"})
_BY_LAST_WORDS = frozenset(
    {
        "connection_lost",
        "load_timeout",
        "model_load_failed",
        "out_of_memory",
        "request_timeout",
        "server_crashed",
        "server_not_ready",
    }
)
_BY_ITSELF = frozenset({"platform_failed", "request_failed"})
_LAST_LINES = 10
_OF_STACK = ("*** Check failure stack trace", "@ ")

# With which a server ends that gives up, bash with 254; of one that is still there, none is known.
_GAVE_UP = frozenset({None, 1, 126, 127, 128 + signal.SIGABRT, 254, 255})

_OF_READING = frozenset({"model_missing", "model_not_delivered"})
_PLACE = re.compile(r"(?:^|[\s:='\"(])(/[^\s;,'\")]*)")

# Of the engine and of runc (libcontainer/rootfs_linux.go), where a place takes no mount, and how
# they write that place.
_IN_CONTAINER = r"(?:merged|rootfs|[0-9a-f]{{64}}|\"){}(?![^\s:,;\"])"
_NO_PLACE = re.compile(r"not a directory|read-only file system|inside /proc", re.IGNORECASE)

# tensorflow/cc/saved_model/loader.cc
_NO_VARIABLES = (
    "The specified SavedModel has no variables; no checkpoints were restored. File does not exist: "
)

# Patterns are never let loose on more than this, for a server may print anything.
_LINE_CHARACTERS = 8000


@dataclasses.dataclass(frozen=True)
class _Limit:
    """Something that a server may run out of.

    Attributes:
        said: whether a line words that.
        what: it, as the end of "The server could ...".
        fields: those of LocalDockerConfig that are set and limit it.
        hint: where none is set.
    """

    said: Callable[[str], bool]
    what: str
    fields: Callable[[DockerSettings], tuple[str, ...]]
    hint: str


# Of bash, tini, TensorFlow (tsl/platform/default/env.cc), gRPC (gprpp/posix/thd.cc), the C++
# library, Python, Go, and of runc in the engine's words.
_STARTS = re.compile(
    r"\bfork(?:/exec)?\b|\bclone\b|\bstarting \S+ process\b|\bpthread_create\b|what\(\): |"
    r"\bnew OS thread\b",
    re.IGNORECASE,
)
_EAGAIN = re.compile(r"resource temporarily unavailable|\(11 vs\. 0\)|errno=11\b", re.IGNORECASE)
_PYTHON_SAYS = "can't start new thread"


def _says_no_threads(line: str) -> bool:
    return _PYTHON_SAYS in line or (
        _EAGAIN.search(line) is not None and _STARTS.search(line) is not None
    )


def _says_no_files(line: str) -> bool:
    return "too many open files" in line.lower()


def _ulimits(settings: DockerSettings, name: str) -> tuple[str, ...]:
    return ("ulimits",) if any(limit.name == name for limit in settings.ulimits) else ()


_LIMITS = (
    _Limit(
        _says_no_threads,
        "start no more threads or processes",
        lambda settings: (
            (("pids_limit",) if settings.pids_limit else ()) + _ulimits(settings, "nproc")
        ),
        f"if it needs that many in production, raise {_DOCKER}.pids_limit (by default 512, and 64 "
        "for each processor), or see what else limits processes on the engine's host.",
    ),
    _Limit(
        _says_no_files,
        "open no more files",
        lambda settings: _ulimits(settings, "nofile"),
        f"if it needs that many in production, raise the limit nofile in {_DOCKER}.ulimits, or "
        "what the engine gives by default.",
    ),
)


def find_cause(found: Fault, settings: DockerSettings, log: str, delivery: str | None) -> Fault:
    """The fault, or the one behind it, which is not worth another try.

    Args:
        found: a fault of a server that was to run, or ran.
        settings: the platform's configuration.
        log: the server's output, as it may be shown.
        delivery: "mount" or "copy"; None where it did not come to that.
    """
    if found.category in _OF_READING and found.phase == Phase.LOAD:
        return _find_reader(found, settings, log, delivery)
    if found.category == "platform_failed" and found.phase == Phase.START:
        found = _find_mount(found, settings)
    lines = [line[:_LINE_CHARACTERS] for line in _decisive_lines(found, log)]
    for limit in _LIMITS:
        line = next(filter(limit.said, lines), None)
        if line is not None:
            return _blame_limit(found, limit, limit.fields(settings), first_line(line))
    return found


def _decisive_lines(found: Fault, log: str) -> Iterable[str]:
    if found.evidence.exit_code not in _GAVE_UP:
        return ()
    own = f"{found.detail}\n{found.evidence.log_line or ''}".splitlines()
    if found.category in _BEFORE_LOADING:
        return own + log.splitlines()
    if found.category in _BY_LAST_WORDS:
        said = [line for line in log.splitlines() if not line.lstrip().startswith(_OF_STACK)]
        return own + said[-_LAST_LINES:]
    return own if found.category in _BY_ITSELF else ()


def _blame_limit(found: Fault, limit: _Limit, fields: tuple[str, ...], line: str) -> Fault:
    if not fields:
        hint = f"{found.hint} The server says that it could {limit.what}: {limit.hint}"
        return dataclasses.replace(found, hint=hint)
    names = " or ".join(f"{_DOCKER}.{field}" for field in fields)
    return fault(
        "configuration_invalid",
        found.phase,
        f"{names}: the server could {limit.what}: {line}",
        detail=found.summary,
        hint="Raise it to what the server has in production.",
        evidence=dataclasses.replace(found.evidence, log_line=line),
    )


def _find_mount(found: Fault, settings: DockerSettings) -> Fault:
    """Whether the engine means a mount of the configuration, by the place that it names."""
    if _NO_PLACE.search(found.detail) is None:
        return found
    for index, mount in enumerate(settings.mounts):
        if re.search(_IN_CONTAINER.format(re.escape(mount.target)), found.detail):
            return fault(
                "configuration_invalid",
                Phase.START,
                f"{_DOCKER}.mounts[{index}]: {mount.source} cannot be mounted at {mount.target}: "
                f"{first_line(found.detail)}",
                detail=found.detail,
                evidence=found.evidence,
            )
    return found


def _find_reader(found: Fault, settings: DockerSettings, log: str, delivery: str | None) -> Fault:
    """Whose it is that a file cannot be found or read, by where the server says that it lies."""
    said = found.detail or found.summary
    place = _PLACE.search(said)
    if place is None:
        return found
    if place[1].startswith(f"{MODEL_BASE}/"):
        if delivery != "mount":
            return found
        return dataclasses.replace(_blame_reader(said, settings.user), evidence=found.evidence)
    place_given = place[1].startswith("//") or any(  # a remote place, or the configuration's
        PurePosixPath(place[1]).is_relative_to(mount.target) for mount in settings.mounts
    )
    if place_given:
        return found
    # Before it loads the model, it reads files that its flags name.
    if found.category == "model_missing" or not has_begun_loading(log):
        return found
    return fault(
        "asset_unreadable",
        Phase.LOAD,
        f"A file that the model reads cannot be read: {first_line(said)}",
        detail=said,
        evidence=found.evidence,
    )


def find_unseen_variables(place: str, user: str | None, log: str) -> Fault | None:
    """Whether the server has loaded a mounted model without its variables, which are there.

    TensorFlow takes a file in a folder that it may not enter for one that is not there.

    Args:
        place: where the model is in the container.
        user: as the configuration names it.
        log: the server's output.
    """
    said = f"{_NO_VARIABLES}{place}/variables/variables.index"
    return _blame_reader(said, user) if said in log else None


def _blame_reader(said: str, user: str | None) -> Fault:
    if user is not None:
        category, summary = "configuration_invalid", f"{_DOCKER}.user: {user} cannot read the model"
        hint = (
            "Let this user read the model's files, leave the field unset to have the server run "
            "as their owner, or set model_delivery to COPY."
        )
    else:  # by another mapping of users, or a label (SELinux) that it lacks
        category, summary = "mount_denied", "The server cannot read the model where it is mounted"
        hint = None
    return fault(category, Phase.LOAD, f"{summary}: {first_line(said)}", detail=said, hint=hint)
