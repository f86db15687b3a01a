"""Shows a validation while it runs: a live table on a terminal, else a line for each change."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from infra_validator.cli.wording import in_options
from infra_validator.text import first_line, printable, shortened
from infra_validator.validation.progress import (
    AttemptEnded,
    Event,
    Observer,
    PhaseBegan,
    PhaseEnded,
    Subject,
    ignore,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

_STILL_SECONDS = 30.0
_DETAIL_CHARACTERS = 80
_REFRESHES_PER_SECOND = 8


@contextlib.contextmanager
def shown(stream: TextIO, *, quiet: bool = False) -> Iterator[Observer]:
    """Shows what happens on a stream, for the time of the block.

    Args:
        stream: a terminal, or anything else that text can be written to.
        quiet: whether to show nothing.
    """
    if quiet:
        yield ignore
        return
    from rich.console import Console

    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    if console.is_terminal and not console.is_dumb_terminal:
        from rich.live import Live

        table = LiveTable()
        with Live(
            get_renderable=table.render,
            console=console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
        ):
            yield table.observe
    else:
        lines = PlainLines(stream)
        with lines.reminding():
            yield lines.observe


class PlainLines:
    """A line for each change, with the time since the first; another where nothing changes long."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began: float | None = None
        self._lock = threading.Lock()
        self._current: dict[str | None, PhaseBegan] = {}
        self._due: dict[str | None, float] = {}
        self._ended = threading.Event()

    def observe(self, event: Event) -> None:
        """Takes note of what happened."""
        if isinstance(event, PhaseBegan):
            with self._lock:
                self._current[event.subject.binary] = event
                self._due[event.subject.binary] = event.at + _STILL_SECONDS
            limit = "" if event.limit is None else f" (at most {event.limit:g} s)"
            self._write(f"{event.subject}: {event.phase.value}{limit}")
        elif isinstance(event, PhaseEnded):
            with self._lock:
                self._current.pop(event.subject.binary, None)
        elif event.fault is not None:
            self._write(f"{event.subject}: {in_options(event.fault.summary)}")

    @contextlib.contextmanager
    def reminding(self) -> Iterator[None]:
        """Says now and then, for the time of the block, what is still being waited for."""
        thread = threading.Thread(target=self._remind, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _remind(self) -> None:
        wait = _STILL_SECONDS
        # No phase that begins meanwhile is due before the wait is over.
        while not self._ended.wait(wait):
            now = time.monotonic()
            with self._lock:
                events = [one for name, one in self._current.items() if self._due[name] <= now]
                self._due |= {one.subject.binary: now + _STILL_SECONDS for one in events}
                waits = [self._due[name] - now for name in self._current]
            wait = min(waits, default=_STILL_SECONDS)
            for event in events:
                limit = "" if event.limit is None else f" (at most {event.limit:g} s)"
                self._write(
                    f"{event.subject}: still {event.phase.value} after {_seconds(event):.0f} s"
                    f"{limit}{_detail(event)}"
                )

    def _write(self, text: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._began = now if self._began is None else self._began
            self._stream.write(f"{now - self._began:7.1f} s  {printable(text)}\n")
            self._stream.flush()


class LiveTable:
    """A row for the validation itself and for each serving binary."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str | None, PhaseBegan] = {}
        self._ended: dict[str | None, AttemptEnded] = {}
        self._spinner: Spinner | None = None

    def observe(self, event: Event) -> None:
        """Takes note of what happened."""
        name = event.subject.binary
        with self._lock:
            if isinstance(event, PhaseBegan):
                self._phases[name] = event
                self._ended.pop(name, None)
            elif isinstance(event, PhaseEnded):
                if name is None:
                    self._phases.pop(name, None)
            else:
                self._ended[name] = event

    def render(self) -> Table:
        """How things stand now."""
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        if self._spinner is None:  # one for all the time, for it to turn
            self._spinner = Spinner("dots", style="cyan")
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, width=1)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, overflow="ellipsis")
        with self._lock:
            phases, ended = dict(self._phases), dict(self._ended)
        if not phases:
            table.add_row(self._spinner, "Validation", "begins")
        for name, event in phases.items():
            end = ended.get(name)
            mark: RenderableType = self._spinner
            state = Text(f"{event.phase.value}, {_time_of(event)}")
            if end is not None and end.fault is None:
                mark, state = Text("✓", style="green"), Text("served")
            elif end is not None and end.fault is not None:
                mark = Text("✗", style="red")
                state = Text("failed")
            table.add_row(mark, _describe(event.subject), state)
        return table


def _describe(subject: Subject) -> Text:
    from rich.text import Text

    text = "Validation" if subject.binary is None else subject.binary
    if subject.attempt > 1:
        text += f", attempt {subject.attempt}"
    return Text(first_line(printable(text)))


def _time_of(event: PhaseBegan) -> str:
    """How long a phase has gone on, of what it may take, and how far it has got."""
    limit = "" if event.limit is None else f" of {event.limit:g}"
    return f"{_seconds(event):.0f}{limit} s{_detail(event)}"


def _seconds(event: PhaseBegan) -> float:
    return time.monotonic() - event.at


def _detail(event: PhaseBegan) -> str:
    detail = shortened(first_line(printable(event.detail() or "")), _DETAIL_CHARACTERS)
    return f", {detail}" if detail else ""
