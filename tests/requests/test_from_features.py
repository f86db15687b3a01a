"""Predict requests whose inputs are filled from the features of tf.Examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2

from infra_validator.faults import Blame, FaultError
from infra_validator.requests.drafts import Draft, batches
from infra_validator.requests.examples import TF_EXAMPLE_FORMAT, Records
from infra_validator.requests.from_examples import Asked, ExampleSource, ModelFacts
from infra_validator.requests.from_signature import Knowledge, MadeUpSource
from infra_validator.requests.mapping import check_inputs_exist
from infra_validator.requests.request import Method
from infra_validator.saved_model.composites import Composite, Kind
from infra_validator.saved_model.reader import Signature, TensorSpec

PREDICT = "tensorflow/serving/predict"


def example(features: Mapping[str, Sequence[Any]]) -> bytes:
    made = tf.train.Example()
    for name, values in features.items():
        target = made.features.feature[name]
        if any(isinstance(value, bytes) for value in values):
            target.bytes_list.value.extend(values)
        elif any(isinstance(value, float) for value in values):
            target.float_list.value.extend(values)
        elif values:
            target.int64_list.value.extend(values)
    return made.SerializeToString()


def build(
    inputs: Mapping[str, TensorSpec],
    rows: Sequence[Mapping[str, Sequence[Any]]],
    *,
    batch_sizes: Sequence[int] = (),
    features: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    composites: Sequence[Composite] = (),
    parses: bool = True,
    notes: list[str] | None = None,
    num_examples: int | None = None,
) -> list[Draft]:
    source = ExampleSource(
        Records("train", tuple(map(example, rows))),
        TF_EXAMPLE_FORMAT,
        Asked(num_examples or len(rows), batch_sizes, features or {}, constants or {}),
    )
    facts = ModelFacts(lambda _: composites, lambda *_: parses)
    signature = Signature("s", PREDICT, inputs)
    return list(source.requests(signature, facts, notes if notes is not None else []))


def arrays(draft: Draft) -> dict[str, Any]:
    return {name: tf.make_ndarray(tensor) for name, tensor in draft.message.inputs.items()}


def failure(*arguments: Any, **named: Any) -> str:
    with pytest.raises(FaultError) as caught:
        build(*arguments, **named)
    found = caught.value.fault
    assert found.blame in {Blame.DATA, Blame.CONFIGURATION}
    assert found.summary.endswith(".")
    return f"{found.category}: {found.summary}"


DTYPES = {
    "DT_FLOAT": st.floats(width=32, allow_nan=False),
    "DT_DOUBLE": st.floats(width=32, allow_nan=False),
    "DT_HALF": st.floats(width=16, allow_nan=False),
    "DT_INT64": st.integers(-(2**63), 2**63 - 1),
    "DT_INT32": st.integers(-(2**31), 2**31 - 1),
    "DT_INT8": st.integers(-128, 127),
    "DT_UINT8": st.integers(0, 255),
    "DT_UINT16": st.integers(0, 2**16 - 1),
    "DT_UINT32": st.integers(0, 2**32 - 1),
    "DT_BOOL": st.integers(0, 1),
    "DT_BFLOAT16": st.integers(-256, 256),
    "DT_STRING": st.binary(max_size=8),
}


@st.composite
def columns(draw: Any, rows: int) -> tuple[TensorSpec, list[list[Any]], tuple[int, ...]]:
    """An input with an open batch dimension, a feature that fits it, and one example's shape."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    dims = draw(st.lists(st.integers(1, 3), max_size=3))
    open_at = draw(st.integers(0, len(dims)))
    shape = [None if place == open_at else size for place, size in enumerate(dims)]
    count = math.prod(dims)
    values = draw(
        st.lists(
            st.lists(DTYPES[dtype], min_size=count, max_size=count), min_size=rows, max_size=rows
        )
    )
    return TensorSpec(dtype, (None, *shape)), values, tuple(dims)


@settings(max_examples=200)
@given(st.data())
def test_what_is_sent_are_the_features(data: Any) -> None:
    rows = data.draw(st.integers(1, 5))
    size = data.draw(st.integers(1, 6))
    drawn = {name: data.draw(columns(rows)) for name in ("a", "b")}
    drafts = build(
        {name: spec for name, (spec, _, _) in drawn.items()},
        [{name: values[row] for name, (_, values, _) in drawn.items()} for row in range(rows)],
        batch_sizes=[size],
    )
    assert len(drafts) == math.ceil(rows / size)
    for draft, batch in zip(drafts, batches(rows, rows, size), strict=True):
        assert draft.batch_size == size
        sent = arrays(draft)
        for name, (spec, values, shape) in drawn.items():
            # A single string input would take whole records; here there are always two.
            dtype = tf.dtypes.as_dtype(types_pb2.DataType.Value(spec.dtype)).as_numpy_dtype
            expected = np.array([values[row] for row in batch], dtype=dtype)
            assert sent[name].dtype == expected.dtype
            np.testing.assert_array_equal(sent[name], expected.reshape(size, *shape))


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=4))
def test_ragged_and_sparse_components_hold_the_rows(rows: list[list[int]]) -> None:
    inputs = {
        "r": TensorSpec("DT_FLOAT", (None,)),
        "r_1": TensorSpec("DT_INT64", (None,)),
        "s": TensorSpec("DT_INT64", (None, 2)),
        "s_1": TensorSpec("DT_INT32", (None,)),
        "s_2": TensorSpec("DT_INT64", (2,)),
    }
    composites = [
        Composite(Kind.RAGGED, "r", ("r", "r_1"), (None, None)),
        Composite(Kind.SPARSE, "s", ("s", "s_1", "s_2"), (None, 6)),
    ]
    given_rows = [{"r": row, "s": row, "x": [1]} for row in rows]
    [draft] = build(inputs, given_rows, composites=composites, batch_sizes=[len(rows)])
    sent = arrays(draft)
    ragged = tf.RaggedTensor.from_row_splits(sent["r"], sent["r_1"])
    assert ragged.to_list() == rows
    sparse = tf.SparseTensor(sent["s"], sent["s_1"], sent["s_2"])
    assert sparse.shape == (len(rows), 6)
    dense = tf.sparse.to_dense(sparse, default_value=-1).numpy().tolist()
    assert dense == [row + [-1] * (6 - len(row)) for row in rows]


X = {"x": TensorSpec("DT_FLOAT", (None, 2))}


@pytest.mark.parametrize(
    ("inputs", "rows", "more", "said"),
    [
        (
            X,
            [{"x": [1.0, 2.0]}, {"y": [1]}, {"x": []}],
            {},
            "examples_unfit: The feature 'x' is missing in records 2, 3 of the split 'train', of 3",
        ),
        (X, [{"x": [1.0] * 3}], {}, "examples_unfit: The feature 'x' has 3 values in record 1"),
        (X, [{"x": [1.0] * 2}, {"x": [1.0]}], {}, "has 1 values in record 2 of the split 'train'"),
        (X, [{"x": [b"a", b"b"]}], {}, "'x' holds strings, where DT_FLOAT is taken, in record 1"),
        (
            {"x": TensorSpec("DT_INT32", (None, 1))},
            [{"x": [1]}, {"x": [2**31]}],
            {},
            "'x' holds numbers beyond the range of DT_INT32, in record 2",
        ),
        (
            {"x": TensorSpec("DT_INT32", (None, 1))},
            [{"x": [1.5]}],
            {},
            "'x' holds numbers with a fraction, where DT_INT32 is taken, in record 1",
        ),
        (
            {"x": TensorSpec("DT_FLOAT", (None, None))},
            [{"x": [1.0]}, {"x": [1.0, 2.0]}],
            {"batch_sizes": [2]},
            "takes equally many in a batch; ask with batches of 1",
        ),
        (
            {"lenght": TensorSpec("DT_FLOAT", (None, 1)), "b": TensorSpec("DT_INT64", (None,))},
            [{"length": [1.0], "b": [1], "c": [b"x"]}],
            {},
            "inputs_unmatched: The signature 's' has inputs that no feature feeds: the examples "
            "have no feature 'lenght' (close: 'length'). Inputs: b: DT_INT64 [?], lenght: DT_FLOAT "
            "[?, 1]. Features: b (int64), c (bytes), length (float).",
        ),
        (X, [{"x": [1.0] * 2}], {"features": {"x": "z"}}, "no feature 'z'"),
        (X, [{"y": [1.0]}], {"constants": {"x": [[1, 2, 3]]}}, "is of shape [1, 3]"),
        (X, [{"y": [1.0]}], {"constants": {"x": "word"}}, "['x']: holds a text that is no number"),
        (
            {"x": TensorSpec("DT_RESOURCE", ())},
            [{"x": [1.0]}],
            {},
            "signature_unsupported: The input 'x' of the signature 's' is of type DT_RESOURCE",
        ),
        (
            {"x": TensorSpec("DT_FLOAT", (None,), None)},
            [{"x": [1.0]}],
            {},
            "sparse or composite tensor of TensorFlow 1",
        ),
        (
            {"x": TensorSpec("DT_FLOAT", (2, 1)), "y": TensorSpec("DT_FLOAT", (3, 1))},
            [{"x": [1.0], "y": [1.0]}],
            {},
            "different fixed batch sizes: 2, 3; set those that are not per example by",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(
    inputs: Any, rows: Any, more: dict[str, Any], said: str
) -> None:
    assert said in failure(inputs, rows, **more)


def test_no_error_quotes_a_value() -> None:
    rows = [{"x": [b"hunter2", b"hunter2"]}]
    assert "hunter2" not in failure(X, rows)
    secret = {"constants": {"x": "hunter2"}}
    assert "hunter2" not in failure(X, rows, **secret)


@pytest.mark.parametrize(
    ("spec", "rows", "shape"),
    [
        (TensorSpec("DT_FLOAT", ()), [[1.0]], ()),
        (TensorSpec("DT_FLOAT", (3,)), [[1.0] * 3], (3,)),
        (TensorSpec("DT_FLOAT", (1,)), [[1.0]], (1,)),
        (TensorSpec("DT_FLOAT", (None,)), [[1.0]], (1,)),
        (TensorSpec("DT_FLOAT", (None,)), [[1.0] * 3], (3,)),
        (TensorSpec("DT_FLOAT", (2, 3)), [[1.0] * 6], (2, 3)),
        (TensorSpec("DT_FLOAT", (2, 3)), [[1.0] * 3] * 2, (2, 3)),
        (TensorSpec("DT_FLOAT", (1, 3)), [[1.0] * 3], (1, 3)),
        (TensorSpec("DT_FLOAT", None), [[1.0]], (1,)),
        (TensorSpec("DT_FLOAT", None), [[1.0] * 2], (1, 2)),
        (TensorSpec("DT_FLOAT", (None, None, None)), [[1.0]], (1, 1, 1)),
        (TensorSpec("DT_STRING", (None, 1)), [[b"a"]], (1, 1)),
    ],
)
def test_shapes_with_and_without_batch(
    spec: TensorSpec, rows: list[list[Any]], shape: tuple[int, ...]
) -> None:
    drafts = build({"x": spec}, [{"x": row} for row in rows])
    assert arrays(drafts[0])["x"].shape == shape
    assert len(drafts) == 1


def test_a_single_string_input_takes_records_unless_a_feature_of_its_name_is_meant() -> None:
    rows = [{"text": [b"a"]}]
    inputs = {"text": TensorSpec("DT_STRING", (None,))}
    [whole] = build(inputs, rows, parses=True)
    assert arrays(whole)["text"].tolist() == [example(rows[0])]
    [feature] = build(inputs, rows, parses=False)
    assert arrays(feature)["text"].tolist() == [b"a"]
    other = {"examples": TensorSpec("DT_STRING", (None,))}
    [unknown] = build(other, rows, parses=False)
    assert arrays(unknown)["examples"].tolist() == [example(rows[0])]
    [mapped] = build(other, rows, parses=True, features={"examples": "text"})
    assert arrays(mapped)["examples"].tolist() == [b"a"]


def test_names_that_tensorflow_changes_are_found() -> None:
    rows = [{"petal length (cm)": [1.0], "n": [1]}]
    inputs = {
        "petal_length__cm_": TensorSpec("DT_FLOAT", (None,)),
        "n": TensorSpec("DT_INT64", (None,)),
    }
    [draft] = build(inputs, rows)
    assert arrays(draft)["petal_length__cm_"].tolist() == [1.0]


def test_short_splits_are_repeated_to_make_a_batch_and_that_is_said() -> None:
    notes: list[str] = []
    [draft] = build(X, [{"x": [1.0, 2.0]}, {"x": [3.0, 4.0]}], batch_sizes=[5], notes=notes)
    assert arrays(draft)["x"][:, 0].tolist() == [1.0, 3.0, 1.0, 3.0, 1.0]
    assert any("holds only 2 examples" in note for note in notes)


@pytest.mark.parametrize(
    ("count", "wanted", "size", "expected"),
    [
        (3, 3, 1, [[0], [1], [2]]),
        (9, 3, 1, [[0], [1], [2]]),
        (3, 3, 2, [[0, 1], [2, 0]]),
        (9, 1, 4, [[0, 1, 2, 3]]),
        (2, 1, 4, [[0, 1, 0, 1]]),
        (9, 5, 4, [[0, 1, 2, 3], [4, 0, 1, 2]]),
    ],
)
def test_batches(count: int, wanted: int, size: int, expected: list[list[int]]) -> None:
    assert list(batches(count, wanted, size)) == expected


@pytest.mark.parametrize("field", ["input_features", "input_constants"])
def test_a_mapping_to_an_input_that_does_not_exist_is_refused(field: str) -> None:
    signature = Signature("s", PREDICT, {"length": TensorSpec("DT_FLOAT", (None,))})
    given_fields: dict[str, Any] = {"input_features": {}, "input_constants": {}}
    given_fields[field] = {"lenght": "x"}
    with pytest.raises(FaultError, match="Is 'length' meant") as caught:
        check_inputs_exist([signature], *given_fields.values())
    assert field in caught.value.fault.summary


def test_classify_keeps_a_fixed_batch_size() -> None:
    rows = [example({"x": [number]}) for number in range(3)]
    source = ExampleSource(Records("train", tuple(rows)), TF_EXAMPLE_FORMAT, Asked(1))
    spec = {"inputs": TensorSpec("DT_STRING", (3,))}
    signature = Signature("c", "tensorflow/serving/classify", spec)
    [draft] = source.requests(signature, ModelFacts(), [])
    assert (draft.batch_size, draft.description) == (3, "3 tf.Examples")
    [draft] = source.together([signature], [])
    assert (draft.method, draft.batch_size) == (Method.MULTI_INFERENCE, 3)
    [draft] = MadeUpSource(Knowledge(), (), {}).together([signature], [])
    assert (draft.method, draft.batch_size) == (Method.MULTI_INFERENCE, 3)


def test_a_request_too_large_for_a_message_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra_validator.requests.tensors.MAX_TENSOR_BYTES", 10)
    assert "signature 's' takes" in failure(X, [{"x": [1.0, 2.0]}] * 2, batch_sizes=[2])
    source = ExampleSource(
        Records("train", (example({"x": [1.0] * 9}),)), TF_EXAMPLE_FORMAT, Asked(1)
    )
    signature = Signature("c", "tensorflow/serving/classify", {"inputs": X["x"]})
    with pytest.raises(FaultError, match="no request can carry more than 2 GiB"):
        list(source.requests(signature, ModelFacts(), []))
