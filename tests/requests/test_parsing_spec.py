"""What is found in graphs: parsing ops of every kind, behind functions, loops and branches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from infra_validator.files import Gfile
from infra_validator.requests.from_signature import make_example
from infra_validator.saved_model.graph import Graph
from infra_validator.saved_model.parsing_spec import ParsedFeature, StringUse, find_use
from infra_validator.saved_model.reader import read_model

FEATURES = {
    "a": tf.io.FixedLenFeature([2], tf.float32),
    "b": tf.io.VarLenFeature(tf.int64),
    "c": tf.io.FixedLenFeature([], tf.string, default_value="x"),
    "d": tf.io.FixedLenSequenceFeature([3], tf.float32, allow_missing=True),
    "e": tf.io.RaggedFeature(tf.string),
}
PARSED = {
    ParsedFeature("a", "DT_FLOAT", (2,)),
    ParsedFeature("b", "DT_INT64", (None,)),
    ParsedFeature("c", "DT_STRING", ()),
    ParsedFeature("d", "DT_FLOAT", (None, 3)),
    ParsedFeature("e", "DT_STRING", (None,)),
}
WITHOUT_RAGGED = {feature for feature in PARSED if feature.name in "abc"}
SINGLE = {name: FEATURES[name] for name in "abc"}


def first(parsed: Any) -> Any:
    return parsed["a"]


def direct(examples: Any) -> Any:
    return first(tf.io.parse_example(examples, FEATURES))


def nested(examples: Any) -> Any:
    return tf.function(tf.function(direct))(tf.identity(examples))


def branched(examples: Any) -> Any:
    zeros = lambda: tf.zeros([tf.shape(examples)[0], 2])  # noqa: E731
    return tf.cond(tf.shape(examples)[0] > 0, lambda: direct(examples), zeros)


def mapped(examples: Any) -> Any:
    one = lambda example: first(tf.io.parse_single_example(example, SINGLE))  # noqa: E731
    return tf.map_fn(one, examples, fn_output_signature=tf.float32)


def single_op(examples: Any) -> Any:
    return tf.raw_ops.ParseSingleExample(
        serialized=examples[0],
        dense_defaults=[tf.constant([], tf.float32), tf.constant("x")],
        num_sparse=1,
        sparse_keys=["b"],
        dense_keys=["a", "c"],
        sparse_types=[tf.int64],
        dense_shapes=[[2], []],
    ).dense_values[0]


def first_version(examples: Any) -> Any:
    return tf.raw_ops.ParseExample(
        serialized=examples,
        names=tf.constant([], tf.string),
        sparse_keys=[tf.constant("b")],
        dense_keys=[tf.constant("a"), tf.constant("c")],
        dense_defaults=[tf.constant([], tf.float32), tf.constant("x")],
        sparse_types=[tf.int64],
        dense_shapes=[[2], []],
    ).dense_values[0]


def uses(tmp_path: Path, function: Callable[[Any], Any]) -> StringUse:
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="examples")
    module.serve = tf.function(lambda examples: {"y": function(examples)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.serve})
    model = read_model(Gfile(), str(tmp_path), ["serve"])
    endpoint = model.signature("serving_default").inputs["examples"].endpoint
    assert endpoint
    use = find_use(Graph(model.meta_graph), endpoint)
    if use.parsing is not None:  # what is made is what the model can parse
        made = make_example(use.parsing, b"t").SerializeToString()
        tf.saved_model.load(str(tmp_path)).signatures["serving_default"](tf.constant([made] * 2))
    return use


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (direct, PARSED),
        (nested, PARSED),
        (branched, PARSED),
        (mapped, WITHOUT_RAGGED),
        (single_op, WITHOUT_RAGGED),
        (first_version, WITHOUT_RAGGED),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_features_of_an_example_are_found(
    tmp_path: Path, function: Callable[[Any], Any], expected: set[ParsedFeature]
) -> None:
    parsing = uses(tmp_path, function).parsing
    assert parsing is not None
    assert set(parsing.context) == expected
    assert not parsing.is_sequence


def test_several_parsers_of_one_input_are_taken_together(tmp_path: Path) -> None:
    more = {"z": tf.io.FixedLenFeature([1], tf.float32)}
    both = lambda x: direct(x) + tf.io.parse_example(x, more)["z"]  # noqa: E731
    parsing = uses(tmp_path, both).parsing
    assert parsing is not None
    assert set(parsing.context) == {*PARSED, ParsedFeature("z", "DT_FLOAT", (1,))}


@pytest.mark.parametrize(
    ("one", "other", "shape"),
    [
        (tf.io.FixedLenFeature([3], tf.float32), tf.io.VarLenFeature(tf.float32), (3,)),
        (tf.io.VarLenFeature(tf.float32), tf.io.FixedLenFeature([3], tf.float32), (3,)),
        (tf.io.FixedLenFeature([3], tf.float32), tf.io.FixedLenFeature([3, 1], tf.float32), (3,)),
        (
            tf.io.VarLenFeature(tf.float32),
            tf.io.FixedLenSequenceFeature([2], tf.float32, allow_missing=True),
            (None, 2),
        ),
    ],
)
def test_a_feature_that_is_parsed_in_several_ways_satisfies_all(
    tmp_path: Path, one: Any, other: Any, shape: Any
) -> None:
    def function(examples: Any) -> Any:
        both = [tf.io.parse_example(examples, {"v": kind})["v"] for kind in (one, other)]
        dense = [tf.sparse.to_dense(x) if isinstance(x, tf.SparseTensor) else x for x in both]
        return tf.size(dense[0]) + tf.size(dense[1])

    parsing = uses(tmp_path, function).parsing
    assert parsing is not None
    assert parsing.context == (ParsedFeature("v", "DT_FLOAT", shape),)
    function(tf.constant([make_example(parsing).SerializeToString()]))  # raises if it does not fit


CONTEXT = {
    "n": tf.io.FixedLenFeature([], tf.int64),
    "v": tf.io.VarLenFeature(tf.float32),
}
LISTS = {
    "steps": tf.io.FixedLenSequenceFeature([2], tf.float32),
    "tags": tf.io.VarLenFeature(tf.string),
}


def batch_of_sequences(examples: Any) -> Any:
    _, lists, _ = tf.io.parse_sequence_example(examples, CONTEXT, LISTS)
    return lists["steps"]


def one_sequence(examples: Any) -> Any:
    return tf.io.parse_single_sequence_example(examples[0], CONTEXT, LISTS)[1]["steps"]


@pytest.mark.parametrize("function", [batch_of_sequences, one_sequence])
def test_the_features_of_a_sequence_example_are_found(
    tmp_path: Path, function: Callable[[Any], Any]
) -> None:
    parsing = uses(tmp_path, function).parsing
    assert parsing is not None
    assert parsing.is_sequence
    assert {feature.name for feature in parsing.context} == {"n", "v"}
    assert set(parsing.sequences) == {
        ParsedFeature("steps", "DT_FLOAT", (2,)),
        ParsedFeature("tags", "DT_STRING", (None,)),
    }


def test_an_input_that_is_not_parsed(tmp_path: Path) -> None:
    use = uses(tmp_path, tf.strings.length)
    assert use.parsing is None
    assert "StringLength" in use.ops


def test_keys_that_are_computed_are_not_guessed(tmp_path: Path) -> None:
    def function(examples: Any) -> Any:
        key = tf.strings.join(["a", tf.strings.as_string(tf.shape(examples)[0])])
        return tf.raw_ops.ParseExampleV2(
            serialized=examples,
            names=tf.constant([], tf.string),
            sparse_keys=tf.constant([], tf.string),
            dense_keys=[key],
            ragged_keys=tf.constant([], tf.string),
            dense_defaults=[tf.constant([1.0])],
            num_sparse=0,
            sparse_types=[],
            ragged_value_types=[],
            ragged_split_types=[],
            dense_shapes=[[1]],
        ).dense_values[0]

    assert uses(tmp_path, function).parsing is None
