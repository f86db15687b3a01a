"""Folders and files as tar streams of known length, with nothing but a chunk in memory."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

_CHUNK_BYTES = 256 * 1024
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644


class Archive:
    """Folders and files as a tar stream, readable to everybody."""

    def __init__(self, folders: Mapping[str, Path], files: Mapping[str, bytes]) -> None:
        """Looks at all files, and reads none.

        Args:
            folders: path in the archive to folder; links are followed.
            files: path in the archive to content.

        Raises:
            OSError: if a folder cannot be looked at.
        """
        self._entries: list[tuple[tarfile.TarInfo, Path | bytes | None]] = []
        self._known: set[str] = set()
        for at, folder in folders.items():
            self._add_folder(at, folder)
        for at, content in files.items():
            self._add_parents(at)
            self._entries.append((_file(at, len(content)), content))

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return 2 * tarfile.BLOCKSIZE + sum(
            len(_header(entry)) + entry.size + _padding(entry.size) for entry, _ in self._entries
        )

    def chunks(self) -> Iterator[bytes]:
        """Its bytes.

        Raises:
            OSError: if a file cannot be read, or changes meanwhile.
        """
        for entry, content in self._entries:
            yield _header(entry)
            if isinstance(content, Path):
                yield from _read(content, entry.size)
            elif content is not None:
                yield content
            yield bytes(_padding(entry.size))
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _add_parents(self, at: str) -> None:
        for parent in reversed(Path(at).parents):
            if parent.name:
                self._add_directory(str(parent))

    def _add_directory(self, at: str) -> None:
        if at not in self._known:
            self._known.add(at)
            entry = tarfile.TarInfo(at)
            entry.type, entry.mode = tarfile.DIRTYPE, _FOLDER_MODE
            self._entries.append((entry, None))

    def _add_folder(self, at: str, folder: Path) -> None:
        self._add_parents(at)
        for path, _, names in os.walk(folder, followlinks=True, onerror=_raise):
            relative = os.path.relpath(path, folder)
            there = at if relative == "." else f"{at}/{relative}"
            self._add_directory(there)
            for name in names:
                file = Path(path) / name
                status = file.stat()
                if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for its writer
                    raise OSError(f"{file} is neither a file nor a folder")
                self._entries.append((_file(f"{there}/{name}", status.st_size), file))


def _read(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        left = size
        while left:
            chunk = file.read(min(_CHUNK_BYTES, left))
            if not chunk:
                raise OSError(f"{path} became shorter while it was read")
            left -= len(chunk)
            yield chunk


def _file(at: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(at)
    entry.mode, entry.size = _FILE_MODE, size
    return entry


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def _raise(error: OSError) -> None:
    raise error
