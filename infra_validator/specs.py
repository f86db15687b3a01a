"""The forms in which a spec may be given, and the one in which it is kept.

TFX keeps a proto parameter of a component as JSON text. A spec may be given as
our message, TFX's message of the same name, a dict, or JSON text; all become
the same deterministic JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.message import Message

from infra_validator.json_text import JsonTextError, load_json
from infra_validator.spec_errors import JSON_ERRORS, explain_json

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
    if isinstance(value, (str, bytes)):
        value = _read_object(value, f"{parameter}: not a {name}")
    if not isinstance(value, Mapping):
        raise SpecError(
            f"{parameter}: expected a {name} message, a dict or JSON text, "
            f"got {type(value).__name__}."
        )
    try:
        return json_format.ParseDict(dict(value), message_type())
    except JSON_ERRORS:
        raise SpecError(f"{parameter}: {explain_json(value, message_type)}") from None


def _read_object(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        content = load_json(text)
    except JsonTextError as error:
        place = "" if error.line is None else f" line {error.line}:"
        raise SpecError(f"{where}:{place} {error}.") from None
    if not isinstance(content, dict):
        raise SpecError(f"{where}: the JSON text is no object.")
    return content


def parameters_left(text: str) -> list[str]:
    """Names of the RuntimeParameters in a spec's JSON text, as TFX writes those within a dict.

    A spec that is one RuntimeParameter is filled in by the runner; one within
    a dict stays in the text, since no runner looks there. Text that is no JSON
    has none.
    """
    try:
        return sorted(set(_parameters(json.loads(text))))
    except (ValueError, RecursionError):
        return []


def _parameters(value: Any) -> Iterator[str]:
    if isinstance(value, str) and _PARAMETER_CLASS in value:
        # One of text is written as a text of its own.
        with contextlib.suppress(ValueError):
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
        SpecError: for a number that JSON does not have (older versions of
            protobuf write it as text), or what is nested too deeply for Python.
    """
    try:
        return json_format.MessageToJson(message, sort_keys=True, preserving_proto_field_name=True)
    except (json_format.SerializeToJsonError, ValueError):  # the one or the other, by version
        raise SpecError(
            f"{message.DESCRIPTOR.name}: it holds a number that JSON does not have; write it as "
            'text, "Infinity", "-Infinity" or "NaN".'
        ) from None
    except RecursionError:
        raise SpecError(f"{message.DESCRIPTOR.name}: it is nested too deeply.") from None


def to_dict(message: Message) -> dict[str, Any]:
    """The same as a dict."""
    return cast(dict[str, Any], json.loads(to_json(message)))
