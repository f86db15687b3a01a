"""Reading an uncompressed TFRecord file.

A record is its length (8 bytes), the length's masked CRC-32C (4), the data, the data's masked
CRC-32C (4), all little-endian (tensorflow/core/lib/io/record_writer.h).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from infra_validator.model_server.status import Code, StatusError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
_MASK_DELTA = 0xA282EAD8


class RecordError(StatusError):
    """The file is cut or is no TFRecord file."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.DATA_LOSS, message)


# infra_validator/tfrecord.py has one, too, but the image carries this package only.
def _masked_crc(data: bytes) -> int:
    crc = int(google_crc32c.value(data))
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _checked(data: bytes, checksum: bytes, offset: int) -> bytes:
    if _CRC.unpack(checksum)[0] != _masked_crc(data):
        hint = "" if offset else " (Is this even a TFRecord file?)"
        raise RecordError(f"corrupted record at {offset}{hint}")
    return data


def read_records(path: Path) -> Iterator[bytes]:
    """Yields the records of a file, up to its end or to a header that is cut.

    The messages, and that a cut header passes for the end, are those of
    tensorflow/core/lib/io/record_reader.cc.

    Raises:
        RecordError: a record is cut or damaged.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        remaining = path.stat().st_size
        offset = 0
        while remaining >= _HEADER_BYTES:
            header = _checked(file.read(_LENGTH.size), file.read(_CRC.size), offset)
            (length,) = _LENGTH.unpack(header)
            remaining -= _HEADER_BYTES + length + _CRC.size
            if remaining < 0:
                raise RecordError(
                    f"truncated record at {offset}' failed with Read less bytes than requested"
                )
            yield _checked(file.read(length), file.read(_CRC.size), offset + _HEADER_BYTES)
            offset += _HEADER_BYTES + length + _CRC.size
