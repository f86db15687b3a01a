"""What is sent when, against calls that are answered in any order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.clients.base import Call
from infra_validator.faults import FaultError, Phase, fault
from infra_validator.requests.request import Method, Request
from infra_validator.validation.sending import Sending, first_of_each_signature


class FakeCall:
    def __init__(self, number: int) -> None:
        self.number = number
        self.answered = False
        self.category: str | None = None
        self.cancelled = False

    def done(self) -> bool:
        return self.answered

    def result(self) -> float:
        if self.category is not None:
            raise FaultError(fault(self.category, Phase.QUERY, f"request {self.number}"))
        return self.number / 1000

    def lost_connection(self) -> bool:
        return self.category == "connection_lost"

    def cancel(self) -> None:
        self.cancelled = True


class FakeClient:
    """Answers nothing by itself."""

    def __init__(self) -> None:
        self.calls: dict[int, FakeCall] = {}

    def ready(self) -> bool:
        return True

    def send(self, request: Request, timeout: float) -> Call:
        assert timeout == 7.0
        self.calls[request.number] = FakeCall(request.number)
        return self.calls[request.number]

    def close(self) -> None:
        pass

    @property
    def under_way(self) -> list[int]:
        return [number for number, call in self.calls.items() if not call.answered]

    def answer(self, *numbers: int, category: str | None = None) -> None:
        for number in numbers:
            self.calls[number].category = category
            self.calls[number].answered = True


def make(signatures: str, at_once: int) -> tuple[FakeClient, Sending]:
    """One request for each letter, to the signature of that name."""
    client = FakeClient()
    requests = [
        Request(number, signature, Method.PREDICT, None, "x: DT_STRING [1]")
        for number, signature in enumerate(signatures, start=1)
    ]
    return client, Sending(client, requests, at_once, 7.0)


def test_the_first_to_each_signature_goes_alone() -> None:
    client, sending = make("aaaabbb", 3)
    assert not sending.advance()
    assert client.under_way == [1]
    client.answer(1)
    assert not sending.advance()
    assert client.under_way == [2, 3, 4]
    client.answer(2, 3)
    assert not sending.advance()
    assert client.under_way == [4]  # 5 waits until it is alone
    client.answer(4)
    assert not sending.advance()
    assert client.under_way == [5]
    client.answer(5)
    assert not sending.advance()
    assert client.under_way == [6, 7]
    client.answer(6, 7)
    assert sending.advance()
    assert sending.failure() is None
    assert [(one.number, one.seconds) for one in sending.reports()] == [
        (number, number / 1000) for number in range(1, 8)
    ]


def test_no_requests_are_all_done() -> None:
    _, sending = make("", 3)
    assert sending.advance()
    assert sending.reports() == ()


def test_the_lowest_number_is_told_though_a_higher_failed_first() -> None:
    client, sending = make("aaaaaaa", 4)
    sending.advance()
    client.answer(1)
    sending.advance()
    assert client.under_way == [2, 3, 4, 5]
    client.answer(4, category="request_failed")
    assert not sending.advance()
    assert client.under_way == [2, 3, 5]  # nothing more is sent
    client.answer(2)
    assert not sending.advance()
    client.answer(3, category="request_timeout")
    assert sending.advance()  # 5 comes after it, so nobody waits for it
    failure = sending.failure()
    assert failure is not None
    assert (failure.request.number, failure.fault.category) == (3, "request_timeout")
    sending.cancel()
    assert client.calls[5].cancelled
    assert [(one.number, one.seconds is None) for one in sending.reports()] == [
        (1, False),
        (2, False),
        (3, True),
        (4, True),
        (5, True),
    ]


def test_suspects_are_those_whose_connection_broke_and_those_under_way() -> None:
    client, sending = make("aaaaaa", 4)
    sending.advance()
    client.answer(1)
    sending.advance()
    client.answer(2)
    client.answer(3, category="connection_lost")
    client.answer(4, category="request_failed")
    assert sending.advance()
    assert sending.suspects() == (3, 5)


@given(
    st.text("abc", max_size=30),
    st.integers(1, 5),
    st.sets(st.integers(1, 30)),
    st.randoms(use_true_random=False),
)
def test_whatever_the_order_of_the_answers(
    signatures: str, at_once: int, failing: set[int], order: random.Random
) -> None:
    client, sending = make(signatures, at_once)
    asked: set[str] = set()
    while not sending.advance():
        under_way = client.under_way
        assert 1 <= len(under_way) <= at_once
        for number in under_way:
            signature = signatures[number - 1]
            if signature not in asked:
                asked.add(signature)
                assert under_way == [number] or sending.failure() is not None
        number = order.choice(under_way)
        client.answer(number, category="request_failed" if number in failing else None)
    expected = min((number for number in failing if number <= len(signatures)), default=None)
    failure = sending.failure()
    assert (None if failure is None else failure.request.number) == expected
    sending.cancel()
    assert all(client.calls[number].cancelled for number in client.under_way)
    if expected is None:
        assert list(client.calls) == list(range(1, len(signatures) + 1))
    # All before the failure were answered, and the report tells of all that were sent, in order.
    assert [one.number for one in sending.reports()] == sorted(client.calls)
    for one in sending.reports():
        assert (one.seconds is None) == (
            not client.calls[one.number].answered or client.calls[one.number].category is not None
        )
        assert expected is None or one.number >= expected or one.seconds is not None


@pytest.mark.parametrize(("signatures", "firsts"), [("", []), ("aab", [1, 3]), ("abab", [1, 2])])
def test_first_of_each_signature(signatures: str, firsts: list[int]) -> None:
    requests = [
        Request(number, signature, Method.PREDICT, None, "")
        for number, signature in enumerate(signatures, start=1)
    ]
    assert [request.number for request in first_of_each_signature(requests)] == firsts
