"""Every broken model and environment is told for what it is."""

from __future__ import annotations

import pytest

from infra_validator.faults import CATEGORIES, Blame
from infra_validator.report import Report, Verdict
from tests.engine.helpers import run
from tests.gallery.cases import CASES, Case
from tests.gallery.room import Room

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def check(report: Report, case: Case) -> None:
    """Holds a report against what is expected."""
    found = report.fault
    assert found is not None, report.reason
    assert (found.category, found.blame.value, found.phase.value) == (
        case.category,
        case.blame,
        case.phase,
    ), report.reason
    assert case.says in found.summary
    assert case.hint in found.hint
    assert "\n" not in report.reason
    blamed = found.blame == Blame.MODEL
    assert report.verdict == (Verdict.NOT_BLESSED if blamed else Verdict.UNDETERMINED)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_broken_is_told(case: Case, room: Room) -> None:
    check(case.make(room), case)


def test_the_gallery_is_large() -> None:
    assert len(CASES) >= 40
    assert {case.category for case in CASES} <= set(CATEGORIES)


def test_the_good_model_is_blessed(room: Room) -> None:
    """So that what is found in the others is not found everywhere."""
    assert run(room.models.good, split=room.split).verdict == Verdict.BLESSED


def test_a_flag_that_the_server_does_not_know_is_no_fault_but_a_note(room: Room) -> None:
    report = run(room.models.good, args=("--no_such_flag=1",))
    assert report.verdict == Verdict.BLESSED
    [binary] = report.binaries
    assert any("--no_such_flag" in note for note in binary.attempts[-1].notes)
