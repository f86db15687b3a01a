"""Every error of TensorFlow Serving's tables that can be reached, over a real connection."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from embedded_server_process import running
from google.protobuf import text_format
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

INVALID = "INVALID_ARGUMENT"
REQUESTS = {
    "Predict": predict_pb2.PredictRequest,
    "Classify": classification_pb2.ClassificationRequest,
    "Regress": regression_pb2.RegressionRequest,
    "MultiInference": inference_pb2.MultiInferenceRequest,
    "GetModelMetadata": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelStatus": get_model_status_pb2.GetModelStatusRequest,
}


def example(**values: Any) -> Any:
    result = tf.train.Example()
    for name, value in values.items():
        kind = "int64_list" if isinstance(value[0], int) else "float_list"
        getattr(result.features.feature[name], kind).value.extend(value)
    return result


GOOD = example(x=[1.0, 2.0, 3.0])


def predict(signature: str = "", output_filter: tuple[str, ...] = (), **inputs: Any) -> Any:
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    for alias, value in inputs.items():
        proto = value if isinstance(value, tf.make_tensor_proto(0).__class__) else None
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value) if proto is None else proto)
    return request


def with_examples(method: str, signature: str, *examples: Any) -> Any:
    request = REQUESTS[method]()
    request.model_spec.name = "m"
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend(examples)
    return request


def classify(signature: str, *examples: Any) -> Any:
    return with_examples("Classify", signature, *(examples or (GOOD, GOOD)))


def regress(signature: str, *examples: Any) -> Any:
    return with_examples("Regress", signature, *(examples or (GOOD, GOOD)))


def tasks(*specs: tuple[str, str, str]) -> Any:
    request = inference_pb2.MultiInferenceRequest()
    for name, signature, method in specs:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name = name
        task.model_spec.signature_name = signature
    request.input.example_list.examples.append(GOOD)
    return request


def context_only(method: str, signature: str) -> Any:
    request = with_examples(method, signature)
    request.input.example_list_with_context.context.CopyFrom(GOOD)
    return request


def empty_tasks(context: Any | None) -> Any:
    request = tasks(("m", "classify", "classify"))
    request.ClearField("input")
    if context is not None:
        request.input.example_list_with_context.context.CopyFrom(context)
    return request


def metadata(*fields: str, name: str = "m") -> Any:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = name
    return request


def spec(method: str, **fields: Any) -> Any:
    """A request with nothing but a ModelSpec (and what is checked before it)."""
    request = REQUESTS[method]()
    target = request.tasks.add().model_spec if method == "MultiInference" else request.model_spec
    target.SetInParent()
    for field, value in fields.items():
        if field == "version":
            target.version.value = value
        else:
            setattr(target, field, value)
    if method == "GetModelMetadata":
        request.metadata_field.append("signature_def")
    return request


LOOKED_UP = ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata")

Row = tuple[str, str, Any, str, str]


def _common() -> list[Row]:
    rows: list[Row] = [
        (f"{method} without ModelSpec", method, REQUESTS[method](), INVALID, "Missing ModelSpec")
        for method in ("Predict", "Classify", "Regress", "GetModelMetadata", "GetModelStatus")
    ]
    for method in LOOKED_UP:
        for name, fields, code, message in (
            ("empty name", {}, INVALID, "ModelSpec has no name specified."),
            (
                "unknown model",
                {"name": "nope"},
                "NOT_FOUND",
                "Servable not found for request: Latest(nope)",
            ),
            (
                "unknown version",
                {"name": "m", "version": 7},
                "NOT_FOUND",
                "Servable not found for request: Specific(m, 7)",
            ),
            (
                "version of unknown model",
                {"name": "nope", "version": 3},
                "NOT_FOUND",
                "Servable not found for request: Specific(nope, 3)",
            ),
            (
                "unknown label",
                {"name": "m", "version_label": "stable"},
                INVALID,
                "Unrecognized servable version label: stable",
            ),
        ):
            rows.append((f"{method}: {name}", method, spec(method, **fields), code, message))
    return rows


ONE = tf.make_tensor_proto([1.0])
BAD_TENSOR = text_format.Parse(
    "dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: 'abc'",
    ONE.__class__(),
)
PARSE = r"\[\[\{\{node .*ParseExample.*\}\}\]\]"

PREDICT_ROWS: list[Row] = [
    (
        "unknown signature",
        "Predict",
        predict("nope"),
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    ),
    (
        "too many inputs",
        "Predict",
        predict("add", a=1.0, b=1.0, z=1.0),
        INVALID,
        "input size does not match signature: 3!=2 len({a,b,z}) != len({a,b}). "
        "Sent extra: {z}. Missing but required: {}.",
    ),
    (
        "too few inputs",
        "Predict",
        predict("add", b=1.0),
        INVALID,
        "input size does not match signature: 1!=2 len({b}) != len({a,b}). "
        "Sent extra: {}. Missing but required: {a}.",
    ),
    (
        "no inputs",
        "Predict",
        predict("add"),
        INVALID,
        "input size does not match signature: 0!=2 len({}) != len({a,b}). "
        "Sent extra: {}. Missing but required: {a,b}.",
    ),
    (
        "wrong name",
        "Predict",
        predict("add", a=1.0, z=1.0),
        INVALID,
        "Signature input alias: b(feed name: b:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {a,z}, or default input alias set: ",
    ),
    (
        "missing, though another has a default",
        "Predict",
        predict("default", b=1.0),
        INVALID,
        "Signature input alias: a(feed name: a:0) not found in request and no default value "
        "provided. Inputs expected to be in the request {b}, or default input alias set: b",
    ),
    (
        "wrong name where a default stands in",
        "Predict",
        predict("default", a=1.0, z=1.0),
        INVALID,
        "Inputs contains invalid name. Used request inputs: a, request input: a,z",
    ),
    ("unparsable tensor", "Predict", predict("odd_method", a=BAD_TENSOR), INVALID,
     "tensor parsing error: a"),
    ("tensor without dtype", "Predict", predict("odd_method", a=ONE.__class__()), INVALID,
     "tensor parsing error: a"),
    (
        "unknown output",
        "Predict",
        predict("add", ("sum", "nope"), a=1.0, b=1.0),
        INVALID,
        "output tensor alias not found in signature: nope Outputs expected to be in the set "
        "{product,sum}.",
    ),
    (
        "output twice",
        "Predict",
        predict("add", ("sum", "sum"), a=1.0, b=1.0),
        INVALID,
        "duplicate output tensor alias: sum",
    ),
    (
        "inputs are looked at before outputs",
        "Predict",
        predict("add", ("nope",), a=BAD_TENSOR, b=1.0),
        INVALID,
        "tensor parsing error: a",
    ),
    ("resource", "Predict",
     predict("odd_method", a=ONE.__class__(dtype=20, resource_handle_val=[{"name": "r"}])),
     "UNIMPLEMENTED", "the embedded server cannot take a tensor of DT_RESOURCE"),
    (
        "wrong dtype",
        "Predict",
        predict("add", a="text", b=1.0),
        INVALID,
        "Expects arg[0] to be float but string is provided",
    ),
    (
        "no cast between dtypes",
        "Predict",
        predict("add", a=1.0, b=tf.make_tensor_proto(1.0, tf.float64)),
        INVALID,
        "Expects arg[1] to be float but double is provided",
    ),
    (
        "wrong shape is the op's business",
        "Predict",
        predict("matmul", a=[[1.0, 2.0], [3.0, 4.0]], b=[[1.0], [2.0], [3.0]]),
        INVALID,
        "Matrix size-incompatible: In[0]: [2,2], In[1]: [3,1]\n\t [[{{node product}}]]",
    ),
    (
        "signature names an endpoint that the graph lacks",
        "Predict",
        predict("missing_endpoint", a=1.0),
        INVALID,
        "Tensor nowhere:0, specified in either feed_devices or fetch_devices was not found in "
        "the Graph",
    ),
    (
        "not a serialized Example",
        "Predict",
        predict(examples=["not a proto"]),
        INVALID,
        re.compile(r"Could not parse example input, value: 'not a proto'\n\t " + PARSE),
    ),
    (
        "feature missing",
        "Predict",
        predict(examples=[b""]),
        INVALID,
        re.compile(
            r"Name: <unknown>, Feature: x \(data type: float\) is required but could not be "
            r"found\.\n\t " + PARSE
        ),
    ),
    (
        "feature of another kind",
        "Predict",
        predict(examples=[example(x=[1, 2, 3]).SerializeToString()]),
        INVALID,
        re.compile(
            r"Name: <unknown>, Key: x, Index: 0\.  Data types don't match\. Data type: int64 but "
            r"expected type: float\n\t " + PARSE
        ),
    ),
    (
        "feature of another length",
        "Predict",
        predict(examples=[example(x=[1.0, 2.0]).SerializeToString()]),
        INVALID,
        re.compile(
            r"Name: <unknown>, Key: x, Index: 0\.  Number of float values != expected\.  "
            r"Values size: 2 but output shape: \[3\]\n\t " + PARSE
        ),
    ),
    (
        "a message over 1024 bytes is cut",
        "Predict",
        predict("fails", text="z" * 5000),
        INVALID,
        re.compile(r"assertion failed: \[z+\.\.\.TRUNCATED"),
    ),
]  # fmt: skip

CLASSIFY_ROWS: list[Row] = [
    ("", "Classify", classify(signature, *examples), INVALID, message)
    for signature, examples, message in (
        ("nope", (), "No signature was found with the name: nope"),
        ("classify_two_inputs", (), "Expected one input Tensor."),
        ("classify_three_outputs", (), "Expected one or two output Tensors, found 3"),
        (
            "classify_input_key",
            (),
            "No classification inputs found in SignatureDef: {definition}",
        ),
        (
            "classify_output_key",
            (),
            'Expected classification signature outputs to contain at least one of "classes" or '
            '"scores". Signature was: {definition}',
        ),
        (
            "classify_rank",
            (),
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        (
            "classify_classes_rank",
            (),
            "Expected Tensor shape: [batch_size num_classes] but got [2]",
        ),
        ("classify_classes_dtype", (), "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        ("classify_classes_batch", (), "Expected classes output batch size of 2. Got: 1"),
        ("classify_scores_dtype", (), "Expected scores Tensor of DT_FLOAT. Got: DT_DOUBLE"),
        ("classify_scores_batch", (), "Expected scores output batch size of 2. Got: 3"),
        (
            "classify_widths",
            (),
            "Tensors class and score should match in dim_size(1). Got 2 vs. 3",
        ),
        (
            "classify",
            (tf.train.Example(),),
            re.compile(
                r"Name: <unknown>, Feature: x \(data type: float\) is required but could not be "
                r"found\.\n\t " + PARSE
            ),
        ),
    )
]  # fmt: skip

REGRESS_ROWS: list[Row] = [
    ("", "Regress", regress(signature), INVALID, message)
    for signature, message in (
        ("nope", "No signature was found with the name: nope"),
        ("regress_two_inputs", "Expected one input Tensor."),
        ("regress_two_outputs", "Expected one output Tensor."),
        (
            "regress_input_key",
            "No regression inputs found in SignatureDef: {definition}",
        ),
        (
            "regress_output_key",
            "No regression outputs found in SignatureDef: {definition}",
        ),
        (
            "regress_rank",
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            "[2,2]",
        ),
        ("regress_batch", "Input batch size did not match output batch size: 2 vs. 3"),
        ("regress_dtype", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    )
]

INPUT_ROWS: list[Row] = [
    ("Classify: no input", "Classify", spec("Classify", name="m", signature_name="classify"),
     INVALID, "Input is empty."),
    ("Classify: no examples", "Classify", with_examples("Classify", "classify"), INVALID,
     "Input is empty."),
    ("Regress: no examples", "Regress", with_examples("Regress", "regress"), INVALID,
     "Input is empty."),
    ("Classify: context without examples", "Classify", context_only("Classify", "classify"),
     INVALID, "Input is empty."),
    ("Regress: context without examples", "Regress", context_only("Regress", "regress"),
     INVALID, "Input is empty."),
    ("MultiInference: no examples", "MultiInference", empty_tasks(None), INVALID,
     "Input is empty."),
    ("MultiInference: context without examples", "MultiInference", empty_tasks(GOOD), INVALID,
     "Input is empty."),
]  # fmt: skip

MULTI_ROWS: list[Row] = [
    (name, "MultiInference", request, code, message)
    for name, request, code, message in (
        ("no tasks", tasks(), INVALID, "ModelSpec has no name specified."),
        (
            "first task without name",
            tasks(("", "classify", "classify"), ("m", "regress", "regress")),
            INVALID,
            "ModelSpec has no name specified.",
        ),
        (
            "later task without name",
            tasks(("m", "classify", "classify"), ("", "regress", "regress")),
            INVALID,
            "Found ModelSpec with an empty model name.",
        ),
        (
            "different names",
            tasks(("m", "classify", "classify"), ("n", "regress", "regress")),
            INVALID,
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            "signature twice",
            tasks(("m", "classify", "classify"), ("m", "classify", "classify")),
            INVALID,
            "Duplicate evaluation of signature: classify",
        ),
        (
            "unknown signature",
            tasks(("m", "nope", "classify")),
            INVALID,
            "Requested signature not found in model graph: nope",
        ),
        (
            "method of the task",
            tasks(("m", "classify", "predict")),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
        (
            "signature unfit for its method",
            tasks(("m", "classify", "classify"), ("m", "regress_two_inputs", "regress")),
            INVALID,
            "Expected one input Tensor.",
        ),
    )
]

INFO_ROWS: list[Row] = [
    (name, method, request, code, message)
    for name, method, request, code, message in (
        (
            "metadata: no field",
            "GetModelMetadata",
            metadata(),
            INVALID,
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (
            "metadata: unknown field, before the lookup",
            "GetModelMetadata",
            metadata("signature_def", "graph", name="nope"),
            INVALID,
            "Metadata field graph is not supported",
        ),
        (
            "status: unknown version",
            "GetModelStatus",
            spec("GetModelStatus", name="m", version=9),
            "NOT_FOUND",
            "Could not find version 9 of model m",
        ),
        (
            "status: unknown model",
            "GetModelStatus",
            spec("GetModelStatus", name="nope"),
            "NOT_FOUND",
            "Could not find any versions of model nope",
        ),
        (
            "status: empty name",
            "GetModelStatus",
            spec("GetModelStatus"),
            "NOT_FOUND",
            "Could not find any versions of model ",
        ),
        (
            "reload",
            "HandleReloadConfigRequest",
            model_management_pb2.ReloadConfigRequest(),
            "UNIMPLEMENTED",
            "the embedded server does not reload its configuration",
        ),
    )
]

ROWS = [
    *_common(),
    *PREDICT_ROWS,
    *CLASSIFY_ROWS,
    *REGRESS_ROWS,
    *INPUT_ROWS,
    *MULTI_ROWS,
    *INFO_ROWS,
]


def row_id(row: Row) -> str:
    return row[0] or f"{row[1]} {row[2].model_spec.signature_name}"


def definition(client: Any, signature: str) -> str:
    """The text of the SignatureDef that the model itself holds (proto::DebugString in C++)."""
    found = get_model_metadata_pb2.SignatureDefMap()
    client.call("GetModelMetadata", metadata("signature_def")).metadata["signature_def"].Unpack(
        found
    )
    return text_format.MessageToString(found.signature_def[signature])


def check(client: Any, row: Row) -> None:
    _, method, request, code, message = row
    actual_code, actual_message = client.failure(method, request)
    if isinstance(message, re.Pattern):
        assert message.fullmatch(actual_message), actual_message
    else:
        name = request.model_spec.signature_name if method in ("Classify", "Regress") else ""
        if "{definition}" in message:
            message = message.replace("{definition}", definition(client, name))
        assert actual_message == message
    assert actual_code == code


@pytest.mark.parametrize("row", ROWS, ids=row_id)
def test_error(zoo_server: Any, row: Row) -> None:
    check(zoo_server, row)


def test_message_is_cut_after_1024_bytes(zoo_server: Any) -> None:
    _, message = zoo_server.failure("Predict", predict("fails", text="z" * 5000))
    assert len(message) == 1024 + len("...TRUNCATED")


@pytest.fixture(scope="module")
def strict_server(zoo: Path) -> Any:
    with running(zoo, "--enable_signature_method_name_check") as (client, _):
        yield client


METHODS = "{tensorflow/serving/predict, tensorflow/serving/classify, tensorflow/serving/regress}"
STRICT_ROWS: list[Row] = [
    (
        "Predict",
        "Predict",
        predict("odd_method", a=1.0),
        "INTERNAL",
        f"Expected prediction signature method_name to be one of {METHODS}. Was: other",
    ),
    (
        "Classify",
        "Classify",
        classify("regress"),
        INVALID,
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/regress",
    ),
    (
        "Regress",
        "Regress",
        regress("classify"),
        INVALID,
        "Expected regression signature method_name to be tensorflow/serving/regress. "
        "Was: tensorflow/serving/classify",
    ),
]


@pytest.mark.parametrize("row", STRICT_ROWS, ids=row_id)
def test_error_with_method_name_check(strict_server: Any, row: Row) -> None:
    check(strict_server, row)


def test_method_names_do_not_matter_by_default(zoo_server: Any) -> None:
    assert zoo_server.call("Predict", predict("odd_method", a=1.0)).outputs["a"].float_val == [1.0]


BATCHING = """
max_batch_size { value: 4 }
allowed_batch_sizes: 2
allowed_batch_sizes: 4
"""


@pytest.fixture(scope="module")
def batching_server(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("batching") / "parameters.txt"
    file.write_text(BATCHING)
    flags = ("--enable_batching", f"--batching_parameters_file={file}")
    with running(zoo, *flags) as (client, _):
        yield client


BATCHING_ROWS: list[Row] = [
    (
        "no inputs",
        "Predict",
        predict("no_inputs"),
        INVALID,
        "Batching Run() must have at least one input tensor",
    ),
    (
        "scalar input",
        "Predict",
        predict("add", a=1.0, b=[1.0]),
        INVALID,
        "Batching Run() input tensors must have at least one dimension",
    ),
    (
        "inputs of different length",
        "Predict",
        predict("add", a=[1.0], b=[1.0, 2.0]),
        INVALID,
        "Batching Run() input tensors must have equal 0th-dimension size",
    ),
    (
        "scalar output",
        "Predict",
        predict("scalar", a=[1.0, 2.0]),
        "FAILED_PRECONDITION",
        "Batched output tensor has 0 dimensions",
    ),
    (
        "output that is not batch-major",
        "Predict",
        predict("total", a=[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]),
        "FAILED_PRECONDITION",
        "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
        "sizes of the input tensors",
    ),
    (
        "more rows than a batch may have",
        "Predict",
        predict("add", a=[1.0] * 5, b=[1.0] * 5),
        INVALID,
        "Task size 5 is larger than maximum input batch size 4",
    ),
]


@pytest.mark.parametrize("row", BATCHING_ROWS, ids=row_id)
def test_error_with_batching(batching_server: Any, row: Row) -> None:
    check(batching_server, row)


def _answers() -> list[tuple[str, Callable[[Any], None]]]:
    def padded(client: Any) -> None:
        response = client.call("Predict", predict("add", a=[1.0, 2.0, 3.0], b=[1.0, 1.0, 1.0]))
        assert list(response.outputs["sum"].float_val) == [2.0, 3.0, 4.0]
        assert [d.size for d in response.outputs["product"].tensor_shape.dim] == [3]

    def strings(client: Any) -> None:
        response = client.call("Classify", classify("classify", GOOD, GOOD, GOOD))
        assert len(response.result.classifications) == 3
        assert [c.label for c in response.result.classifications[2].classes] == ["no", "yes"]

    def passed_by(client: Any) -> None:
        # No signature has just this output, so the real server runs it unbatched, with a warning.
        request = predict("add", ("sum",), a=1.0, b=[1.0, 2.0])
        assert list(client.call("Predict", request).outputs["sum"].float_val) == [2.0, 3.0]

    def shapes(client: Any) -> None:
        for dtype in (tf.float32, tf.int64, tf.string, tf.bool, tf.half, tf.qint8):
            for shape in ([0], [0, 3], [1, 0], [3, 0], [0, 0], [3, 2, 0]):
                proto = predict("").inputs["x"].__class__(dtype=dtype.as_datatype_enum)
                proto.tensor_shape.SetInParent()
                for size in shape:
                    proto.tensor_shape.dim.add(size=size)
                response = client.call("Predict", predict(f"echo_{dtype.name}", x=proto))
                output = response.outputs["y"]
                assert output == proto, (dtype, shape)

    return [
        ("padded", padded),
        ("strings", strings),
        ("passed by", passed_by),
        ("empty and of no width", shapes),
    ]


@pytest.mark.parametrize("answer", _answers(), ids=lambda case: case[0])
def test_batching_answers(batching_server: Any, answer: Any) -> None:
    answer[1](batching_server)


@pytest.fixture(scope="module")
def matrix_server(matrix: Path) -> Any:
    with running(matrix) as (client, _):
        yield client


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, 2.0, 3.0]], r"Matrix size-incompatible: In\[0\]: \[1,3\], In\[1\]: \[2,1\]"),
        # Which kernel runs, and so which of the two texts it is, depends on TensorFlow's version.
        (
            [1.0, 2.0],
            r"(In\[0\] and In\[1\] has different ndims: \[2\] vs\. \[2,1\]"
            r"|In\[0\] ndims must be >= 2)",
        ),
    ],
)
def test_wrong_shape_in_a_function(matrix_server: Any, x: Any, message: str) -> None:
    code, actual = matrix_server.failure("Predict", predict(x=x))
    where = r"\n\t \[\[(\{\{function_node \w+\}\})?\{\{node \S*MatMul\}\}\]\]"
    assert re.fullmatch(message + where, actual), actual
    assert code == INVALID
