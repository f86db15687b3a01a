"""What a model's folder is like: who may read it, and whether it is whole where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from infra_validator.runners.docker_container import FileMode


def modes_of(folder: Path) -> Iterator[FileMode]:
    """Owners and modes of a folder and everything in it; links are followed, as a server does.

    Raises:
        OSError: if it cannot be looked at.
    """
    for path, _, names in os.walk(folder, followlinks=True, onerror=_raise):
        for item in (Path(path), *(Path(path) / name for name in names)):
            found = item.stat()
            yield FileMode(found.st_uid, found.st_gid, found.st_mode)


def is_self_contained(folder: Path) -> bool:
    """Whether no link in the folder leads out of it, so that it is whole when it is mounted."""
    return not any(
        _leads_out(path.relative_to(folder), os.readlink(path))  # noqa: PTH115 - a link's own text
        for path in folder.rglob("*")
        if path.is_symlink()
    )


def _leads_out(link: Path, target: str) -> bool:
    """Whether a link's text climbs above the folder; what it is called there is not known."""
    return target.startswith("/") or os.path.normpath(link.parent / target).startswith("..")


def _raise(error: OSError) -> None:
    raise error
