"""The file system, as far as the validator uses it.

`FileSystem` names the few functions of TFX's `fileio` that are needed, so that
the executor can hand in that module itself and a pipeline's own file systems
work, while the engine stays free of TFX. Without a pipeline, `Gfile` reads what
TensorFlow reads: local paths, gs:// and what plugins add.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from infra_validator.faults import FaultError, Phase, fault

_logger = logging.getLogger(__name__)

_CHUNK_BYTES = 8 * 1024 * 1024

# _IOW(0x94, 9, int) of linux/fs.h: the file shares the other's blocks until one is written to.
_FICLONE = 0x40049409


class FileSystem(Protocol):
    """What is needed of a file system; signatures as in TFX's `fileio`."""

    def open(self, path: Any, mode: str = "r") -> Any:
        """Opens a file."""

    def exists(self, path: Any) -> bool:
        """Whether there is a file or folder."""

    def isdir(self, path: Any) -> bool:
        """Whether there is a folder."""

    def listdir(self, path: Any) -> list[Any]:
        """Names in a folder; those of folders may end with a slash."""

    def makedirs(self, path: Any) -> None:
        """Makes a folder and those above it."""

    def walk(self, top: Any) -> Iterable[tuple[Any, list[Any], list[Any]]]:
        """Folders below `top`, each with its folders and files."""

    def rmtree(self, path: Any) -> None:
        """Removes a folder and all below it."""


class Gfile:
    """`FileSystem` over TensorFlow's gfile, loaded when first used."""

    def open(self, path: Any, mode: str = "r") -> Any:
        """Opens a file."""
        return _gfile().GFile(path, mode)

    def exists(self, path: Any) -> bool:
        """Whether there is a file or folder."""
        return bool(_gfile().exists(path))

    def isdir(self, path: Any) -> bool:
        """Whether there is a folder."""
        return bool(_gfile().isdir(path))

    def listdir(self, path: Any) -> list[Any]:
        """Names in a folder; those of folders may end with a slash."""
        return list(_gfile().listdir(path))

    def makedirs(self, path: Any) -> None:
        """Makes a folder and those above it."""
        _gfile().makedirs(path)

    def walk(self, top: Any) -> Iterable[tuple[Any, list[Any], list[Any]]]:
        """Folders below `top`, each with its folders and files."""
        walked: Iterable[tuple[Any, list[Any], list[Any]]] = _gfile().walk(top)
        return walked

    def rmtree(self, path: Any) -> None:
        """Removes a folder and all below it."""
        _gfile().rmtree(path)


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turns what file systems raise into `OSError`, whatever their own kind.

    TensorFlow's file systems raise `tf.errors.OpError`, TFX's add their
    `NotFoundError`, plugins raise `OSError`. What is not there becomes a
    `FileNotFoundError`, what may not be read or cannot ever be a
    `PermissionError`.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(error.message) from error
    except (
        tf.errors.PermissionDeniedError,
        tf.errors.UnauthenticatedError,
        tf.errors.UnimplementedError,
        tf.errors.FailedPreconditionError,
    ) as error:
        raise PermissionError(error.message) from error
    except (tf.errors.OpError, UnicodeError) as error:
        raise OSError(str(error) or type(error).__name__) from error
    except OSError as error:
        if isinstance(error.__cause__, (tf.errors.NotFoundError, FileNotFoundError)):
            raise FileNotFoundError(str(error.__cause__)) from error
        raise


def absolute(path: str) -> str:
    """A local path as it is known everywhere on this machine; a URI as it is."""
    return path if "://" in path or not path else str(Path(path).absolute())


def is_missing(files: FileSystem, path: str) -> bool:
    """Whether there is nothing at a path, for sure.

    `exists` says no as well where it may not look, and gfile says so of a
    local folder whatever is asked.

    Raises:
        OSError: if it cannot be told.
    """
    local = local_path(path)
    try:
        with storage_errors():
            if local is not None:
                local.stat()
            elif not files.exists(path):
                files.listdir(path)
    except FileNotFoundError:
        return True
    return False


def storage_fault(summary: str, phase: Phase, error: OSError) -> FaultError:
    """The fault of a storage that cannot be read or written; only some pass by themselves."""
    denied = isinstance(error, (PermissionError, IsADirectoryError, NotADirectoryError))
    category = "storage_denied" if denied else "storage_failed"
    return FaultError(fault(category, phase, summary, detail=str(error)))


def local_path(uri: str) -> Path | None:
    """The local path that a URI names, or None for a remote one.

    Nothing is decoded: for TensorFlow's file systems, too, "%20" stands for itself.
    """
    if "://" not in uri:
        return Path(uri)
    for prefix in ("file://localhost/", "file:///"):
        if uri.startswith(prefix):
            return Path("/" + uri[len(prefix) :])
    return None


def copy_tree(
    files: FileSystem, source: str, target: str, check: Callable[[], None]
) -> tuple[int, int]:
    """Copies a folder, file by file: by reflink where the disk can, else in chunks.

    The copies are new files, so that writing to them changes nothing in the source.

    Args:
        files: the file system of both.
        source: folder to copy.
        target: folder to make.
        check: called before each file and chunk; what it raises ends the copy.

    Returns:
        Number of files and bytes copied.

    Raises:
        OSError: if a file cannot be read or written.
    """
    count = size = 0
    cloning = sys.platform == "linux"
    with storage_errors():
        if not files.isdir(source):  # walking it would find nothing, and say nothing
            raise FileNotFoundError(f"no such folder: {source}")
        files.makedirs(target)
        for folder, folders, names in files.walk(source):
            relative = os.path.relpath(folder, source)
            there = target if relative == "." else os.path.join(target, relative)  # noqa: PTH118
            for name in folders:
                files.makedirs(os.path.join(there, name.rstrip("/")))  # noqa: PTH118
            for name in names:
                check()
                one = os.path.join(folder, name)  # noqa: PTH118
                other = os.path.join(there, name)  # noqa: PTH118
                cloned = _clone(local_path(one), local_path(other)) if cloning else None
                cloning = cloned is not None
                size += _copy(files, one, other, check) if cloned is None else cloned
                count += 1
    return count, size


def _copy(files: FileSystem, source: str, target: str, check: Callable[[], None]) -> int:
    """Copies a file in chunks; returns the number of bytes."""
    size = 0
    with files.open(source, "rb") as reader, files.open(target, "wb") as writer:
        chunk = b"-"
        while chunk:
            check()
            chunk = reader.read(_CHUNK_BYTES)
            writer.write(chunk)  # gfile makes even an empty file only when it is written
            size += len(chunk)
    return size


def _clone(source: Path | None, target: Path | None) -> int | None:
    """Copies a file by sharing its blocks; returns its size, or None where that cannot be had."""
    if source is None or target is None:
        return None
    try:
        with source.open("rb") as reader, target.open("wb") as writer:
            fcntl.ioctl(writer, _FICLONE, reader.fileno())
            return os.fstat(writer.fileno()).st_size
    except OSError:  # copying tells what is wrong, if anything but this is
        return None


def remove_tree(path: Path) -> None:
    """Removes a local folder, if it is there; links in it are removed, not followed."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        _logger.warning("Cannot remove %s: %s", path, error)
