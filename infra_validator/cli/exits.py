"""The command line's exit codes, which scripts rely on."""

from __future__ import annotations

from infra_validator.faults import Blame, Fault
from infra_validator.report import Report, Verdict

SUCCESS = BLESSED = 0
NOT_BLESSED = 1
USAGE = 2
UNDETERMINED = 3
_SIGNALLED = 128


def of_signal(number: int) -> int:
    """Of a command that a signal ended, as shells tell it."""
    return _SIGNALLED + number


def of_report(report: Report) -> int:
    """Of a validation.

    What is wrong with what was given counts as wrong usage as long as no server
    was started with it.
    """
    if report.verdict == Verdict.BLESSED:
        return BLESSED
    if report.verdict == Verdict.NOT_BLESSED:
        return NOT_BLESSED
    blamed = report.fault is not None and _is_of_what_was_given(report.fault)
    return USAGE if blamed and not report.binaries else UNDETERMINED


def _is_of_what_was_given(found: Fault) -> bool:
    """Whether options, or the files that they name, are at fault; the model is judged elsewhere."""
    return found.blame in {Blame.CONFIGURATION, Blame.DATA} or found.category == "storage_denied"
