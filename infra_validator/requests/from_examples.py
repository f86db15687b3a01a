"""Builds TensorFlow Serving requests from records of examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.requests.examples import TF_EXAMPLE_FORMAT, Records
from infra_validator.requests.request import Method, Request
from infra_validator.saved_model.reader import Signature, TensorSpec
from infra_validator.wire import parse_whole

# Method names of SignatureDefs (tensorflow/python/saved_model/signature_constants.py).
_PREDICT = "tensorflow/serving/predict"
_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"

# An Example without features, written in either way.
_EMPTY_EXAMPLES = (b"", b"\x0a\x00")


def build_requests(
    model_name: str, signatures: Iterable[Signature], records: Records, payload_format: str
) -> list[Request]:
    """One request for each signature and record, in this order.

    Args:
        model_name: the name under which the model is served.
        signatures: the signatures to ask.
        records: what to ask with.
        payload_format: TFX's name of what a record holds.

    Raises:
        FaultError: "signature_unsupported" for a signature that records cannot
            feed, "examples_unfit" for records that are not what it takes.
    """
    if payload_format == TF_EXAMPLE_FORMAT:
        for number, record in enumerate(records.values, start=1):
            _parse_example(number, record)
    requests: list[Request] = []
    for signature in signatures:
        for message, method, description in _messages(signature, records, payload_format):
            message.model_spec.name = model_name
            message.model_spec.signature_name = signature.name
            requests.append(
                Request(len(requests) + 1, signature.name, method, message, description)
            )
    return requests


def _messages(
    signature: Signature, records: Records, payload_format: str
) -> Iterator[tuple[Any, Method, str]]:
    from tensorflow_serving.apis import classification_pb2, predict_pb2, regression_pb2

    if signature.method == _PREDICT:
        key, spec = _serialized_input(signature)
        for record in records.values:
            predict = predict_pb2.PredictRequest()
            shape = _fill(predict.inputs[key], record, spec)
            yield predict, Method.PREDICT, f"{key}: DT_STRING {shape}"
    elif signature.method in {_CLASSIFY, _REGRESS}:
        if payload_format != TF_EXAMPLE_FORMAT:
            raise FaultError(
                fault(
                    "examples_unfit",
                    Phase.STAGE,
                    f"The signature {signature.name!r} ({signature.method}) takes tf.Example "
                    f"messages, and the examples are {payload_format}.",
                )
            )
        for number, record in enumerate(records.values, start=1):
            example = _parse_example(number, record)
            if signature.method == _CLASSIFY:
                request, method = classification_pb2.ClassificationRequest(), Method.CLASSIFY
            else:
                request, method = regression_pb2.RegressionRequest(), Method.REGRESS
            request.input.example_list.examples.append(example)
            yield request, method, "1 tf.Example"
    else:
        raise FaultError(
            fault(
                "signature_unsupported",
                Phase.STAGE,
                f"The signature {signature.name!r} has the method {signature.method!r}; only "
                f"{_PREDICT}, {_CLASSIFY} and {_REGRESS} can be asked.",
            )
        )


def _serialized_input(signature: Signature) -> tuple[str, TensorSpec]:
    if len(signature.inputs) == 1:
        [(key, spec)] = signature.inputs.items()
        batch_of_one = spec.shape is None or spec.shape in {(), (None,), (1,)}
        if spec.dtype == "DT_STRING" and batch_of_one:
            return key, spec
    inputs = ", ".join(
        f"{key}: {spec.dtype} {_shape_text(spec.shape)}"
        for key, spec in sorted(signature.inputs.items())
    )
    raise FaultError(
        fault(
            "signature_unsupported",
            Phase.STAGE,
            f"The signature {signature.name!r} cannot be asked with examples: it must have a "
            f"single string input that takes serialized examples, and it has "
            f"{inputs or 'no input'}.",
        )
    )


def _fill(tensor: Any, record: bytes, spec: TensorSpec) -> str:
    from tensorflow.core.framework import types_pb2

    tensor.dtype = types_pb2.DT_STRING
    tensor.string_val.append(record)
    if spec.shape == ():
        tensor.tensor_shape.SetInParent()
        return "[]"
    tensor.tensor_shape.dim.add().size = 1
    return "[1]"


def _shape_text(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "of unknown rank"
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _parse_example(number: int, record: bytes) -> Any:
    from tensorflow.core.example import example_pb2

    try:
        example = parse_whole(example_pb2.Example, record)
    except DecodeError as error:
        raise _not_an_example(number) from error
    # Some other message may parse too, with all of its content in unknown fields.
    if not example.features.feature and record not in _EMPTY_EXAMPLES:
        raise _not_an_example(number)
    return example


def _not_an_example(number: int) -> FaultError:
    return FaultError(
        fault(
            "examples_unfit",
            Phase.STAGE,
            f"Record {number} of the examples is not a tf.Example.",
        )
    )
