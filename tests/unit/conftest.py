import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from infra_validator.files import Gfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# Nothing here depends on how quick the machine is.
hypothesis.settings.register_profile(
    "unit", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unit")


@pytest.fixture(params=["gfile", "fileio"])
def files(request: pytest.FixtureRequest) -> Any:
    """The file systems that the library is used with: its own, and the one that TFX hands in."""
    if request.param == "gfile":
        return Gfile()
    from tfx.dsl.io import fileio

    return fileio


@pytest.fixture
def temporary_root(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A temporary folder of one's own, with a path as short as that of the system's."""
    tmp_path_factory.getbasetemp()  # made now, so that it does not come to lie in here
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


@pytest.fixture(scope="session")
def saved_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of SavedModels that TensorFlow wrote: `binary`, `text` and `module`."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("saved_models")
    _save_graphs(root / "binary", as_text=False)
    _save_graphs(root / "text", as_text=True)

    class Doubler(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
        def serve(self, examples: Any) -> dict[str, Any]:
            return {"twice": tf.strings.join([examples, examples])}

    module = Doubler()
    module.weight = tf.Variable([1.0, 2.0])
    tf.saved_model.save(module, str(root / "module"), {"serving_default": module.serve})
    return root


def _save_graphs(path: Path, *, as_text: bool) -> None:
    """One SavedModel with two MetaGraphs, tagged {serve} and {serve, gpu}."""
    import tensorflow as tf

    v1 = tf.compat.v1

    def signature(inputs: dict[str, Any], output: Any, method: str) -> Any:
        return v1.saved_model.build_signature_def(
            {key: v1.saved_model.build_tensor_info(tensor) for key, tensor in inputs.items()},
            {"out": v1.saved_model.build_tensor_info(output)},
            f"tensorflow/serving/{method}",
        )

    with tf.Graph().as_default(), v1.Session() as session:
        batch = v1.placeholder(tf.string, [None])
        scalar = v1.placeholder(tf.string, [])
        anything = v1.placeholder(tf.string, None)
        matrix = v1.placeholder(tf.float32, [None, 3])
        ids = v1.placeholder(tf.int64, [2, None, 4])
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": signature({"examples": batch}, tf.identity(batch), "predict"),
                "classify": signature({"inputs": batch}, tf.identity(batch), "classify"),
                "regress": signature({"inputs": batch}, tf.identity(batch), "regress"),
                "scalar": signature({"example": scalar}, tf.identity(scalar), "predict"),
                "anything": signature({"example": anything}, tf.identity(anything), "predict"),
                "raw": signature({"matrix": matrix, "ids": ids}, tf.identity(matrix), "predict"),
            },
        )
        builder.add_meta_graph(
            ["serve", "gpu"],
            {"on_gpu": signature({"examples": batch}, tf.identity(batch), "predict")},
        )
        builder.save(as_text=as_text)
