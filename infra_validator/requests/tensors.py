"""Puts values into tensors of a given type, as long as nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2, types_pb2

Array = NDArray[Any]

MAX_TENSOR_BYTES = 2**31 - 2**20
"""Protobuf takes no message of 2 GiB or more; some room is left for the rest of it."""

_STORED = {
    "DT_FLOAT": np.float32,
    "DT_DOUBLE": np.float64,
    "DT_HALF": np.float16,
    "DT_BFLOAT16": np.uint16,  # its bits, as numpy has no such type
    "DT_INT8": np.int8,
    "DT_INT16": np.int16,
    "DT_INT32": np.int32,
    "DT_INT64": np.int64,
    "DT_UINT8": np.uint8,
    "DT_UINT16": np.uint16,
    "DT_UINT32": np.uint32,
    "DT_UINT64": np.uint64,
    "DT_QINT8": np.int8,
    "DT_QINT16": np.int16,
    "DT_QINT32": np.int32,
    "DT_QUINT8": np.uint8,
    "DT_QUINT16": np.uint16,
    "DT_BOOL": np.bool_,
    "DT_COMPLEX64": np.complex64,
    "DT_COMPLEX128": np.complex128,
}
STRING = "DT_STRING"
FILLABLE = frozenset({*_STORED, STRING})
"""Types of inputs that a request can carry; resources and variants live in the server only."""

_INTEGER_KINDS = "iu"


class UnfitError(ValueError):
    """Raised where values cannot become a tensor; its text follows a name, and quotes no value."""


def fit(values: Array, dtype: str) -> Array:
    """The same values as that type, in the form in which a tensor stores it.

    Whole numbers become any number type that holds them exactly, and numbers
    with a fraction the nearest of a type with fractions. Everything else is
    refused.

    Args:
        values: numbers, truth values, or byte strings (of dtype object).
        dtype: one of `FILLABLE`.

    Raises:
        UnfitError: if something would be lost.
    """
    if dtype == STRING:
        if values.dtype != object:
            raise UnfitError("holds numbers, where strings are taken")
        return values
    if values.dtype == object:
        raise UnfitError(f"holds strings, where {dtype} is taken")
    if values.dtype == np.bool_:
        values = values.astype(np.int64)
    stored = np.dtype(_STORED[dtype])
    if dtype == "DT_BOOL":
        if not np.isin(values, (0, 1)).all():
            raise UnfitError("holds numbers other than 0 and 1, where DT_BOOL is taken")
        return values.astype(np.bool_)
    if dtype == "DT_BFLOAT16":
        return _to_bfloat16(values)
    if stored.kind in _INTEGER_KINDS:
        return _to_integer(values, stored, dtype)
    return _to_float(values, stored, dtype)


def _to_integer(values: Array, stored: np.dtype[Any], dtype: str) -> Array:
    limits = np.iinfo(stored)
    if values.dtype.kind in _INTEGER_KINDS:
        fits = not values.size or limits.min <= int(values.min()) <= int(values.max()) <= limits.max
    else:
        if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
            raise UnfitError(f"holds numbers with a fraction, where {dtype} is taken")
        wide = values.astype(np.float64)
        fits = bool((wide >= float(limits.min)).all() and (wide < float(int(limits.max) + 1)).all())
    if not fits:
        raise UnfitError(f"holds numbers beyond the range of {dtype}")
    return values.astype(stored)


def _to_float(values: Array, stored: np.dtype[Any], dtype: str) -> Array:
    with np.errstate(over="ignore"):
        cast = values.astype(stored)
    real = cast.real if stored.kind == "c" else cast
    if values.dtype.kind in _INTEGER_KINDS:
        _check_whole(values, real, dtype)
    elif not np.array_equal(np.isfinite(real), np.isfinite(values)):
        raise UnfitError(f"holds numbers beyond the range of {dtype}")
    return cast


def _to_bfloat16(values: Array) -> Array:
    single = values.astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    rounded = np.where(np.isnan(single), np.uint16(0x7FC0), rounded).astype(np.uint16)
    back = (rounded.astype(np.uint32) << 16).view(np.float32)
    if values.dtype.kind in _INTEGER_KINDS:
        _check_whole(values, back, "DT_BFLOAT16")
    elif not np.array_equal(np.isfinite(back), np.isfinite(values)):
        raise UnfitError("holds numbers beyond the range of DT_BFLOAT16")
    return rounded


def _check_whole(values: Array, cast: Array, dtype: str) -> None:
    """Whether whole numbers came through as they were."""
    limit = float(int(np.iinfo(values.dtype).max) + 1)
    if not (np.isfinite(cast).all() and (cast.astype(np.float64) < limit).all()) or not (
        np.array_equal(cast.astype(values.dtype), values)
    ):
        raise UnfitError(f"holds whole numbers that {dtype} does not hold exactly")


def to_proto(values: Array, dtype: str, shape: Sequence[int]) -> Any:
    """A TensorProto.

    Args:
        values: what `fit` made for that type.
        dtype: one of `FILLABLE`.
        shape: of as many elements.

    Raises:
        UnfitError: if no message can hold it.
    """
    tensor = tensor_pb2.TensorProto()
    tensor.dtype = types_pb2.DataType.Value(dtype)
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    if dtype == STRING:
        strings = values.ravel().tolist()
        check_size(sum(map(len, strings)) + 6 * len(strings))
        tensor.string_val.extend(strings)
    else:
        check_size(values.nbytes)
        tensor.tensor_content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor


def check_size(count: int) -> None:
    """Refuses what is too large for a message, before it is made."""
    if count > MAX_TENSOR_BYTES:
        raise UnfitError(f"takes {count} bytes, and no request can carry more than 2 GiB")


def check_made_size(shape: Sequence[int], dtype: str) -> None:
    """The same for a tensor that is yet to be made."""
    each = 8 if dtype == STRING else np.dtype(_STORED[dtype]).itemsize
    check_size(math.prod(shape) * each)


def zeros(shape: Sequence[int], dtype: str, text: bytes = b"") -> Array:
    """Zeros, or that text, in stored form."""
    check_made_size(shape, dtype)
    if dtype == STRING:
        filled = np.empty(tuple(shape), dtype=object)
        filled.fill(text)
        return filled
    return np.zeros(tuple(shape), dtype=_STORED[dtype])


def strings(values: Sequence[bytes]) -> Array:
    """Byte strings as a vector."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def describe(inputs: Any) -> str:
    """Names, types and shapes of a request's inputs (a map of TensorProto)."""
    return ", ".join(
        f"{name}: {types_pb2.DataType.Name(inputs[name].dtype)} "
        f"[{', '.join(str(dim.size) for dim in inputs[name].tensor_shape.dim)}]"
        for name in sorted(inputs)
    )
