"""Everything that a validation learned, as data; `docs/report.md` describes it.

Times are in seconds. A report's JSON holds neither requests nor examples, and no
values of environment variables; what a server says of a request is in it, and that
may quote a single value. A request that failed stands beside it only where the user
asked for that.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any

from infra_validator.faults import Fault, Phase
from infra_validator.plain import read_record
from infra_validator.text import count, printable

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning or goes; new fields do not raise it."""

FILE_NAME = "infra_validation_report.json"
PAGE_NAME = "infra_validation_report.html"


class ReportError(ValueError):
    """Raised for a text that is no report, or a report that this version cannot read."""


FAILED_REQUEST_FILE_NAME = "infra_validation_failed_request.tfrecord"


class Verdict(str, enum.Enum):
    """What is said of the model."""

    BLESSED = "blessed"
    NOT_BLESSED = "not_blessed"
    UNDETERMINED = "undetermined"


class Mode(str, enum.Enum):
    """How far the model is tried."""

    LOAD_ONLY = "LOAD_ONLY"
    LOAD_AND_QUERY = "LOAD_AND_QUERY"


class ModelRole(str, enum.Enum):
    """Which model an attempt served."""

    CANDIDATE = "candidate"
    STAMPED = "stamped"


@dataclasses.dataclass(frozen=True)
class PhaseReport:
    """A phase that was gone through.

    Attributes:
        phase: which.
        started: seconds from the start of the validation.
        seconds: how long it took.
    """

    phase: Phase
    started: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class RequestReport:
    """A request that was sent.

    Attributes:
        number: its place among the requests, from 1.
        signature: the signature asked.
        method: the RPC.
        description: what it carried, without the content.
        seconds: until the answer, or None if there was none.
    """

    number: int
    signature: str
    method: str
    description: str
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class AttemptReport:
    """One try of one serving binary.

    Attributes:
        number: from 1.
        server: what was run, as the platform tells it.
        phases: what was gone through, in order. Warm-up is a part of load.
        requests: what was sent, in order.
        warm_up_records: warm-up requests that the server replayed while loading.
        notes: what the server said about flags without effect.
        fault: why it failed, or None.
        log_tail: the end of the server's output.
        model: which model was served: the candidate, or its copy with warm-up.
        failed_requests: numbers of the requests that the fault is about: one, or
            all that were under way when the server ended.
    """

    number: int
    server: Mapping[str, Any]
    phases: tuple[PhaseReport, ...]
    requests: tuple[RequestReport, ...]
    warm_up_records: int | None
    notes: tuple[str, ...]
    fault: Fault | None
    log_tail: tuple[str, ...]
    model: ModelRole = ModelRole.CANDIDATE
    failed_requests: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class BinaryReport:
    """All tries of one serving binary.

    Attributes:
        name: the serving binary.
        verdict: what it says of the model.
        attempts: in order, those of the candidate first; the last one decides.
    """

    name: str
    verdict: Verdict
    attempts: tuple[AttemptReport, ...]

    @property
    def candidate_attempts(self) -> tuple[AttemptReport, ...]:
        """Those that served the candidate itself."""
        return tuple(attempt for attempt in self.attempts if attempt.model == ModelRole.CANDIDATE)

    @property
    def asking_attempt(self) -> AttemptReport:
        """That which sent all requests: the candidate's last. Its copy is sent the first ones."""
        return (self.candidate_attempts or self.attempts)[-1]


@dataclasses.dataclass(frozen=True)
class FirstRequestReport:
    """What warm-up does for the first request to a signature.

    Attributes:
        binary: the serving binary.
        signature: the signature asked.
        seconds_without: until the answer, where the candidate was served.
        seconds_with: until the answer of its copy with warm-up, or None if there
            was none.
    """

    binary: str
    signature: str
    seconds_without: float | None
    seconds_with: float | None


@dataclasses.dataclass(frozen=True)
class WarmUpReport:
    """The warm-up that a copy of the model was stamped with.

    Attributes:
        records: how many requests it holds.
        bytes: size of its file.
        first_requests: for each serving binary and signature.
    """

    records: int
    bytes: int
    first_requests: tuple[FirstRequestReport, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """A validation.

    Attributes:
        schema_version: `SCHEMA_VERSION`.
        infra_validator_version: of the package that wrote it.
        verdict: what is said of the model.
        reason: one sentence.
        mode: how far the model was tried.
        model: the model's URI.
        platform: the serving platform's name.
        started_at: wall-clock time of the start, ISO 8601 in UTC.
        seconds: how long it all took.
        configuration: the specs as given, without values of environment variables.
        notes: what the user should know besides.
        phases: what was gone through apart from the attempts: configure and stage
            before them; warm-up, where the model was stamped, between those of the
            candidate and those of the stamped model.
        binaries: the serving binaries tried; none if a fault was found before.
        fault: the fault that decided, or None.
        warm_up_records_written: requests stamped into the model, or None.
        warm_up: the warm-up that was tried, whether it became part of a blessing
            or not; None if none was.
        attachments: files that belong beside the report: name to content. In JSON
            the names only; read back from there, the content is empty.
    """

    schema_version: int
    infra_validator_version: str
    verdict: Verdict
    reason: str
    mode: Mode
    model: str
    platform: str
    started_at: str
    seconds: float
    configuration: Mapping[str, Any]
    notes: tuple[str, ...]
    phases: tuple[PhaseReport, ...]
    binaries: tuple[BinaryReport, ...]
    fault: Fault | None
    warm_up_records_written: int | None = None
    warm_up: WarmUpReport | None = None
    attachments: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)

    def files(self) -> dict[str, bytes]:
        """The files to write: the report as JSON and as a page, and what belongs beside it."""
        return {
            **self.attachments,
            FILE_NAME: self.to_json().encode(),
            PAGE_NAME: self.to_html().encode(),
        }

    def to_json(self) -> str:
        """The report as JSON text."""
        values = dataclasses.asdict(self) | {"attachments": list(self.attachments)}
        return json.dumps(values, indent=2, sort_keys=False) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Report:
        """The report that `to_json` wrote, here or in another version of the package.

        Fields that this version does not know are passed over.

        Raises:
            ReportError: if it is no report, or one of a newer schema.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReportError(f"This is no report: it is not JSON ({error}).") from error
        version = value.get("schema_version") if isinstance(value, dict) else None
        if type(version) is not int:
            raise ReportError("This is no report: it has no schema_version.")
        if version > SCHEMA_VERSION:
            raise ReportError(
                f"The report has schema_version {version}, this infra-validator reads up to "
                f"{SCHEMA_VERSION}; read it with infra-validator "
                f"{value.get('infra_validator_version', 'of that time')} or later."
            )
        names = value.get("attachments", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ReportError("This is no report: its attachments are not a list of names.")
        try:
            return read_record(Report, {**value, "attachments": dict.fromkeys(names, b"")})
        except ValueError as error:
            raise ReportError(f"This is no report of schema_version {version}: {error}.") from error

    def __str__(self) -> str:
        """The verdict, the reason and what to do, in a few lines."""
        lines = [f"{self.verdict.value.replace('_', ' ').capitalize()}: {self.reason}"]
        if self.fault is not None and self.fault.hint:
            lines.append(f"What to do: {self.fault.hint}")
        lines.append(f"Model: {self.model}")
        lines += [
            f"{binary.name}: {binary.verdict.value.replace('_', ' ')}, "
            f"{count(len(binary.attempts), 'attempt')}"
            f"{', the last with warm-up' * (binary.attempts[-1].model == ModelRole.STAMPED)}"
            for binary in self.binaries
        ]
        return "\n".join(printable(line) for line in lines)

    def to_html(self) -> str:
        """The report as one self-contained HTML page."""
        from infra_validator.report_page import render

        return render(self)

    def _repr_html_(self) -> str:
        """The page in a frame of its own, for notebooks."""
        from infra_validator.report_page import render_frame

        return render_frame(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For IPython where it shows no HTML."""
        printer.text(str(self))

    def __rich__(self) -> Any:
        """For rich's print and consoles."""
        from infra_validator.report_text import to_rich

        return to_rich(self)
