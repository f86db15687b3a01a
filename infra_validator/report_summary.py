"""A report in a dozen lines of plain text, for a person at a terminal. Pure.

All of it is made of printable characters, whatever model and server say.
"""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from infra_validator.faults import Blame, Phase
from infra_validator.report import (
    AttemptReport,
    FirstRequestReport,
    ModelRole,
    PhaseReport,
    Report,
    RequestReport,
    Verdict,
)
from infra_validator.text import count, printable, shortened

_HEADLINES = {
    Verdict.BLESSED: "BLESSED",
    Verdict.NOT_BLESSED: "NOT BLESSED",
    Verdict.UNDETERMINED: "UNDETERMINED: nothing can be said of the model",
}
_BLAMES = {
    Blame.MODEL: "the model",
    Blame.DATA: "the examples",
    Blame.INFRASTRUCTURE: "the infrastructure, not the model",
    Blame.CONFIGURATION: "the configuration, not the model",
}
_SENTENCES = frozenset({"Reason", "What to do", "Note"})
_LOG_LINES = 10
_LOG_CHARACTERS = 300
_MIN_TEXT_WIDTH = 20


def headline(report: Report) -> str:
    """The verdict."""
    return _HEADLINES[report.verdict]


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """What a person wants to know next: labels, each with its text."""
    yield "Reason", printable(report.reason)
    found = report.fault
    if found is not None:
        if found.hint:
            yield "What to do", printable(found.hint)
        yield "At fault", f"{_BLAMES[found.blame]} ({found.category}, phase {found.phase.value})"
    yield "Model", printable(report.model)
    for binary in report.binaries:
        attempt = binary.attempts[-1]
        yield "Served by", printable(_describe_server(binary.name, attempt, report.platform))
        if "image_id" in attempt.server:
            digests = attempt.server.get("image_digests", [])
            yield "Image", printable(", ".join([*digests, f"id {attempt.server['image_id']}"]))
        if len(report.binaries) > 1:
            own = "" if attempt.fault is None else f": {attempt.fault.summary}"
            yield "Verdict", printable(f"{binary.verdict.value.replace('_', ' ')}{own}")
        if len(binary.attempts) > 1:
            stamped = attempt.model == ModelRole.STAMPED
            yield "Attempts", f"{len(binary.attempts)}{', the last with warm-up' * stamped}"
        asking = binary.asking_attempt
        yield "Requests", printable(_describe_requests(asking.requests))
        yield "Phases", _describe_phases(report.phases, asking.phases)
    if not report.binaries:
        yield "Served by", "nothing; no server was started"
    if report.warm_up_records_written is not None:
        yield "Warm-up", f"{count(report.warm_up_records_written, 'request')} written into a copy"
    elif report.warm_up is not None:
        yield "Warm-up", f"tried with {count(report.warm_up.records, 'request')}; the copy is gone"
    if report.warm_up is not None:
        for first in report.warm_up.first_requests:
            yield "First asked", printable(_describe_first(first, len(report.binaries) > 1))
    for note in report.notes:
        yield "Note", printable(note)
    yield "Validated", printable(f"{report.started_at}, in {report.seconds:.2f} s")


def log_tail(report: Report) -> tuple[str, ...]:
    """The last lines of the server that decided against the model; none where all is well."""
    for binary in report.binaries:
        attempt = binary.attempts[-1]
        if (
            report.fault is not None
            and attempt.fault is not None
            and attempt.fault.category == report.fault.category
        ):
            lines = [line for line in attempt.log_tail if line.strip()]
            return tuple(
                shortened(printable(line), _LOG_CHARACTERS) for line in lines[-_LOG_LINES:]
            )
    return ()


def summary(
    report: Report,
    width: int,
    more: Sequence[tuple[str, str]] = (),
    words: Callable[[str], str] = str,
) -> str:
    """All of it as text, without the headline.

    Args:
        report: the report.
        width: columns to fill at most.
        more: further labels, each with its text, in printable characters.
        words: what to make of each sentence that the package wrote.
    """
    entries = [
        *((label, words(text) if label in _SENTENCES else text) for label, text in facts(report)),
        *more,
    ]
    lines = list(wrap(entries, width))
    tail = log_tail(report)
    if tail:
        lines += ["", "  The end of the server's log:"]
        lines += [f"    {line}" for line in tail]
    return "\n".join(lines)


def wrap(entries: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Labels in a column, each text beside its label; below it where there is no room.

    Args:
        entries: labels, each with its text.
        width: columns to fill at most; paths that are longer stay whole.
    """
    column = max((len(label) for label, _ in entries), default=0) + 2
    narrow = width - column - 2 < _MIN_TEXT_WIDTH
    for label, text in entries:
        begin = "    " if narrow else f"  {label:<{column}}"
        if narrow:
            yield f"  {label}"
        yield from textwrap.wrap(
            text,
            max(width, _MIN_TEXT_WIDTH),
            initial_indent=begin,
            subsequent_indent=" " * len(begin),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [begin.rstrip()]


def _describe_server(name: str, attempt: AttemptReport, platform: str) -> str:
    server: Mapping[str, Any] = attempt.server
    versions = ", ".join(f"{key} {value}" for key, value in server.get("versions", {}).items())
    return f"{server.get('server', name)} ({versions or 'version unknown'}) on {platform}"


def _describe_requests(requests: Sequence[RequestReport]) -> str:
    if not requests:
        return "none sent"
    asked = " and ".join(dict.fromkeys(f"{r.method} {r.signature}" for r in requests))
    seconds = [r.seconds for r in requests if r.seconds is not None]
    text = f"{len(requests)} sent ({asked}), {len(seconds)} answered"
    if seconds:
        text += (
            f", p50 {statistics.median(seconds) * 1000:.1f} ms, max {max(seconds) * 1000:.1f} ms"
        )
    return text


def _describe_first(first: FirstRequestReport, several: bool) -> str:
    without, with_ = (
        "no answer" if seconds is None else f"{seconds * 1000:.1f} ms"
        for seconds in (first.seconds_without, first.seconds_with)
    )
    place = f" on {first.binary}" if several else ""
    return f"{first.signature}{place}: {without} without warm-up, {with_} with it"


def _describe_phases(outside: Sequence[PhaseReport], attempt: Sequence[PhaseReport]) -> str:
    """In the order in which they began. A phase may come again, as `stage` does on Kubernetes."""
    began = attempt[0].started if attempt else math.inf
    told = [_describe_phase(phase) for phase in outside if phase.started <= began]
    # A server warms up while it loads; the validation's own is apart.
    told += [("of which " * (p.phase == Phase.WARM_UP)) + _describe_phase(p) for p in attempt]
    told += [_describe_phase(phase) for phase in outside if phase.started > began]
    return ", ".join(told) + " (seconds)"


def _describe_phase(phase: PhaseReport) -> str:
    return f"{phase.phase.value} {phase.seconds:.2f}"
