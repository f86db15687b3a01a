"""What the page shows, worked out from the report. Pure.

The template only lays out what is made here. Fields that are not known here,
because a later version or a platform of somebody else's added them, are shown
by their name as "further facts".
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra_validator.faults import Fault
from infra_validator.report import (
    FAILED_REQUEST_FILE_NAME,
    AttemptReport,
    BinaryReport,
    Mode,
    ModelRole,
    Report,
    Verdict,
    WarmUpReport,
)
from infra_validator.report_page.charts import latency_view, timeline_view
from infra_validator.report_page.numbers import duration
from infra_validator.text import count, size

_VERDICTS = {
    Verdict.BLESSED: ("Blessed", "✓", "The model can be pushed."),
    Verdict.NOT_BLESSED: (
        "Not blessed",
        "✕",
        "The fault is the model's own; it will not be pushed.",
    ),
    Verdict.UNDETERMINED: (
        "Undetermined",
        "?",
        "Nothing can be said of the model: the fault is not its own. It will not be pushed.",
    ),
}

_KNOWN_OF_REPORT = {
    *("schema_version", "infra_validator_version", "verdict", "reason", "mode", "model"),
    *("platform", "started_at", "seconds", "configuration", "notes", "phases", "binaries"),
    *("fault", "warm_up_records_written", "warm_up", "attachments"),
}
_KNOWN_OF_ATTEMPT = {
    *("number", "server", "phases", "requests", "warm_up_records", "notes", "fault", "log_tail"),
    *("model", "failed_requests"),
}
_KNOWN_OF_SERVER = {"server", "versions", "command", "reproduce", "manifest"}
_SMALL_VALUE_CHARACTERS = 200
_NAMED_REQUESTS = 10
_NONE = "\N{EN DASH}"
_ACRONYMS = {"api": "API", "gpu": "GPU", "id": "ID", "ip": "IP", "uri": "URI", "url": "URL"}
_UNITS = {"_bytes": size, "_seconds": duration}
_ATTACHMENTS = {
    FAILED_REQUEST_FILE_NAME: "What failed, as it was sent, with its content: a TFRecord of "
    "PredictionLog. It holds values of the examples, so treat it as you treat these.",
}


def view_of(report: Report) -> dict[str, Any]:
    """Everything that the template names."""
    word, symbol, meaning = _VERDICTS[report.verdict]
    return {
        "verdict": {
            "key": report.verdict.value,
            "word": word,
            "symbol": symbol,
            "meaning": meaning,
        },
        "reason": report.reason,
        "hint": report.fault.hint if report.fault else "",
        "model": report.model,
        "model_name": report.model.rstrip("/").rpartition("/")[2] or report.model,
        "asked": _asked(report),
        "timeline": timeline_view(report),
        "latency": latency_view(report),
        "warm_up": None if report.warm_up is None else _warm_up_view(report.warm_up, report),
        "attachments": [(name, _ATTACHMENTS.get(name, "")) for name in sorted(report.attachments)],
        "fault": _fault_view(report.fault, report),
        "binaries": [
            _binary_view(number, binary, alone=len(report.binaries) == 1)
            for number, binary in enumerate(report.binaries, 1)
        ],
        "notes": list(report.notes),
        "configuration": _pretty(report.configuration) if report.configuration else "",
        "further": _further(report, _KNOWN_OF_REPORT),
        "started_at": report.started_at,
        "started_text": report.started_at.replace("T", " ").replace("+00:00", " UTC"),
        "version": report.infra_validator_version,
        "schema_version": report.schema_version,
    }


def _asked(report: Report) -> list[tuple[str, str, str]]:
    """What was asked of what: label, value, and how to set it."""
    rows = [("Model", report.model, "code")]
    if report.binaries:
        names = ", ".join(map(_served_by, report.binaries))
        rows.append(("Served by", names, "text"))
    rows.append(("Platform", report.platform or "none: nothing was started", "text"))
    if not report.binaries and not report.phases:
        return rows
    rows.append(("Asked", _question(report), "text"))
    if report.warm_up_records_written is not None:
        written = count(report.warm_up_records_written, "request")
        rows.append(("Warm-up", f"{written} written into a copy of the model", "text"))
    elif report.warm_up is not None:
        tried = count(report.warm_up.records, "request")
        rows.append(("Warm-up", f"tried with {tried}; the copy was removed", "text"))
    rows.append(("Took", duration(report.seconds), "text"))
    return rows


def _served_by(binary: BinaryReport) -> str:
    run = _unless(binary.name, _text(binary.attempts[-1].server.get("server") or ""))
    return f"{binary.name} ({run})" if run else binary.name


def _question(report: Report) -> str:
    if report.mode == Mode.LOAD_ONLY:
        return "to load; no request was to be sent"
    asked = [binary for binary in report.binaries if binary.asking_attempt.requests]
    sent = [request for binary in asked for request in binary.asking_attempt.requests]
    if not sent:
        return "to load, and to answer requests; none was sent"
    signatures = list(dict.fromkeys(request.signature for request in sent))
    answered = sum(request.seconds is not None for request in sent)
    total = len(report.binaries)
    reached = f"{total}" if len(asked) == total else f"{len(asked)} of {total}"
    servers = f", on {reached} servers" if total > 1 else ""
    return (
        f"to load, and to answer {count(len(sent), 'request')} to the "
        f"{'signatures' if len(signatures) > 1 else 'signature'} {', '.join(signatures)}{servers}; "
        f"{'all' if answered == len(sent) else answered or 'none'} answered"
    )


def _warm_up_view(warm_up: WarmUpReport, report: Report) -> dict[str, Any]:
    several = len(report.binaries) > 1
    return {
        "text": f"A copy of the model was made with {count(warm_up.records, 'request')} as "
        f"warm-up ({size(warm_up.bytes)})"
        + (
            ", and served as well. It is what the blessing is for."
            if report.warm_up_records_written is not None
            else ", and removed again, since it could not be served."
        ),
        "several": several,
        "rows": [
            {
                "binary": first.binary if several else "",
                "signature": first.signature,
                "without": _seconds(first.seconds_without),
                "with": _seconds(first.seconds_with),
                "change": _change(first.seconds_without, first.seconds_with),
            }
            for first in warm_up.first_requests
        ],
    }


def _seconds(value: float | None) -> str:
    return _NONE if value is None else duration(value)


def _change(without: float | None, with_: float | None) -> str:
    """How the one compares to the other, roughly: both are single requests."""
    if not without or not with_ or not (0 < without < math.inf and 0 < with_ < math.inf):
        return _NONE
    if max(without, with_) < 1.5 * min(without, with_):
        return "about the same"
    ratio = max(without, with_) / min(without, with_)
    return (
        f"{ratio:.{0 if ratio >= 9.95 else 1}f} times {'quicker' if with_ < without else 'slower'}"
    )


def _fault_view(found: Fault | None, report: Report) -> dict[str, Any] | None:
    if found is None:
        return None
    evidence = found.evidence
    rows = [
        ("Phase", found.phase.value),
        ("Category", found.category),
        ("Blame", found.blame.value),
        ("Worth another attempt", "yes" if found.transient else "no"),
    ]
    if evidence.exit_code is not None:
        rows.append(("Exit code", str(evidence.exit_code)))
    if evidence.grpc_code is not None:
        rows.append(("gRPC code", evidence.grpc_code))
    said = {text.strip() for text in (found.summary, evidence.log_line or "", *evidence.events)}
    return {
        "rows": rows,
        "detail": "" if found.detail.strip() in said else found.detail,
        "log_line": evidence.log_line or "",
        "events": list(evidence.events),
        "decisive": _link_to_decisive(report),
    }


def _link_to_decisive(report: Report) -> str:
    """The anchor of the line in a server's log that decided, or nothing."""
    if report.fault is None:
        return ""
    for number, binary in enumerate(report.binaries, 1):
        attempt = binary.attempts[-1]
        found = attempt.fault
        if (
            found is not None
            and (found.category, found.detail) == (report.fault.category, report.fault.detail)
            and decisive_line(attempt.log_tail, found) is not None
        ):
            return f"decisive-{number}-{attempt.number}"
    return ""


def _binary_view(number: int, binary: BinaryReport, *, alone: bool) -> dict[str, Any]:
    word, symbol, _ = _VERDICTS[binary.verdict]
    return {
        "id": number,
        "name": binary.name,
        "key": binary.verdict.value,
        "word": word,
        "symbol": symbol,
        "attempts": [
            _attempt_view(
                number, binary.name, attempt, last=attempt is binary.attempts[-1], alone=alone
            )
            for attempt in binary.attempts
        ],
    }


def _attempt_view(
    number: int, name: str, attempt: AttemptReport, *, last: bool, alone: bool
) -> dict[str, Any]:
    server = attempt.server
    versions = server.get("versions")
    found = attempt.fault
    answered = sum(request.seconds is not None for request in attempt.requests)
    facts = []
    if attempt.requests:
        facts.append(("Requests", f"{answered} of {len(attempt.requests)} answered"))
    if attempt.warm_up_records is not None:
        facts.append(("Warm-up", f"{count(attempt.warm_up_records, 'request')} replayed"))
    unanswered = tuple(request.number for request in attempt.requests if request.seconds is None)
    if attempt.failed_requests and attempt.failed_requests != unanswered:  # else told there
        facts.append(("The fault is about", _numbered(attempt.failed_requests)))
    small, large = _split(server, _KNOWN_OF_SERVER)
    decisive = decisive_line(attempt.log_tail, found)
    return {
        "number": attempt.number,
        "stamped": attempt.model == ModelRole.STAMPED,
        "show_command": last and (alone or found is not None),
        "server": _unless(name, _text(server.get("server") or "")),
        "versions": [(str(key), _text(value)) for key, value in versions.items()]
        if isinstance(versions, Mapping)
        else [],
        "facts": facts + small,
        "large": large + _further(attempt, _KNOWN_OF_ATTEMPT),
        "reproduce": _reproduce(server),
        "manifest": _manifest(server.get("manifest")),
        "fault": None
        if found is None
        else {
            "summary": found.summary,
            "phase": found.phase.value,
            "category": found.category,
            "hint": found.hint,
            "log_line": (found.evidence.log_line or "") if decisive is None else "",
        },
        "notes": list(attempt.notes),
        "log": [(line, index == decisive) for index, line in enumerate(attempt.log_tail)],
        "open": found is not None and last,
        "anchor": f"decisive-{number}-{attempt.number}",
    }


def _numbered(requests: Sequence[int]) -> str:
    if len(requests) == 1:
        return f"request no. {requests[0]}"
    named = ", ".join(map(str, requests[:_NAMED_REQUESTS]))
    return f"one of the requests no. {named}{', …' if len(requests) > _NAMED_REQUESTS else ''}"


def _unless(known: str, text: str) -> str:
    """The text, if it says more than what is known already."""
    return "" if text == known else text


def _reproduce(server: Mapping[str, Any]) -> str:
    """Shell commands that start the same server, where the platform tells."""
    for key in ("reproduce", "command"):
        value = server.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, (list, tuple)) and value:
            return shlex.join(map(str, value))
    return ""


def _manifest(value: Any) -> str:
    """What `kubectl apply` takes: text as it is, else JSON."""
    if not value:
        return ""
    text = value if isinstance(value, str) else _pretty(value)
    return f"kubectl apply -f - <<'END_OF_MANIFEST'\n{text.rstrip()}\nEND_OF_MANIFEST"


def decisive_line(log: Sequence[str], found: Fault | None) -> int | None:
    """Which line of a log the fault was concluded from: the last that holds the evidence."""
    if found is None or not found.evidence.log_line:
        return None
    wanted = found.evidence.log_line.strip()
    # The evidence of a load error is "CODE: message", whatever stands around it in the log.
    for text in (wanted, wanted.partition(": ")[2].strip()):
        for index in reversed(range(len(log))):
            if text and text in log[index]:
                return index
    return None


def _further(record: Any, known: set[str]) -> list[tuple[str, str]]:
    """Fields of a later version than this page."""
    values = {
        field.name: _plain(getattr(record, field.name))
        for field in dataclasses.fields(record)
        if field.name not in known
    }
    small, large = _split(values, set())
    return small + large


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _split(
    values: Mapping[str, Any], known: Iterable[str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Values that are not known here: short ones, and those that need a block of their own."""
    small: list[tuple[str, str]] = []
    large: list[tuple[str, str]] = []
    for key, value in values.items():
        if key in known or value is None or value in ("", [], {}, ()):
            continue
        label, text = _fact(str(key), value)
        is_small = len(text) <= _SMALL_VALUE_CHARACTERS and "\n" not in text
        (small if is_small else large).append((label, text))
    return small, large


def _fact(key: str, value: Any) -> tuple[str, str]:
    """A key and its value as a person would write them."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
        for ending, in_words in _UNITS.items():
            if key.endswith(ending):
                return _label(key.removesuffix(ending)), in_words(value)
    return _label(key), _text(value)


def _label(key: str) -> str:
    words = " ".join(_ACRONYMS.get(word, word) for word in key.replace("_", " ").split())
    return words[:1].upper() + words[1:]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return _pretty(value)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
