import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st
from tfx.proto import infra_validator_pb2 as tfx_pb
from tfx.utils import proto_utils

import infra_validator
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import to_json, to_message

OURS: Mapping[str, Descriptor] = pb.DESCRIPTOR.message_types_by_name
THEIRS: Mapping[str, Descriptor] = tfx_pb.DESCRIPTOR.message_types_by_name
SOURCE = Path(__file__).parents[2] / "protos" / pb.DESCRIPTOR.name

FIRST_NUMBER_OF_OURS = 100


def with_nested(messages: Mapping[str, Descriptor]) -> dict[str, Descriptor]:
    found = {}
    for name, message in messages.items():
        found[name] = message
        nested = with_nested(message.nested_types_by_name)
        found |= {f"{name}.{inner}": value for inner, value in nested.items()}
    return found


def facts(field: FieldDescriptor) -> dict[str, Any]:
    kind = field.message_type or field.enum_type
    return {
        "number": field.number,
        "type": field.type,
        "label": field.label,
        "json_name": field.json_name,
        "oneof": field.containing_oneof and field.containing_oneof.name,
        "of": kind and kind.full_name.removeprefix(field.file.package),
        "default": None if field.message_type else field.default_value,
    }


def test_the_file_is_registered_under_our_own_name() -> None:
    assert pb.DESCRIPTOR.name == "infra_validator/proto/infra_validator.proto"
    assert pb.DESCRIPTOR.package == "infra_validator"
    assert SOURCE.is_file()


def test_every_message_of_tfx_is_here() -> None:
    assert set(with_nested(THEIRS)) <= set(with_nested(OURS))
    assert len(THEIRS) >= 12
    assert set(tfx_pb.DESCRIPTOR.enum_types_by_name) <= set(pb.DESCRIPTOR.enum_types_by_name)


@pytest.mark.parametrize("name", with_nested(THEIRS))
def test_fields_of_tfx_are_the_same_here(name: str) -> None:
    ours, theirs = with_nested(OURS)[name], with_nested(THEIRS)[name]
    assert {field.name: facts(ours.fields_by_name[field.name]) for field in theirs.fields} == {
        field.name: facts(field) for field in theirs.fields
    }
    assert set(theirs.oneofs_by_name) <= set(ours.oneofs_by_name)
    assert ours.GetOptions().map_entry == theirs.GetOptions().map_entry


@pytest.mark.parametrize("name", with_nested(THEIRS))
def test_fields_of_ours_begin_at_100(name: str) -> None:
    ours, theirs = with_nested(OURS)[name], with_nested(THEIRS)[name]
    added = {
        field.name: field.number for field in ours.fields if field.name not in theirs.fields_by_name
    }
    assert {field: number for field, number in added.items() if number < FIRST_NUMBER_OF_OURS} == {}


@pytest.mark.parametrize("name", THEIRS)
def test_reserves_what_tfx_reserves(name: str) -> None:
    def reserved(descriptor: Descriptor) -> set[tuple[int, int]]:
        proto = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(proto)
        return {(span.start, span.end) for span in proto.reserved_range}

    assert reserved(THEIRS[name]) <= reserved(OURS[name])


def test_every_message_is_imported_from_the_package() -> None:
    assert {name: getattr(infra_validator, name) for name in OURS} == {
        name: getattr(pb, name) for name in OURS
    }


TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=5)
SCALARS = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
}


def json_of(message: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Any message of that type in protobuf's JSON form, with one field of each oneof at most."""
    alone = {
        field.name: field_of(field) for field in message.fields if field.containing_oneof is None
    }
    oneofs = [
        st.one_of(
            st.just({}),
            *(st.fixed_dictionaries({field.name: field_of(field)}) for field in oneof.fields),
        )
        for oneof in message.oneofs
    ]
    return st.tuples(st.fixed_dictionaries({}, optional=alone), *oneofs).map(
        lambda parts: {key: value for part in parts for key, value in part.items()}
    )


def field_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return st.dictionaries(TEXT, field_of(kind.fields_by_name["value"]), max_size=2)
    one = json_of(kind) if kind is not None else SCALARS[field.type]
    if field.label == FieldDescriptor.LABEL_REPEATED:
        return st.lists(one, max_size=2)
    return one


ANY_MESSAGE_OF_TFX = st.sampled_from(sorted(THEIRS)).flatmap(
    lambda name: json_of(THEIRS[name]).map(
        lambda value: json_format.ParseDict(value, getattr(tfx_pb, name)())
    )
)


@given(ANY_MESSAGE_OF_TFX)
def test_wire_bytes_of_tfx_read_the_same_here(theirs: Any) -> None:
    ours = getattr(pb, theirs.DESCRIPTOR.name).FromString(theirs.SerializeToString())
    ours.DiscardUnknownFields()
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )
    assert to_json(ours) == proto_utils.proto_to_json(theirs)


@given(ANY_MESSAGE_OF_TFX)
def test_messages_and_json_of_tfx_read_the_same_here(theirs: Any) -> None:
    message_type = getattr(pb, theirs.DESCRIPTOR.name)
    kept = proto_utils.proto_to_json(theirs)
    assert to_json(to_message(theirs, message_type, "spec")) == kept
    assert to_json(to_message(kept, message_type, "spec")) == kept


def _declarations() -> dict[str, bool]:
    """What the source declares to whether a comment stands above it, or its oneof."""
    commented: dict[str, bool] = {}
    scope: list[tuple[str, bool]] = []
    comment = False
    for line in map(str.strip, SOURCE.read_text().splitlines()):
        opening = re.match(r"(message|oneof|enum) (\w+) \{", line)
        field = re.match(r"(?:(?:repeated |optional )?[\w.<>, ]+ )?(\w+) = \d+", line)
        path = [name for name, _ in scope if name]
        if line.startswith("//"):
            comment = True
            continue
        if opening is not None and opening[1] != "oneof":
            commented[".".join([*path, opening[2]])] = comment
            scope.append((opening[2], False))
        elif opening is not None:
            scope.append(("", comment))
        elif line == "}":
            scope.pop()
        elif field is not None and scope:
            commented[".".join([*path, field[1]])] = comment or scope[-1][1]
        comment = False
    return commented


def test_every_message_and_field_of_the_source_has_a_comment() -> None:
    declared = _declarations()
    fields = {
        f"{message.name}.{field.name}" for message in OURS.values() for field in message.fields
    }
    enums = {
        f"{message.name}.{enum.name}": enum
        for message in OURS.values()
        for enum in message.enum_types
    }
    values = {f"{name}.{value.name}" for name, enum in enums.items() for value in enum.values}
    assert set(declared) == set(OURS) | fields | set(enums) | values
    assert [name for name, commented in declared.items() if not commented] == []
