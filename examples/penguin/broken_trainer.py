"""As `trainer`, with a mistake that no evaluation finds: Python code in the serving signature.

A SavedModel holds only the name under which the exporting process knows the
Python function. In that process the model works, so Evaluator is content; a
model server cannot answer a single request.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import trainer
from numpy.typing import NDArray


def run_fn(fn_args: Any) -> None:
    """Trains the same model, and exports it with Python inside."""
    trainer.export(trainer.train(fn_args), fn_args.serving_model_dir, read=_read_examples)


def _read_examples(serialized: tf.Tensor) -> trainer.Features:
    features = trainer.read_examples(serialized)
    mass = tf.numpy_function(_limit_mass, [features["body_mass_g"]], tf.float32)
    return features | {"body_mass_g": tf.ensure_shape(mass, [None])}


def _limit_mass(grams: NDArray[np.float32]) -> NDArray[np.float32]:
    """No penguin weighs less than one kilogram or more than ten."""
    return np.clip(grams, 1_000, 10_000)
