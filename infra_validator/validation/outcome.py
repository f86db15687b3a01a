"""What follows from how the attempts went. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from infra_validator.faults import MEMORY_CATEGORIES, Blame, Fault, Phase, fault
from infra_validator.report import (
    AttemptReport,
    BinaryReport,
    FirstRequestReport,
    ModelRole,
    Verdict,
)
from infra_validator.servers.base import LogFacts

_CACHING_HINT = (
    "With caching on, a repeated run of the pipeline reuses this NOT BLESSED without looking "
    "again; set ValidationSpec.fail_execution_when_undetermined to have the execution fail "
    "instead."
)

_WARM_UP_HINT = (
    "The model is well without warm-up: leave RequestSpec.make_warmup unset to have it blessed so. "
    "If the replay takes too long, raise ValidationSpec.max_loading_time_seconds or lower "
    "RequestSpec.max_warmup_records."
)

_MADE_UP_HINT = (
    "The request's values were made up (RequestSpec.from_signature), and a model may refuse them "
    "with good reason: ask with examples (remove RequestSpec.from_signature), with recorded "
    "requests (RequestSpec.prediction_log_file, RequestSpec.json_file), or set inputs in "
    "RequestSpec.tensorflow_serving.input_constants."
)


def judge_fault(found: Fault | None) -> Verdict:
    """Only the model's own fault says something against the model."""
    if found is None:
        return Verdict.BLESSED
    return Verdict.NOT_BLESSED if found.blame == Blame.MODEL else Verdict.UNDETERMINED


def judge_binary(name: str, attempts: Sequence[AttemptReport]) -> BinaryReport:
    """The last attempt decides."""
    return BinaryReport(name, judge_fault(attempts[-1].fault), tuple(attempts))


def deciding_fault(binaries: Iterable[BinaryReport]) -> tuple[str, Fault] | None:
    """The fault that decides over the model and the binary it was found with, or None.

    A model that one binary cannot serve is not blessed, whatever became of the
    others.
    """
    faults = [
        (binary.name, binary.attempts[-1].fault)
        for binary in binaries
        if binary.attempts[-1].fault is not None
    ]
    by_model = [entry for entry in faults if entry[1].blame == Blame.MODEL]
    return next(iter(by_model or faults), None)


def with_caching_hint(found: Fault) -> Fault:
    """The fault, with what to know about caching where the execution will succeed all the same."""
    if found.blame != Blame.INFRASTRUCTURE:
        return found
    return dataclasses.replace(found, hint=f"{found.hint} {_CACHING_HINT}".strip())


def with_made_up_hint(found: Fault) -> Fault:
    """The fault of a validation that asks with made-up values: they may be what is wrong."""
    if found.category != "request_failed":
        return found
    return dataclasses.replace(found, hint=_MADE_UP_HINT)


def worth_trying_alone(attempts: Sequence[AttemptReport]) -> bool:
    """Whether servers running side by side may have caused the last fault."""
    last = attempts[-1].fault
    return last is not None and last.category in MEMORY_CATEGORIES


def diagnose_replay(facts: LogFacts, written: int) -> tuple[Fault | None, tuple[str, ...]]:
    """Whether a server that was ready has replayed the warm-up requests that were written.

    Args:
        facts: what its log tells.
        written: how many there are.

    Returns:
        A fault if it saw others, else None; and notes for the report.
    """
    replayed = 0 if facts.no_warm_up else facts.warm_up_records
    if replayed is None:
        return None, (
            f"The server loaded the model with {written} warm-up requests, but its log does not "
            "say that it replayed them; a flag or variable may have switched off warm-up, or the "
            "log.",
        )
    if replayed == written:
        return None, ()
    summary = (
        f"The server replayed {replayed} warm-up requests where {written} were written, so it was "
        "not given the stamped model."
    )
    return fault("model_not_delivered", Phase.WARM_UP, summary), ()


def blame_warm_up(found: Fault) -> Fault:
    """What a fault of the stamped model means, since the same server served the model without."""
    if found.blame != Blame.MODEL:
        return found
    return fault(
        "warm_up_failed",
        Phase.QUERY if found.phase == Phase.QUERY else Phase.WARM_UP,
        "The model was loaded and answered, but fails with these requests as its warm-up: "
        f"{found.summary}",
        detail=found.detail,
        hint=_WARM_UP_HINT,
        evidence=found.evidence,
    )


def compare_first_requests(binaries: Iterable[BinaryReport]) -> tuple[FirstRequestReport, ...]:
    """The first request to each signature, without and with warm-up, as far as it was answered."""
    compared = []
    for binary in binaries:
        last = binary.attempts[-1]
        if last.model == ModelRole.STAMPED:
            without = {
                request.number: request.seconds
                for request in binary.candidate_attempts[-1].requests
            }
            compared += [
                FirstRequestReport(
                    binary=binary.name,
                    signature=request.signature,
                    seconds_without=without[request.number],
                    seconds_with=request.seconds,
                )
                for request in last.requests
            ]
    return tuple(compared)
