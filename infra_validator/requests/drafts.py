"""Requests before they are numbered, and what all sources of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from infra_validator.requests.mapping import Constant, unsupported
from infra_validator.requests.request import Method, Request
from infra_validator.requests.tensors import UnfitError, check_size, describe, to_proto
from infra_validator.saved_model.reader import Signature

# Method names of SignatureDefs (tensorflow/python/saved_model/signature_constants.py).
PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
METHODS: Mapping[str, Method] = {
    PREDICT: Method.PREDICT,
    CLASSIFY: Method.CLASSIFY,
    REGRESS: Method.REGRESS,
}


@dataclasses.dataclass(frozen=True)
class Draft:
    """A request without number, and without the model's name in it.

    Attributes:
        signature: the signature it asks; several are joined by a comma.
        method: the RPC.
        message: the RPC's request message.
        description: what it carries, never the content.
        batch_size: how many examples.
    """

    signature: str
    method: Method
    message: Any
    description: str
    batch_size: int


def predict(signature: str, inputs: Mapping[str, Any], batch_size: int, what: str = "") -> Draft:
    """A Predict request of these TensorProtos.

    Args:
        signature: the signature's name.
        inputs: input to TensorProto.
        batch_size: how many examples.
        what: what the description says besides.
    """
    from tensorflow_serving.apis import predict_pb2

    message = predict_pb2.PredictRequest()
    message.model_spec.signature_name = signature
    _check_size(signature, inputs.values())
    for name, tensor in inputs.items():
        message.inputs[name].CopyFrom(tensor)
    return Draft(signature, Method.PREDICT, message, describe(message.inputs) + what, batch_size)


def on_examples(signature: Signature, examples: Sequence[Any]) -> Draft:
    """A Classify or Regress request of these tf.Example messages."""
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    method = METHODS[signature.method]
    if method == Method.CLASSIFY:
        message = classification_pb2.ClassificationRequest()
    else:
        message = regression_pb2.RegressionRequest()
    message.model_spec.signature_name = signature.name
    _extend(message, signature.name, examples)
    return Draft(signature.name, method, message, _count_text(examples), len(examples))


def together(signatures: Sequence[Signature], examples: Sequence[Any]) -> Draft:
    """A MultiInference request of Classify and Regress signatures."""
    from tensorflow_serving.apis import inference_pb2

    message = inference_pb2.MultiInferenceRequest()
    for signature in signatures:
        task = message.tasks.add()
        task.model_spec.signature_name = signature.name
        task.method_name = signature.method
    _extend(message, signatures[0].name, examples)
    return Draft(
        ", ".join(signature.name for signature in signatures),
        Method.MULTI_INFERENCE,
        message,
        _count_text(examples),
        len(examples),
    )


def _extend(message: Any, signature: str, examples: Sequence[Any]) -> None:
    _check_size(signature, examples)
    message.input.example_list.examples.extend(examples)


def _check_size(signature: str, parts: Iterable[Any]) -> None:
    """Each part may be small enough, and all together too large."""
    try:
        check_size(sum(part.ByteSize() for part in parts))
    except UnfitError as error:
        raise too_large(signature, error) from None


def _count_text(examples: Sequence[Any]) -> str:
    return f"{len(examples)} tf.Example" + ("s" if len(examples) > 1 else "")


def number(made: Iterable[Draft], model_name: str) -> list[Request]:
    """The requests, in this order, to a model served under that name."""
    requests = []
    for place, draft in enumerate(made, start=1):
        _set_model_name(draft.message, model_name)
        requests.append(
            Request(
                place,
                draft.signature,
                draft.method,
                draft.message,
                draft.description,
                draft.batch_size,
            )
        )
    return requests


def _set_model_name(message: Any, name: str) -> None:
    """Says in a request message of any kind which model is meant, at any version."""
    specs = (
        [task.model_spec for task in message.tasks]
        if hasattr(message, "tasks")
        else [message.model_spec]
    )
    for spec in specs:
        spec.name = name
        spec.ClearField("version")
        spec.ClearField("version_label")


def constant_tensor(constant: Constant, batch_size: int) -> Any:
    """A constant as TensorProto, for a batch."""
    values = constant.values
    if constant.per_example:
        rank = len(constant.spec.shape or ())
        row = values if values.ndim < rank else values[0]
        values = np.broadcast_to(row, (batch_size, *row.shape))
    return to_proto(values, constant.spec.dtype, values.shape)


def is_serialized_input(signature: Signature) -> str | None:
    """The one input that may take serialized examples: a vector or scalar of strings."""
    if len(signature.inputs) == 1:
        [(name, spec)] = signature.inputs.items()
        if spec.dtype == "DT_STRING" and (spec.shape is None or len(spec.shape) <= 1):
            return name if spec.shape != (0,) else None
    return None


def only_size_of_examples(signature: Signature) -> int | None:
    """The one number of tf.Examples that a Classify or Regress signature takes, if only one."""
    shapes = [spec.shape for spec in signature.inputs.values()]
    return shapes[0][0] if len(shapes) == 1 and shapes[0] else None


def fitting_sizes(
    signature: Signature, asked: Sequence[int], only: int | None, notes: list[str]
) -> list[int]:
    """The batch sizes that a signature is asked in.

    Args:
        signature: the signature.
        asked: what the user wants; empty for nothing in particular.
        only: the one size that it takes, if only one.
        notes: gets a line for sizes that are left out.

    Raises:
        FaultError: "signature_unsupported" if none fits.
    """
    if only is None:
        return list(asked) or [1]
    if asked and only not in asked:
        raise unsupported(
            f"The signature {signature.name!r} takes exactly {only} "
            f"example{'s' if only != 1 else ''} at a time, and RequestSpec.batch_sizes has no "
            f"{only}."
        )
    left_out = [str(size) for size in asked if size != only]
    if left_out:
        notes.append(
            f"The signature {signature.name!r} takes exactly {only} "
            f"example{'s' if only != 1 else ''} at a time; it was not asked in batches of "
            f"{', '.join(left_out)}."
        )
    return [only]


def batches(count: int, wanted: int, size: int) -> Iterable[list[int]]:
    """Cuts the first examples into batches of one size.

    Args:
        count: how many examples there are.
        wanted: how many are asked for; a batch may take more.
        size: of each batch. A short last one is filled up from the first.
    """
    used = min(count, max(wanted, size))
    for start in range(0, used, size):
        yield [place % used for place in range(start, start + size)]


def too_large(signature: str, error: UnfitError) -> Exception:
    """The fault of a request that no message can carry."""
    return unsupported(f"A request to the signature {signature!r} {error}.")
