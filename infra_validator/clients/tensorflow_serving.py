"""Asks a TensorFlow Serving over gRPC."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from infra_validator.faults import Evidence, Fault, FaultError, Phase, fault
from infra_validator.requests.request import Method, Request
from infra_validator.tensorflow_errors import find_missing_op, hide_content
from infra_validator.text import first_line

# A server opens its port when the model is loaded, and that should be seen at once; gRPC's own
# back-off starts at a second. What gRPC calls the least back-off is how long a connection may take
# to be made; a server may be far away, or have little processor. No proxy stands between.
_CHANNEL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 50),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
# What TensorFlow's ReadVariableOp says; a SavedModel without the folder of its variables loads.
_VARIABLE_MISSING = "Could not find variable "
_ASK_AGAIN_SECONDS = 0.05
_CONNECTION_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}

_State = get_model_status_pb2.ModelVersionStatus.State


class TensorFlowServingClient:
    """One channel to one server."""

    def __init__(self, endpoint: str, model_name: str, wake: Callable[[], None]) -> None:
        """Starts asking for the model's status.

        Args:
            endpoint: gRPC target; nothing needs to listen there yet.
            model_name: the name under which the model is served.
            wake: called, from other threads, whenever there is an answer.
        """
        self._wake = wake
        self._model_name = model_name
        self._channel = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._methods: dict[Method, Any] = {
            Method.PREDICT: predictions.Predict,
            Method.CLASSIFY: predictions.Classify,
            Method.REGRESS: predictions.Regress,
            Method.MULTI_INFERENCE: predictions.MultiInference,
        }
        self._asking_again = False
        self._closing = threading.Lock()
        self._closed = False
        self._status: Any = None
        self._ask()

    def ready(self) -> bool:
        """Whether the model is AVAILABLE.

        Raises:
            FaultError: if the server says that it never will be, or is no
                TensorFlow Serving.
        """
        status = self._status  # another takes its place as soon as it is asked again
        if not status.done():
            return False
        if status.code() == grpc.StatusCode.OK:
            state, error = _read_status(status.result())
            if state == _State.AVAILABLE:
                return True
            if state == _State.END:
                raise FaultError(_ended(error))
        elif status.code() not in _CONNECTION_CODES:
            raise FaultError(_status_refused(status.code(), status.details()))
        if not self._asking_again:
            self._asking_again = True
            again = threading.Timer(_ASK_AGAIN_SECONDS, self._ask)
            again.daemon = True
            again.start()
        return False

    def send(self, request: Request, timeout: float) -> TensorFlowServingCall:
        """Sends a request, to be answered within that many seconds."""
        return TensorFlowServingCall(self._methods[request.method], request, timeout, self._wake)

    def close(self) -> None:
        """Gives up what is under way."""
        with self._closing:
            self._closed = True
        self._channel.close()

    def _ask(self) -> None:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model_name
        with self._closing:
            if self._closed:
                return
            self._status = self._models.GetModelStatus.future(request, wait_for_ready=True)
            self._asking_again = False
        self._status.add_done_callback(lambda _: self._wake())


class TensorFlowServingCall:
    """One RPC under way."""

    def __init__(
        self, method: Any, request: Request, timeout: float, wake: Callable[[], None]
    ) -> None:
        self._request = request
        self._timeout = timeout
        self._seconds = 0.0
        self._finished = False
        self._wake = wake
        self._sent_at = time.monotonic()
        self._future = method.future(request.message, timeout=timeout)
        self._future.add_done_callback(self._finish)

    def done(self) -> bool:
        """Whether it was answered, refused, or given up."""
        return self._finished

    def result(self) -> float:
        """How long the answer took, in seconds.

        Raises:
            FaultError: if it was not answered well.
        """
        code = self._future.code()
        if code != grpc.StatusCode.OK:
            raise FaultError(
                diagnose_rpc_error(code, self._future.details() or "", self._request, self._timeout)
            )
        return self._seconds

    def lost_connection(self) -> bool:
        """Whether it failed because the connection broke."""
        return self._future.code() in _CONNECTION_CODES

    def cancel(self) -> None:
        """Gives it up."""
        self._future.cancel()

    def _finish(self, _: Any) -> None:
        self._seconds = time.monotonic() - self._sent_at
        self._finished = True
        self._wake()


def diagnose_rpc_error(
    code: grpc.StatusCode, details: str, request: Request, timeout: float
) -> Fault:
    """Why a request was not answered well. Pure.

    Args:
        code: the RPC's status code.
        details: the RPC's status message.
        request: the request; described, never shown.
        timeout: seconds that it was given.
    """
    asked = describe(request)
    evidence = Evidence(grpc_code=code.name)
    details = hide_content(details)
    op = find_missing_op(details)
    if op is not None:
        return fault(
            "op_missing",
            Phase.QUERY,
            f"The server cannot run the op {op.name!r}, which the signature "
            f"{request.signature!r} needs.",
            detail=details,
            hint=op.hint,
            evidence=evidence,
        )
    if _VARIABLE_MISSING in details:
        category = "variables_unreadable"
        summary = (
            f"The model was loaded without its variables, which the signature "
            f"{request.signature!r} needs."
        )
    elif code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        category = "message_too_large"
        summary = f"{asked[0].upper()}{asked[1:]} does not get through: {first_line(details)}"
    elif code == grpc.StatusCode.DEADLINE_EXCEEDED:
        category, summary = "request_timeout", f"No answer to {asked} within {timeout:g} s."
    else:
        category = {
            grpc.StatusCode.UNAVAILABLE: "connection_lost",
            grpc.StatusCode.CANCELLED: "connection_lost",
            grpc.StatusCode.PERMISSION_DENIED: "access_denied",
            grpc.StatusCode.UNAUTHENTICATED: "access_denied",
            grpc.StatusCode.RESOURCE_EXHAUSTED: "out_of_memory",
        }.get(code, "request_failed")
        summary = f"{asked[0].upper()}{asked[1:]} failed: {code.name}: {first_line(details)}"
    return fault(category, Phase.QUERY, summary, detail=details, evidence=evidence)


def describe(request: Request) -> str:
    """What a request is, without its content."""
    return (
        f"request {request.number} ({request.method.value} to the signature "
        f"{request.signature!r}, {request.description})"
    )


def _read_status(response: Any) -> tuple[int, str]:
    statuses = response.model_version_status
    if not statuses:
        return _State.UNKNOWN, ""
    newest = max(statuses, key=lambda status: status.version)
    return newest.state, newest.status.error_message


def _ended(error: str) -> Fault:
    return fault(
        "model_load_failed",
        Phase.LOAD,
        f"The model cannot be loaded: the server says {first_line(error) or 'nothing more'}",
        detail=error,
    )


def _status_refused(code: grpc.StatusCode, details: str) -> Fault:
    if code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}:
        category = "access_denied"
    else:
        category = "server_incompatible"
    return fault(
        category,
        Phase.LOAD,
        f"The server listens, but does not tell the model's status: {code.name}: "
        f"{first_line(details)}",
        detail=details or "",
        evidence=Evidence(grpc_code=code.name),
    )
