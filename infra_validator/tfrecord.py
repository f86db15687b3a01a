"""Reads and writes TFRecord files as streams, on any file system.

The format, of each record: length (uint64), masked CRC-32C of the length,
the data, masked CRC-32C of the data; numbers little-endian
(tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import google_crc32c

_HEADER_BYTES = 12
_GZIP_MAGIC = b"\x1f\x8b"
_ZLIB_METHOD = b"\x78"  # deflate, with the window that everybody uses
_CHUNK_BYTES = 64 * 1024
_MASK_DELTA = 0xA282EAD8
_MAX_RECORD_BYTES = 2**31


class TFRecordError(ValueError):
    """Raised where a file is no TFRecord file, or a broken one."""


def read_records(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the records of a TFRecord file: gzip- or zlib-compressed, or not at all.

    Reads no further than needed for the records that are taken.

    Args:
        file: opened for reading bytes; must be seekable.

    Raises:
        TFRecordError: at the first broken record; says which.
        OSError: if the file cannot be read.
    """
    start = file.read(_HEADER_BYTES)
    file.seek(0)
    stream = _decompressed(file, start)
    number = 0
    while True:
        number += 1
        try:
            record = _read_record(stream)
        except (TFRecordError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TFRecordError(f"record {number}: {error}") from error
        if record is None:
            return
        yield record


def _decompressed(file: IO[bytes], start: bytes) -> IO[bytes]:
    # The length of a first record may look like the beginning of a compressed file.
    if _is_header(start):
        return file
    if start.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]
    if start[:1] == _ZLIB_METHOD and int.from_bytes(start[:2], "big") % 31 == 0:
        return io.BufferedReader(_ZlibReader(file), _CHUNK_BYTES)
    return file


class _ZlibReader(io.RawIOBase):
    """Decompresses a zlib stream, no further than it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._decompress = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decompress.eof:
            held = self._decompress.unconsumed_tail
            chunk = held or self._file.read(_CHUNK_BYTES)
            data = self._decompress.decompress(chunk, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not chunk:
                raise EOFError("the compressed file is cut")
        return 0


def _read_record(stream: IO[bytes]) -> bytes | None:
    header = stream.read(_HEADER_BYTES)
    if not header:
        return None
    if len(header) < _HEADER_BYTES:
        raise TFRecordError("the file ends within a record")
    length = struct.unpack("<Q", header[:8])[0]
    if not _is_header(header) or length > _MAX_RECORD_BYTES:
        raise TFRecordError("not a TFRecord, or corrupt (the length's checksum is wrong)")
    body = stream.read(length + 4)
    if len(body) < length + 4:
        raise TFRecordError("the file ends within a record")
    data = body[:length]
    if _masked_crc(data) != struct.unpack("<I", body[length:])[0]:
        raise TFRecordError("corrupt (the data's checksum is wrong)")
    return data


def _is_header(header: bytes) -> bool:
    """Whether these bytes are a length and its checksum."""
    return header[8:] == struct.pack("<I", _masked_crc(header[:8]))


def write_records(file: IO[bytes], records: Iterable[bytes]) -> None:
    """Writes records to a file opened for writing bytes, without compression."""
    for record in records:
        length = struct.pack("<Q", len(record))
        file.write(length + struct.pack("<I", _masked_crc(length)))
        file.write(record + struct.pack("<I", _masked_crc(record)))


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
