"""PredictionService.MultiInference (tensorflow_serving/servables/tensorflow/multi_inference.cc)."""

from typing import Any

from infra_validator.model_server import classify, protos, regress
from infra_validator.model_server.examples import examples_tensor, serialized_examples
from infra_validator.model_server.model import Model
from infra_validator.model_server.signatures import (
    CLASSIFY_METHOD,
    REGRESS_METHOD,
    effective_name,
    fill_model_spec,
)
from infra_validator.model_server.status import Code, StatusError, invalid_argument


def _plan(model: Model, request: Any) -> tuple[list[str], list[str]]:
    """Returns the endpoints to feed and to fetch for all tasks together, sorted."""
    feeds: set[str] = set()
    fetches: set[str] = set()
    model_name = ""
    seen: set[str] = set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        model_name = model_name or task.model_spec.name
        if task.model_spec.name != model_name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = effective_name(task.model_spec.signature_name)
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = model.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY_METHOD:
            feed, outputs = classify.endpoints(signature, model.check_method_names)
        elif task.method_name == REGRESS_METHOD:
            feed, outputs = regress.endpoints(signature, model.check_method_names)
        else:
            raise StatusError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
        feeds.add(feed)
        fetches.update(outputs)
    return sorted(feeds), sorted(fetches)


def multi_inference(model: Model, request: Any, timeout_ms: int, version: int | None) -> Any:
    """Answers a MultiInferenceRequest with a MultiInferenceResponse.

    Args:
        model: what to run.
        request: a MultiInferenceRequest.
        timeout_ms: bound on the session's run; 0 for none.
        version: for the ModelSpec of each result.

    Raises:
        StatusError: the request cannot be answered.
    """
    feeds, fetches = _plan(model, request)
    examples = serialized_examples(request.input)
    tensor = examples_tensor(model.library, examples)
    results = model.session.run([(feed, tensor) for feed in feeds], fetches, timeout_ms)
    fetched = dict(zip(fetches, results, strict=True))
    response = protos.MultiInferenceResponse()
    for task in request.tasks:
        result = response.results.add()
        spec = task.model_spec
        signature = model.signatures[effective_name(spec.signature_name)]
        if task.method_name == CLASSIFY_METHOD:
            target = result.classification_result
            target.SetInParent()
            classify.fill_result(signature, len(examples), fetched, target)
        else:
            target = result.regression_result
            target.SetInParent()
            regress.fill_result(signature, len(examples), fetched, target)
        fill_model_spec(result.model_spec, spec.name, spec.signature_name, version)
    return response
