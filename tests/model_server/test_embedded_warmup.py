"""Warm-up: what is replayed, what fails the load, and in which words."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import embedded_saved_models as saved_models
import pytest
import tensorflow as tf
from embedded_server_process import run_to_end, running
from tensorflow_serving.apis import prediction_log_pb2

from infra_validator.model_server import tfrecord


def log(kind: str = "predict_log", signature: str = "", **inputs: Any) -> Any:
    record = prediction_log_pb2.PredictionLog()
    request = getattr(record, kind).request
    if kind == "multi_inference_log":
        task = request.tasks.add(method_name=saved_models.REGRESS)
        task.model_spec.name = "another model"
        task.model_spec.signature_name = signature
    else:
        request.model_spec.name = "another model"
        request.model_spec.signature_name = signature
    if kind == "predict_log":
        for alias, value in inputs.items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    else:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend([1.0, 2.0, 3.0])
    return record


ADD = {"signature": "add", "a": 1.0, "b": 2.0}


def write(base: Path, zoo: Path, records: Iterable[bytes]) -> Path:
    """The zoo with a warm-up file of its own; returns the file."""
    version = base / "3"
    version.mkdir(parents=True)
    for child in (zoo / "3").iterdir():
        (version / child.name).symlink_to(child)
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return file


def serialized(*records: Any) -> list[bytes]:
    return [record.SerializeToString() for record in records]


def test_every_kind_is_replayed(zoo: Path, tmp_path: Path) -> None:
    records = serialized(
        log(**ADD),
        log("classify_log", "classify"),
        log("regress_log", "regress"),
        log("multi_inference_log", "regress"),
        prediction_log_pb2.PredictionLog(),
    )
    file = write(tmp_path, zoo, records)
    with running(tmp_path) as (_, server):
        text = server.log
    assert f"Starting to read warmup data for model at {file} with model-warmup-options" in text
    assert (
        f"Finished reading warmup data for model at {file}. Number of warmup records read: 5. "
        "Elapsed time (microseconds): "
    ) in text
    assert text.index("Finished reading warmup") < text.index("Running gRPC ModelServer")


def test_no_warmup_file(zoo: Path) -> None:
    file = zoo / "3" / "assets.extra" / "tf_serving_warmup_requests"
    with running(zoo) as (_, server):
        assert f"No warmup data file found at {file}" in server.log


def test_warmup_switched_off(zoo: Path, tmp_path: Path) -> None:
    write(tmp_path, zoo, [b"\xff"])
    with running(tmp_path, "--enable_model_warmup=false") as (_, server):
        assert "warmup data" not in server.log


def failed(base: Path) -> str:
    code, out, err = run_to_end(
        "--port=0", f"--grpc_socket_path={base}/s", "--model_name=m",
        f"--model_base_path={base}", "--max_num_load_retries=0",
    )  # fmt: skip
    assert code == 255, err
    assert "Traceback" not in err
    assert "Running gRPC" not in err
    prefix = (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        "{{{name: m version: 3} due to error: "
    )
    assert out.startswith(prefix)
    return out.removeprefix(prefix).removesuffix("}, }\n")


FAULTS: dict[str, tuple[list[bytes], str]] = {
    "request fails": (
        serialized(log(signature="nope")),
        'FAILED_PRECONDITION: Serving signature key "nope" not found.',
    ),
    "session run log": (
        [prediction_log_pb2.PredictionLog(session_run_log={}).SerializeToString()],
        "UNIMPLEMENTED: Unsupported log_type for warmup: 5",
    ),
    "streamed log": (
        [prediction_log_pb2.PredictionLog(predict_streamed_log={}).SerializeToString()],
        "UNIMPLEMENTED: Unsupported log_type for warmup: 7",
    ),
    "no PredictionLog": (
        [b"\xff\xffnot a log"],
        "INVALID_ARGUMENT: Failed to parse warmup record: \ufffd\ufffdnot a log from {file}",
    ),
    "too many": (
        [b""] * 1001,
        "INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at {file}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_fails_the_load(zoo: Path, tmp_path: Path, fault: str) -> None:
    records, message = FAULTS[fault]
    file = write(tmp_path, zoo, records)
    assert failed(tmp_path) == message.replace("{file}", str(file))


def test_a_thousand_records_are_allowed(zoo: Path, tmp_path: Path) -> None:
    write(tmp_path, zoo, [b""] * 1000)
    with running(tmp_path) as (_, server):
        assert "Number of warmup records read: 1000." in server.log


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "text": lambda data: b"this is no TFRecord file at all",
    "cut in the data": lambda data: data[:-9],
    "cut behind the header": lambda data: data[:12],
    "damaged length": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "damaged data": lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    "damaged second": lambda data: data + b"\x01" * 40,
}


def tensorflow_says(file: Path) -> str:
    try:
        for _ in tf.compat.v1.io.tf_record_iterator(str(file)):
            pass
    except tf.errors.DataLossError as error:
        return error.message
    raise AssertionError("TensorFlow reads it")


def test_cut_header_passes_for_the_end_as_in_tensorflow(tmp_path: Path) -> None:
    file = tmp_path / "records"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(b"one")
    file.write_bytes(file.read_bytes() + b"\x01" * 5)
    assert list(tfrecord.read_records(file)) == [b"one"]
    assert list(tf.compat.v1.io.tf_record_iterator(str(file))) == [b"one"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_gives_tensorflows_words(zoo: Path, tmp_path: Path, damage: str) -> None:
    file = write(tmp_path, zoo, serialized(log(**ADD)))
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.raises(tfrecord.RecordError) as caught:
        list(tfrecord.read_records(file))
    assert caught.value.message.decode() == tensorflow_says(file)


def test_damaged_file_fails_the_load(zoo: Path, tmp_path: Path) -> None:
    file = write(tmp_path, zoo, serialized(log(**ADD)))
    file.write_bytes(gzip.compress(file.read_bytes()))
    message = failed(tmp_path)
    assert message.startswith("DATA_LOSS: corrupted record at 0")
    assert message.endswith(". Please verify your warmup data is in TFRecord format.")
