"""The two charts of the page: places in percent of the width, heights in pixels. Pure."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Sequence
from typing import Any

from infra_validator.faults import Phase
from infra_validator.report import (
    AttemptReport,
    ModelRole,
    PhaseReport,
    Report,
    RequestReport,
)
from infra_validator.report_page.numbers import LogAxis, duration, linear_ticks, percentile
from infra_validator.text import count

_LEAST_WIDTH = 0.35
_BINS = 48
_DOT_PIXELS = 9
_MOST_DOTS = 9
_PLOT_PIXELS = 88
_PERCENTS = (50, 90, 99)
_LEAST_SECONDS = 1e-6  # where the clock's steps end


def timeline_view(report: Report) -> dict[str, Any]:
    """Rows of phases on one common axis of time."""
    rows: list[tuple[str, str, Sequence[PhaseReport], Phase | None]] = []
    if report.phases:
        before = report.fault.phase if report.fault and not report.binaries else None
        rows.append(("Validation", "", report.phases, before))
    for binary in report.binaries:
        for attempt in binary.attempts:
            said = [f"attempt {attempt.number}"] if len(binary.attempts) > 1 else []
            said += ["with warm-up"] if attempt.model == ModelRole.STAMPED else []
            rows.append(
                (
                    binary.name,
                    ", ".join(said),
                    attempt.phases,
                    attempt.fault.phase if attempt.fault else None,
                )
            )
    ends = [phase.started + phase.seconds for _, _, phases, _ in rows for phase in phases]
    end = max((value for value in [*ends, report.seconds] if math.isfinite(value)), default=0.0)
    end = end if end > 0 else 1.0
    return {
        "ticks": [
            (_percent(tick / end), _tick_text(tick) if tick else "0") for tick in linear_ticks(end)
        ],
        "rows": [
            {
                "name": name,
                "attempt": attempt,
                "failed": "" if failed is None else failed.value,
                "segments": [
                    # A server warms up while it loads; the validation's own is apart.
                    _segment(phase, end, failed, phase.phase == Phase.WARM_UP and row > 0)
                    for phase in phases
                ],
            }
            for row, (name, attempt, phases, failed) in enumerate(rows, not report.phases)
        ],
    }


def _segment(phase: PhaseReport, end: float, failed: Phase | None, inner: bool) -> dict[str, Any]:
    width = max(_LEAST_WIDTH, 100 * phase.seconds / end)
    return {
        "phase": phase.phase.value,
        "x": min(100 - _LEAST_WIDTH, _percent(max(0.0, phase.started) / end)),
        "width": round(width, 3),
        "inner": inner,
        "failed": phase.phase == failed,
        "started": duration(phase.started),
        "seconds": duration(phase.seconds),
    }


def latency_view(report: Report) -> dict[str, Any] | None:
    """One distribution for each serving binary and signature, all on one axis; None for none."""
    groups = [
        (binary.name, signature, method, requests)
        for binary in report.binaries
        for (signature, method), requests in _by_signature(binary.asking_attempt).items()
    ]
    if not groups:
        return None
    times = [
        max(_LEAST_SECONDS, request.seconds)
        for *_, requests in groups
        for request in requests
        if request.seconds is not None
    ]
    axis = LogAxis(min(times), max(times)) if times else None
    several = len(report.binaries) > 1
    return {
        "drawn": axis is not None,
        "plot_height": _PLOT_PIXELS,
        "ticks": []
        if axis is None
        else [(_percent(axis.place(tick)), _tick_text(tick)) for tick in axis.ticks()],
        "groups": [
            {
                "binary": name if several else "",
                "signature": signature,
                "method": method,
                **_group_view(requests, axis),
            }
            for name, signature, method, requests in groups
        ],
        "several": several,
    }


def _tick_text(seconds: float) -> str:
    if seconds >= 0.999:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 0.999e-3 else f"{seconds * 1e6:.3g} µs"


def _by_signature(attempt: AttemptReport) -> dict[tuple[str, str], list[RequestReport]]:
    found: dict[tuple[str, str], list[RequestReport]] = {}
    for request in attempt.requests:
        found.setdefault((request.signature, request.method), []).append(request)
    return found


def _group_view(requests: Sequence[RequestReport], axis: LogAxis | None) -> dict[str, Any]:
    answered = [request for request in requests if request.seconds is not None]
    ordered = sorted(max(_LEAST_SECONDS, request.seconds or 0.0) for request in answered)
    slowest = max(answered, key=lambda request: request.seconds or 0.0, default=None)
    failed = [request for request in requests if request.seconds is None]
    view: dict[str, Any] = {
        "sent": len(requests),
        "answered": len(answered),
        "carried": _first_few(request.description for request in requests),
        "failed": [f"no. {request.number} ({request.description})" for request in failed[:3]],
        "slowest": "" if slowest is None or len(answered) < 2 else f"no. {slowest.number}",
        "stats": [],
        "marks": [],
        "bars": [],
        "dots": [],
    }
    if not ordered or axis is None:
        return view
    values = [(f"p{percent}", percentile(ordered, percent)) for percent in _PERCENTS]
    view["stats"] = [
        ("min", duration(ordered[0])),
        *((name, duration(value)) for name, value in values),
        ("max", duration(ordered[-1])),
    ]
    view["marks"] = [
        {"name": name, "x": (x := _percent(axis.place(value))), "end": x > 88, "row": row}
        for row, (name, value) in enumerate(values)
    ]
    bins = collections.Counter(min(_BINS - 1, int(axis.place(value) * _BINS)) for value in ordered)
    highest = max(bins.values())
    if highest <= _MOST_DOTS:
        view["dots"] = [
            (_percent((index + 0.5) / _BINS), _PLOT_PIXELS - _DOT_PIXELS * (level + 0.5))
            for index, number in sorted(bins.items())
            for level in range(number)
        ]
    else:
        view["bars"] = [
            (
                _percent(index / _BINS),
                round(100 / _BINS - 0.15, 3),
                round(max(1.5, _PLOT_PIXELS * number / highest), 1),
            )
            for index, number in sorted(bins.items())
        ]
    return view


def _first_few(texts: Iterable[str], limit: int = 2) -> list[str]:
    different = list(dict.fromkeys(texts))
    shown = different[:limit]
    if len(different) > limit:
        shown.append(f"and {count(len(different) - limit, 'other shape')}")
    return shown


def _percent(part: float) -> float:
    return round(100 * part, 3)
