"""PredictionService.Regress (tensorflow_serving/servables/tensorflow/regressor.cc)."""

from collections.abc import Mapping
from typing import Any

from infra_validator.model_server import protos
from infra_validator.model_server.capi import Tensor
from infra_validator.model_server.examples import examples_tensor, serialized_examples
from infra_validator.model_server.model import Model
from infra_validator.model_server.signatures import (
    REGRESS_METHOD,
    Signature,
    effective_name,
    fill_model_spec,
)
from infra_validator.model_server.status import invalid_argument
from infra_validator.model_server.tensors import shape_text

_INPUTS = "inputs"
_OUTPUTS = "outputs"


def endpoints(signature: Signature, check_method_name: bool) -> tuple[str, list[str]]:
    """Returns the endpoint to feed and the one to fetch, as a list.

    Raises:
        StatusError: INVALID_ARGUMENT, where the signature is not one for Regress.
    """
    if check_method_name and signature.method_name != REGRESS_METHOD:
        raise invalid_argument(
            f"Expected regression signature method_name to be {REGRESS_METHOD}. "
            f"Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if _INPUTS not in signature.inputs:
        raise invalid_argument(
            f"No regression inputs found in SignatureDef: {signature.definition}"
        )
    if _OUTPUTS not in signature.outputs:
        raise invalid_argument(
            f"No regression outputs found in SignatureDef: {signature.definition}"
        )
    return signature.inputs[_INPUTS], [signature.outputs[_OUTPUTS]]


def fill_result(
    signature: Signature, count: int, fetched: Mapping[str, Tensor], result: Any
) -> None:
    """Turns the fetched tensor into a RegressionResult.

    Args:
        signature: the one that was run.
        count: number of Examples in the request.
        fetched: endpoint → tensor.
        result: an empty RegressionResult.

    Raises:
        StatusError: INVALID_ARGUMENT, where the tensor is not one float for each Example.
    """
    tensor = fetched[signature.outputs[_OUTPUTS]]
    shape = tensor.shape
    if not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{shape_text(shape)}"
        )
    if shape[0] != count:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {count} vs. {shape[0]}"
        )
    dtype = protos.DataType.Name(tensor.dtype)
    if dtype != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {dtype}")
    for value in tensor.data().cast("f"):
        result.regressions.add(value=value)


def regress(model: Model, request: Any, timeout_ms: int, version: int | None) -> Any:
    """Answers a RegressionRequest with a RegressionResponse.

    Args:
        model: what to run.
        request: a RegressionRequest.
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
    response = protos.RegressionResponse()
    fetched = dict(zip(fetches, results, strict=True))
    fill_result(signature, len(examples), fetched, response.result)
    fill_model_spec(response.model_spec, request.model_spec.name, name, version)
    return response
