"""SavedModels for the tests, made by TensorFlow itself."""

from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"

# Every dtype that a session takes from a request and that has an Identity kernel.
DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "complex64",
    "complex128",
    "string",
    "qint8",
    "quint8",
    "qint16",
    "quint16",
    "qint32",
)


def _info(tensor: Any) -> Any:
    return v1.saved_model.build_tensor_info(tensor)


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = PREDICT) -> Any:
    return v1.saved_model.build_signature_def(
        {alias: _info(tensor) for alias, tensor in inputs.items()},
        {alias: _info(tensor) for alias, tensor in outputs.items()},
        method,
    )


def _graph_of_the_zoo() -> dict[str, Any]:
    """Builds nodes in the default graph; returns the signatures over them."""
    examples = v1.placeholder(tf.string, [None], name="examples")
    other = v1.placeholder(tf.string, [None], name="other")
    features = v1.parse_example(examples, {"x": v1.FixedLenFeature([3], tf.float32)})
    x = features["x"]
    batch = tf.shape(x)[0]
    scores = tf.concat([tf.reduce_sum(x, 1, keepdims=True), -x[:, :1]], 1, name="scores")
    names = tf.constant([["no", "yes"]])
    classes = tf.tile(names, tf.stack([batch, 1]), name="classes")
    value = tf.reduce_sum(x, 1, keepdims=True, name="value")
    extended = tf.concat([scores, scores[:1]], 0)
    a = v1.placeholder(tf.float32, None, name="a")
    b = v1.placeholder(tf.float32, None, name="b")
    i = v1.placeholder(tf.int32, None, name="i")
    text = v1.placeholder(tf.string, [], name="text")
    _, endless = v1.while_loop(
        lambda n, _: n >= 0, lambda n, total: (tf.abs(n), total + 1), [i, tf.constant(0)]
    )
    with tf.control_dependencies([tf.debugging.Assert(False, [text], name="fails")]):
        failing = tf.identity(text)

    signatures = {
        "serving_default": _signature({"examples": examples}, {"y": value, "scores": scores}),
        "classify": _signature(
            {"inputs": examples}, {"classes": classes, "scores": scores}, CLASSIFY
        ),
        "classify_classes": _signature({"inputs": examples}, {"classes": classes}, CLASSIFY),
        "classify_scores": _signature({"inputs": examples}, {"scores": scores}, CLASSIFY),
        "regress": _signature({"inputs": examples}, {"outputs": value}, REGRESS),
        "regress_vector": _signature({"inputs": examples}, {"outputs": value[:, 0]}, REGRESS),
        "classify_two_inputs": _signature(
            {"inputs": examples, "more": other}, {"scores": scores}, CLASSIFY
        ),
        "classify_three_outputs": _signature(
            {"inputs": examples}, {"scores": scores, "classes": classes, "x": x}, CLASSIFY
        ),
        "classify_input_key": _signature({"examples": examples}, {"scores": scores}, CLASSIFY),
        "classify_output_key": _signature({"inputs": examples}, {"logits": scores}, CLASSIFY),
        "classify_rank": _signature({"inputs": examples}, {"scores": value[:, 0]}, CLASSIFY),
        "classify_classes_rank": _signature(
            {"inputs": examples}, {"classes": classes[:, 0]}, CLASSIFY
        ),
        "classify_classes_dtype": _signature({"inputs": examples}, {"classes": scores}, CLASSIFY),
        "classify_classes_batch": _signature({"inputs": examples}, {"classes": names}, CLASSIFY),
        "classify_scores_dtype": _signature(
            {"inputs": examples}, {"scores": tf.cast(scores, tf.float64)}, CLASSIFY
        ),
        "classify_scores_batch": _signature({"inputs": examples}, {"scores": extended}, CLASSIFY),
        "classify_widths": _signature(
            {"inputs": examples}, {"classes": classes, "scores": x}, CLASSIFY
        ),
        "regress_two_inputs": _signature(
            {"inputs": examples, "more": other}, {"outputs": value}, REGRESS
        ),
        "regress_two_outputs": _signature(
            {"inputs": examples}, {"outputs": value, "x": x}, REGRESS
        ),
        "regress_input_key": _signature({"examples": examples}, {"outputs": value}, REGRESS),
        "regress_output_key": _signature({"inputs": examples}, {"y": value}, REGRESS),
        "regress_rank": _signature({"inputs": examples}, {"outputs": scores}, REGRESS),
        "regress_batch": _signature({"inputs": examples}, {"outputs": extended[:, 0]}, REGRESS),
        "regress_dtype": _signature(
            {"inputs": examples}, {"outputs": tf.cast(value, tf.float64)}, REGRESS
        ),
        "add": _signature({"a": a, "b": b}, {"sum": a + b, "product": a * b}),
        "matmul": _signature({"a": a, "b": b}, {"c": tf.raw_ops.MatMul(a=a, b=b, name="product")}),
        "odd_method": _signature({"a": a}, {"a": tf.identity(a)}, "other"),
        "total": _signature({"a": a}, {"sum": tf.reduce_sum(a, 0)}),
        "scalar": _signature({"a": a}, {"sum": tf.reduce_sum(a)}),
        "endless": _signature({"i": i}, {"n": endless}),
        "fails": _signature({"text": text}, {"text": failing}),
        "no_inputs": _signature({}, {"pi": tf.constant(3.14, name="pi")}),
    }
    with_default = _signature({"a": a, "b": b}, {"sum": a + b})
    with_default.defaults["b"].CopyFrom(tf.make_tensor_proto([10.0]))
    signatures["default"] = with_default
    missing = _signature({"a": a}, {"a": tf.identity(a)})
    missing.outputs["a"].name = "nowhere:0"
    signatures["missing_endpoint"] = missing
    for dtype in DTYPES:
        slot = v1.placeholder(tf.dtypes.as_dtype(dtype), None, name=f"slot_{dtype}")
        signatures[f"echo_{dtype}"] = _signature({"x": slot}, {"y": tf.identity(slot)})
    return signatures


def _export(path: Path, signatures: dict[str, Any], tags: list[str]) -> None:
    builder = v1.saved_model.Builder(str(path))
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, tags, signature_def_map=signatures)
    builder.save()


def save_zoo(base: Path) -> Path:
    """A TF1-style model with a signature for every row of the error tables."""
    with tf.Graph().as_default():
        _export(base / "3", _graph_of_the_zoo(), ["serve"])
    return base


def save_matrix(base: Path, version: int = 1) -> Path:
    """A small tf.Module: y = x [[2], [3]]."""

    class Matrix(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable([[2.0], [3.0]])

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def raw(self, x: Any) -> Any:
            return {"y": tf.linalg.matmul(x, self.weights)}

    module = Matrix()
    tf.saved_model.save(module, str(base / str(version)), {"serving_default": module.raw})
    return base


def save_lookup(base: Path, vocabulary: Path) -> Path:
    """A tf.Module with a lookup table from an asset, and a ragged input by its components."""
    vocabulary.write_text("zero\none\ntwo\n")

    class Lookup(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(vocabulary),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                -1,
            )

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
        def look_up(self, words: Any) -> Any:
            return {"ids": self.table.lookup(words)}

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="values"),
                tf.TensorSpec([None], tf.int64, name="row_splits"),
            ]
        )
        def ragged(self, values: Any, row_splits: Any) -> Any:
            rows = tf.RaggedTensor.from_row_splits(values, row_splits)
            return {"sums": tf.reduce_sum(rows, 1)}

    module = Lookup()
    tf.saved_model.save(
        module, str(base / "1"), {"serving_default": module.look_up, "ragged": module.ragged}
    )
    return base


def save_keras(base: Path) -> Any:
    """A Keras 3 functional model, exported for serving; returns the model."""
    import keras

    keras.utils.set_random_seed(7)
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(hidden))
    model.export(str(base / "1"))
    return model


def save_two_meta_graphs(base: Path) -> Path:
    """One SavedModel, two MetaGraphs: ``serve`` adds 1, ``serve,double`` doubles."""
    builder = v1.saved_model.Builder(str(base / "1"))
    for number, tags in enumerate((["serve"], ["serve", "double"])):
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder(tf.float32, [None], name="x")
            y = x * 2.0 if number else x + 1.0
            signatures = {"serving_default": _signature({"x": x}, {"y": y})}
            if number:
                builder.add_meta_graph(tags, signature_def_map=signatures)
            else:
                builder.add_meta_graph_and_variables(session, tags, signature_def_map=signatures)
    builder.save()
    return base


def save_jit_compiled(base: Path) -> Path:
    """A function that insists on XLA."""

    class Compiled(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.float32, name="x")], jit_compile=True
        )
        def raw(self, x: Any) -> Any:
            return {"y": x * 2.0}

    module = Compiled()
    tf.saved_model.save(module, str(base / "1"), {"serving_default": module.raw})
    return base
