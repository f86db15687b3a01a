"""The engine: from a model and a configuration to a report."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tenacity

from infra_validator.config import PlatformConfig, ValidationConfig
from infra_validator.faults import Fault, FaultError, Phase, fault
from infra_validator.files import FileSystem, storage_errors, storage_fault
from infra_validator.model_source import ModelSource
from infra_validator.report import (
    SCHEMA_VERSION,
    AttemptReport,
    BinaryReport,
    Mode,
    Report,
)
from infra_validator.requests.examples import Examples, take_records
from infra_validator.requests.from_examples import build_requests
from infra_validator.requests.request import Request, to_warmup_record
from infra_validator.runners.base import Closes, Platform, ServerTask
from infra_validator.runners.registry import load_platform
from infra_validator.saved_model.reader import check_is_saved_model, read_signatures
from infra_validator.saved_model.warmup import MAX_WARMUP_RECORDS, stamp_model
from infra_validator.servers.base import ServingBinary
from infra_validator.servers.tensorflow_serving import TensorFlowServing
from infra_validator.validation.attempt import Attempt, AttemptLimits
from infra_validator.validation.outcome import (
    deciding_fault,
    judge_binary,
    judge_fault,
    with_caching_hint,
    worth_trying_alone,
)
from infra_validator.validation.progress import AttemptEnded, Observer, Subject, ignore, no_detail
from infra_validator.validation.timeline import Timeline
from infra_validator.version import __version__
from infra_validator.waiting import Cancellation, Wake
from infra_validator.workspace import open_workspace

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_RETRY_WAIT = tenacity.wait_exponential_jitter(initial=1, max=30)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is to be validated, and with what.

    Attributes:
        model_uri: the SavedModel's folder.
        examples: what to ask with; None where nothing is to be asked.
        stamp_uri: where to put the model with warm-up requests, if the
            configuration asks for it; None for nowhere.
    """

    model_uri: str
    examples: Examples | None = None
    stamp_uri: str | None = None


def validate(
    candidate: Candidate,
    config: ValidationConfig,
    files: FileSystem,
    *,
    cancellation: Cancellation | None = None,
    notes: Sequence[str] = (),
    find_platform: Callable[[PlatformConfig], Platform] = load_platform,
    observer: Observer = ignore,
) -> Report:
    """Validates a model.

    Args:
        candidate: the model, and what to ask with.
        config: what serves, where, and how long it may take.
        files: the file system that holds model and examples.
        cancellation: by which the caller can have it given up.
        notes: what the report should say besides.
        find_platform: how a platform is found by its configuration.
        observer: is told what happens, from several threads.

    Returns:
        The report, whatever the outcome.

    Raises:
        Cancelled: if it was given up; everything is released then.
        OSError: if no folder for temporary files can be made.
    """
    cancellation = cancellation or Cancellation()
    with open_workspace() as workspace:
        return _Validation(
            candidate,
            config,
            files,
            cancellation,
            [*notes, *config.notes],
            find_platform,
            workspace,
            observer,
        ).run()


def refuse(model_uri: str, found: Fault, config: ValidationConfig | None = None) -> Report:
    """The report where a fault kept the engine from its work.

    Args:
        model_uri: the model, as far as it is known.
        found: the fault.
        config: the configuration, as far as it is known.
    """
    return Report(
        schema_version=SCHEMA_VERSION,
        infra_validator_version=__version__,
        verdict=judge_fault(found),
        reason=found.summary,
        mode=Mode.LOAD_ONLY,
        model=model_uri,
        platform="" if config is None else config.platform.name,
        started_at=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        seconds=0.0,
        configuration={} if config is None else config.echo,
        notes=(),
        phases=(),
        binaries=(),
        fault=found,
    )


class _Validation:
    """The state of one validation."""

    def __init__(
        self,
        candidate: Candidate,
        config: ValidationConfig,
        files: FileSystem,
        cancellation: Cancellation,
        notes: list[str],
        find_platform: Callable[[PlatformConfig], Platform],
        workspace: Path,
        observer: Observer,
    ) -> None:
        self._candidate = candidate
        self._config = config
        self._files = files
        self._cancellation = cancellation
        self._notes = notes
        self._find_platform = find_platform
        self._workspace = workspace
        self._origin = time.monotonic()
        self._started_at = datetime.datetime.now(datetime.timezone.utc)
        self._observer = observer
        self._timeline = Timeline(self._origin, Subject(), observer)
        self._model = ModelSource(candidate.model_uri, files, workspace, cancellation.check)
        self._requests: list[Request] = []
        self._closing = contextlib.ExitStack()

    def run(self) -> Report:
        with self._closing:
            return self._run_all()

    def _run_all(self) -> Report:
        binaries: list[BinaryReport] = []
        stamped = None
        try:
            platform, servers = self._retrying(
                retry=tenacity.retry_if_exception(
                    lambda error: isinstance(error, FaultError) and error.fault.transient
                ),
                reraise=True,
            )(self._stage)
            binaries = self._validate_all(platform, servers)
            self._cancellation.check()
            decided = deciding_fault(binaries)
            if decided is not None:
                name, found = decided
                if len(binaries) > 1:
                    found = dataclasses.replace(found, summary=f"{name}: {found.summary}")
                raise FaultError(found)
            stamped = self._stamp()
        except FaultError as error:
            self._timeline.finish()
            return self._report(binaries, error.fault, None)
        self._cancellation.check()
        return self._report(binaries, None, stamped)

    def _stage(self) -> tuple[Platform, list[ServingBinary]]:
        """Everything that can fail before a server is started."""
        self._timeline.enter(Phase.CONFIGURE)
        platform = self._find_platform(self._config.platform)
        if isinstance(platform, Closes):
            self._closing.callback(platform.close)
        servers = self._serving_binaries()
        self._timeline.enter(Phase.STAGE)
        check_is_saved_model(self._files, self._model.uri)
        self._requests = self._build_requests()
        for server in servers:
            self._cancellation.check()
            platform.prepare(server, self._model)
        self._timeline.finish()
        return platform, servers

    def _serving_binaries(self) -> list[ServingBinary]:
        serving = self._config.serving
        config_files = {
            flag: self._read_config_file(flag, source.uri)
            if source.uri is not None
            else (source.text or "").encode()
            for flag, source in serving.config_files.items()
        }
        return [
            TensorFlowServing(
                model_name=self._config.model_name,
                image=image,
                args=serving.args,
                env=serving.env,
                config_files=config_files,
            )
            for image in serving.images or (None,)
        ]

    def _read_config_file(self, flag: str, uri: str) -> bytes:
        try:
            with storage_errors(), self._files.open(uri, "rb") as file:
                return bytes(file.read())
        except OSError as error:
            raise FaultError(
                fault(
                    "configuration_invalid",
                    Phase.CONFIGURE,
                    f"ServingSpec.tensorflow_serving.config_files[{flag!r}]: {uri} cannot be read.",
                    detail=str(error),
                )
            ) from error

    def _build_requests(self) -> list[Request]:
        asked = self._config.requests
        if asked is None or self._candidate.examples is None:
            return []
        signatures = read_signatures(
            self._files, self._model.uri, asked.tag_set, asked.signature_names
        )
        records = take_records(
            self._files, self._candidate.examples, asked.split_name, asked.num_examples
        )
        if len(records.values) < asked.num_examples:
            self._note(
                f"The split {records.split_name!r} holds only {len(records.values)} examples; "
                f"{asked.num_examples} were asked for."
            )
        return build_requests(
            self._config.model_name,
            signatures,
            records,
            self._candidate.examples.payload_format,
        )

    def _validate_all(
        self, platform: Platform, servers: Sequence[ServingBinary]
    ) -> list[BinaryReport]:
        """Side by side, up to the limit; then those alone that may have disturbed each other."""
        width = min(self._config.limits.parallel_servers, len(servers))
        with concurrent.futures.ThreadPoolExecutor(width, "infra-validator") as pool:
            attempts = self._run(
                pool,
                [
                    functools.partial(self._validate_binary, platform, server, index)
                    for index, server in enumerate(servers)
                ],
            )
            for index, server in enumerate(servers):
                if width > 1 and worth_trying_alone(attempts[index]):
                    _logger.info("%s: trying again alone", server.name)
                    number = len(attempts[index]) + 1
                    attempts[index] += self._run(
                        pool, [functools.partial(self._attempt, platform, server, index, number)]
                    )
        return [
            judge_binary(server.name, done) for server, done in zip(servers, attempts, strict=True)
        ]

    def _run(
        self, pool: concurrent.futures.Executor, jobs: Sequence[Callable[[], Result]]
    ) -> list[Result]:
        """Runs jobs in other threads, so that a signal finds this one waiting for nothing else."""
        try:
            runs = [pool.submit(job) for job in jobs]
            concurrent.futures.wait(runs)
        except BaseException as error:  # an interrupt from the keyboard, for one
            self._cancellation.cancel(f"interrupted by {type(error).__name__}")
            raise
        return [run.result() for run in runs]

    def _validate_binary(
        self, platform: Platform, server: ServingBinary, index: int
    ) -> list[AttemptReport]:
        """Tries until it succeeds, fails for good, or has been tried often enough."""
        attempts: list[AttemptReport] = []

        def attempt() -> Fault | None:
            attempts.append(self._attempt(platform, server, index, len(attempts) + 1))
            return attempts[-1].fault

        self._retrying(
            retry=tenacity.retry_if_result(lambda found: found is not None and found.transient),
            retry_error_callback=lambda _: None,
        )(attempt)
        return attempts

    def _retrying(self, **behaviour: Any) -> tenacity.Retrying:
        """Tries a thing again, up to the limit, with growing pauses that a cancellation ends."""
        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._config.limits.num_tries),
            wait=_RETRY_WAIT,
            sleep=self._cancellation.sleep,
            **behaviour,
        )

    def _attempt(
        self, platform: Platform, server: ServingBinary, index: int, number: int
    ) -> AttemptReport:
        workdir = self._workspace / f"{index}-{number}"
        workdir.mkdir(mode=0o700)
        wake = Wake()
        subject = Subject(server.name, number)
        runner = platform.create_runner(ServerTask(server, self._model, workdir, wake))
        attempt = Attempt(
            number,
            runner,
            server,
            AttemptLimits(
                platform.phase_limits,
                self._config.limits.loading_seconds,
                self._config.limits.request_seconds,
            ),
            Timeline(
                self._origin,
                subject,
                self._observer,
                limits={
                    **platform.phase_limits,
                    Phase.LOAD: self._config.limits.loading_seconds,
                },
                # Not every platform can tell how far it has got.
                detail=getattr(runner, "progress", no_detail),
            ),
            wake,
            self._cancellation,
        )
        report = attempt.run(self._requests)
        for note in report.notes:
            _logger.warning("%s: %s", subject, note)
        if report.fault is not None:
            _logger.warning("%s: %s", subject, report.fault.summary)
        self._observer(AttemptEnded(subject, report.fault))
        return report

    def _note(self, text: str) -> None:
        if text not in self._notes:  # staging may be tried again
            self._notes.append(text)

    def _stamp(self) -> int | None:
        asked, target = self._config.requests, self._candidate.stamp_uri
        if asked is None or not asked.make_warmup or target is None or not self._requests:
            return None
        self._timeline.enter(Phase.WARM_UP)
        chosen = self._requests[:MAX_WARMUP_RECORDS]
        if len(chosen) < len(self._requests):
            self._note(
                f"Of {len(self._requests)} requests, the first {len(chosen)} were stamped as "
                "warm-up; TensorFlow Serving takes no more."
            )
        try:
            stamp_model(
                self._files,
                self._model.uri,
                target,
                map(to_warmup_record, chosen),
                self._cancellation.check,
            )
        except OSError as error:
            raise storage_fault(
                f"The model with warm-up requests cannot be written: {target}",
                Phase.WARM_UP,
                error,
            ) from error
        self._timeline.finish()
        return len(chosen)

    def _report(
        self, binaries: Sequence[BinaryReport], found: Fault | None, stamped: int | None
    ) -> Report:
        if found is not None and not self._config.fail_execution_when_undetermined:
            found = with_caching_hint(found)
        return Report(
            schema_version=SCHEMA_VERSION,
            infra_validator_version=__version__,
            verdict=judge_fault(found),
            reason=self._success() if found is None else found.summary,
            mode=Mode.LOAD_ONLY
            if self._config.requests is None or self._candidate.examples is None
            else Mode.LOAD_AND_QUERY,
            model=self._model.uri,
            platform=self._config.platform.name,
            started_at=self._started_at.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._origin, 4),
            configuration=self._config.echo,
            notes=tuple(self._notes),
            phases=tuple(self._timeline.phases()),
            binaries=tuple(binaries),
            fault=found,
            warm_up_records_written=stamped,
        )

    def _success(self) -> str:
        if not self._requests:
            return "The model was loaded; no request was sent."
        return f"The model was loaded and answered {len(self._requests)} requests."
