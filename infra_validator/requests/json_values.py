"""Reads values in the JSON form of TensorFlow Serving's REST API."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

from infra_validator.requests.tensors import STRING, Array, UnfitError, fit, strings

_MOST_DIMENSIONS = 32  # of an array, in NumPy 1


def to_array(value: Any, dtype: str) -> Array:
    """A JSON value as an array of that type, in stored form and of its own shape.

    Args:
        value: a number, text, truth value, {"b64": text}, or (nested) list.
        dtype: one of `tensors.FILLABLE`.

    Raises:
        UnfitError: if the value is none of these, or does not fit the type.
    """
    shape: list[int] = []
    probe = value
    while isinstance(probe, (list, tuple)):
        shape.append(len(probe))
        if not probe:
            break
        probe = probe[0]
    if len(shape) > _MOST_DIMENSIONS:
        raise UnfitError(f"holds lists nested more than {_MOST_DIMENSIONS} deep")
    flat: list[Any] = []
    _flatten(value, tuple(shape), flat)
    if dtype == STRING:
        return strings([_to_bytes(item) for item in flat]).reshape(shape)
    numbers = [_to_number(item, dtype) for item in flat]
    if all(isinstance(number, bool) for number in numbers):
        array: Array = np.array(numbers, dtype=np.bool_)
        if numbers and dtype != "DT_BOOL":
            raise UnfitError(f"holds truth values, where {dtype} is taken")
    elif all(isinstance(number, int) for number in numbers):
        array = _integers(numbers, dtype)
    else:
        array = _mixed(numbers, dtype)
    return fit(array, dtype).reshape(shape)


def _flatten(value: Any, shape: tuple[int, ...], flat: list[Any]) -> None:
    if not shape:
        if isinstance(value, (list, tuple)):
            raise UnfitError("holds lists of unequal length or depth")
        flat.append(value)
        return
    if not isinstance(value, (list, tuple)) or len(value) != shape[0]:
        raise UnfitError("holds lists of unequal length or depth")
    for item in value:
        _flatten(item, shape[1:], flat)


def _to_bytes(item: Any) -> bytes:
    if isinstance(item, str):
        try:
            return item.encode()
        except UnicodeEncodeError:
            raise UnfitError("holds a text with half a surrogate pair, which is no UTF-8") from None
    if isinstance(item, Mapping) and item.keys() == {"b64"} and isinstance(item["b64"], str):
        try:
            return base64.b64decode(item["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise UnfitError('holds a {"b64": ...} that is no base64') from None
    raise UnfitError(f"holds {_kind(item)}, where texts are taken")


def _to_number(item: Any, dtype: str) -> bool | int | float:
    if isinstance(item, (bool, int, float)):
        return item
    if isinstance(
        item, str
    ):  # as protobuf's JSON form writes large integers, and what is no number
        for read in (int, float):
            try:
                return read(item)
            except ValueError:
                continue
        raise UnfitError(f"holds a text that is no number, where {dtype} is taken")
    raise UnfitError(f"holds {_kind(item)}, where {dtype} is taken")


def _integers(numbers: list[Any], dtype: str) -> Array:
    for kind in (np.int64, np.uint64):
        limits = np.iinfo(kind)
        if all(limits.min <= number <= limits.max for number in numbers):
            return np.array(numbers, dtype=kind)
    raise UnfitError(f"holds numbers beyond the range of {dtype}")


def _mixed(numbers: list[Any], dtype: str) -> Array:
    """Numbers with a point among them, which takes no digit from whole ones beside it."""
    if "INT" in dtype and all(
        number.is_integer() for number in numbers if isinstance(number, float)
    ):
        return _integers([int(number) for number in numbers], dtype)
    try:
        return np.array(numbers, dtype=np.float64)
    except OverflowError:
        raise UnfitError(f"holds numbers beyond the range of {dtype}") from None


def _kind(item: Any) -> str:
    if isinstance(item, Mapping):
        return "an object"
    if isinstance(item, bool):
        return "a truth value"
    return "null" if item is None else "a text" if isinstance(item, str) else "a number"
