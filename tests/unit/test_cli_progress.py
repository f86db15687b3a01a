"""How progress is shown, without a validation."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from infra_validator.cli import progress
from infra_validator.cli.progress import LiveTable, PlainLines, shown
from infra_validator.faults import Phase, fault
from infra_validator.validation.progress import AttemptEnded, PhaseBegan, PhaseEnded, Subject

SERVER = Subject("a server\x1b[2J", 1)


def began(phase: Phase, **given: object) -> PhaseBegan:
    return PhaseBegan(SERVER, phase, time.monotonic(), **given)  # type: ignore[arg-type]


def wait_for(pattern: str, stream: io.StringIO, times: int = 1) -> None:
    limit = time.monotonic() + 10
    while len(re.findall(pattern, stream.getvalue())) < times:
        assert time.monotonic() < limit, stream.getvalue()
        time.sleep(0.01)


def rendered(table: LiveTable, width: int = 60) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table.render())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_plain_lines_tell_each_change() -> None:
    stream = io.StringIO()
    with shown(stream) as observe:
        observe(PhaseBegan(Subject(), Phase.STAGE, time.monotonic()))
        observe(PhaseEnded(Subject(), Phase.STAGE, 1.0))
        observe(began(Phase.LOAD, limit=30.0))
        observe(
            AttemptEnded(SERVER, fault("model_load_failed", Phase.LOAD, "It did not\x1b[1m load."))
        )
    with shown(stream) as observe:
        wrong = fault("examples_missing", Phase.STAGE, "RequestSpec.split_name: none.")
        observe(AttemptEnded(SERVER, wrong))
    assert [line.partition(" s  ")[2] for line in stream.getvalue().splitlines()] == [
        "Validation: stage",
        "a server␛[2J, attempt 1: load (at most 30 s)",
        "a server␛[2J, attempt 1: It did not␛[1m load.",
        "a server␛[2J, attempt 1: --split: none.",
    ]


def test_quiet_shows_nothing() -> None:
    stream = io.StringIO()
    with shown(stream, quiet=True) as observe:
        observe(began(Phase.LOAD))
    assert stream.getvalue() == ""


def test_a_long_wait_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_STILL_SECONDS", 0.05)
    stream = io.StringIO()
    lines = PlainLines(stream)
    lines.observe(began(Phase.IMAGE, limit=1200.0, detail=lambda: "3 of 7 layers"))
    with lines.reminding():
        still = r"attempt 1: still image after \d s \(at most 1200 s\), 3 of 7 layers\n"
        wait_for(still, stream, times=3)


def test_what_has_just_begun_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_STILL_SECONDS", 0.2)
    stream = io.StringIO()
    lines = PlainLines(stream)
    with lines.reminding():
        now = time.monotonic()
        for name, went_on in (("long", 60.0), ("new", 0.0), ("ended", 60.0)):
            lines.observe(PhaseBegan(Subject(name, 1), Phase.LOAD, now - went_on, 300.0))
        lines.observe(PhaseEnded(Subject("ended", 1), Phase.LOAD, 60.0))
        wait_for(r"long, attempt 1: still load after 6\d s \(at most 300 s\)\n", stream)
        new = [line for line in stream.getvalue().splitlines() if "new" in line]
        assert len(new) == 1 or time.monotonic() - now >= 0.2
        wait_for(r"new, attempt 1: still load after \d s \(at most 300 s\)\n", stream)
        assert time.monotonic() - now >= 0.2
    assert "ended, attempt 1: still" not in stream.getvalue()


def test_what_is_waited_for_is_told_in_short() -> None:
    table = LiveTable()
    table.observe(began(Phase.SCHEDULE, detail=lambda: "0/1 nodes " * 40))
    [line] = rendered(table, 200)
    assert line.endswith("0/1 nodes  …")
    assert len(line) <= 200


def test_the_table_has_a_line_for_each_server() -> None:
    table = LiveTable()
    assert rendered(table)[0].endswith("begins")
    table.observe(began(Phase.IMAGE, limit=9.0, detail=lambda: "half\x1b[2J"))
    [line] = rendered(table)
    assert "a server␛[2J" in line
    assert line.endswith("image, 0 of 9 s, half␛[2J")
    table.observe(PhaseEnded(SERVER, Phase.IMAGE, 1.0))
    table.observe(AttemptEnded(SERVER, fault("model_load_failed", Phase.LOAD, "No.")))
    other = Subject("b", 2)
    table.observe(PhaseBegan(other, Phase.STOP, time.monotonic()))
    table.observe(AttemptEnded(other, None))
    first, second = rendered(table)
    assert first.startswith("✗")
    assert first.endswith("failed")
    assert second.startswith("✓ b, attempt 2")
    assert second.endswith("served")
    # Another try of the first.
    table.observe(began(Phase.START))
    assert "start, 0 s" in rendered(table)[0]


@pytest.mark.parametrize("width", [20, 40, 200])
def test_the_table_never_wraps(width: int) -> None:
    table = LiveTable()
    for name in ("x" * 300, "y"):
        table.observe(PhaseBegan(Subject(name, 1), Phase.LOAD, time.monotonic(), 300.0))
    lines = rendered(table, width)
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
