import gzip
import io
import itertools
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from infra_validator.tfrecord import TFRecordError, read_records, write_records

RECORDS = [b"first", b"", b"\x00" * 20, b"dritte Zeile"]

# What gzip reads at once: 8 KiB, and 128 KiB from Python 3.12 on.
BUFFER_BYTES = 256 * 1024


def written(records: Iterable[bytes]) -> bytes:
    file = io.BytesIO()
    write_records(file, records)
    return file.getvalue()


def read(content: bytes) -> list[bytes]:
    return list(read_records(io.BytesIO(content)))


def read_until_error(content: bytes) -> tuple[list[bytes], TFRecordError | None]:
    taken = []
    try:
        for record in read_records(io.BytesIO(content)):
            taken.append(record)
    except TFRecordError as error:
        return taken, error
    return taken, None


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
@pytest.mark.parametrize("records", [[], [b""], RECORDS, [b"x" * 100_000, b"y"]])
def test_reads_what_tensorflow_writes(
    tmp_path: Path, records: list[bytes], compression: str
) -> None:
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression)) as writer:
        for record in records:
            writer.write(record)
    with path.open("rb") as file:
        assert list(read_records(file)) == records
    with tf.io.gfile.GFile(str(path), "rb") as file:
        assert list(read_records(file)) == records


@pytest.mark.parametrize("records", [[], [b""], RECORDS, [b"x" * 100_000, b"y"]])
def test_tensorflow_reads_what_is_written_here(tmp_path: Path, records: list[bytes]) -> None:
    path = tmp_path / "records"
    path.write_bytes(written(records))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == records


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_both_ways_with_any_records(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    path = str(tmp_path_factory.mktemp("records") / "records")
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    assert Path(path).read_bytes() == written(records)
    assert read(written(records)) == records
    assert read(gzip.compress(written(records))) == records


def test_reads_gzip_of_several_members() -> None:
    content = gzip.compress(written(RECORDS[:1])) + gzip.compress(written(RECORDS[1:]))
    assert read(content) == RECORDS


@pytest.mark.parametrize("length", [0x8B1F, 0x8B1F + 2**16, 0x088B1F])
def test_a_record_whose_length_looks_like_gzip_is_none(length: int) -> None:
    content = written([b"x" * length, b"next"])
    assert content[:2] == b"\x1f\x8b"
    assert [len(record) for record in read(content)] == [length, 4]


def test_truncated_at_every_byte() -> None:
    content = written(RECORDS)
    ends = [len(written(RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    for size in range(len(content) + 1):
        taken, error = read_until_error(content[:size])
        complete = sum(end <= size for end in ends) - 1
        assert taken == RECORDS[:complete]
        if size in ends:
            assert error is None
        else:
            assert f"record {complete + 1}:" in str(error)


def test_gzip_truncated_at_every_byte() -> None:
    content = gzip.compress(written(RECORDS))
    for size in range(1, len(content)):
        taken, error = read_until_error(content[:size])
        assert taken == RECORDS[: len(taken)]
        assert error is not None, size
        assert f"record {len(taken) + 1}:" in str(error)


def test_every_flipped_bit_is_noticed() -> None:
    content = written(RECORDS)
    for position, bit in itertools.product(range(len(content)), range(8)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        taken, error = read_until_error(bytes(flipped))
        assert error is not None, (position, bit)
        assert taken == RECORDS[: len(taken)]
        assert f"record {len(taken) + 1}:" in str(error)


def test_a_flipped_bit_in_gzip_never_changes_a_record() -> None:
    content = gzip.compress(written(RECORDS))
    for position, bit in itertools.product(range(len(content)), range(8)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        taken, error = read_until_error(bytes(flipped))
        assert taken == (RECORDS[: len(taken)] if error is not None else RECORDS)


@pytest.mark.parametrize(
    "content",
    [
        b"\n",
        b"culmen_length_mm,species\n39.1,Adelie\n",
        b"PK\x03\x04" + b"\0" * 60,
        b"\0" * 16,
        b"\xff" * 16,
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x00 not gzip after all",
        gzip.compress(b"text, not records\n", mtime=0),
        gzip.compress(b"\n", mtime=0),
        "{}".encode("utf-16"),
    ],
)
def test_says_that_the_first_record_of_another_file_is_none(content: bytes) -> None:
    with pytest.raises(TFRecordError, match="record 1: "):
        read(content)


@given(st.binary(min_size=1))
def test_any_other_content_is_refused(content: bytes) -> None:
    taken, error = read_until_error(content)
    assert error is not None or content == written(taken)


def test_a_length_beyond_reason_is_refused_unread() -> None:
    """A checksum may be right by chance; nobody's memory should depend on it."""
    length = struct.pack("<Q", 2**62)
    crc = masked_crc(length)
    file = CountingFile(lambda start, size: (length + crc).ljust(size + 16, b"\0")[start:][:size])
    with pytest.raises(TFRecordError, match="record 1: "):
        next(read_records(io.BufferedReader(file, buffer_size=16)))
    assert file.bytes_read < 100


def masked_crc(data: bytes) -> bytes:
    """The checksum, as the writer puts it after a record's data."""
    return written([data])[-4:]


class CountingFile(io.RawIOBase):
    """An endless or huge file that knows how much of it was read."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._position = 0
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end is not known")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        chunk = self._content(self._position, len(buffer))
        buffer[: len(chunk)] = chunk
        self._position += len(chunk)
        self.bytes_read += len(chunk)
        return len(chunk)


def endless(unit: bytes) -> CountingFile:
    def content(start: int, size: int) -> bytes:
        shift = start % len(unit)
        return (unit * (size // len(unit) + 2))[shift : shift + size]

    return CountingFile(content)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_of_an_endless_file_no_more_is_read_than_needed(count: int) -> None:
    unit = written([b"r" * 1000])
    file = endless(unit)
    taken = list(itertools.islice(read_records(file), count))
    assert taken == [b"r" * 1000] * count
    assert file.bytes_read <= len(unit) * count + 16


def test_of_an_endless_gzip_file_no_more_is_read_than_a_buffer() -> None:
    unit = gzip.compress(written([b"r" * 1000]))
    file = endless(unit)
    assert list(itertools.islice(read_records(file), 10)) == [b"r" * 1000] * 10
    assert file.bytes_read <= len(unit) * 10 + BUFFER_BYTES


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_costs_the_same_of_a_huge_file_as_of_a_small_one(tmp_path: Path, compress: Any) -> None:
    """A file of 5 GB, nearly all of it a hole."""
    path = tmp_path / "records"
    path.write_bytes(compress(written(RECORDS)))
    counted = []
    for size in (path.stat().st_size, 5 * 10**9):
        os.truncate(path, size)
        with path.open("rb", buffering=0) as source:
            file = CountingFile(
                lambda start, size, source=source: os.pread(source.fileno(), size, start)
            )
            assert list(itertools.islice(read_records(file), len(RECORDS))) == RECORDS
            counted.append(file.bytes_read)
    assert counted[1] <= counted[0] + BUFFER_BYTES


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_a_zlib_stream_is_read_no_further_than_taken(level: int) -> None:
    long = os.urandom(10**6)
    content = zlib.compress(written([b"first", long, b"last"]), level)
    file = io.BytesIO(content[:-10])
    taken = list(itertools.islice(read_records(file), 2))
    assert taken == [b"first", long]
    with pytest.raises(TFRecordError, match="record 3: "):
        read(content[:-10])
    with pytest.raises(TFRecordError, match="record 1: "):
        read(b"\x78\x9cno zlib at all")
    assert read(content) == [b"first", long, b"last"]
