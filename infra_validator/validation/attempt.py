"""One attempt: start a server, wait until it serves the model, ask it, stop it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from infra_validator.clients.base import Client
from infra_validator.faults import TIME_CATEGORIES, Fault, FaultError, Phase, fault
from infra_validator.report import AttemptReport, ModelRole, RequestReport
from infra_validator.requests.request import Request
from infra_validator.runners.base import FindsCauses, Runner, progress_of
from infra_validator.servers.base import ServingBinary
from infra_validator.tensorflow_errors import hide_content_of_log
from infra_validator.text import shortened
from infra_validator.validation.outcome import diagnose_replay
from infra_validator.validation.sending import Sending
from infra_validator.validation.timeline import Timeline
from infra_validator.waiting import Cancellation, Deadline, Wake

_LOG_TAIL_LINES = 50
_LOG_LINE_CHARACTERS = 2000
_NAMED_REQUESTS = 10

# When a connection breaks, the server's end may be known only a moment later; a kubelet looks at
# its containers each second, and tells of it then.
_EXIT_KNOWN_SECONDS = 15.0
_LIMIT_CATEGORIES = TIME_CATEGORIES | {"server_not_ready"}

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class AttemptLimits:
    """Time limits, in seconds, and a count.

    Attributes:
        before_load: for each phase before the server's process runs.
        loading: from the process running to the model available.
        request: for one request.
        requests_at_once: how many requests may be under way.
    """

    before_load: Mapping[Phase, float]
    loading: float
    request: float
    requests_at_once: int


class Attempt:
    """Runs once, in one thread."""

    def __init__(
        self,
        number: int,
        runner: Runner,
        binary: ServingBinary,
        limits: AttemptLimits,
        timeline: Timeline,
        wake: Wake,
        cancellation: Cancellation,
        *,
        role: ModelRole = ModelRole.CANDIDATE,
        written_warm_up: int | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            number: of the attempts of this serving binary, from 1.
            runner: what runs the server.
            binary: the server.
            limits: how long it may take.
            timeline: takes the times.
            wake: what the runner wakes.
            cancellation: by which it can be given up.
            role: which model is served.
            written_warm_up: how many warm-up requests the server must replay,
                where that is known.
        """
        self._number = number
        self._runner = runner
        self._binary = binary
        self._limits = limits
        self._timeline = timeline
        self._wake = wake
        self._cancellation = cancellation
        self._role = role
        self._written_warm_up = written_warm_up
        self._sent: tuple[RequestReport, ...] = ()
        self._failed: tuple[int, ...] = ()

    def run(self, requests: Sequence[Request]) -> AttemptReport:
        """Runs the attempt; the server is gone when it returns, or raises.

        Raises:
            Cancelled: if the validation was given up.
        """
        found: Fault | None = None
        identity: Mapping[str, Any] = {}
        self._cancellation.subscribe(self._wake)
        try:
            self._timeline.enter(Phase.START)
            self._runner.start()
            client = self._wait_until_ready()
            try:
                if requests:
                    self._timeline.enter(Phase.QUERY)
                    self._ask(client, requests)
            finally:
                client.close()
            identity = self._runner.identity()
            self._check_still_running()
        except FaultError as error:
            found = self._find_cause(error.fault)
        finally:
            self._cancellation.unsubscribe(self._wake)
            self._timeline.enter(Phase.STOP)
            try:
                if found is not None:  # else it is known, or the validation is given up
                    identity = identity or self._runner.identity()
            finally:
                self._runner.stop()
                self._timeline.finish()
        log = self._log()
        facts = self._binary.read_log(log)
        notes = facts.notes
        if found is None and self._written_warm_up is not None:
            found, note = diagnose_replay(facts, self._written_warm_up)
            notes += note
        return AttemptReport(
            number=self._number,
            server=identity,
            phases=tuple(self._timeline.phases()),
            requests=self._sent,
            warm_up_records=facts.warm_up_records,
            notes=notes,
            fault=found,
            log_tail=tuple(
                shortened(line, _LOG_LINE_CHARACTERS)
                for line in log.splitlines()[-_LOG_TAIL_LINES:]
            ),
            model=self._role,
            failed_requests=self._failed,
        )

    def _log(self) -> str:
        """What the server wrote, without what it quotes of requests."""
        return hide_content_of_log(self._runner.logs())

    def _wait_until_ready(self) -> Client:
        client: Client | None = None

        def connected() -> Client | None:
            nonlocal client
            if client is None:
                endpoint = self._runner.endpoint()
                if endpoint is None:
                    return None
                client = self._binary.connect(endpoint, self._wake)
            return client if client.ready() else None

        try:
            self._timeline.enter(self._runner.phase())
            ready = self._wait(connected, self._loading_deadline, self._diagnose_loading)
            self._note_warm_up()
        except BaseException:
            if client is not None:
                client.close()
            raise
        return ready

    def _check_still_running(self) -> None:
        """A server that has ended cannot have answered; somebody else did, at its address."""
        ended = self._runner.poll()
        known = self._diagnose_platform()
        if known is not None:
            raise FaultError(known)
        if ended is not None:
            raise FaultError(self._binary.diagnose_exit(ended.code, ended.reason, self._log()))

    def _ask(self, client: Client, requests: Sequence[Request]) -> None:
        sending = Sending(client, requests, self._limits.requests_at_once, self._limits.request)
        try:
            self._wait(
                lambda: sending.advance() or None,
                Deadline.never,  # each call has a deadline of its own
                lambda: self._diagnose_exit_while_asking(sending.suspects()),
            )
            failure = sending.failure()
            if failure is not None:
                if failure.lost_connection:
                    self._await_exit(sending.suspects())
                self._failed = (failure.request.number,)
                raise FaultError(failure.fault)
        finally:
            sending.cancel()
            self._sent = sending.reports()

    def _wait(
        self,
        done: Callable[[], Result | None],
        deadline: Callable[[], Deadline],
        diagnose: Callable[[], Fault | None],
    ) -> Result:
        """The one wait: for `done`, an ended server, another fault, the deadline, or cancellation.

        Whatever may change any of these wakes it.
        """
        while True:
            self._cancellation.check()
            result = done()
            if result is not None:
                return result
            found = diagnose()
            if found is not None:
                raise FaultError(found)
            limit = deadline()
            if limit.expired():
                raise FaultError(self._diagnose_timeout())
            self._wake.wait(limit.remaining())

    def _loading_deadline(self) -> Deadline:
        """Each phase on the way has its own limit, counted from when it began."""
        self._timeline.enter(self._runner.phase())
        phase = self._timeline.current
        if phase == Phase.LOAD:
            seconds = self._limits.loading
        else:
            seconds = self._limits.before_load.get(phase or Phase.START, float("inf"))
        return Deadline.after(seconds - self._timeline.elapsed())

    def _find_cause(self, found: Fault) -> Fault:
        """What the platform knows of a fault, once it has asked again."""
        if not isinstance(self._runner, FindsCauses):
            return found
        cause = self._runner.find_cause(found, self._log())
        if cause.category not in _LIMIT_CATEGORIES or self._runner.poll() is None:
            return cause
        # It heard of the server's end only by asking.
        if cause.phase == Phase.QUERY:
            late = self._diagnose_exit_while_asking(self._failed)
        else:
            late = self._diagnose_loading()
        return cause if late is None else self._runner.find_cause(late, self._log())

    def _diagnose_loading(self) -> Fault | None:
        ended = self._runner.poll()
        known = self._runner.diagnose()  # after the end, for which it may tell a reason
        if known is not None:
            return known
        if ended is not None:
            return self._binary.diagnose_exit(ended.code, ended.reason, self._log())
        return self._binary.read_log(self._log()).fatal

    def _diagnose_timeout(self) -> Fault:
        phase = self._timeline.current or Phase.START
        if phase == Phase.LOAD:
            return self._binary.diagnose_timeout(self._limits.loading, self._log())
        return fault(
            "image_pull_timeout" if phase == Phase.IMAGE else "platform_failed",
            phase,
            f"The platform did not run the server within "
            f"{self._limits.before_load.get(phase, 0):g} s (phase {phase.value}).",
            detail=progress_of(self._runner) or "",
        )

    def _diagnose_exit_while_asking(self, asked: Sequence[int]) -> Fault | None:
        ended = self._runner.poll()
        known = self._diagnose_platform()  # after the end, for which it may tell a reason
        if ended is None:
            return known
        self._failed = tuple(asked)
        if known is not None:
            return known
        return self._binary.diagnose_crash(
            ended.code, ended.reason, self._log(), _name_requests(asked)
        )

    def _diagnose_platform(self) -> Fault | None:
        """What the platform says is wrong; of asking it knows nothing, so the phase is ours."""
        known = self._runner.diagnose()
        if known is None or self._timeline.current != Phase.QUERY:
            return known
        return dataclasses.replace(known, phase=Phase.QUERY)

    def _await_exit(self, asked: Sequence[int]) -> None:
        """Raises the server's end as the fault, if that is why the connection broke."""
        limit = Deadline.after(_EXIT_KNOWN_SECONDS)
        while not limit.expired():
            self._cancellation.check()
            found = self._diagnose_exit_while_asking(asked)
            if found is not None:
                raise FaultError(found)
            self._wake.wait(limit.remaining())

    def _note_warm_up(self) -> None:
        """The server warms up while it loads; its log tells afterwards how long it took."""
        seconds = self._binary.read_log(self._log()).warm_up_seconds
        if seconds is not None:
            now = time.monotonic()
            self._timeline.finish()
            self._timeline.add(Phase.WARM_UP, now - seconds, seconds)


def _name_requests(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"request {numbers[0]}"
    named = ", ".join(map(str, numbers[:_NAMED_REQUESTS]))
    more = ", …" if len(numbers) > _NAMED_REQUESTS else ""
    return f"one of the requests {named}{more}"
