"""What is wrong with a spec that does not fit its message, told without its values.

A value may be a secret, such as that of an environment variable, and protobuf's
parsers quote what they cannot take. So in JSON the place is looked for here, with
the parser as the judge of each part; of what the parser of the text format says,
only what holds no value is told. Pure.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from infra_validator.descriptors import is_map, is_repeated, is_struct
from infra_validator.proto import infra_validator_pb2 as pb

JSON_ERRORS = (json_format.ParseError, OverflowError, SystemError)
"""What json_format raises for what it does not take: by version, the second for an infinite
number where an enum is, the third for a name that is no Unicode."""

_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits, not negative",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits, not negative",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
}
_VARIABLES = {
    message.DESCRIPTOR.name: message.DESCRIPTOR
    for message in (pb.TensorFlowServing.EnvEntry, pb.EnvVar, pb.EnvVarSource)
}
_PLAIN_KEY = re.compile(r"[\w./-]+")
# Of protobuf's text_format.py.
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]*)"')
# The same: what holds nothing of the text, or of a number or a name only.
_TEXT_PROBLEM = re.compile(
    r"Expected (?:string|identifier(?: or number)?|\"[^\"]{1,2}\")|String missing ending quote"
    r"|Expected \"true\" or \"false\"|Couldn't parse (?:integer|float): [\w.+-]+|Value out of range"
    r"|Enum type \"[\w.]+\" has no value named \w+|should not have multiple \"\w+\" fields"
    r"|Field \"[\w.]+\" is specified along with field \"[\w.]+\""
)

_Fits = Callable[[Any], bool]


def explain_json(value: object, message_type: type[Message]) -> str:
    """Where a spec in protobuf's JSON form does not fit, and what would.

    Args:
        value: what `json_format` did not take, a mapping or JSON text.
        message_type: the message that it should be.
    """

    def fits(part: Any) -> bool:
        try:
            json_format.ParseDict(part, message_type())
        except JSON_ERRORS:
            return False
        return True

    if isinstance(value, (str, bytes)):
        try:
            value = json.loads(value, object_pairs_hook=_without_repetition)
        except ValueError as error:
            return f"this is no JSON: {error}."
    return _explain_message(value, message_type.DESCRIPTOR, fits, "")


def explain_text(error: text_format.ParseError) -> str:
    """What does not fit in protobuf's text format, with its line."""
    message = str(error)
    unknown = _UNKNOWN_FIELD.search(message)
    if unknown is not None:
        kind = unknown[1].rpartition(".")[2]
        descriptor = _VARIABLES.get(kind) or pb.DESCRIPTOR.message_types_by_name.get(kind)
        said = explain_unknown_field(descriptor, kind, unknown[2])
    else:
        problem = _TEXT_PROBLEM.search(message)
        said = f"{problem[0] if problem else 'What stands there does not fit'}."
    return f"line {error.GetLine()}: {said}"


def explain_unknown_field(descriptor: Any, kind: str, name: str) -> str:
    """That a message has no such field, and which one may be meant."""
    names = [] if descriptor is None else [known.name for known in descriptor.fields]
    meant = suggest(name, names)
    if kind in _VARIABLES and not meant:  # a value may stand where a field should
        return f"{kind} has no such field; it has: {', '.join(names)}."
    return f"{kind} has no field {name!r}{meant or '.'}"


def suggest(name: str, known: Iterable[str]) -> str:
    """A question for the name that may be meant; empty where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; is {found[0]!r} meant?" if found else ""


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"the name {name!r} is there twice")
        content[name] = value
    return content


def _explain_message(value: Any, descriptor: Any, fits: _Fits, path: str) -> str:
    if not isinstance(value, Mapping):
        return _say(path, f"expected an object, {descriptor.name}, got {_kind(value)}")
    fields = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    chosen: dict[str, str] = {}
    for name, part in value.items():
        field = fields.get(name)
        if field is None:
            return _at(path, explain_unknown_field(descriptor, descriptor.name, str(name)))
        within = f"{path}.{field.name}" if path else field.name
        if not fits({name: part}):
            return _explain_field(part, field, _within(fits, name), within)
        if field.containing_oneof is not None and part is not None:
            first = chosen.setdefault(field.containing_oneof.name, name)
            if first != name:
                return _say(path, f"{first} and {name} exclude each other; give one of them")
    return _say(path, "it does not fit")


def _explain_field(value: Any, field: Any, fits: _Fits, path: str) -> str:
    if is_map(field):
        entry = field.message_type.fields_by_name["value"]
        if not isinstance(value, dict):
            return _say(path, f"expected an object of names and values, got {_kind(value)}")
        for name, part in value.items():
            if not fits({name: part}):
                return _explain_one(part, entry, _within(fits, name), path + _key(name))
    elif is_repeated(field):
        if not isinstance(value, list):
            return _say(path, f"expected a list, got {_kind(value)}")
        for index, part in enumerate(value):
            if not fits([part]):
                return _explain_one(part, field, lambda it: fits([it]), f"{path}[{index}]")
    else:
        return _explain_one(value, field, fits, path)
    return _say(path, "it does not fit")


def _explain_one(value: Any, field: Any, fits: _Fits, path: str) -> str:
    """Of one value: of the field itself, or of an element of a repeated one or of a map."""
    message = field.message_type
    if message is not None:
        explain = _explain_struct if is_struct(message) else _explain_message
        return explain(value, message, fits, path)
    got = _kind(value)
    if field.enum_type is not None:
        names = [known.name for known in field.enum_type.values]
        meant = suggest(value.upper(), names) if isinstance(value, str) else ""
        return _at(path, f"expected one of {', '.join(names)}, got {got}{meant or '.'}")
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _say(path, f"expected true or false, got {got}")
    if field.cpp_type in _NUMBERS:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            got = repr(value) if isinstance(value, float) or abs(value) < 10**20 else got
        return _say(path, f"expected {_NUMBERS[field.cpp_type]}, got {got}")
    return _say(path, f"expected text, got {got}{' that is no Unicode' * isinstance(value, str)}")


def _explain_struct(value: Any, descriptor: Any, fits: _Fits, path: str) -> str:
    if not isinstance(value, dict):
        return _say(path, f"expected an object, got {_kind(value)}")
    return _explain_content(value, fits, path)


def _explain_content(value: Any, fits: _Fits, path: str) -> str:
    if isinstance(value, dict):
        for name, part in value.items():
            if not fits({name: part}):
                return _explain_content(part, _within(fits, name), path + _key(name))
    if isinstance(value, list):
        for index, part in enumerate(value):
            if not fits([part]):
                return _explain_content(part, lambda it: fits([it]), f"{path}[{index}]")
    return _say(path, f"expected a value that JSON has, got {_kind(value)}")


def _key(name: Any) -> str:
    return f"[{name!r}]" if _PLAIN_KEY.fullmatch(str(name)) else ""


def _within(fits: _Fits, name: Any) -> _Fits:
    return lambda part: fits({name: part})


def _kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    for kinds, name in (
        ((int, float), "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "an object"),
    ):
        if isinstance(value, kinds):
            return name
    if isinstance(value, Message):
        return f"a {type(value).__name__} message, which within a dict is written as a dict too"
    return f"a {type(value).__name__}"


def _say(path: str, problem: str) -> str:
    return _at(path, f"{problem}.")


def _at(path: str, said: str) -> str:
    return f"{path}: {said}" if path else said
