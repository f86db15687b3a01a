"""What a field of a message is, in every version of protobuf that is supported. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.descriptor import FieldDescriptor


def is_repeated(field: Any) -> bool:
    """Whether a field, told by its FieldDescriptor, is a list or a map."""
    told = getattr(field, "is_repeated", None)  # protobuf 6 warns of `label`
    return field.label == FieldDescriptor.LABEL_REPEATED if told is None else bool(told)


def is_map(field: Any) -> bool:
    """Whether a field, told by its FieldDescriptor, is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def is_struct(message: Any) -> bool:
    """Whether a message, told by its Descriptor, is protobuf's Struct: any object of JSON."""
    return bool(message.full_name == struct_pb2.Struct.DESCRIPTOR.full_name)
