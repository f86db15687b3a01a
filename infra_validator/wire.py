"""Parses protobuf messages from bytes."""

from __future__ import annotations

import warnings
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

Parsed = TypeVar("Parsed", bound=Message)


def parse_whole(message_type: type[Parsed], data: bytes) -> Parsed:
    """Parses a message, to the last byte.

    Raises:
        DecodeError: if the bytes are not such a message. Where protobuf's C++
            implementation stops half way, it only warns.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        parsed = message_type.FromString(data)
    for warning in caught:
        if issubclass(warning.category, RuntimeWarning):
            raise DecodeError(str(warning.message))
    return parsed
