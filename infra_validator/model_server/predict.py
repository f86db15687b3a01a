"""PredictionService.Predict.

Conditions, order and messages: tensorflow_serving/servables/tensorflow/predict_util.cc and, for
the inputs, tensorflow/cc/saved_model/util.cc (TensorFlow Serving 2.14 and later).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from infra_validator.model_server import protos
from infra_validator.model_server.capi import Tensor
from infra_validator.model_server.model import Model
from infra_validator.model_server.signatures import (
    CLASSIFY_METHOD,
    PREDICT_METHOD,
    REGRESS_METHOD,
    Signature,
    effective_name,
    fill_model_spec,
)
from infra_validator.model_server.status import Code, StatusError, invalid_argument
from infra_validator.model_server.tensors import fill_proto

_RESOURCE = 20


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def check_input_count(signature: Signature, sent: Iterable[str]) -> None:
    """Refuses a request with too many inputs, or with too few where none has a default.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    sent, known = set(sent), set(signature.inputs)
    if len(sent) > len(known) or (len(sent) < len(known) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(known)} "
            f"len({{{_joined(sent)}}}) != len({{{_joined(known)}}}). "
            f"Sent extra: {{{_joined(sent - known)}}}. "
            f"Missing but required: {{{_joined(known - sent)}}}."
        )


def choose_inputs(signature: Signature, request_inputs: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns alias → serialized TensorProto for every input of the signature.

    Raises:
        StatusError: INVALID_ARGUMENT, for a missing input or a name that the signature lacks.
    """
    chosen: dict[str, bytes] = {}
    used: list[str] = []
    for alias, feed in signature.inputs.items():
        if alias in request_inputs:
            chosen[alias] = request_inputs[alias].SerializeToString()
            used.append(alias)
        elif alias in signature.defaults:
            chosen[alias] = signature.defaults[alias]
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {feed}) not found in request and no "
                "default value provided. Inputs expected to be in the request "
                f"{{{_joined(request_inputs)}}}, or default input alias set: "
                f"{_joined(signature.defaults)}"
            )
    if len(used) != len(request_inputs):
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(used)}, "
            f"request input: {_joined(request_inputs)}"
        )
    return chosen


def choose_outputs(signature: Signature, output_filter: Iterable[str]) -> list[str]:
    """Returns the aliases to answer with, all of them where the filter is empty.

    Raises:
        StatusError: INVALID_ARGUMENT, for an unknown alias or one named twice.
    """
    chosen: list[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {{{_joined(signature.outputs)}}}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen.append(alias)
    return chosen or list(signature.outputs)


def _check_method_name(signature: Signature) -> None:
    allowed = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if signature.method_name not in allowed:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(allowed)}}}. "
            f"Was: {signature.method_name}",
        )


def predict(model: Model, request: Any, timeout_ms: int, version: int | None) -> Any:
    """Answers a PredictRequest with a PredictResponse.

    Args:
        model: what to run.
        request: a PredictRequest.
        timeout_ms: bound on the session's run; 0 for none.
        version: for the response's ModelSpec.

    Raises:
        StatusError: the request cannot be answered.
    """
    name = effective_name(request.model_spec.signature_name)
    signature = model.signatures.get(name)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    if model.check_method_names:
        _check_method_name(signature)
    check_input_count(signature, request.inputs)
    feeds: list[tuple[str, Tensor]] = []
    for alias, serialized in choose_inputs(signature, request.inputs).items():
        try:
            tensor = Tensor.from_proto(model.library, serialized)
        except StatusError as error:
            raise invalid_argument(f"tensor parsing error: {alias}") from error
        if tensor.dtype == _RESOURCE:
            raise StatusError(
                Code.UNIMPLEMENTED, "the embedded server cannot take a tensor of DT_RESOURCE"
            )
        feeds.append((signature.inputs[alias], tensor))
    aliases = choose_outputs(signature, request.output_filter)
    results = model.session.run(feeds, [signature.outputs[a] for a in aliases], timeout_ms)
    response = protos.PredictResponse()
    fill_model_spec(response.model_spec, request.model_spec.name, name, version)
    for alias, result in zip(aliases, results, strict=True):
        fill_proto(result, response.outputs[alias])
    return response
