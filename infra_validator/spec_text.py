"""Specs as people write them outside of Python: in a file, or field by field.

A file holds a `Specs` message as JSON or as protobuf's text format. A single
field is written as a dotted path and a value, for example
"serving_spec.local_docker.memory" and "4g". Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format, struct_pb2, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from infra_validator.descriptors import is_map, is_repeated, is_struct
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.spec_errors import JSON_ERRORS, explain_json, explain_text, suggest
from infra_validator.specs import SpecError

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
        text = text.lstrip("\ufeff")
        try:
            return json_format.Parse(text, pb.Specs())
        except JSON_ERRORS:
            raise SpecError(f"{origin}: {explain_json(text, pb.Specs)}") from None
    try:
        return text_format.Parse(text, pb.Specs())
    except text_format.ParseError as error:
        raise SpecError(f"{origin}: {explain_text(error)}") from None


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
        _assign_struct(message, parts, value)
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
        _set(message, field.name, _scalar(field, value, where), where)
    elif rest:
        inner = getattr(message, name)
        inner.SetInParent()
        _assign(inner, rest, value, where, path, begun)
    else:
        inner = getattr(message, name)
        inner.SetInParent()
        _parse_into(inner, value, where)


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
        _parse_into(message, json.dumps({field.name: _json(value, where)}), where)
        return
    entries = getattr(message, field.name)
    content = field.message_type.fields_by_name["value"]
    if content.message_type is None:  # keys of labels and annotations have dots
        try:
            entries[".".join(rest)] = _scalar(content, value, where)
        except (TypeError, ValueError):  # and protobuf quotes it
            raise SpecError(f"{where}: expected text, got text that is no Unicode.") from None
    elif len(rest) == 1:
        _parse_into(entries[rest[0]], value, where)
    else:
        _assign(entries[rest[0]], rest[1:], value, where, path, begun)


def _assign_struct(struct: Any, parts: list[str], value: str) -> None:
    for part in parts[:-1]:
        struct.fields[part].struct_value.SetInParent()
        struct = struct.fields[part].struct_value
    try:
        content = json.loads(value)
    except ValueError:
        content = value
    struct.update({parts[-1]: content})


def _append(message: Any, field: Any, value: str, where: str) -> None:
    if value.startswith("["):
        _parse_into(message, json.dumps({field.name: _json(value, where)}), where)
    elif field.message_type is None:
        try:
            getattr(message, field.name).append(_scalar(field, value, where))
        except (TypeError, ValueError) as error:
            raise SpecError(f"{where}: {value!r} does not fit: {error}.") from None
    else:
        _parse_into(getattr(message, field.name).add(), value, where)


def _parse_into(message: Message, value: str, where: str) -> None:
    if not isinstance(_json(value, where), dict):
        raise SpecError(
            f"{where}: write the value of {message.DESCRIPTOR.name} in JSON, in braces."
        )
    try:
        json_format.Parse(value, message)
    except JSON_ERRORS:
        raise SpecError(f"{where}: {explain_json(value, type(message))}") from None


def _json(value: str, where: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise SpecError(
            f"{where}: the value is not JSON, in which it is written: {error}."
        ) from None


def _set(message: Any, name: str, value: object, where: str) -> None:
    try:
        setattr(message, name, value)
    except (TypeError, ValueError) as error:  # too large for the field's type, for one
        raise SpecError(f"{where}: {value!r} does not fit: {error}.") from None


def _scalar(field: Any, value: str, where: str) -> Any:
    if field.cpp_type in _WHOLE_NUMBERS:
        try:
            return int(value)
        except ValueError:
            raise SpecError(f"{where}: {value!r} is not a whole number.") from None
    if field.cpp_type in _NUMBERS:
        try:
            return float(value)
        except ValueError:
            raise SpecError(f"{where}: {value!r} is not a number.") from None
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if value.lower() not in _TRUTH:
            raise SpecError(f"{where}: {value!r} is neither true nor false.")
        return _TRUTH[value.lower()]
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        known = field.enum_type.values_by_name
        if value not in known:
            raise SpecError(
                f"{where}: {value!r} is none of {', '.join(known)}"
                f"{suggest(value.upper(), known) or '.'}"
            )
        return known[value].number
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
