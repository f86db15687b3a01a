"""Where broken models and environments are made and validated."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from infra_validator.tfrecord import write_records
from tests.conftest import example_bytes, write_split
from tests.engine.helpers import run
from tests.model_server.embedded_saved_models import save_lookup, save_zoo

WARM_UP = "assets.extra/tf_serving_warmup_requests"


class Troubled(tf.Module):
    """Signatures that load and cannot answer, each for a reason of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable([[1.0], [2.0], [3.0]], shape=tf.TensorShape(None))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def misfits(self, examples: Any) -> Any:
        """Parses one number, multiplies three."""
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        return {"y": tf.linalg.matmul(parsed["x"], self.weights)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def demands(self, examples: Any) -> Any:
        """Needs a feature that no example has."""
        parsed = tf.io.parse_example(examples, {"label": tf.io.FixedLenFeature([1], tf.float32)})
        return {"y": parsed["label"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def calls_python(self, examples: Any) -> Any:
        """Calls what is only in this process."""
        return {"y": tf.numpy_function(lambda value: value, [examples], tf.string)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def endless(self, examples: Any) -> Any:
        """Counts for longer than anybody waits."""
        start = tf.size(examples)
        done = tf.while_loop(lambda n: n >= 0, lambda n: (tf.abs(n),), (start,))
        return {"n": done[0]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def fails(self, examples: Any) -> Any:
        """Refuses whatever it is asked."""
        with tf.control_dependencies([tf.debugging.Assert(tf.size(examples) < 0, ["no such"])]):
            return {"y": tf.identity(examples)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="matrix")])
    def tensors(self, matrix: Any) -> Any:
        """Takes tensors under a name that is no feature's."""
        return {"y": matrix}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def summed(self, examples: Any) -> Any:
        """Has one answer for the whole batch, which batching cannot divide."""
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        return {"y": tf.reduce_sum(parsed["x"])}

    def signatures(self) -> dict[str, Any]:
        """By name."""
        names = ("misfits", "demands", "calls_python", "endless", "fails", "tensors", "summed")
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class Models:
    """Good and troubled models, made once.

    Attributes:
        good: answers serialized Examples with the feature x.
        troubled: see `Troubled`.
        lookup: has a vocabulary as an asset.
        zoo: has a signature for every row of the server's error tables.
    """

    good: Path
    troubled: Path
    lookup: Path
    zoo: Path

    @classmethod
    def make(cls, good: Path, folder: Path) -> Models:
        """Exports the others by TensorFlow itself."""
        troubled = folder / "troubled"
        module = Troubled()
        tf.saved_model.save(module, str(troubled), signatures=module.signatures())
        lookup = save_lookup(folder / "lookup", folder / "words.txt") / "1"
        return cls(good, troubled, lookup, save_zoo(folder / "zoo") / "3")


class Room:
    """One case's own copies."""

    def __init__(self, models: Models, split: Path, stand_in: str, folder: Path) -> None:
        self.models = models
        self.split = split
        self.stand_in = stand_in
        self.folder = folder

    def copy(self, model: Path) -> Path:
        """A copy that may be broken."""
        target = self.folder / "model"
        shutil.copytree(model, target)
        return target

    def edited(self, edit: Callable[[Any], None], model: Path | None = None) -> Path:
        """A copy whose MetaGraph was changed."""
        target = self.copy(model or self.models.good)
        file = target / "saved_model.pb"
        proto = saved_model_pb2.SavedModel.FromString(file.read_bytes())
        edit(proto.meta_graphs[0])
        file.write_bytes(proto.SerializeToString())
        return target

    def with_warm_up(self, content: bytes | Iterable[bytes], model: Path | None = None) -> Path:
        """A copy with a warm-up file of these bytes or records."""
        target = self.copy(model or self.models.good)
        file = target / WARM_UP
        file.parent.mkdir(exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            with file.open("wb") as opened:
                write_records(opened, content)
        return target

    def write_split(self, records: Iterable[bytes]) -> Path:
        """A split of these records."""
        return write_split(self.folder / "Split-train", records)

    def script(self, text: str) -> str:
        """A program that is no TensorFlow Serving."""
        path = self.folder / "server"
        path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{text}\n')
        path.chmod(0o755)
        return str(path)

    def ask(self, signature: str, split: Path | None = None, **options: Any) -> Report:
        """Asks one signature of the troubled model."""
        return run(
            self.models.troubled, split=split or self.split, signatures=(signature,), **options
        )

    def stand_in_with(self, fault: str, seconds: int = 60) -> Report:
        """Validates the good model on a stand-in with that fault."""
        limits = pb.ValidationSpec(
            num_tries=1, max_loading_time_seconds=seconds, request_timeout_seconds=2
        )
        return run(
            self.models.good,
            split=self.split,
            executable=self.stand_in,
            env={"STAND_IN_FAULT": fault},
            limits=limits,
        )


def warm_up_record(signature: str, *examples: bytes) -> bytes:
    """A recorded Predict request with serialized Examples."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(list(examples), tf.string))
    return bytes(log.SerializeToString())


GOOD_RECORD = warm_up_record("serving_default", example_bytes(x=1.0))
