"""Interrupts that wait until libraries are imported."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from infra_validator.cli.interruption import postponed_interrupt


@pytest.fixture(autouse=True)
def _default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def work(error: str | None = None) -> Iterator[str]:
    """Is interrupted in its midst."""
    yield "before"
    signal.raise_signal(signal.SIGINT)
    if error is not None:
        raise ImportError(error)
    yield "after"


def test_an_interrupt_comes_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), postponed_interrupt():
        done.extend(work())
    assert done == ["before", "after"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_without_an_interrupt_nothing_comes() -> None:
    with postponed_interrupt():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_of_the_block_is_told_in_place_of_the_interrupt() -> None:
    with pytest.raises(ImportError, match="no such"), postponed_interrupt():
        list(work("no such"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with postponed_interrupt():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
