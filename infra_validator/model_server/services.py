"""The gRPC services: raw bytes in, raw bytes out, every error a status.

tensorflow_serving/model_servers/prediction_service_impl.cc and model_service_impl.cc.
"""

from collections.abc import Callable
from typing import Any

import grpc

from infra_validator.model_server import log, protos
from infra_validator.model_server.classify import classify
from infra_validator.model_server.metadata import get_model_metadata
from infra_validator.model_server.model import Model
from infra_validator.model_server.model_status import get_model_status
from infra_validator.model_server.multi_inference import multi_inference
from infra_validator.model_server.predict import predict
from infra_validator.model_server.regress import regress
from infra_validator.model_server.servables import Servables
from infra_validator.model_server.status import (
    Code,
    StatusError,
    invalid_argument,
    unexpected,
    wire_message,
)

_MAX_TIMEOUT_MS = (1 << 31) - 1
_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}

Handler = Callable[[Any, int], Any]
"""Takes the request and the bound on the session's run in ms; returns the response."""

Inference = Callable[[Model, Any, int, int | None], Any]


def timeout_ms(remaining_seconds: float | None) -> int:
    """Returns RunOptions.timeout_in_ms for what is left of an RPC's deadline; 0 for none.

    Raises:
        StatusError: DEADLINE_EXCEEDED, where nothing is left. (0 would mean: no bound.)
    """
    if remaining_seconds is None:
        return 0
    if remaining_seconds <= 0:
        raise StatusError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
    return max(int(min(remaining_seconds * 1000, _MAX_TIMEOUT_MS)), 1)


def _method(request_class: Any, handler: Handler) -> "grpc.RpcMethodHandler[bytes, bytes]":
    def answer(data: bytes, remaining_seconds: float | None) -> bytes:
        try:
            request = request_class.FromString(data)
        except protos.DecodeError:
            raise StatusError(
                Code.INTERNAL, f"Failed to parse {request_class.DESCRIPTOR.full_name}"
            ) from None
        response = handler(request, timeout_ms(remaining_seconds))
        return bytes(response.SerializeToString())

    def call(data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return answer(data, context.time_remaining())
        except StatusError as error:
            status = error
        except Exception as error:
            status = unexpected(error)
            log.error(f"{request_class.DESCRIPTOR.full_name}: {status}")
        # gRPC takes bytes for details as they are; its annotations know text only.
        details: Any = wire_message(status.message)
        context.abort(_GRPC_CODES[int(status.code)], details)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(call)


def _unimplemented(message: str) -> Handler:
    def handler(_request: Any, _timeout_ms: int) -> Any:
        raise StatusError(Code.UNIMPLEMENTED, message)

    return handler


def _inference(servables: Servables, run: Inference) -> Handler:
    def handler(request: Any, bound_ms: int) -> Any:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        servable = servables.find(request.model_spec)
        return run(servable.model, request, bound_ms, servable.version)

    return handler


def _multi_inference(servables: Servables) -> Handler:
    def handler(request: Any, bound_ms: int) -> Any:
        spec = request.tasks[0].model_spec if request.tasks else protos.ModelSpec()
        servable = servables.find(spec)
        return multi_inference(servable.model, request, bound_ms, servable.version)

    return handler


def prediction_service(servables: Servables) -> grpc.GenericRpcHandler:
    """Returns tensorflow.serving.PredictionService."""
    return grpc.method_handlers_generic_handler(
        "tensorflow.serving.PredictionService",
        {
            "Predict": _method(protos.PredictRequest, _inference(servables, predict)),
            "Classify": _method(protos.ClassificationRequest, _inference(servables, classify)),
            "Regress": _method(protos.RegressionRequest, _inference(servables, regress)),
            "MultiInference": _method(protos.MultiInferenceRequest, _multi_inference(servables)),
            "GetModelMetadata": _method(
                protos.GetModelMetadataRequest,
                lambda request, _: get_model_metadata(servables, request),
            ),
        },
    )


def model_service(servables: Servables) -> grpc.GenericRpcHandler:
    """Returns tensorflow.serving.ModelService."""
    return grpc.method_handlers_generic_handler(
        "tensorflow.serving.ModelService",
        {
            "GetModelStatus": _method(
                protos.GetModelStatusRequest,
                lambda request, _: get_model_status(servables, request),
            ),
            "HandleReloadConfigRequest": _method(
                protos.ReloadConfigRequest,
                _unimplemented("the embedded server does not reload its configuration"),
            ),
        },
    )


_HEALTHY_SERVICES = ("", "ModelService", "PredictionService")
_SERVING = 1  # grpc.health.v1.HealthCheckResponse.SERVING


def _check_health(request: Any, _timeout_ms: int) -> Any:
    if request.service not in _HEALTHY_SERVICES:
        raise StatusError(Code.NOT_FOUND, "service name unknown")
    return protos.HealthCheckResponse(status=_SERVING)


def health_service() -> grpc.GenericRpcHandler:
    """Returns grpc.health.v1.Health; the model is AVAILABLE for as long as it can be asked."""
    return grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health",
        {
            "Check": _method(protos.HealthCheckRequest, _check_health),
            "Watch": _method(
                protos.HealthCheckRequest,
                _unimplemented("the embedded server answers Health.Check only"),
            ),
        },
    )
