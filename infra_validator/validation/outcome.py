"""What follows from how the attempts went. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from infra_validator.faults import MEMORY_CATEGORIES, Blame, Fault
from infra_validator.report import AttemptReport, BinaryReport, Verdict

_CACHING_HINT = (
    "With caching on, a repeated run of the pipeline reuses this NOT BLESSED without looking "
    "again; set ValidationSpec.fail_execution_when_undetermined to have the execution fail "
    "instead."
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


def worth_trying_alone(attempts: Sequence[AttemptReport]) -> bool:
    """Whether servers running side by side may have caused the last fault."""
    last = attempts[-1].fault
    return last is not None and last.category in MEMORY_CATEGORIES
