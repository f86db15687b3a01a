"""Healthy requests: the answers are those of the same SavedModel in process, bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import embedded_saved_models as saved_models
import numpy as np
import pytest
import tensorflow as tf
from embedded_server_process import running
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def in_process(zoo: Path) -> Iterator[Any]:
    session = v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        v1.saved_model.load(session, ["serve"], str(zoo / "3"))
    yield session
    session.close()


def predict_request(signature: str, **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        is_proto = hasattr(value, "tensor_shape")
        request.inputs[alias].CopyFrom(value if is_proto else tf.make_tensor_proto(value))
    return request


def example(values: list[float]) -> Any:
    result = tf.train.Example()
    result.features.feature["x"].float_list.value.extend(values)
    return result


EXAMPLES = [example([1.0, 2.0, 3.5]), example([-1.0, 0.1, 1e30]), example([0.0, -0.0, 1e-40])]


def random_bits(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values of every bit pattern but NaN, whose payload numpy and Python may change."""
    numpy_dtype = dtype.as_numpy_dtype
    generator = np.random.default_rng(5)
    if dtype == tf.string:
        choices = np.array([b"", b"text", b"\x00zero\x00", b"\xff\xfe", b"x" * 100], object)
        return generator.choice(choices, shape)
    if dtype == tf.bool:
        return generator.integers(0, 2, shape).astype(bool)
    size = np.dtype(numpy_dtype).itemsize
    bits = generator.integers(0, 256, (*shape, size), np.uint8)
    values = bits.view(numpy_dtype).reshape(shape)
    if dtype.is_floating or dtype.is_complex:
        finite = np.isfinite(values.astype(np.complex128))
        values = np.where(finite, values, np.zeros((), numpy_dtype)).astype(numpy_dtype)
    return values


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (7,), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("name", saved_models.DTYPES)
def test_every_dtype(zoo_server: Any, in_process: Any, name: str, shape: tuple[int, ...]) -> None:
    dtype = tf.dtypes.as_dtype(name)
    values = random_bits(dtype, shape)
    proto = tf.make_tensor_proto(values, dtype, shape)
    response = zoo_server.call("Predict", predict_request(f"echo_{name}", x=proto))
    answer = response.outputs["y"]
    assert answer.dtype == dtype.as_datatype_enum
    assert tuple(d.size for d in answer.tensor_shape.dim) == shape
    assert not answer.tensor_content, "TensorFlow Serving answers in the typed fields"
    if name.startswith(("qint", "quint")):
        expected = values
    else:
        fetch = in_process.graph.get_tensor_by_name(answer_endpoint(zoo_server, name))
        expected = in_process.run(fetch, {f"slot_{name}:0": values})
    actual = tf.make_ndarray(answer)
    if name == "string":
        assert actual.tolist() == np.asarray(expected).tolist()
    else:
        assert actual.tobytes() == np.asarray(expected).tobytes()


def answer_endpoint(client: Any, name: str) -> str:
    return signatures(client)[f"echo_{name}"].outputs["y"].name


def signatures(client: Any) -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    response = client.call("GetModelMetadata", request)
    assert response.model_spec.version.value
    result = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(result)
    return result.signature_def


def test_typed_fields_and_repeated_last_value(zoo_server: Any) -> None:
    proto = tf.make_tensor_proto(np.zeros((2, 2), np.float32))
    proto.tensor_content = b""
    proto.float_val[:] = [1.5, 2.5]
    response = zoo_server.call("Predict", predict_request("echo_float32", x=proto))
    assert list(response.outputs["y"].float_val) == [1.5, 2.5, 2.5, 2.5]


def test_not_a_number_and_infinities(zoo_server: Any) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32)
    response = zoo_server.call("Predict", predict_request("echo_float32", x=values))
    assert tf.make_ndarray(response.outputs["y"]).tobytes() == values.tobytes()


def test_large_message_both_ways(zoo_server: Any) -> None:
    values = np.arange(3_000_000, dtype=np.float32)
    response = zoo_server.call("Predict", predict_request("echo_float32", x=values))
    assert np.array_equal(tf.make_ndarray(response.outputs["y"]), values)


def test_predict_fills_the_model_spec(zoo_server: Any) -> None:
    request = predict_request("", examples=[e.SerializeToString() for e in EXAMPLES])
    response = zoo_server.call("Predict", request)
    assert response.model_spec.name == "m"
    assert response.model_spec.signature_name == "serving_default"
    assert response.model_spec.version.value == 3
    assert sorted(response.outputs) == ["scores", "y"]


def test_output_filter_and_version(zoo_server: Any) -> None:
    request = predict_request("add", a=[1.0], b=[2.0])
    request.output_filter.append("sum")
    request.model_spec.version.value = 3
    response = zoo_server.call("Predict", request)
    assert dict(response.outputs).keys() == {"sum"}
    assert list(response.outputs["sum"].float_val) == [3.0]


def test_default_input(zoo_server: Any) -> None:
    response = zoo_server.call("Predict", predict_request("default", a=[1.0]))
    assert list(response.outputs["sum"].float_val) == [11.0]


def with_examples(message: Any, signature: str) -> Any:
    message.model_spec.name = "m"
    message.model_spec.signature_name = signature
    message.input.example_list.examples.extend(EXAMPLES)
    return message


def expected(in_process: Any, endpoint: str) -> Any:
    serialized = [e.SerializeToString() for e in EXAMPLES]
    return in_process.run(endpoint, {"examples:0": serialized})


def test_classify(zoo_server: Any, in_process: Any) -> None:
    request = with_examples(classification_pb2.ClassificationRequest(), "classify")
    response = zoo_server.call("Classify", request)
    assert response.model_spec.signature_name == "classify"
    assert response.model_spec.version.value == 3
    rows = response.result.classifications
    scores = np.array([[c.score for c in row.classes] for row in rows], np.float32)
    assert scores.tobytes() == expected(in_process, "scores:0").tobytes()
    assert [[c.label for c in row.classes] for row in rows] == [["no", "yes"]] * 3


@pytest.mark.parametrize(
    ("signature", "has_label", "has_score"),
    [("classify_classes", True, False), ("classify_scores", False, True)],
)
def test_classify_with_one_output(
    zoo_server: Any, signature: str, has_label: bool, has_score: bool
) -> None:
    request = with_examples(classification_pb2.ClassificationRequest(), signature)
    rows = zoo_server.call("Classify", request).result.classifications
    assert all(bool(c.label) == has_label for row in rows for c in row.classes)
    assert any(c.score for row in rows for c in row.classes) == has_score


@pytest.mark.parametrize("signature", ["regress", "regress_vector"])
def test_regress(zoo_server: Any, in_process: Any, signature: str) -> None:
    request = with_examples(regression_pb2.RegressionRequest(), signature)
    response = zoo_server.call("Regress", request)
    assert response.model_spec.signature_name == signature
    values = np.array([r.value for r in response.result.regressions], np.float32)
    assert values.tobytes() == expected(in_process, "value:0").tobytes()


def test_context_is_part_of_every_example(zoo_server: Any) -> None:
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = "regress"
    request.input.example_list_with_context.context.CopyFrom(example([1.0, 2.0, 3.0]))
    request.input.example_list_with_context.examples.extend([tf.train.Example()] * 2)
    response = zoo_server.call("Regress", request)
    assert [r.value for r in response.result.regressions] == [6.0, 6.0]


def test_multi_inference(zoo_server: Any) -> None:
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in (
        ("regress", saved_models.REGRESS),
        ("classify", saved_models.CLASSIFY),
    ):
        task = request.tasks.add(method_name=method)
        task.model_spec.name = "m"
        task.model_spec.signature_name = signature
    request.input.example_list.examples.extend(EXAMPLES)
    regression, classification = zoo_server.call("MultiInference", request).results
    single = zoo_server.call(
        "Regress", with_examples(regression_pb2.RegressionRequest(), "regress")
    )
    assert regression.regression_result == single.result
    assert regression.model_spec == single.model_spec
    single = zoo_server.call(
        "Classify", with_examples(classification_pb2.ClassificationRequest(), "classify")
    )
    assert classification.classification_result == single.result
    assert classification.model_spec == single.model_spec


def test_model_status(zoo_server: Any) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    (status,) = zoo_server.call("GetModelStatus", request).model_version_status
    assert (status.version, status.state) == (3, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert status.HasField("status")
    assert (status.status.error_code, status.status.error_message) == (0, "")


def test_metadata_has_every_signature(zoo_server: Any, zoo: Path) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        meta_graph = v1.saved_model.load(session, ["serve"], str(zoo / "3"))
    assert dict(signatures(zoo_server)) == dict(meta_graph.signature_def)


def test_keras_model(tmp_path: Path) -> None:
    saved_models.save_keras(tmp_path)
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    features = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
    with running(tmp_path) as (client, _):
        response = client.call("Predict", predict_request("", features=features))
    (answer,) = response.outputs.values()
    (wanted,) = loaded.signatures["serving_default"](features=tf.constant(features)).values()
    assert tf.make_ndarray(answer).tobytes() == wanted.numpy().tobytes()


def test_module_with_lookup_table_and_ragged_components(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocabulary.txt"
    base = saved_models.save_lookup(tmp_path / "model", vocabulary)
    vocabulary.unlink()
    with running(base) as (client, _):
        response = client.call("Predict", predict_request("", words=["two", "zero", "nope"]))
        assert list(response.outputs["ids"].int64_val) == [2, 0, -1]
        response = client.call(
            "Predict",
            predict_request(
                "ragged",
                values=np.array([1, 2, 3], np.float32),
                row_splits=np.array([0, 0, 2, 3], np.int64),
            ),
        )
        assert list(response.outputs["sums"].float_val) == [0.0, 3.0, 3.0]


@pytest.mark.parametrize(("tags", "answer"), [("serve", 4.0), ("double,serve", 6.0)])
def test_meta_graph_by_tags(tmp_path: Path, tags: str, answer: float) -> None:
    base = saved_models.save_two_meta_graphs(tmp_path / "model")
    with running(base, f"--saved_model_tags={tags}") as (client, _):
        response = client.call("Predict", predict_request("", x=[3.0]))
    assert list(response.outputs["y"].float_val) == [answer]


@pytest.mark.parametrize("allowed", [False, True])
def test_xla_is_off_as_in_tensorflow_serving(tmp_path: Path, allowed: bool) -> None:
    base = saved_models.save_jit_compiled(tmp_path / "model")
    flags = ["--xla_cpu_compilation_enabled"] if allowed else []
    with running(base, *flags) as (client, _):
        request = predict_request("", x=[3.0])
        if allowed:
            assert list(client.call("Predict", request).outputs["y"].float_val) == [6.0]
        else:
            code, message = client.failure("Predict", request)
            assert (code, message.splitlines()[0]) == ("INTERNAL", "XLA compilation disabled")
