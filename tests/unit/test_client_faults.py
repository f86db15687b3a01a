import dataclasses
import json

import grpc
import pytest
from tensorflow_serving.apis import predict_pb2

from infra_validator.clients.tensorflow_serving import describe, diagnose_rpc_error
from infra_validator.faults import Blame, Fault, Phase
from infra_validator.requests.request import Method, Request

SECRET = "hunter2 of the examples"  # noqa: S105 - what a request may carry

INFRASTRUCTURE = {
    grpc.StatusCode.UNAVAILABLE: ("connection_lost", True),
    grpc.StatusCode.CANCELLED: ("connection_lost", True),
    grpc.StatusCode.PERMISSION_DENIED: ("access_denied", False),
    grpc.StatusCode.UNAUTHENTICATED: ("access_denied", False),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("out_of_memory", True),
}
CODES = [code for code in grpc.StatusCode if code != grpc.StatusCode.OK]


def make_request() -> Request:
    message = predict_pb2.PredictRequest()
    message.model_spec.name = "ranker"
    message.inputs["examples"].string_val.append(SECRET.encode())
    return Request(7, "serving_default", Method.PREDICT, message, "examples: DT_STRING [1]")


def diagnose(code: grpc.StatusCode, details: str = "why") -> Fault:
    return diagnose_rpc_error(code, details, make_request(), 2.5)


def every_text(fault: Fault) -> str:
    return json.dumps(dataclasses.asdict(fault)) + repr(fault) + str(fault)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_blames_by_the_status_code(code: grpc.StatusCode) -> None:
    fault = diagnose(code)
    if code in INFRASTRUCTURE:
        category, transient = INFRASTRUCTURE[code]
        blame = Blame.INFRASTRUCTURE
    else:
        timed_out = code == grpc.StatusCode.DEADLINE_EXCEEDED
        category = "request_timeout" if timed_out else "request_failed"
        transient, blame = False, Blame.MODEL
    assert (fault.category, fault.blame, fault.transient) == (category, blame, transient)
    assert fault.phase == Phase.QUERY
    assert fault.evidence.grpc_code == code.name
    assert fault.detail == "why"


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_tells_which_request_but_not_its_content(code: grpc.StatusCode) -> None:
    fault = diagnose(code)
    assert "request 7" in fault.summary.lower()
    assert "'serving_default'" in fault.summary
    assert "examples: DT_STRING [1]" in fault.summary
    assert "hunter2" not in every_text(fault)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("details", ["", "one\n\t [[{{node MatMul}}]]", "x" * 5000])
def test_the_summary_is_one_line(code: grpc.StatusCode, details: str) -> None:
    fault = diagnose(code, details)
    assert "\n" not in fault.summary
    assert len(fault.summary) < 600
    assert fault.detail == details


def test_a_timeout_says_how_long() -> None:
    assert "2.5 s" in diagnose(grpc.StatusCode.DEADLINE_EXCEEDED).summary


def test_a_server_that_quotes_the_request_does_not_bring_it_into_the_report() -> None:
    """TensorFlow's own message where a record cannot be parsed."""
    details = f"Could not parse example input, value: '{SECRET}'\n\t [[{{{{node ParseExample}}}}]]"
    fault = diagnose(grpc.StatusCode.INVALID_ARGUMENT, details)
    assert "Could not parse example input" in fault.summary
    assert "hunter2" not in every_text(fault)


def test_the_description_of_a_request_is_without_content() -> None:
    described = describe(make_request())
    assert described.startswith("request 7 (Predict ")
    assert "hunter2" not in described


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION])
@pytest.mark.parametrize(
    ("details", "category", "named"),
    [
        ("Op type not registered 'Zip>Op' in binary running on h.", "op_missing", "'Zip>Op'"),
        ("No OpKernel was registered to support Op 'Zap' used by x", "op_missing", "'Zap'"),
        (
            "Could not find variable dense/kernel. This could mean that the variable has been "
            "deleted.\n\t [[{{node ReadVariableOp}}]]",
            "variables_unreadable",
            "'serving_default'",
        ),
    ],
)
def test_knows_what_tensorflow_says_of_an_incomplete_model(
    code: grpc.StatusCode, details: str, category: str, named: str
) -> None:
    fault = diagnose(code, details)
    assert (fault.category, fault.blame, fault.phase) == (category, Blame.MODEL, Phase.QUERY)
    assert named in fault.summary
    assert (fault.detail, fault.evidence.grpc_code) == (details, code.name)


def test_a_message_that_is_too_large_for_what_lies_between_is_not_for_want_of_memory() -> None:
    fault = diagnose(
        grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (5000 vs. 4096)"
    )
    assert (fault.category, fault.blame) == ("message_too_large", Blame.INFRASTRUCTURE)
    assert "larger than max" in fault.summary
