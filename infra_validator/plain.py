"""From plain JSON values back to frozen dataclasses, by their types. Pure."""

from __future__ import annotations

import dataclasses
import enum
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")


def read_record(kind: type[Record], value: Any, at: str = "") -> Record:
    """A dataclass from the value that `dataclasses.asdict` and JSON made of it.

    Fields that the dataclass does not have are passed over: a later version
    wrote them. Fields that are not there have their defaults.

    Args:
        kind: the dataclass.
        value: what JSON gave.
        at: where in the whole the value stands, for the error.

    Raises:
        ValueError: if the value does not fit; says where, and what is wrong.
    """
    if not isinstance(value, Mapping):
        raise _refuse(at, "an object", value)
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        place = f"{at}.{field.name}" if at else field.name
        if field.name in value:
            given[field.name] = _read(hints[field.name], value[field.name], place)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place} is missing")
    return kind(**given)


def _read(kind: Any, value: Any, at: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in {typing.Union, types.UnionType}:
        choices = [choice for choice in typing.get_args(kind) if choice is not type(None)]
        return None if value is None else _read(choices[0], value, at)
    if origin is tuple:
        if not isinstance(value, list):
            raise _refuse(at, "a list", value)
        item = typing.get_args(kind)[0]
        return tuple(_read(item, entry, f"{at}[{index}]") for index, entry in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return read_record(typing.cast(type[Any], kind), value, at)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _read_enum(kind, value, at)
    return _read_plain(origin or kind, value, at)


def _read_enum(kind: type[enum.Enum], value: Any, at: str) -> enum.Enum:
    known = {member.value: member for member in kind}
    if not isinstance(value, str) or value not in known:
        raise _refuse(at, f"one of {', '.join(map(repr, known))}", value)
    return known[value]


def _read_plain(kind: Any, value: Any, at: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = _read_integer(value, at)
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        raise _refuse(at, "a finite number", value)
    names = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}
    if kind in names:
        if type(value) is not kind:
            raise _refuse(at, names[kind], value)
    elif isinstance(kind, type) and issubclass(kind, Mapping) and not isinstance(value, Mapping):
        raise _refuse(at, "an object", value)
    return value


def _read_integer(value: int, at: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise _refuse(at, "a number of this size", "a larger one") from error


def _refuse(at: str, wanted: str, value: Any) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:40] + "…"
    return ValueError(f"{at or 'the whole'} is not {wanted}: {shown}")
