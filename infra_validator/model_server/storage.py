"""Where the model's versions lie, and which of them to load.

tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc.
"""

import dataclasses
import errno
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra_validator.model_server import log
from infra_validator.model_server.status import Code, StatusError, invalid_argument

_VERSION = re.compile(r"\s*-?\d+\s*", re.ASCII)
_INT64_LIMIT = 1 << 63

_ERRNO_CODES = {
    errno.ENOENT: Code.NOT_FOUND,
    errno.EACCES: Code.PERMISSION_DENIED,
    errno.ENOTDIR: Code.FAILED_PRECONDITION,
}


@dataclasses.dataclass(frozen=True)
class VersionPolicy:
    """Which versions to serve.

    Attributes:
        latest: how many of the highest; 0 where another choice holds.
        all: every one.
        specific: these.
    """

    latest: int = 1
    all: bool = False
    specific: frozenset[int] = frozenset()

    @classmethod
    def from_proto(cls, policy: Any) -> "VersionPolicy":
        """Reads a ServableVersionPolicy; unset means the one latest version."""
        choice = policy.WhichOneof("policy_choice")
        if choice == "all":
            return cls(latest=0, all=True)
        if choice == "specific":
            return cls(latest=0, specific=frozenset(policy.specific.versions))
        return cls(latest=max(policy.latest.num_versions, 1))


def join_path(base: str, child: str) -> str:
    """Joins as ``tensorflow::io::JoinPath`` does, without touching the rest of ``base``."""
    return f"{base}{child}" if base.endswith("/") else f"{base}/{child}"


def filesystem_error(error: OSError) -> StatusError:
    """Returns an error of the file system as TensorFlow words it."""
    code = _ERRNO_CODES.get(error.errno or 0, Code.UNKNOWN)
    return StatusError(code, f"{error.filename}; {error.strerror}")


def version_number(name: str) -> int | None:
    """Returns the version that a directory's name spells, or None."""
    if not _VERSION.fullmatch(name):
        return None
    number = int(name)
    return number if -_INT64_LIMIT <= number < _INT64_LIMIT else None


def select_versions(names: Iterable[str], policy: VersionPolicy) -> dict[int, str]:
    """Returns version → directory name for what the policy wants, in ascending order."""
    found: dict[int, str] = {}
    for name in sorted(names):
        number = version_number(name)
        if number is None:
            continue
        if number in found:
            log.warning(
                f"Duplicate version directories detected. Version {number} will be loaded from "
                f"{name}, {found[number]} will be ignored."
            )
        found[number] = name
    wanted = sorted(found)
    if policy.latest:
        wanted = wanted[-policy.latest :]
    elif not policy.all:
        wanted = [number for number in wanted if number in policy.specific]
    return {number: found[number] for number in wanted}


def _poll(model_name: str, base_path: str, policy: VersionPolicy) -> dict[int, str]:
    """Looks once; says in the log what is missing."""
    try:
        Path(base_path).stat()
    except OSError:
        raise invalid_argument(
            f"Could not find base path {base_path} for servable {model_name} with error "
            f"NOT_FOUND: {base_path} not found"
        ) from None
    try:
        names = [child.name for child in Path(base_path).iterdir()]
    except OSError as error:
        raise filesystem_error(error) from error
    selected = select_versions(names, policy)
    for number in sorted(policy.specific - selected.keys()):
        log.warning(
            f"Version {number} of servable {model_name}, which was requested to be served as a "
            "'specific' version in the servable's version policy, was not found in the file system"
        )
    if not selected:
        log.warning(
            f"No versions of servable {model_name} found under base path {base_path}. Did you "
            "forget to name your leaf directory as a number (eg. '/1/')?"
        )
    return {number: join_path(base_path, name) for number, name in selected.items()}


def wait_for_versions(
    model_name: str, base_path: str, policy: VersionPolicy, poll_wait_seconds: int
) -> dict[int, str]:
    """Returns version → path, once there is at least one; waits for ever otherwise.

    Args:
        model_name: for the log.
        base_path: the directory that holds the versions.
        policy: which of them to take.
        poll_wait_seconds: pause between two looks; 0 looks once only, less than 0 never.
    """
    while poll_wait_seconds >= 0:
        try:
            versions = _poll(model_name, base_path, policy)
        except StatusError as error:
            log.error(
                "FileSystemStoragePathSource encountered a filesystem access error: "
                f"{error.message.decode(errors='replace')}"
            )
            versions = {}
        if versions:
            return versions
        if poll_wait_seconds == 0:
            break
        time.sleep(poll_wait_seconds)
    while True:
        time.sleep(_FOREVER_SECONDS)


_FOREVER_SECONDS = 86400.0
