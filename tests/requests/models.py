"""SavedModels of every kind that requests are made for, written by TensorFlow and Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"


class Zoo(tf.Module):
    """A function for every shape that inputs come in."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable([[1.0], [10.0], [100.0]])

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="vector"),
            tf.TensorSpec([None], tf.int32, name="count"),
        ]
    )
    def dense(self, vector: Any, count: Any) -> Any:
        return {"y": tf.linalg.matmul(vector, self.weights)[:, 0] + tf.cast(count, tf.float32)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([4, 3], tf.float64, name="vector"),
            tf.TensorSpec([4, 1], tf.bool, name="flag"),
        ]
    )
    def fixed_batch(self, vector: Any, flag: Any) -> Any:
        return {"y": tf.reduce_sum(vector, 1), "flag": flag}

    @tf.function(
        input_signature=[
            tf.TensorSpec([3], tf.float32, name="vector"),
            tf.TensorSpec([], tf.int64, name="count"),
        ]
    )
    def one_example(self, vector: Any, count: Any) -> Any:
        return {"y": tf.reduce_sum(vector) + tf.cast(count, tf.float32)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float16, name="vector"),
            tf.TensorSpec([], tf.bool, name="training"),
            tf.TensorSpec([None, 2], tf.int64, name="weights"),
        ]
    )
    def with_constants(self, vector: Any, training: Any, weights: Any) -> Any:
        return {"y": tf.reduce_sum(vector, 1), "training": training, "weights": weights}

    @tf.function(
        input_signature=[
            tf.RaggedTensorSpec([None, None], tf.float32),
            tf.TensorSpec([None], tf.int64, name="count"),
        ]
    )
    def ragged(self, scores: Any, count: Any) -> Any:
        return {"y": tf.reduce_sum(scores, 1), "count": count}

    @tf.function(input_signature=[tf.SparseTensorSpec([None, 5], tf.string)])
    def sparse(self, words: Any) -> Any:
        return {"y": tf.sparse.to_dense(words)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="scores_values"),
            tf.TensorSpec([None], tf.int32, name="scores_row_splits"),
        ]
    )
    def named_components(self, values: Any, splits: Any) -> Any:
        return {"y": tf.reduce_sum(tf.RaggedTensor.from_row_splits(values, splits), 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image")])
    def images(self, image: Any) -> Any:
        decode = lambda data: tf.io.decode_png(data, channels=3)  # noqa: E731
        pixels = tf.map_fn(decode, image, fn_output_signature=tf.uint8)
        return {"y": tf.shape(pixels)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serialized(self, examples: Any) -> Any:
        return {"y": self.parse(examples)}

    @tf.function
    def parse(self, examples: Any) -> Any:
        parsed = tf.io.parse_example(
            examples,
            {
                "vector": tf.io.FixedLenFeature([3], tf.float32),
                "count": tf.io.FixedLenFeature([], tf.int64),
                "scores": tf.io.VarLenFeature(tf.float32),
                "words": tf.io.RaggedFeature(tf.string),
                "name": tf.io.FixedLenFeature([1], tf.string),
            },
        )
        return tf.reduce_sum(parsed["vector"], 1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def one_by_one(self, examples: Any) -> Any:
        def parse(example: Any) -> Any:
            features = {"vector": tf.io.FixedLenFeature([3], tf.float32)}
            return tf.io.parse_single_example(example, features)["vector"]

        return {"y": tf.map_fn(parse, examples, fn_output_signature=tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def sequences(self, examples: Any) -> Any:
        context, lists, _ = tf.io.parse_sequence_example(
            examples,
            context_features={"length": tf.io.FixedLenFeature([], tf.int64)},
            sequence_features={
                "tokens": tf.io.FixedLenSequenceFeature([2], tf.int64),
                "tags": tf.io.VarLenFeature(tf.string),
            },
        )
        return {"y": context["length"], "tokens": lists["tokens"]}


def save_zoo(base: Path) -> Path:
    """A tf.Module with a signature for each function of `Zoo`."""
    module = Zoo()
    names = (
        "dense",
        "fixed_batch",
        "one_example",
        "with_constants",
        "ragged",
        "sparse",
        "named_components",
        "images",
        "serialized",
        "one_by_one",
        "sequences",
    )
    functions = {name: getattr(module, name) for name in names}
    signatures = {**functions, "serving_default": functions["dense"]}
    tf.saved_model.save(module, str(base / "1"), signatures)
    return base


def save_keras(base: Path) -> Path:
    """A Keras 3 functional model of two inputs."""
    import keras

    vector = keras.Input((3,), name="vector")
    count = keras.Input((1,), name="count")
    joined = keras.layers.Concatenate()([vector, count])
    model = keras.Model([vector, count], keras.layers.Dense(2)(joined))
    model.export(str(base / "1"))
    return base


def save_tf1(base: Path) -> Path:
    """TF1's signatures: Classify and Regress on examples, Predict on tensors, a sparse one."""
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        parsed = v1.parse_example(
            examples,
            {
                "vector": v1.FixedLenFeature([3], tf.float32),
                "count": v1.FixedLenFeature([1], tf.int64, default_value=[7]),
            },
        )
        total = tf.reduce_sum(parsed["vector"], 1, keepdims=True)
        scores = tf.concat([total, -total], 1)
        classes = tf.tile(tf.constant([["no", "yes"]]), [tf.shape(total)[0], 1])
        vector = v1.placeholder(tf.float32, [None, 3], name="vector")
        bias = v1.placeholder(tf.float32, [], name="bias")
        words = v1.sparse_placeholder(tf.string, [None, None], name="words")
        handle = v1.placeholder(tf.resource, [], name="handle")
        info = v1.saved_model.build_tensor_info

        def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> Any:
            return v1.saved_model.build_signature_def(
                {name: info(tensor) for name, tensor in inputs.items()},
                {name: info(tensor) for name, tensor in outputs.items()},
                method,
            )

        signatures = {
            "serving_default": signature({"examples": examples}, {"y": total}, PREDICT),
            "classify": signature(
                {"inputs": examples}, {"classes": classes, "scores": scores}, CLASSIFY
            ),
            "regress": signature({"inputs": examples}, {"outputs": total}, REGRESS),
            "raw": signature({"vector": vector}, {"y": tf.reduce_sum(vector, 1)}, PREDICT),
            "with_default": signature(
                {"vector": vector, "bias": bias}, {"y": tf.reduce_sum(vector, 1) + bias}, PREDICT
            ),
            "coo": signature({"words": words}, {"y": words.values}, PREDICT),
            "handle": signature({"handle": handle}, {"y": tf.constant(1.0)}, PREDICT),
            "other": signature({"vector": vector}, {"y": tf.identity(vector)}, "custom/method"),
            "nothing": signature({}, {"pi": tf.constant(3.14)}, PREDICT),
        }
        default = tf.make_tensor_proto(0.5)
        signatures["with_default"].defaults["bias"].CopyFrom(default)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(base / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return base
