"""What is built decodes back to what was given, for every type and shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.requests.json_values import to_array
from infra_validator.requests.tensors import (
    FILLABLE,
    MAX_TENSOR_BYTES,
    Array,
    UnfitError,
    check_made_size,
    fit,
    strings,
    to_proto,
    zeros,
)

INTEGERS = sorted(name for name in FILLABLE if "INT" in name)
FLOATS = ["DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16"]
RANGES = {
    name: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not name.startswith(("DT_U", "DT_QU"))
    else (0, 2**bits - 1)
    for name in INTEGERS
    for bits in [int("".join(filter(str.isdigit, name)))]
}
INT64 = st.integers(-(2**63), 2**63 - 1)


def decoded(values: Array, dtype: str) -> Any:
    array = tf.make_ndarray(to_proto(values, dtype, values.shape))
    assert array.shape == values.shape
    assert tf.dtypes.as_dtype(array.dtype).as_datatype_enum == to_proto(values, dtype, ()).dtype
    return array


@given(st.sampled_from(INTEGERS), st.lists(INT64, max_size=6))
def test_whole_numbers_become_integers_as_they_are_or_not_at_all(
    dtype: str, values: list[int]
) -> None:
    low, high = RANGES[dtype]
    given_values = np.array(values, dtype=np.int64)
    if all(low <= value <= high for value in values):
        plain = fit(given_values, dtype)
        assert [int(value) for value in plain] == values
        array = decoded(plain, dtype)
        assert array.tobytes() == plain.tobytes()
    else:
        with pytest.raises(UnfitError, match="beyond the range"):
            fit(given_values, dtype)


@given(st.sampled_from(INTEGERS), st.lists(st.floats(width=32), max_size=4), st.booleans())
def test_floats_become_integers_only_if_they_are_whole(
    dtype: str, values: list[float], whole: bool
) -> None:
    if whole:
        values = [math.floor(v) if math.isfinite(v) else v for v in values]
    low, high = RANGES[dtype]
    given_values = np.array(values, dtype=np.float32)
    exact = [float(value) for value in given_values]
    if all(math.isfinite(v) and v == math.floor(v) and low <= int(v) <= high for v in exact):
        assert [int(value) for value in fit(given_values, dtype)] == [int(v) for v in exact]
    else:
        with pytest.raises(UnfitError):
            fit(given_values, dtype)


@given(st.sampled_from(FLOATS), st.lists(INT64, max_size=6))
def test_whole_numbers_become_floats_exactly_or_not_at_all(dtype: str, values: list[int]) -> None:
    kind = tf.dtypes.as_dtype(dtype[3:].lower().replace("double", "float64")).as_numpy_dtype
    with np.errstate(over="ignore"):
        nearest = np.array([float(np.array(value).astype(kind)) for value in values])
    exact = all(
        math.isfinite(got) and int(got) == value for got, value in zip(nearest, values, strict=True)
    )
    if exact:
        array = decoded(fit(np.array(values, dtype=np.int64), dtype), dtype)
        assert [int(value) for value in array.astype(np.float64)] == values
    else:
        with pytest.raises(UnfitError, match="exactly"):
            fit(np.array(values, dtype=np.int64), dtype)


@given(st.sampled_from(FLOATS), st.lists(st.floats(width=32), max_size=6))
def test_floats_become_the_nearest_of_another_type(dtype: str, values: list[float]) -> None:
    kind = tf.dtypes.as_dtype(dtype[3:].lower().replace("double", "float64")).as_numpy_dtype
    given_values = np.array(values, dtype=np.float32)
    with np.errstate(over="ignore"):
        expected = given_values.astype(kind)
    if np.array_equal(np.isfinite(expected.astype(np.float64)), np.isfinite(given_values)):
        array = decoded(fit(given_values, dtype), dtype)
        np.testing.assert_array_equal(array.astype(np.float64), expected.astype(np.float64))
    else:
        with pytest.raises(UnfitError, match="beyond the range"):
            fit(given_values, dtype)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_strings_are_any_bytes(values: list[bytes]) -> None:
    assert decoded(fit(strings(values), "DT_STRING"), "DT_STRING").tolist() == values


@pytest.mark.parametrize("dtype", sorted(FILLABLE))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 1), (2, 3, 1)])
def test_zeros_of_every_type_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    array = decoded(zeros(shape, dtype), dtype)
    assert array.shape == shape
    assert array.size == 0 or dtype == "DT_STRING" or not any(array.tobytes())


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        (np.array([2]), "DT_BOOL", "other than 0 and 1"),
        (np.array([0.5], np.float32), "DT_BOOL", "other than 0 and 1"),
        (np.array([1.0], np.float32), "DT_STRING", "numbers, where strings"),
        (strings([b"1"]), "DT_FLOAT", "strings, where DT_FLOAT"),
        (np.array([2**24 + 1]), "DT_FLOAT", "exactly"),
        (np.array([2**63 - 1]), "DT_DOUBLE", "exactly"),
        (np.array([65504 * 2.0], np.float32), "DT_HALF", "beyond the range"),
        (np.array([2.0**63], np.float32), "DT_INT64", "beyond the range"),
    ],
)
def test_what_would_lose_something_is_refused(values: Array, dtype: str, said: str) -> None:
    with pytest.raises(UnfitError, match=said):
        fit(values, dtype)


def test_what_no_message_can_carry_is_refused_before_it_is_made() -> None:
    with pytest.raises(UnfitError, match="2 GiB"):
        check_made_size((1, 50_000, 50_000), "DT_FLOAT")
    check_made_size((MAX_TENSOR_BYTES,), "DT_INT8")


def nested(shape: list[int], leaves: Any) -> Any:
    if not shape:
        return next(leaves)
    return [nested(shape[1:], leaves) for _ in range(shape[0])]


@given(st.lists(st.integers(1, 3), max_size=3), st.data())
def test_json_lists_become_tensors_of_their_shape(shape: list[int], data: Any) -> None:
    count = math.prod(shape)
    values = data.draw(st.lists(st.integers(-100, 100), min_size=count, max_size=count))
    for dtype in ("DT_INT32", "DT_FLOAT", "DT_INT8", "DT_COMPLEX64"):
        array = to_array(nested(shape, iter(values)), dtype)
        assert array.shape == tuple(shape)
        assert array.ravel().tolist() == values


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (3.0, "DT_INT64", 3),
        ("9007199254740993", "DT_INT64", 9007199254740993),
        (2**64 - 1, "DT_UINT64", 2**64 - 1),
        ("Infinity", "DT_FLOAT", math.inf),
        (True, "DT_BOOL", True),
        ("ü", "DT_STRING", "ü".encode()),
        ({"b64": "/w=="}, "DT_STRING", b"\xff"),
        ([], "DT_FLOAT", []),
        ([], "DT_STRING", []),
        ([[], []], "DT_FLOAT", [[], []]),
    ],
)
def test_json_values(value: Any, dtype: str, expected: Any) -> None:
    assert to_array(value, dtype).tolist() == expected


def test_a_point_beside_a_whole_number_takes_none_of_its_digits() -> None:
    assert to_array([2**53 + 1, 1.0], "DT_INT64").tolist() == [2**53 + 1, 1]


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        ([[1], [1, 2]], "DT_FLOAT", "unequal"),
        ([1, [2]], "DT_FLOAT", "unequal"),
        ([[1], 2], "DT_FLOAT", "unequal"),
        (None, "DT_FLOAT", "null"),
        ({"a": 1}, "DT_FLOAT", "an object"),
        ("x", "DT_FLOAT", "no number"),
        (1, "DT_STRING", "a number"),
        ({"b64": "%"}, "DT_STRING", "no base64"),
        ({"b64": 1}, "DT_STRING", "an object"),
        (True, "DT_FLOAT", "truth values"),
        (1.5, "DT_INT32", "fraction"),
        (300, "DT_INT8", "beyond"),
        (2**64, "DT_INT64", "beyond"),
        (1e39, "DT_FLOAT", "beyond"),
        ([2**53 + 1, 0.5], "DT_INT64", "fraction"),
        ([10**400, 0.5], "DT_DOUBLE", "beyond"),
    ],
)
def test_json_values_that_do_not_fit(value: Any, dtype: str, said: str) -> None:
    with pytest.raises(UnfitError, match=said):
        to_array(value, dtype)
