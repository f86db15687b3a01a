"""Models that are served and models that are not, and an image that ends when it is told to."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Of this process alone, so that several can run these tests side by side.
REPOSITORY = f"infra-validator-drop-in-{uuid.uuid4().hex[:12]}"

_MUTE = """
import socket, time
socket.create_server(('', 8500)).accept()
print('called', flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="session")
def image(docker_client: Any, model_server_image: str) -> Iterator[str]:
    """The name of an image of the model server with the tags `a`, `b`, `fails` and `mute`.

    TFX's component waits ten seconds for a server that does not heed SIGTERM, as
    TensorFlow Serving does not; so as not to wait with it, this image names SIGKILL. The
    server of the tag `fails` cannot start, and that of `mute` takes a call and never answers.
    """
    changes = {
        "a": "STOPSIGNAL SIGKILL",
        "b": "STOPSIGNAL SIGKILL",
        "fails": 'ENTRYPOINT ["/bin/false"]',
        "mute": f"STOPSIGNAL SIGKILL\nENTRYPOINT {json.dumps(['python3', '-c', _MUTE])}\n"
        # Else all that are built have one id, and containers of one are found by another's name.
        f"LABEL repository={REPOSITORY}",
    }
    built = []
    try:
        for tag, change in changes.items():
            dockerfile = io.BytesIO(f"FROM {model_server_image}\n{change}\n".encode())
            docker_client.images.build(fileobj=dockerfile, tag=f"{REPOSITORY}:{tag}", rm=True)
            built.append(f"{REPOSITORY}:{tag}")
        yield REPOSITORY
    finally:
        for name in built:
            docker_client.images.remove(name, force=True)


@pytest.fixture(scope="session")
def models(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SavedModels by what is the matter with them."""
    folder = tmp_path_factory.mktemp("drop-in-models")
    found = {"good": saved_model}
    for name in ("no variables", "no graph", "truncated graph", "nothing"):
        found[name] = Path(shutil.copytree(saved_model, folder / name))
    shutil.rmtree(found["nothing"])
    found["nothing"].mkdir()
    for path in (found["no variables"] / "variables").glob("*.data-*"):
        path.unlink()
    (found["no graph"] / "saved_model.pb").unlink()
    graph = found["truncated graph"] / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-200])
    return found | {"cannot answer": _cannot_answer(folder), "classifies": _classifies(folder)}


def _cannot_answer(folder: Path) -> Path:
    """A model that is loaded, and fails whatever it is asked."""
    import tensorflow as tf

    class Failing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: Any) -> Any:
            with tf.control_dependencies([tf.debugging.Assert(tf.size(examples) > 1000, ["few"])]):
                return {"y": tf.identity(examples)}

    module = Failing()
    path = folder / "cannot answer"
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


def _classifies(folder: Path) -> Path:
    """A model of TensorFlow 1 with one signature of each method, and a second tag set."""
    import tensorflow as tf

    path = folder / "classifies"
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        serialized = tf.compat.v1.placeholder(tf.string, [None], "serialized")
        parsed = tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        factor = tf.compat.v1.Variable(2.0)
        value = parsed["x"] * factor
        session.run(tf.compat.v1.global_variables_initializer())
        utils = tf.compat.v1.saved_model.signature_def_utils
        signatures = {
            "serving_default": utils.predict_signature_def({"examples": serialized}, {"y": value}),
            "classify": utils.classification_signature_def(serialized, None, value),
            "regress": utils.regression_signature_def(serialized, value),
        }
        builder = tf.compat.v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.add_meta_graph(["serve", "other"], signatures)
        builder.save()
    return path
