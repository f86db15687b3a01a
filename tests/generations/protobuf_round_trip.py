"""Run where nothing but protobuf is installed: every message of ours, with every field set.

Prints one JSON object: the version and the implementation of protobuf, and by message its wire
bytes in hexadecimal and its JSON form. Given such an object in a file, reads the messages in it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import google.protobuf
from google.protobuf import json_format, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.message import Message

from infra_validator.proto import infra_validator_pb2 as pb

_WHOLE = {
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
}


def filled(message_type: type[Message], depth: int = 0) -> Message:
    """A message with a value in every field; of a oneof the last one stays."""
    message = message_type()
    for field in message.DESCRIPTOR.fields:
        target = getattr(message, field.name)
        if is_map(field):
            value = field.message_type.fields_by_name["value"]
            if value.message_type:
                target["key"].MergeFrom(example(value, depth))
            else:
                target["key"] = example(value, depth)
        elif repeated(field):
            target.extend([example(field, depth), example(field, depth)])
        elif field.message_type:
            target.CopyFrom(example(field, depth))
        else:
            setattr(message, field.name, example(field, depth))
    return message


def example(field: FieldDescriptor, depth: int) -> Any:
    """A value other than the default."""
    if field.message_type:
        if field.message_type.full_name == "google.protobuf.Struct":
            struct = field.message_type._concrete_class()
            return json_format.ParseDict({"a": [1, "b", None]}, struct)
        return filled(field.message_type._concrete_class, depth + 1)
    if field.enum_type:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\0\xff"
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name} ä"
    return 7 if field.type in _WHOLE else 1.5


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map."""
    kind = field.message_type
    return bool(kind and kind.GetOptions().map_entry)


def repeated(field: FieldDescriptor) -> bool:
    """Whether the field is repeated; protobuf 7 will drop `label`, older ones lack its heir."""
    if hasattr(FieldDescriptor, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED)


def message_types(descriptors: dict[str, Descriptor]) -> list[type[Message]]:
    """All message types, those within others too, without the entries of maps."""
    found: list[type[Message]] = []
    for descriptor in descriptors.values():
        if not descriptor.GetOptions().map_entry:
            found.append(descriptor._concrete_class)
        found += message_types(dict(descriptor.nested_types_by_name))
    return found


def main(arguments: list[str]) -> None:
    """Writes the messages, or reads them as another protobuf wrote them."""
    types = {
        kind.DESCRIPTOR.full_name: kind
        for kind in message_types(dict(pb.DESCRIPTOR.message_types_by_name))
    }
    written = {}
    for name, message_type in types.items():
        message = filled(message_type)
        wire = message.SerializeToString(deterministic=True)
        text = json_format.MessageToJson(message, sort_keys=True, preserving_proto_field_name=True)
        assert message_type.FromString(wire) == message, name
        assert json_format.Parse(text, message_type()) == message, name
        assert text_format.Parse(text_format.MessageToString(message), message_type()) == message
        written[name] = {"wire": wire.hex(), "json": text}
    for path in arguments:
        others = json.loads(Path(path).read_text())["messages"]
        assert others.keys() == written.keys()
        for name, other in others.items():
            message = filled(types[name])
            assert types[name].FromString(bytes.fromhex(other["wire"])) == message, name
            assert json_format.Parse(other["json"], types[name]()) == message, name
    print(
        json.dumps(
            {
                "version": google.protobuf.__version__,
                "implementation": api_implementation.Type(),
                "messages": written,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
