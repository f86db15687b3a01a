"""Deadlines, health, wire-level faults and batching beyond the tables."""

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from embedded_server_process import REPOSITORY, running
from tensorflow_serving.apis import predict_pb2


def predict_request(signature: str, **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(value)
    return request


def floats(*values: Any) -> Any:
    return tf.make_tensor_proto(list(values), tf.float32)


def test_deadline_reaches_the_session(zoo: Path) -> None:
    """The one handler is free again, although the model would loop for ever."""
    endless = predict_request("endless", i=tf.make_tensor_proto(1, tf.int32))
    with running(zoo, "--grpc_max_threads=1") as (client, server):
        assert client.failure("Predict", endless, timeout=0.5)[0] == "DEADLINE_EXCEEDED"
        response = client.call("Predict", predict_request("add", a=floats(1), b=floats(2)), 5)
        assert list(response.outputs["sum"].float_val) == [3.0]
        assert "Traceback" not in server.log


def test_session_without_deadline_is_not_bounded(zoo_server: Any) -> None:
    request = predict_request("add", a=floats(1), b=floats(2))
    assert list(zoo_server.call("Predict", request, None).outputs["sum"].float_val) == [3.0]


def failure(client: Any, path: str, data: bytes) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        client.raw(path, data)
    return caught.value.code().name, caught.value.details()


PREDICT = "/tensorflow.serving.PredictionService/Predict"
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"], ids=["wire", "utf-8"])
def test_bytes_that_are_no_request(zoo_server: Any, data: bytes) -> None:
    code, message = failure(zoo_server, PREDICT, data)
    assert (code, message) == ("INTERNAL", "Failed to parse tensorflow.serving.PredictRequest")


@pytest.mark.parametrize(
    "path", ["/tensorflow.serving.SessionService/SessionRun", HEALTH, PREDICT + "Streamed"]
)
def test_what_is_not_served_is_unimplemented(zoo_server: Any, path: str) -> None:
    assert failure(zoo_server, path, b"")[0] == "UNIMPLEMENTED"


def test_health_service(zoo: Path) -> None:
    with running(zoo, "--enable_grpc_healthcheck_service") as (client, _):
        for service in (b"", b"ModelService", b"PredictionService"):
            request = b"\x0a" + bytes([len(service)]) + service if service else b""
            assert client.raw(HEALTH, request) == b"\x08\x01"  # SERVING
        assert failure(client, HEALTH, b"\x0a\x04nope") == ("NOT_FOUND", "service name unknown")


def test_tensor_larger_than_memory_is_refused_while_others_are_answered(zoo_server: Any) -> None:
    """TensorFlow's allocator may wait 10 s for memory before it says no."""
    huge = floats(1)
    huge.tensor_shape.dim[0].size = 1 << 58
    refused = zoo_server.future("Predict", predict_request("echo_float32", x=huge))
    request = predict_request("add", a=floats(1), b=floats(2))
    assert list(zoo_server.call("Predict", request).outputs["sum"].float_val) == [3.0]
    assert refused.exception().code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.exception().details() == "tensor parsing error: x"


LARGE = """
max_batch_size { value: 10 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 4 }
"""


def test_large_batches_are_cut_and_joined(zoo: Path, tmp_path: Path) -> None:
    file = tmp_path / "batching"
    file.write_text(LARGE)
    flags = ("--enable_batching", f"--batching_parameters_file={file}")
    numbers = list(range(10))
    with running(zoo, *flags) as (client, _):
        request = predict_request("add", a=floats(*numbers), b=floats(*[1] * 10))
        response = client.call("Predict", request)
        assert list(response.outputs["sum"].float_val) == [n + 1 for n in numbers]
        words = [b"%d\x00" % n for n in numbers]
        request = predict_request("echo_string", x=tf.make_tensor_proto(words))
        assert list(client.call("Predict", request).outputs["y"].string_val) == words
        request = predict_request("add", a=floats(*[1] * 11), b=floats(*[1] * 11))
        assert client.failure("Predict", request) == (
            "INVALID_ARGUMENT",
            "Task size 11 is larger than maximum input batch size 10",
        )


def test_a_run_past_the_batcher_is_said(zoo: Path) -> None:
    request = predict_request("add", a=floats(1), b=floats(2))
    request.output_filter.append("sum")
    with running(zoo, "--enable_batching") as (client, server):
        for _ in range(2):
            client.call("Predict", request)
    (line,) = [line for line in server.log.splitlines() if "Bypassing" in line]
    assert re.search(
        r"\] Request doesn't match any declared signature and no default scheduler creator "
        r"specified\. Bypassing batcher\. Request signature is: "
        r"\{input_tensors: <a:0, b:0>, output_tensors: <\w+:0>\}$",
        line,
    ), line


def test_per_model_batching_parameters(zoo: Path, tmp_path: Path) -> None:
    version = tmp_path / "3"
    version.mkdir()
    for child in (zoo / "3").iterdir():
        (version / child.name).symlink_to(child)
    (version / "batching_params.pbtxt").write_text("max_batch_size { value: 2 }")
    flags = ("--enable_batching", "--enable_per_model_batching_parameters")
    request = predict_request("add", a=floats(1, 2, 3), b=floats(1, 2, 3))
    with running(tmp_path, *flags) as (client, _):
        assert client.failure("Predict", request)[1].endswith("maximum input batch size 2")


def test_session_config_and_channel_arguments(zoo: Path, tmp_path: Path) -> None:
    file = tmp_path / "session"
    file.write_text("inter_op_parallelism_threads: -1")
    flags = (
        f"--tensorflow_session_config_file={file}",
        "--grpc_channel_arguments=grpc.max_receive_message_length=100",
    )
    with running(zoo, *flags) as (client, _):
        request = predict_request("add", a=floats(1), b=floats(2))
        assert client.call("Predict", request).outputs
        code, message = client.failure("Predict", predict_request("add", a=floats(*[1] * 99)))
        assert code == "RESOURCE_EXHAUSTED"
        assert "larger than max" in message


def test_client_of_the_documentation(matrix: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "embedded-model-server.md").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    with running(matrix, name="penguin") as (_, server):
        (line,) = [line for line in server.lines if "UNIX socket" in line]
        socket = line.split()[-2]
        snippet = snippet.replace('"localhost:8500"', repr(f"unix:{socket}"))
        assert socket in snippet
        exec(snippet, {})  # noqa: S102
    assert "float_val: 8" in capfd.readouterr().out


def test_requests_run_side_by_side(zoo: Path) -> None:
    """A slow request does not hold up a quick one."""
    endless = predict_request("endless", i=tf.make_tensor_proto(1, tf.int32))
    with running(zoo, "--grpc_max_threads=2") as (client, _):
        slow = client.future("Predict", endless, timeout=8)
        client.call("Predict", predict_request("add", a=floats(1), b=floats(2)))
        assert not slow.done()
        assert slow.exception().code().name == "DEADLINE_EXCEEDED"
