"""Models that the command line is tried with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def python_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that loads, and whose signature calls a Python function."""
    import tensorflow as tf

    class Caller(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: Any) -> Any:
            return {"y": tf.numpy_function(lambda value: value, [examples], tf.string)}

    path = tmp_path_factory.mktemp("models") / "caller"
    module = Caller()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


@pytest.fixture
def sleeper(tmp_path: Path) -> Path:
    """A server that never serves."""
    path = tmp_path / "sleeper"
    path.write_text("#!/bin/sh\nexec sleep 600\n")
    path.chmod(0o755)
    return path
