"""Requests on their way to one server. Never waits; who waits has it advance at each wake-up."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from infra_validator.clients.base import Call, Client
from infra_validator.faults import Fault, FaultError
from infra_validator.report import RequestReport
from infra_validator.requests.request import Request


@dataclasses.dataclass(frozen=True)
class Failure:
    """A request that was not answered well.

    Attributes:
        request: which.
        fault: why.
        lost_connection: whether it failed because the connection broke.
    """

    request: Request
    fault: Fault
    lost_connection: bool


class Sending:
    """Sends requests in order, several at a time; the first to each signature alone.

    What a server does once for a signature would else be counted to others.
    After a failure nothing more is sent. What was sent before it is waited for,
    so that the failure that is told is the first in order, not the first in time.
    """

    def __init__(
        self, client: Client, requests: Sequence[Request], at_once: int, timeout: float
    ) -> None:
        """Sends nothing yet.

        Args:
            client: by which to send.
            requests: what to send, in the order of their numbers.
            at_once: how many may be under way at the same time.
            timeout: seconds that each of them may take.
        """
        self._client = client
        self._waiting = collections.deque(requests)
        self._at_once = at_once
        self._timeout = timeout
        self._under_way: dict[int, tuple[Request, Call]] = {}
        self._asked: set[str] = set()
        self._alone = False
        self._failures: dict[int, Failure] = {}
        self._reports: dict[int, RequestReport] = {}

    def advance(self) -> bool:
        """Takes what has come, sends what may be sent; returns whether that was all."""
        for number, (request, call) in list(self._under_way.items()):
            if call.done():
                del self._under_way[number]
                self._take(request, call)
        if self._failures:
            return all(number > min(self._failures) for number in self._under_way)
        while self._waiting and self._may_send(self._waiting[0]):
            request = self._waiting.popleft()
            self._alone = request.signature not in self._asked
            self._asked.add(request.signature)
            self._reports[request.number] = _report(request, None)
            self._under_way[request.number] = (
                request,
                self._client.send(request, self._timeout),
            )
        return not self._under_way

    def failure(self) -> Failure | None:
        """The failure of the lowest number, if any."""
        return self._failures[min(self._failures)] if self._failures else None

    def suspects(self) -> tuple[int, ...]:
        """Numbers of the requests that may have ended the server, if it has ended."""
        lost = (number for number, failed in self._failures.items() if failed.lost_connection)
        return tuple(sorted([*self._under_way, *lost]))

    def reports(self) -> tuple[RequestReport, ...]:
        """What was sent so far, in order."""
        return tuple(report for _, report in sorted(self._reports.items()))

    def cancel(self) -> None:
        """Gives up what is under way."""
        for _, call in self._under_way.values():
            call.cancel()

    def _may_send(self, request: Request) -> bool:
        if not self._under_way:
            return True
        if self._alone or request.signature not in self._asked:
            return False
        return len(self._under_way) < self._at_once

    def _take(self, request: Request, call: Call) -> None:
        try:
            seconds = call.result()
        except FaultError as error:
            self._failures[request.number] = Failure(request, error.fault, call.lost_connection())
        else:
            self._reports[request.number] = _report(request, round(seconds, 6))


def first_of_each_signature(requests: Sequence[Request]) -> list[Request]:
    """The requests that `Sending` sends alone."""
    firsts: dict[str, Request] = {}
    for request in requests:
        firsts.setdefault(request.signature, request)
    return list(firsts.values())


def _report(request: Request, seconds: float | None) -> RequestReport:
    return RequestReport(
        number=request.number,
        signature=request.signature,
        method=request.method.value,
        description=request.description,
        seconds=seconds,
    )
