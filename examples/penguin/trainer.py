"""The module that Trainer runs: a small Keras model that tells three species apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

FEATURES = {
    "bill_length_mm": tf.float32,
    "bill_depth_mm": tf.float32,
    "flipper_length_mm": tf.int64,
    "body_mass_g": tf.int64,
}
LABEL = "species"
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]

_BATCH = 16

Features = dict[str, tf.Tensor]
Read = Callable[[tf.Tensor], Features]


def run_fn(fn_args: Any) -> None:
    """Trains a model and exports it.

    Args:
        fn_args: TFX's FnArgs: where the examples are and where the model goes.
    """
    export(train(fn_args), fn_args.serving_model_dir)


def train(fn_args: Any) -> keras.Model:
    """A trained model that takes measurements and gives a probability for each species."""
    keras.utils.set_random_seed(1)
    training_set = _read_dataset(fn_args.train_files)
    normalization = keras.layers.Normalization()
    normalization.adapt(training_set.map(lambda features, _: _to_matrix(features)))
    model = _build_model(normalization)
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        training_set.shuffle(512, seed=1).repeat(),
        epochs=1,
        steps_per_epoch=fn_args.train_steps,
        verbose=0,
    )
    return model


def read_examples(serialized: tf.Tensor) -> Features:
    """The measurements in serialized tf.Examples, each of shape [batch]."""
    spec = {name: tf.io.FixedLenFeature([], dtype) for name, dtype in FEATURES.items()}
    return _to_float(tf.io.parse_example(serialized, spec))


def export(model: keras.Model, path: str, read: Read = read_examples) -> None:
    """Writes a SavedModel that takes serialized tf.Examples.

    Args:
        model: what `train` gave.
        path: the SavedModel's folder.
        read: makes measurements of the serialized examples.
    """

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples: tf.Tensor) -> Mapping[str, tf.Tensor]:
        scores = model(read(examples), training=False)
        # These two names are those of TensorFlow Serving's classification; Evaluator, too, then
        # knows which score belongs to which label.
        classes = tf.repeat(tf.constant([SPECIES]), tf.shape(scores)[0], axis=0)
        return {"scores": scores, "classes": classes}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", serve)
    keras.utils.disable_interactive_logging()  # else Keras prints what it wrote
    archive.write_out(path)


def _build_model(normalization: keras.layers.Normalization) -> keras.Model:
    inputs = {name: keras.Input((), name=name) for name in FEATURES}
    columns = [keras.layers.Reshape((1,))(inputs[name]) for name in FEATURES]
    hidden = normalization(keras.layers.Concatenate()(columns))
    hidden = keras.layers.Dense(8, activation="relu")(hidden)
    outputs = keras.layers.Dense(len(SPECIES), activation="softmax")(hidden)
    return keras.Model(inputs, outputs)


def _read_dataset(patterns: list[str]) -> tf.data.Dataset:
    """Batches of measurements and class numbers."""
    species = tf.constant(SPECIES)

    def parse(serialized: tf.Tensor) -> tuple[Features, tf.Tensor]:
        label = tf.io.parse_example(serialized, {LABEL: tf.io.FixedLenFeature([], tf.string)})
        return read_examples(serialized), tf.argmax(label[LABEL][:, None] == species, axis=1)

    files = tf.data.Dataset.list_files(patterns, shuffle=False)
    return tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH).map(parse).cache()


def _to_float(features: Features) -> Features:
    return {name: tf.cast(value, tf.float32) for name, value in features.items()}


def _to_matrix(features: Features) -> tf.Tensor:
    return tf.stack([features[name] for name in FEATURES], axis=1)
