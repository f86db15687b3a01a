import time

import pytest

from infra_validator.faults import Phase
from infra_validator.report import PhaseReport
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
    timeline = Timeline(clock.now, "test")
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
    timeline = Timeline(clock.now, "test")
    timeline.enter(Phase.QUERY)
    clock.now += 1
    timeline.enter(Phase.QUERY)
    clock.now += 1
    timeline.finish()
    timeline.finish()
    assert timeline.phases() == (PhaseReport(Phase.QUERY, 0.0, 2.0),)


def test_a_phase_may_be_seen_by_other_means(clock: Clock) -> None:
    timeline = Timeline(clock.now, "test")
    timeline.add(Phase.WARM_UP, clock.now + 3, 0.25)
    assert timeline.phases() == (PhaseReport(Phase.WARM_UP, 3.0, 0.25),)
