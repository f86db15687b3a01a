"""Parses protobuf messages from bytes."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

Parsed = TypeVar("Parsed", bound=Message)

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def parse_whole(message_type: type[Parsed], data: bytes) -> Parsed:
    """Parses a message, to the last byte.

    Raises:
        DecodeError: if the bytes are not such a message. Protobuf's C++
            implementation by itself only warns where it stops half way.
    """
    _check_fields(data)
    return message_type.FromString(data)


def _check_fields(data: bytes) -> None:
    """Checks that the bytes are a row of fields and nothing else (protobuf.dev, Encoding)."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _read_varint(data, position)
        kind = tag & 7
        if kind == _VARINT:
            _, position = _read_varint(data, position)
        elif kind == _FIXED64:
            position += 8
        elif kind == _LENGTH:
            length, position = _read_varint(data, position)
            position += length
        elif kind == _FIXED32:
            position += 4
        else:  # groups, which the messages read here never had
            raise DecodeError("not a protobuf message: a field of a kind that cannot be here")
        if tag >> 3 == 0 or position > end:
            raise DecodeError("not a protobuf message: it is cut, or its fields are broken")


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DecodeError("not a protobuf message: a number in it is cut")
