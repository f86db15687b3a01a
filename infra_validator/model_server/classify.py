"""PredictionService.Classify (tensorflow_serving/servables/tensorflow/classifier.cc)."""

from collections.abc import Mapping
from typing import Any

from infra_validator.model_server import protos
from infra_validator.model_server.capi import Tensor
from infra_validator.model_server.examples import examples_tensor, serialized_examples
from infra_validator.model_server.model import Model
from infra_validator.model_server.signatures import (
    CLASSIFY_METHOD,
    Signature,
    effective_name,
    fill_model_spec,
)
from infra_validator.model_server.status import invalid_argument
from infra_validator.model_server.tensors import shape_text

_INPUTS = "inputs"
_CLASSES = "classes"
_SCORES = "scores"


def endpoints(signature: Signature, check_method_name: bool) -> tuple[str, list[str]]:
    """Returns the endpoint to feed and those to fetch: classes, scores or both.

    Raises:
        StatusError: INVALID_ARGUMENT, where the signature is not one for Classify.
    """
    if check_method_name and signature.method_name != CLASSIFY_METHOD:
        raise invalid_argument(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(
            f"Expected one or two output Tensors, found {len(signature.outputs)}"
        )
    if _INPUTS not in signature.inputs:
        raise invalid_argument(
            f"No classification inputs found in SignatureDef: {signature.definition}"
        )
    fetches = [signature.outputs[key] for key in (_CLASSES, _SCORES) if key in signature.outputs]
    if not fetches:
        raise invalid_argument(
            "Expected classification signature outputs to contain at least one of "
            f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature.definition}'
        )
    return signature.inputs[_INPUTS], fetches


def _check(tensor: Tensor, kind: str, dtype: str, count: int) -> None:
    """Refuses an output that is not a matrix of ``dtype`` with a row for each example."""
    shape = tensor.shape
    if len(shape) != 2:
        raise invalid_argument(
            f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(shape)}"
        )
    actual = protos.DataType.Name(tensor.dtype)
    if actual != dtype:
        raise invalid_argument(f"Expected {kind} Tensor of {dtype}. Got: {actual}")
    if shape[0] != count:
        raise invalid_argument(f"Expected {kind} output batch size of {count}. Got: {shape[0]}")


def fill_result(
    signature: Signature, count: int, fetched: Mapping[str, Tensor], result: Any
) -> None:
    """Turns fetched tensors into a ClassificationResult.

    Args:
        signature: the one that was run.
        count: number of Examples in the request.
        fetched: endpoint → tensor.
        result: an empty ClassificationResult.

    Raises:
        StatusError: INVALID_ARGUMENT, where the tensors are not classes and scores.
    """
    classes_name = signature.outputs.get(_CLASSES)
    scores_name = signature.outputs.get(_SCORES)
    classes = fetched[classes_name] if classes_name is not None else None
    # Both aliases may stand for one endpoint; the real server then sees classes only.
    scores = fetched[scores_name] if scores_name not in (None, classes_name) else None
    if classes is not None:
        _check(classes, "classes", "DT_STRING", count)
    if scores is not None:
        _check(scores, "scores", "DT_FLOAT", count)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = _labels(classes) if classes is not None else []
    values = scores.data().cast("f") if scores is not None else ()
    given = classes if classes is not None else scores
    width = given.shape[1] if given is not None else 0
    for row in range(count):
        classifications = result.classifications.add()
        for position in range(row * width, (row + 1) * width):
            entry = classifications.classes.add()
            if labels:
                entry.label = labels[position]
            if values:
                entry.score = values[position]


def _labels(classes: Tensor) -> list[str]:
    labels = classes.strings()
    try:
        return [label.decode() for label in labels]
    except UnicodeDecodeError as error:
        raise invalid_argument(
            f"the embedded server cannot send the class label {error.object!r}: it is not UTF-8"
        ) from error


def classify(model: Model, request: Any, timeout_ms: int, version: int | None) -> Any:
    """Answers a ClassificationRequest with a ClassificationResponse.

    Args:
        model: what to run.
        request: a ClassificationRequest.
        timeout_ms: bound on the session's run; 0 for none.
        version: for the response's ModelSpec.

    Raises:
        StatusError: the request cannot be answered.
    """
    name = effective_name(request.model_spec.signature_name)
    signature = model.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    feed, fetches = endpoints(signature, model.check_method_names)
    examples = serialized_examples(request.input)
    tensor = examples_tensor(model.library, examples)
    results = model.session.run([(feed, tensor)], fetches, timeout_ms)
    response = protos.ClassificationResponse()
    fetched = dict(zip(fetches, results, strict=True))
    fill_result(signature, len(examples), fetched, response.result)
    fill_model_spec(response.model_spec, request.model_spec.name, name, version)
    return response
