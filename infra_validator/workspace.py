"""A private folder for the time of one validation, gone afterwards in any case.

A validator that is killed leaves its folder behind; the next one removes it.
Whether the owner still lives is told by a lock on a file in the folder, which
the system releases with the owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from infra_validator.files import remove_tree

_PREFIX = "infra-validator-"
_LOCK = "lock"
# gRPC reads a socket's address as a URI; servers cannot be told to quote.
_SAFE = re.compile(r"[A-Za-z0-9/._-]+")
_UNLOCKED_SECONDS = 3600.0

# A unix socket's path holds 107 bytes (sockaddr_un); leave room for names below.
_MAX_ROOT_BYTES = 60


@contextlib.contextmanager
def open_workspace() -> Iterator[Path]:
    """Makes a private folder, and removes those that dead validators left behind.

    Yields:
        The folder's path, short enough for unix sockets in it.

    Raises:
        OSError: if no folder can be made.
    """
    root = Path(tempfile.gettempdir())
    if len(os.fsencode(root)) > _MAX_ROOT_BYTES or not _SAFE.fullmatch(str(root)):
        root = Path("/tmp")  # noqa: S108 - mkdtemp makes the name in it
    _sweep(root)
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        try:
            with (path / _LOCK).open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Another validator may have swept it while it was not locked yet.
                if (path / _LOCK).exists():
                    try:
                        yield path
                    finally:
                        _remove(path)  # while nobody else may
                    return
        finally:
            _remove(path)


def _remove(path: Path) -> None:
    """The lock goes last: with it, what is left of an interrupted removal is swept."""
    for item in path.iterdir() if path.is_dir() else ():
        if item.is_dir() and not item.is_symlink():
            remove_tree(item)
        elif item.name != _LOCK:
            item.unlink(missing_ok=True)
    remove_tree(path)


def _sweep(root: Path) -> None:
    for path in root.glob(f"{_PREFIX}*"):
        try:
            with (path / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
        except FileNotFoundError:
            # Its owner is making the lock now, or died before that, or in the midst of removal.
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > _UNLOCKED_SECONDS:
                    _remove(path)
        except OSError:
            continue  # its owner lives, or it is another user's
