"""A report as a dozen lines of text."""

from __future__ import annotations

import dataclasses

import pytest

from infra_validator.faults import CATEGORIES, Phase, fault
from infra_validator.report import (
    BinaryReport,
    FirstRequestReport,
    ModelRole,
    PhaseReport,
    Verdict,
    WarmUpReport,
)
from infra_validator.report_summary import facts, headline, log_tail, summary, wrap
from tests.unit.test_report import make_report

FOUND = fault("op_missing", Phase.LOAD, "The server lacks the op 'X'.", hint="Link it.")


def test_says_what_matters() -> None:
    report = make_report(FOUND, verdict=Verdict.NOT_BLESSED, reason=FOUND.summary)
    assert headline(report) == "NOT BLESSED"
    told = dict(facts(report))
    assert told["Reason"] == "The server lacks the op 'X'."
    assert told["What to do"] == "Link it."
    assert told["At fault"] == "the model (op_missing, phase load)"
    assert told["Served by"] == "s (Library 2.16.1) on local_process"
    assert told["Requests"] == (
        "2 sent (Predict serving_default), 1 answered, p50 1.0 ms, max 1.0 ms"
    )
    assert told["Phases"] == "configure 0.10, stage 0.20, of which warm-up 0.25 (seconds)"
    assert told["Note"] == "a note"
    assert log_tail(report) == ("first", "größe")


@pytest.mark.parametrize(
    ("outside", "attempt", "told"),
    [
        (
            "configure 0 1, stage 1 1",
            "start 2 1, schedule 3 1, image 4 1, stage 5 3, start 8 1, load 9 4, query 13 1, "
            "stop 14 1",
            "configure 1.00, stage 1.00, start 1.00, schedule 1.00, image 1.00, stage 3.00, "
            "start 1.00, load 4.00, query 1.00, stop 1.00",
        ),
        (
            "configure 0 1, stage 1 1, warm-up 9 2",
            "start 2 1, load 3 4, warm-up 5 2, query 7 1, stop 8 1",
            "configure 1.00, stage 1.00, start 1.00, load 4.00, of which warm-up 2.00, "
            "query 1.00, stop 1.00, warm-up 2.00",
        ),
        ("configure 0 1, stage 1 1", "", "configure 1.00, stage 1.00"),
    ],
    ids=["kubernetes", "stamped", "not begun"],
)
def test_phases_are_told_as_they_happened(outside: str, attempt: str, told: str) -> None:
    def read(text: str) -> tuple[PhaseReport, ...]:
        entries = (entry.split() for entry in text.split(", ") if entry)
        return tuple(PhaseReport(Phase(name), float(at), float(s)) for name, at, s in entries)

    [binary] = make_report(None).binaries
    changed = dataclasses.replace(binary.attempts[0], phases=read(attempt))
    binary = dataclasses.replace(binary, attempts=(changed,))
    report = make_report(None, phases=read(outside), binaries=(binary,))
    assert dict(facts(report))["Phases"] == f"{told} (seconds)"


def test_a_line_of_the_log_that_is_cut_says_so() -> None:
    report = make_report(FOUND)
    [binary] = report.binaries
    attempt = dataclasses.replace(binary.attempts[0], log_tail=("x" * 301, "y" * 300))
    binary = dataclasses.replace(binary, attempts=(attempt,))
    shown = log_tail(dataclasses.replace(report, binaries=(binary,)))
    assert shown == ("x" * 300 + " …", "y" * 300)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_fault_has_somebody_to_blame(category: str) -> None:
    told = dict(facts(make_report(fault(category, Phase.LOAD, "It failed."))))
    assert category in told["At fault"]


def test_a_blessed_model_needs_no_log() -> None:
    report = make_report(None, verdict=Verdict.BLESSED)
    assert headline(report) == "BLESSED"
    assert log_tail(report) == ()
    assert "At fault" not in dict(facts(report))


def test_several_servers_have_a_verdict_each() -> None:
    one = make_report(FOUND).binaries[0]
    other = dataclasses.replace(one.attempts[0], fault=None)
    report = make_report(FOUND, binaries=(one, BinaryReport("t", Verdict.BLESSED, (other,))))
    verdicts = [text for label, text in facts(report) if label == "Verdict"]
    assert verdicts == ["not blessed: The server lacks the op 'X'.", "blessed"]


def test_nothing_that_steers_a_terminal_gets_through() -> None:
    mean = "\x1b[2J\x1b]0;t\x07\x9b1m\u202e\rover"
    bad = dataclasses.replace(FOUND, summary=mean, hint=mean)
    binary = make_report(bad).binaries[0]
    attempt = dataclasses.replace(
        binary.attempts[0], log_tail=(mean,), server={"server": mean, "versions": {mean: mean}}
    )
    report = make_report(
        bad,
        reason=mean,
        model=mean,
        platform=mean,
        started_at=mean,
        notes=(mean,),
        binaries=(dataclasses.replace(binary, name=mean, attempts=(attempt,)),),
    )
    assert not set("\x1b\x07\x9b\u202e\r") & set(summary(report, 80))


@pytest.mark.parametrize("width", [1, 20, 40, 80, 100])
def test_lines_keep_to_the_width(width: int) -> None:
    text = " ".join(["word"] * 40)
    lines = list(wrap([("A label", text), ("B", "short"), ("C", "")], width))
    assert all(len(line) <= max(width, 20) for line in lines)
    assert "".join(lines).count("word") == 40


def test_what_warm_up_does_is_told() -> None:
    report = make_report(None, verdict=Verdict.BLESSED)
    firsts = (FirstRequestReport("s", "a", 0.5, 0.1), FirstRequestReport("s", "b", 0.5, None))
    warm_up = WarmUpReport(1, 10, firsts)
    told = list(facts(dataclasses.replace(report, warm_up=warm_up, warm_up_records_written=1)))
    assert ("Warm-up", "1 request written into a copy") in told
    assert [text for label, text in told if label == "First asked"] == [
        "a: 500.0 ms without warm-up, 100.0 ms with it",
        "b: 500.0 ms without warm-up, no answer with it",
    ]
    tried = dict(facts(dataclasses.replace(report, warm_up=warm_up, warm_up_records_written=None)))
    assert tried["Warm-up"] == "tried with 1 request; the copy is gone"


def test_the_requests_are_those_that_the_candidate_was_sent() -> None:
    [binary] = make_report(None).binaries
    candidate = dataclasses.replace(binary.attempts[0], model=ModelRole.CANDIDATE)
    stamped = dataclasses.replace(
        candidate, number=2, model=ModelRole.STAMPED, requests=candidate.requests[:1]
    )
    both = dataclasses.replace(binary, attempts=(candidate, stamped))
    told = dict(facts(make_report(None, binaries=(both,))))
    assert told["Requests"].startswith("2 sent")
    assert told["Attempts"] == "2, the last with warm-up"
