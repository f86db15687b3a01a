"""Folders and files as tar streams, as the Docker engine takes them."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra_validator.runners.docker_container import FileMode

_CHUNK_BYTES = 1024 * 1024
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644


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


def stream_folder(folder: Path, at: str) -> Iterator[bytes]:
    """The folder as a tar stream, readable to everybody, with nothing but a chunk in memory.

    Args:
        folder: what to send.
        at: its path in the archive.

    Raises:
        OSError: if a file cannot be read.
    """
    for parent in reversed(Path(at).parents):
        if parent.name:
            yield _header(_entry(str(parent), tarfile.DIRTYPE))
    for path, _, names in os.walk(folder, followlinks=True, onerror=_raise):
        relative = os.path.relpath(path, folder)
        there = at if relative == "." else f"{at}/{relative}"
        yield _header(_entry(there, tarfile.DIRTYPE))
        for name in names:
            yield from _file(Path(path) / name, f"{there}/{name}")
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Small files as a tar archive, readable to everybody."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = _entry(name, tarfile.REGTYPE)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _file(path: Path, at: str) -> Iterator[bytes]:
    with path.open("rb") as file:
        entry = _entry(at, tarfile.REGTYPE)
        entry.size = os.fstat(file.fileno()).st_size
        yield _header(entry)
        left = entry.size
        while left:
            chunk = file.read(min(_CHUNK_BYTES, left))
            if not chunk:
                raise OSError(f"{path} became shorter while it was read")
            left -= len(chunk)
            yield chunk
        yield b"\0" * (-entry.size % tarfile.BLOCKSIZE)


def _entry(name: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = _FOLDER_MODE if kind == tarfile.DIRTYPE else _FILE_MODE
    return entry


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT)
