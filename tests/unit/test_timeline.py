import logging
import time

import pytest

from infra_validator.faults import Phase
from infra_validator.report import PhaseReport
from infra_validator.validation.progress import Event, PhaseBegan, PhaseEnded, Subject
from infra_validator.validation.timeline import Timeline


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_takes_the_time_of_each_phase(clock: Clock) -> None:
    timeline = Timeline(clock.now, Subject())
    assert (timeline.current, timeline.elapsed(), timeline.phases()) == (None, 0.0, ())
    clock.now += 1
    timeline.enter(Phase.START)
    clock.now += 0.5
    assert (timeline.current, timeline.elapsed()) == (Phase.START, 0.5)
    timeline.enter(Phase.LOAD)
    clock.now += 2
    timeline.finish()
    assert timeline.current is None
    assert timeline.phases() == (
        PhaseReport(Phase.START, 1.0, 0.5),
        PhaseReport(Phase.LOAD, 1.5, 2.0),
    )


def test_a_phase_that_is_entered_again_goes_on(clock: Clock) -> None:
    timeline = Timeline(clock.now, Subject())
    timeline.enter(Phase.QUERY)
    clock.now += 1
    timeline.enter(Phase.QUERY)
    clock.now += 1
    timeline.finish()
    timeline.finish()
    assert timeline.phases() == (PhaseReport(Phase.QUERY, 0.0, 2.0),)


def test_a_phase_may_be_seen_by_other_means(clock: Clock) -> None:
    timeline = Timeline(clock.now, Subject())
    timeline.add(Phase.WARM_UP, clock.now + 3, 0.25)
    assert timeline.phases() == (PhaseReport(Phase.WARM_UP, 3.0, 0.25),)


def test_tells_the_observer_and_the_log_of_each_phase(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "infra_validator")
    seen: list[Event] = []
    subject = Subject("a server", 2)

    def detail() -> str:
        return "half of it"

    timeline = Timeline(clock.now, subject, seen.append, limits={Phase.LOAD: 9.0}, detail=detail)
    clock.now += 0.25
    timeline.enter(Phase.START)
    clock.now += 1
    timeline.enter(Phase.LOAD)
    timeline.enter(Phase.LOAD)
    clock.now += 2
    timeline.finish()
    assert seen == [
        PhaseBegan(subject, Phase.START, 100.25, None, detail),
        PhaseEnded(subject, Phase.START, 1.0),
        PhaseBegan(subject, Phase.LOAD, 101.25, 9.0, detail),
        PhaseEnded(subject, Phase.LOAD, 2.0),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "a server, attempt 2: start, after 0.25 s",
        "a server, attempt 2: load, after 1.25 s",
    ]
