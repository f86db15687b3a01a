"""The forms in which a spec may be given, and the one in which it is kept.

TFX keeps a proto parameter of a component as JSON text. A spec may be given as
our message, TFX's message of the same name, a dict, or JSON text; all become
the same deterministic JSON.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.message import Message

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.text import first_line

_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]*)"')
# What protobuf's parser quotes of a value may be a secret, such as a variable's of the environment.
_QUOTED_VALUES = (
    (re.compile(r" which is .* at ", re.DOTALL), " at "),
    (re.compile(r"\bValue .* has unexpected type\b", re.DOTALL), "A value has unexpected type"),
    (re.compile(r"Failed to parse [^\w ].* field: unhashable.*", re.DOTALL), "A list is no object"),
)
_VARIABLES = {
    message.DESCRIPTOR.name: message.DESCRIPTOR
    for message in (pb.TensorFlowServing.EnvEntry, pb.EnvVar, pb.EnvVarSource)
}
_PARAMETER_CLASS = "RuntimeParameter"
_TFX_PACKAGE = "tfx.components.infra_validator"

Spec = TypeVar("Spec", bound=Message)


class SpecError(ValueError):
    """Raised for a spec that can never work; names the field and what to do."""


def to_message(value: object, message_type: type[Spec], parameter: str) -> Spec:
    """Reads a spec given in any form that TFX's component takes.

    Args:
        value: a message of that type, TFX's message of the same name, a
            mapping in protobuf's JSON form, or JSON text.
        message_type: the message to make.
        parameter: what the user calls it, for the error.

    Raises:
        SpecError: if it is none of these, or has fields that are not known.
    """
    name = message_type.DESCRIPTOR.name
    if isinstance(value, message_type):
        return value
    if isinstance(value, Message):
        if value.DESCRIPTOR.full_name == message_type.DESCRIPTOR.full_name:
            # What TFX's placeholder `make_proto` makes has a class of its own.
            return message_type.FromString(value.SerializeToString())
        if value.DESCRIPTOR.full_name != f"{_TFX_PACKAGE}.{name}":
            raise SpecError(
                f"{parameter}: expected a {name} message, got {value.DESCRIPTOR.full_name}."
            )
        value = json_format.MessageToDict(value, preserving_proto_field_name=True)
    try:
        if isinstance(value, Mapping):
            return json_format.ParseDict(dict(value), message_type())
        if isinstance(value, (str, bytes)):
            if not isinstance(json.loads(value), dict):
                raise SpecError(f"{parameter}: not a {name}: the JSON text is no object.")
            return json_format.Parse(value, message_type())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{parameter}: not a {name}: {error}.") from None
    except json_format.ParseError as error:
        # Where it was found inside protobuf's parser says nothing to a user.
        raise SpecError(f"{parameter}: {explain_parse_error(str(error))}") from None
    raise SpecError(
        f"{parameter}: expected a {name} message, a dict or JSON text, got {type(value).__name__}."
    )


def parameters_left(text: str) -> list[str]:
    """Names of the RuntimeParameters in a spec's JSON text, as TFX writes those within a dict.

    A spec that is one RuntimeParameter is filled in by the runner; one within
    a dict stays in the text, since no runner looks there. Text that is no JSON
    has none.
    """
    try:
        return sorted(set(_parameters(json.loads(text))))
    except json.JSONDecodeError:
        return []


def _parameters(value: Any) -> Iterator[str]:
    if isinstance(value, str) and _PARAMETER_CLASS in value:
        # One of text is written as a text of its own.
        with contextlib.suppress(json.JSONDecodeError):
            yield from _parameters(json.loads(value))
    elif isinstance(value, list):
        for item in value:
            yield from _parameters(item)
    elif isinstance(value, dict):
        if value.get("__class__") == _PARAMETER_CLASS:
            yield str(value.get("name"))
        else:
            for item in value.values():
                yield from _parameters(item)


def left_within(names: Iterable[str], parameter: str) -> str:
    """What to say of RuntimeParameters that no runner fills in."""
    listing = ", ".join(map(repr, names))
    return (
        f"{parameter}: no runner of TFX fills in a RuntimeParameter within a dict ({listing}); "
        "give the whole spec as one RuntimeParameter of JSON text."
    )


def to_json(message: Message) -> str:
    """The JSON text in which TFX keeps a message: sorted keys, field names as in the proto.

    Raises:
        SpecError: for a number that JSON does not have. (Older versions of
            protobuf write it as text.)
    """
    try:
        return json_format.MessageToJson(message, sort_keys=True, preserving_proto_field_name=True)
    except (json_format.SerializeToJsonError, ValueError):  # the one or the other, by version
        raise SpecError(
            f"{message.DESCRIPTOR.name}: it holds a number that JSON does not have; write it as "
            'text, "Infinity", "-Infinity" or "NaN".'
        ) from None


def to_dict(message: Message) -> dict[str, Any]:
    """The same as a dict."""
    return cast(dict[str, Any], json.loads(to_json(message)))


def explain_parse_error(message: str) -> str:
    """What protobuf's parser of JSON says, without the values that it quotes."""
    unknown = explain_unknown_field(message)
    if unknown is not None:
        return unknown
    for quoted, instead in _QUOTED_VALUES:
        message = quoted.sub(instead, message)
    return f"{first_line(message).rstrip('.')}."


def explain_unknown_field(message: str) -> str | None:
    """Which field is meant, if one of protobuf's parsers complains of a name that is not known."""
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is None:
        return None
    kind, field = unknown[1].rpartition(".")[2], unknown[2]
    descriptor = _VARIABLES.get(kind) or pb.DESCRIPTOR.message_types_by_name.get(kind)
    names = [] if descriptor is None else [known.name for known in descriptor.fields]
    meant = suggest(field, names)
    if kind in _VARIABLES and not meant:  # a value may stand where a field should
        return f"{kind} has no such field; it has: {', '.join(names)}."
    return f"{kind} has no field {field!r}{meant or '.'}"


def suggest(name: str, known: Iterable[str]) -> str:
    """A question for the name that may be meant; empty where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; is {found[0]!r} meant?" if found else ""
