"""What is wrong with a spec that does not fit its message, told without its values.

A value may be a secret, such as that of an environment variable, and protobuf's
parsers quote what they cannot take. So in JSON the place is looked for here, with
the parser as the judge of each part; of what the parser of the text format says,
only what holds no value is told. Pure.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from infra_validator.descriptors import is_map, is_repeated, is_struct
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.text import is_plain_name, is_unicode

JSON_ERRORS = (
    json_format.ParseError,
    TypeError,
    ValueError,
    OverflowError,
    SystemError,
    RecursionError,
)
"""What json_format raises for what it does not take. Only the first is documented; the others
come, by version, from a Struct by itself, numbers out of range, and names that are no Unicode."""

_POOL = pb.DESCRIPTOR.pool
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits, not negative",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits, not negative",
    FieldDescriptor.CPPTYPE_FLOAT: "a finite number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a finite number",
}
_VARIABLES = {
    message.DESCRIPTOR.full_name
    for message in (pb.TensorFlowServing.EnvEntry, pb.EnvVar, pb.EnvVarSource)
}
_PLAIN_NUMBER = re.compile(r"[-+]?\d[\d.]{0,20}")
# Of protobuf's text_format.py, which quotes the line between the first of these and the others.
_POSITION = re.compile(r"^\d+:\d+ : ")
_UNKNOWN_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]*)"')
_UNKNOWN_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named "?(\w+)')
# What holds nothing of the text, or of a number or a name only.
_TEXT_PROBLEM = re.compile(
    r"Expected (?:string|identifier(?: or number)?|\"[^\"]{1,2}\")|String missing ending quote"
    r"|Expected \"true\" or \"false\"|Value out of range"
    r"|Couldn't parse (?:string|(?:integer|float)(?:: [-+\d.]{1,30}$)?)"
    r"|Message type \"[\w.]+\" should not have multiple \"\w+\" fields"
    r"|Field \"[\w.]+\" is specified along with field \"[\w.]+\""
)

_Fits = Callable[[Any], bool]


def explain_json(value: Mapping[str, Any], message_type: type[Message]) -> str:
    """Where a spec in protobuf's JSON form does not fit, and what would.

    Args:
        value: what `json_format` did not take.
        message_type: the message that it should be.
    """

    def fits(part: Any) -> bool:
        try:
            json_format.ParseDict(part, message_type())
        except JSON_ERRORS:
            return False
        return True

    descriptor: Any = message_type.DESCRIPTOR
    explain = _explain_struct if is_struct(descriptor) else _explain_message
    try:
        return explain(value, descriptor, fits, "")
    except RecursionError:
        return f"{_TOO_DEEP}."


def explain_scalar(value: Any, field: Any) -> str:
    """What a field that is no message takes, and what it got instead.

    Args:
        value: what the field did not take.
        field: its FieldDescriptor.
    """
    got = _kind(value)
    if field.enum_type is not None:
        return _explain_enum(field.enum_type, value, got)
    if field.cpp_type in _NUMBERS:
        # A number where a number belongs is no secret.
        if isinstance(value, float) or (got == "a number" and isinstance(value, int)):
            got = repr(value)
        elif isinstance(value, str) and _PLAIN_NUMBER.fullmatch(value):
            got = value
        return f"expected {_NUMBERS[field.cpp_type]}, got {got}."
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        quoted = isinstance(value, str) and value.lower() in {"true", "false"}
        return f"expected true or false, got {got}{'; leave out the quotes' if quoted else ''}."
    return f"expected text, got {got}."


def _explain_enum(enum: Any, value: object, got: str) -> str:
    names = [known.name for known in enum.values]
    meant = suggest(value.upper(), names) if isinstance(value, str) else ""
    return f"expected one of {', '.join(names)}, got {got}{meant or '.'}"


def explain_text(error: text_format.ParseError | ValueError, text: str) -> str:
    """What does not fit in protobuf's text format, with its line if that is known.

    Args:
        error: what `text_format` raised.
        text: what it was given.
    """
    line = error.GetLine() if isinstance(error, text_format.ParseError) else None
    if line is None:
        return _explain_text(str(error))
    said = _POSITION.sub("", str(error), count=1).removeprefix(f"'{_line(text, line)}': ")
    return f"line {line}: {_explain_text(said)}"


def _line(text: str, number: int) -> str:
    lines = text.split("\n")  # as text_format does
    return lines[number - 1] if number <= len(lines) else ""


def _explain_text(message: str) -> str:
    unknown = _UNKNOWN_FIELD.match(message)
    if unknown is not None:
        return explain_unknown_field(_POOL.FindMessageTypeByName(unknown[1]), unknown[2])
    unknown = _UNKNOWN_VALUE.match(message)
    if unknown is not None:
        return _explain_enum(_POOL.FindEnumTypeByName(unknown[1]), unknown[2], "another name")
    problem = _TEXT_PROBLEM.match(message)
    return f"{problem[0] if problem else 'What stands there does not fit'}."


def explain_unknown_field(descriptor: Any, name: str) -> str:
    """That a message has no such field, and which one may be meant."""
    known = [field.name for field in descriptor.fields]
    meant = suggest(name, known) or f"; it has: {', '.join(known)}."
    # Where variables are written, a value may stand where a field should.
    shown = is_plain_name(name) and descriptor.full_name not in _VARIABLES
    return f"{descriptor.name} has no {f'field {name!r}' if shown else 'such field'}{meant}"


def suggest(name: str, known: Iterable[str]) -> str:
    """A question for the name that may be meant; empty where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; is {found[0]!r} meant?" if found else ""


def _explain_message(value: Any, descriptor: Any, fits: _Fits, path: str) -> str:
    if not isinstance(value, Mapping):
        return _say(path, f"expected an object, {descriptor.name}, got {_kind(value)}")
    fields = {name: field for field in descriptor.fields for name in (field.json_name, field.name)}
    chosen: dict[str, str] = {}
    for name, part in value.items():
        field = fields.get(name)
        if field is None:
            return _at(path, _odd_name(name) or explain_unknown_field(descriptor, name))
        within = f"{path}.{field.name}" if path else field.name
        if not fits({name: part}):
            return _explain_field(part, field, _within(fits, name), within)
        if field.containing_oneof is not None and part is not None:
            first = chosen.setdefault(field.containing_oneof.name, name)
            if first != name:
                return _say(path, f"{first} and {name} exclude each other; give one of them")
    return _say(path, _TOO_DEEP)


def _explain_field(value: Any, field: Any, fits: _Fits, path: str) -> str:
    if is_map(field):
        entry = field.message_type.fields_by_name["value"]
        if not isinstance(value, dict):
            return _say(path, f"expected an object of names and values, got {_kind(value)}")
        for name, part in value.items():
            if not fits({name: part}):
                odd = _odd_name(name)
                if odd is not None:
                    return _at(path, odd)
                return _explain_one(part, entry, _within(fits, name), path + _key(name))
    elif is_repeated(field):
        if not isinstance(value, list):
            return _say(path, f"expected a list, got {_kind(value)}")
        for index, part in enumerate(value):
            if not fits([part]):
                return _explain_one(part, field, lambda it: fits([it]), f"{path}[{index}]")
    else:
        return _explain_one(value, field, fits, path)
    return _say(path, _TOO_DEEP)


def _explain_one(value: Any, field: Any, fits: _Fits, path: str) -> str:
    """Of one value: of the field itself, or of an element of a repeated one or of a map."""
    message = field.message_type
    if message is None:
        return _at(path, explain_scalar(value, field))
    explain = _explain_struct if is_struct(message) else _explain_message
    return explain(value, message, fits, path)


def _explain_struct(value: Any, descriptor: Any, fits: _Fits, path: str) -> str:
    if not isinstance(value, dict):
        return _say(path, f"expected an object, got {_kind(value)}")
    return _explain_content(value, fits, path)


def _explain_content(value: Any, fits: _Fits, path: str) -> str:
    if isinstance(value, dict):
        for name, part in value.items():
            if not fits({name: part}):
                odd = _odd_name(name)
                if odd is not None:
                    return _at(path, odd)
                return _explain_content(part, _within(fits, name), path + _key(name))
        return _say(path, _TOO_DEEP)
    if isinstance(value, list):
        for index, part in enumerate(value):
            if not fits([part]):
                return _explain_content(part, lambda it: fits([it]), f"{path}[{index}]")
        return _say(path, _TOO_DEEP)
    if value is None or isinstance(value, bool) or (isinstance(value, str) and is_unicode(value)):
        return _say(path, _TOO_DEEP)
    return _say(path, f"expected a value that JSON has, got {_kind(value)}")


_TOO_DEEP = "it is nested too deeply"


def _odd_name(name: Any) -> str | None:
    """What is wrong with the name of a value that is none in JSON."""
    if not isinstance(name, str):
        return f"a name in it is {_kind(name)}; write it as text."
    return None if is_unicode(name) else "a name in it is text that is no Unicode."


def _key(name: Any) -> str:
    return f"[{name!r}]" if is_plain_name(str(name)) else ""


def _within(fits: _Fits, name: Any) -> _Fits:
    return lambda part: fits({name: part})


def _kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text" if is_unicode(value) else "text that is no Unicode"
    if isinstance(value, float):
        return "a number" if math.isfinite(value) else "a number that JSON does not have"
    if isinstance(value, int):
        return "a number" if abs(value) < 10**20 else "a number out of range"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, Message):
        return f"a {type(value).__name__} message, which within a dict is written as a dict too"
    return f"a {type(value).__name__}"


def _say(path: str, problem: str) -> str:
    return _at(path, f"{problem}.")


def _at(path: str, said: str) -> str:
    return f"{path}: {said}" if path else said
