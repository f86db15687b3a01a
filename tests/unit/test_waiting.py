import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from infra_validator.waiting import Cancellation, Cancelled, Deadline, Wake

FOR_EVER = math.inf


@pytest.mark.parametrize("seconds", [0, -1, -math.inf])
def test_a_deadline_that_is_past_is_expired(seconds: float) -> None:
    deadline = Deadline.after(seconds)
    assert deadline.expired()
    assert deadline.remaining() == 0


def test_a_deadline_to_come_is_not_expired() -> None:
    deadline = Deadline.after(3600)
    assert not deadline.expired()
    assert 0 < deadline.remaining() <= 3600


@pytest.mark.parametrize("deadline", [Deadline.never(), Deadline.after(math.inf)])
def test_never_does_not_come(deadline: Deadline) -> None:
    assert not deadline.expired()
    assert deadline.remaining() == math.inf


def test_a_deadline_does_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline.after(3600)
    monkeypatch.setattr(time, "time", lambda: 10.0**12)
    assert not deadline.expired()


def test_a_deadline_is_on_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline(100.0)
    for now, remaining, expired in [(98.5, 1.5, False), (100.0, 0.0, True), (101.0, 0.0, True)]:
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        assert (deadline.remaining(), deadline.expired()) == (remaining, expired)


def test_a_wake_up_before_the_wait_is_not_lost() -> None:
    wake = Wake()
    wake()
    wake.wait(FOR_EVER)


def test_a_wake_up_from_another_thread_ends_the_wait() -> None:
    wake = Wake()
    thread = threading.Thread(target=wake)
    thread.start()
    wake.wait(FOR_EVER)
    thread.join()


def test_a_wake_up_wakes_once() -> None:
    wake = Wake()
    wake()
    wake()
    wake.wait(FOR_EVER)
    assert wake._calls.empty()
    wake.wait(0)


@pytest.mark.parametrize("seconds", [threading.TIMEOUT_MAX * 2, 1e300, math.inf])
def test_waits_for_any_time(seconds: float) -> None:
    wake, woken = Wake(), []
    thread = threading.Thread(target=lambda: woken.append(wake.wait(seconds)), daemon=True)
    thread.start()
    thread.join(0.02)
    while thread.is_alive():
        wake()
        thread.join(0.02)
    assert woken == [None]


@pytest.mark.parametrize("seconds", [0, 1e-9])
def test_gives_up_waiting(seconds: float) -> None:
    Wake().wait(seconds)


def test_every_wake_up_of_many_threads_is_seen() -> None:
    """Each thread changes something, then wakes; the one that waits must see all changes."""
    wake, done = Wake(), []
    threads = [
        threading.Thread(target=lambda index=index: (done.append(index), wake()))
        for index in range(50)
    ]
    for thread in threads:
        thread.start()
    while len(done) < len(threads):
        wake.wait(FOR_EVER)
    for thread in threads:
        thread.join()


def test_nothing_happens_until_cancelled() -> None:
    called: list[str] = []
    cancellation = Cancellation()
    cancellation.subscribe(lambda: called.append("x"))
    cancellation.check()
    cancellation.sleep(0)
    assert called == []


def test_the_first_reason_stays() -> None:
    cancellation = Cancellation()
    cancellation.cancel("first")
    cancellation.cancel("second")
    with pytest.raises(Cancelled, match=r"^first$"):
        cancellation.check()


def test_subscribers_are_called_also_when_it_is_past() -> None:
    called: list[str] = []
    cancellation = Cancellation()
    cancellation.subscribe(lambda: called.append("before"))
    cancellation.cancel("why")
    cancellation.subscribe(lambda: called.append("after"))
    assert called == ["before", "after"]


def test_who_unsubscribed_is_not_called() -> None:
    called: list[str] = []
    one, other = (lambda: called.append("one")), (lambda: called.append("other"))
    cancellation = Cancellation()
    cancellation.subscribe(one)
    cancellation.subscribe(other)
    cancellation.unsubscribe(one)
    cancellation.unsubscribe(one)
    cancellation.cancel("why")
    assert called == ["other"]


def test_a_subscriber_may_unsubscribe_itself() -> None:
    called: list[str] = []
    cancellation = Cancellation()

    def once() -> None:
        called.append("once")
        cancellation.unsubscribe(once)

    cancellation.subscribe(once)
    cancellation.subscribe(lambda: called.append("other"))
    cancellation.cancel("why")
    cancellation.cancel("again")
    assert called == ["once", "other", "other"]


def test_sleep_raises_at_once_when_it_is_past() -> None:
    cancellation = Cancellation()
    cancellation.cancel("why")
    with pytest.raises(Cancelled, match="why"):
        cancellation.sleep(FOR_EVER)


def test_sleep_ends_when_another_thread_cancels() -> None:
    cancellation = Cancellation()
    thread = threading.Thread(target=cancellation.cancel, args=("why",))
    thread.start()
    with pytest.raises(Cancelled, match="why"):
        cancellation.sleep(FOR_EVER)
    thread.join()


def test_cancelling_ends_the_sleep_of_every_thread() -> None:
    cancellation, barrier = Cancellation(), threading.Barrier(5)
    ended: list[str] = []

    def sleep() -> None:
        barrier.wait()
        try:
            cancellation.sleep(FOR_EVER)
        except Cancelled as error:
            ended.append(str(error))

    threads = [threading.Thread(target=sleep, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait()
    cancellation.cancel("why")
    for thread in threads:
        thread.join(30)
    assert ended == ["why"] * 4


def test_sleep_leaves_no_subscription_behind() -> None:
    cancellation = Cancellation()
    cancellation.sleep(0)
    assert cancellation._callbacks == ()
    cancellation.cancel("why")
    with contextlib.suppress(Cancelled):
        cancellation.sleep(0)
    assert cancellation._callbacks == ()


@pytest.fixture
def cancelled_by_a_signal() -> Iterator[Cancellation]:
    cancellation = Cancellation()
    previous = signal.signal(signal.SIGUSR1, lambda *_: cancellation.cancel("a signal"))
    yield cancellation
    signal.signal(signal.SIGUSR1, previous)


def test_a_signal_handler_may_cancel_the_sleep_of_its_own_thread(
    cancelled_by_a_signal: Cancellation,
) -> None:
    threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1)).start()
    with pytest.raises(Cancelled, match="a signal"):
        cancelled_by_a_signal.sleep(FOR_EVER)


def test_a_signal_handler_may_cancel_while_its_thread_subscribes(
    cancelled_by_a_signal: Cancellation,
) -> None:
    """The handler runs on top of whatever holds the lock, so it must not want it."""
    with cancelled_by_a_signal._subscribing:
        signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(Cancelled, match="a signal"):
        cancelled_by_a_signal.check()


def test_a_signal_handler_may_wake_the_thread_that_it_interrupts() -> None:
    """With an Event inside, a handler that interrupts wait() would block on its lock for ever."""
    wake = Wake()
    calls = 0

    def handler(*_: object) -> None:
        nonlocal calls
        calls += 1
        wake()

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while calls < 500:
            wake.wait(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
