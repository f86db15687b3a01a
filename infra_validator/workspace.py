"""A private folder for the time of one validation, gone afterwards in any case.

A validator that is killed leaves its folder behind; the next one removes it.
Whether the owner still lives is told by a lock on a file in the folder, which
the system releases with the owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from infra_validator.files import remove_tree

_PREFIX = "infra-validator-"
_LOCK = "lock"
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
    if len(os.fsencode(root)) > _MAX_ROOT_BYTES:
        root = Path("/tmp")  # noqa: S108 - mkdtemp makes the name in it
    _sweep(root)
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        try:
            with (path / _LOCK).open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                # Another validator may have swept it while it was not locked yet.
                if (path / _LOCK).exists():
                    yield path
                    return
        finally:
            remove_tree(path)


def _sweep(root: Path) -> None:
    for path in root.glob(f"{_PREFIX}*"):
        try:
            with (path / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
        except FileNotFoundError:
            # Its owner is making the lock now, or died before that, or in the midst of removal.
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > _UNLOCKED_SECONDS:
                    remove_tree(path)
        except OSError:
            continue  # its owner lives, or it is another user's
