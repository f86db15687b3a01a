"""The forms in which a spec may be given, and the one in which it is kept.

TFX keeps a proto parameter of a component as JSON text. A spec may be given as
our message, TFX's message of the same name, a dict, or JSON text; all become
the same deterministic JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.message import Message

_TFX_PACKAGE = "tfx.components.infra_validator"

Spec = TypeVar("Spec", bound=Message)


class SpecError(ValueError):
    """Raised for a spec that can never work; names the field and what to do."""


def to_message(value: object, message_type: type[Spec], parameter: str) -> Spec:
    """Reads a spec given in any form that TFX's component takes.

    Args:
        value: a message of `message_type`, TFX's message of the same name, a
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
    except (json_format.ParseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        # Where it was found inside protobuf's parser says nothing to a user.
        raise SpecError(f"{parameter}: not a {name}: {error}") from None
    raise SpecError(
        f"{parameter}: expected a {name} message, a dict or JSON text, got {type(value).__name__}."
    )


def to_json(message: Message) -> str:
    """The JSON text in which TFX keeps a message: sorted keys, field names as in the proto."""
    return json_format.MessageToJson(message, sort_keys=True, preserving_proto_field_name=True)


def to_dict(message: Message) -> dict[str, Any]:
    """The same as a dict."""
    return cast(dict[str, Any], json.loads(to_json(message)))
