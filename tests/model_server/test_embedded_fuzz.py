"""No request ends the process or leaves a handler stuck."""

from typing import Any

import grpc
import hypothesis
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from infra_validator.model_server.status import UNEXPECTED

TensorProto = tf.make_tensor_proto(0).__class__

fuzzed = hypothesis.settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)

SIGNATURES = (
    "", "nope", "add", "classify", "regress", "classify_rank", "total", "matmul", "default",
    "echo_float32", "echo_string", "echo_int64", "echo_bfloat16", "echo_qint8", "echo_complex64",
    "missing_endpoint", "no_inputs", "fails",
)  # fmt: skip
# Each dtype's number, and some that stand for nothing a session takes.
DTYPES = st.one_of(st.integers(0, 32), st.integers(100, 130), st.just(1 << 20))
# No huge ones: TensorFlow's allocator waits 10 s for memory before it says no.
SIZES = st.integers(-3, 4)


@st.composite
def tensors(draw: Any) -> Any:
    proto = TensorProto(dtype=draw(DTYPES), tensor_content=draw(st.binary(max_size=40)))
    for size in draw(st.lists(SIZES, max_size=4)):
        proto.tensor_shape.dim.add(size=size)
    proto.tensor_shape.unknown_rank = draw(st.booleans())
    for field, values in (
        ("float_val", st.floats(width=32)),
        ("int_val", st.integers(-(1 << 31), (1 << 31) - 1)),
        ("string_val", st.binary(max_size=10)),
        ("half_val", st.integers(-(1 << 31), (1 << 31) - 1)),
        ("bool_val", st.booleans()),
    ):
        getattr(proto, field).extend(draw(st.lists(values, max_size=3)))
    if draw(st.booleans()):
        proto.resource_handle_val.add(name="r", container="c", device="d")
        proto.variant_val.add(type_name="tensorflow::TensorList", metadata=b"\x01")
    return proto


NAMES = st.sampled_from(["m", "", "other"])
SIGNATURE_NAMES = st.one_of(st.sampled_from(SIGNATURES), st.text(max_size=5))


@st.composite
def model_specs(draw: Any, spec: Any) -> None:
    spec.name = draw(NAMES)
    spec.signature_name = draw(SIGNATURE_NAMES)
    if draw(st.integers(0, 5)) == 0:
        spec.version.value = draw(st.sampled_from([3, 0, -1, 1 << 62]))


@st.composite
def predictions(draw: Any) -> Any:
    request = predict_pb2.PredictRequest()
    draw(model_specs(request.model_spec))
    aliases = st.sampled_from(["a", "b", "x", "text", "examples", "zz", ""])
    for alias in draw(st.sets(aliases, max_size=3)):
        request.inputs[alias].CopyFrom(draw(tensors()))
    request.output_filter.extend(draw(st.lists(st.sampled_from(["sum", "y", "nope"]), max_size=2)))
    return request


@st.composite
def inputs(draw: Any, target: Any) -> None:
    example = tf.train.Example()
    for name in draw(st.sets(st.sampled_from(["x", "y"]))):
        feature = example.features.feature[name]
        feature.float_list.value.extend(draw(st.lists(st.floats(width=32), max_size=4)))
    kind = draw(st.sampled_from(["example_list", "example_list_with_context", None]))
    if kind:
        getattr(target, kind).examples.extend([example] * draw(st.integers(0, 3)))
    if kind == "example_list_with_context":
        target.example_list_with_context.context.CopyFrom(example)


@st.composite
def example_requests(draw: Any) -> Any:
    message = draw(
        st.sampled_from(
            [classification_pb2.ClassificationRequest, regression_pb2.RegressionRequest]
        )
    )
    request = message()
    draw(model_specs(request.model_spec))
    draw(inputs(request.input))
    return request


@st.composite
def multi_requests(draw: Any) -> Any:
    request = inference_pb2.MultiInferenceRequest()
    for _ in range(draw(st.integers(0, 3))):
        task = request.tasks.add()
        draw(model_specs(task.model_spec))
        task.method_name = draw(
            st.sampled_from(["tensorflow/serving/classify", "tensorflow/serving/regress", "x"])
        )
    draw(inputs(request.input))
    return request


METHODS = {
    predict_pb2.PredictRequest: "Predict",
    classification_pb2.ClassificationRequest: "Classify",
    regression_pb2.RegressionRequest: "Regress",
    inference_pb2.MultiInferenceRequest: "MultiInference",
}
# A fault of a handler that nobody foresaw comes out as UNKNOWN.
UNFORESEEN = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def alive(client: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    assert client.call("GetModelStatus", request, 5).model_version_status


def send(client: Any, call: Any) -> None:
    failure = None
    try:
        call()
    except grpc.RpcError as error:
        failure = error
    if failure is not None:
        assert failure.code() not in UNFORESEEN, failure
        assert not failure.details().startswith(UNEXPECTED), failure
        assert failure.code() is not grpc.StatusCode.DEADLINE_EXCEEDED, "a handler is stuck"
    alive(client)


@pytest.fixture(params=["zoo_server", "padding_server"])
def any_server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@fuzzed
@hypothesis.given(message=st.one_of(predictions(), example_requests(), multi_requests()))
def test_any_request(any_server: Any, message: Any) -> None:
    send(any_server, lambda: any_server.call(METHODS[type(message)], message, 20))


@fuzzed
@hypothesis.given(
    dtype=st.sampled_from(["float32", "string", "int64", "bool", "bfloat16", "qint8", "complex64"]),
    tensor=tensors(),
)
def test_any_tensor(any_server: Any, dtype: str, tensor: Any) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = f"echo_{dtype}"
    tensor.dtype = tf.dtypes.as_dtype(dtype).as_datatype_enum
    request.inputs["x"].CopyFrom(tensor)
    send(any_server, lambda: any_server.call("Predict", request, 20))


@fuzzed
@hypothesis.given(
    dtype=st.sampled_from(["float32", "string", "int64", "bool", "bfloat16", "qint8", "complex64"]),
    shape=st.lists(st.integers(0, 5), max_size=3),
)
def test_any_shape(any_server: Any, dtype: str, shape: list[int]) -> None:
    """Well-formed tensors, which a random proto seldom is."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = f"echo_{dtype}"
    tensor = request.inputs["x"]
    tensor.dtype = tf.dtypes.as_dtype(dtype).as_datatype_enum
    tensor.tensor_shape.SetInParent()
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    send(any_server, lambda: any_server.call("Predict", request, 20))


@fuzzed
@hypothesis.given(
    method=st.sampled_from(["Predict", "Classify", "Regress", "MultiInference"]),
    request=st.one_of(predictions(), example_requests()),
    position=st.integers(0, 1 << 30),
    noise=st.binary(max_size=4),
)
def test_any_bytes(zoo_server: Any, method: str, request: Any, position: int, noise: bytes) -> None:
    data = request.SerializeToString()
    position %= len(data) + 1
    data = data[:position] + noise + data[position + len(noise) // 2 :]
    path = f"/tensorflow.serving.PredictionService/{method}"
    send(zoo_server, lambda: zoo_server.raw(path, data))


@fuzzed
@hypothesis.given(fields=st.lists(st.text(max_size=5), max_size=2), name=st.text(max_size=5))
def test_any_question_about_the_model(zoo_server: Any, fields: list[str], name: str) -> None:
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    metadata.model_spec.name = name
    send(zoo_server, lambda: zoo_server.call("GetModelMetadata", metadata))
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = name
    send(zoo_server, lambda: zoo_server.call("GetModelStatus", status))
