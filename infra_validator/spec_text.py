"""Specs as people write them outside of Python: in a file, or field by field.

A file holds a `Specs` message as JSON or as protobuf's text format. A single
field is written as a dotted path and a value, for example
"serving_spec.local_docker.memory" and "4g". Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format, struct_pb2, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from infra_validator.descriptors import is_map, is_repeated, is_struct
from infra_validator.json_text import JsonTextError, load_json
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.spec_errors import (
    JSON_ERRORS,
    explain_json,
    explain_scalar,
    explain_text,
    suggest,
)
from infra_validator.specs import SpecError, to_message
from infra_validator.text import is_unicode

_WHOLE_NUMBERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)
_NUMBERS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_specs(text: str, origin: str) -> pb.Specs:
    """Reads the text of a file that holds a `Specs` message.

    Args:
        text: JSON, where it begins with a brace, else protobuf's text format.
        origin: what the user calls the file, for the error.

    Raises:
        SpecError: if it is neither, or has a field that is not known.
    """
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return to_message(text.lstrip("\ufeff"), pb.Specs, origin)
    try:
        return text_format.Parse(text, pb.Specs())
    except (text_format.ParseError, ValueError) as error:  # the second for an enum out of range
        raise SpecError(f"{origin}: {explain_text(error, text)}") from None
    except RecursionError:
        raise SpecError(f"{origin}: it is nested too deeply.") from None


class Assigner:
    """Sets fields of specs, by their paths, one after the other.

    A path is made of field names with dots between; after the name of a map comes
    the key. A repeated field that is named several times gets all the values;
    what it held before the first is left out.
    """

    def __init__(self, specs: pb.Specs) -> None:
        self._specs = specs
        self._begun: set[str] = set()

    def assign(self, path: str, value: str, origin: str) -> None:
        """Gives a field a value.

        Args:
            path: of the field.
            value: text; that of a message, of a map or of several entries of a
                repeated field is written in JSON.
            origin: what the user wrote to have it set, for the error.

        Raises:
            SpecError: for a path that does not exist, or a value that does not fit.
        """
        if not is_unicode(path + value):
            raise SpecError(f"{origin}: expected text, got text that is no Unicode.")
        _assign(self._specs, path.split("."), value, origin, path, self._begun)


def field_paths() -> Iterator[str]:
    """The paths of all fields that a value can be given to; those of maps end with a dot."""
    return _paths_below(pb.Specs.DESCRIPTOR, "")


def _paths_below(descriptor: Any, prefix: str) -> Iterator[str]:
    for field in descriptor.fields:
        path = f"{prefix}{field.name}"
        kind = field.message_type
        if kind is None:
            yield path
        elif is_map(field) or (is_struct(kind) and not is_repeated(field)):
            yield f"{path}."
        else:
            yield path
            if kind.file is pb.DESCRIPTOR and not is_repeated(field):
                yield from _paths_below(kind, f"{path}.")


def _assign(
    message: Any, parts: list[str], value: str, where: str, path: str, begun: set[str]
) -> None:
    if isinstance(message, struct_pb2.Struct):
        _assign_struct(message, parts, value, where)
        return
    name, rest = parts[0], parts[1:]
    field = message.DESCRIPTOR.fields_by_name.get(name)
    if field is None:
        raise _unknown(message.DESCRIPTOR, name, where, path)
    if is_map(field):
        _assign_map(message, field, rest, value, where, path, begun)
    elif is_repeated(field):
        if rest:
            raise SpecError(
                f"{where}: {field.name} is a list; set its entries as they are, each by its own "
                f"{field.name}=VALUE (an entry with fields of its own in JSON)."
            )
        if path not in begun:
            begun.add(path)
            message.ClearField(name)
        _append(message, field, value, where)
    elif field.message_type is None:
        if rest:
            raise SpecError(f"{where}: {field.name} has no fields of its own.")
        _set(message, field, value, where)
    elif rest:
        inner = getattr(message, name)
        inner.SetInParent()
        _assign(inner, rest, value, where, path, begun)
    else:
        inner = getattr(message, name)
        inner.SetInParent()
        _parse_into(inner, _json(value, where), where)


def _assign_map(
    message: Any,
    field: Any,
    rest: list[str],
    value: str,
    where: str,
    path: str,
    begun: set[str],
) -> None:
    if not rest:
        _parse_into(message, {field.name: _json(value, where)}, where)
        return
    entries = getattr(message, field.name)
    content = field.message_type.fields_by_name["value"]
    if content.message_type is None:  # keys of labels and annotations have dots
        entries[".".join(rest)] = value  # all maps of scalars are of text
    elif len(rest) == 1:
        _parse_into(entries[rest[0]], _json(value, where), where)
    else:
        _assign(entries[rest[0]], rest[1:], value, where, path, begun)


def _assign_struct(struct: Any, parts: list[str], value: str, where: str) -> None:
    try:
        content = load_json(value)
    except JsonTextError as error:
        if error.line is None:
            raise SpecError(f"{where}: {error}.") from None
        content = value  # what is no JSON is text
    for part in parts[:-1]:
        struct.fields[part].struct_value.SetInParent()
        struct = struct.fields[part].struct_value
    given = {parts[-1]: content}
    try:
        struct.update(given)
    except JSON_ERRORS:
        raise SpecError(f"{where}: {explain_json(given, struct_pb2.Struct)}") from None


def _append(message: Any, field: Any, value: str, where: str) -> None:
    if value.startswith("["):
        _parse_into(message, {field.name: _json(value, where)}, where)
    elif field.message_type is None:
        try:
            getattr(message, field.name).append(_scalar(field, value))
        except (KeyError, ValueError):
            raise SpecError(f"{where}: {explain_scalar(value, field)}") from None
    else:
        _parse_into(getattr(message, field.name).add(), _json(value, where), where)


def _parse_into(message: Message, content: Any, where: str) -> None:
    if not isinstance(content, dict):
        raise SpecError(
            f"{where}: write the value of {message.DESCRIPTOR.name} in JSON, in braces."
        )
    try:
        json_format.ParseDict(content, message)
    except JSON_ERRORS:
        raise SpecError(f"{where}: {explain_json(content, type(message))}") from None


def _json(value: str, where: str) -> Any:
    try:
        return load_json(value)
    except JsonTextError as error:
        hint = "" if error.line is None else "; the value is written in JSON"
        raise SpecError(f"{where}: {error}{hint}.") from None


def _set(message: Any, field: Any, value: str, where: str) -> None:
    try:
        setattr(message, field.name, _scalar(field, value))
    except (KeyError, ValueError):
        raise SpecError(f"{where}: {explain_scalar(value, field)}") from None


def _scalar(field: Any, value: str) -> Any:
    """Raises KeyError or ValueError for what the field does not take."""
    if field.cpp_type in _WHOLE_NUMBERS:
        return int(value)
    if field.cpp_type in _NUMBERS:
        return float(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _TRUTH[value.lower()]
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return field.enum_type.values_by_name[value].number
    return value


def _unknown(descriptor: Any, name: str, where: str, path: str) -> SpecError:
    names = [field.name for field in descriptor.fields]
    meant = suggest(name, names)
    whole = None if meant else _complete(path)
    if whole is not None:
        meant = f"; is {whole!r} meant?"
    return SpecError(
        f"{where}: {descriptor.name} has no field {name!r}{meant or '.'} It has: "
        f"{', '.join(names)}."
    )


def _complete(path: str) -> str | None:
    """The whole path of which this one lacks the beginning, or None."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        ending, rest = "." + ".".join(parts[:count]), parts[count:]
        for known in field_paths():
            if f".{known}".rstrip(".").endswith(ending) and (not rest or known.endswith(".")):
                return ".".join([known.rstrip("."), *rest])
    return None
