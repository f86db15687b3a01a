"""The engine: from a model and a configuration to a report."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import io
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tenacity

from infra_validator.config import PlatformConfig, ValidationConfig
from infra_validator.faults import Fault, FaultError, Phase, fault
from infra_validator.files import (
    FileSystem,
    copy_tree,
    local_path,
    remove_tree,
    storage_errors,
    storage_fault,
)
from infra_validator.model_source import ModelSource
from infra_validator.report import (
    FAILED_REQUEST_FILE_NAME,
    SCHEMA_VERSION,
    AttemptReport,
    BinaryReport,
    Mode,
    ModelRole,
    Report,
    WarmUpReport,
)
from infra_validator.request_config import Source
from infra_validator.requests.examples import Examples
from infra_validator.requests.request import Request, to_warmup_record
from infra_validator.runners.base import Closes, Platform, ServerTask, progress_of
from infra_validator.runners.registry import load_platform
from infra_validator.saved_model.reader import check_is_saved_model
from infra_validator.saved_model.warmup import choose_records, stamp_model
from infra_validator.servers.base import ServingBinary
from infra_validator.servers.tensorflow_serving import TensorFlowServing
from infra_validator.text import count
from infra_validator.tfrecord import write_records
from infra_validator.validation.attempt import Attempt, AttemptLimits
from infra_validator.validation.explain import explain
from infra_validator.validation.outcome import (
    blame_warm_up,
    compare_first_requests,
    deciding_fault,
    judge_binary,
    judge_fault,
    with_caching_hint,
    with_made_up_hint,
    worth_trying_alone,
)
from infra_validator.validation.progress import AttemptEnded, Observer, Subject, ignore
from infra_validator.validation.sending import first_of_each_signature
from infra_validator.validation.timeline import Timeline
from infra_validator.version import __version__
from infra_validator.waiting import Cancellation, Wake
from infra_validator.workspace import open_workspace

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# A signal that comes while Python is on its way into a wait is seen only when that wait ends.
_NOTICE_SIGNAL_SECONDS = 0.25

_RETRY_WAIT = tenacity.wait_exponential_jitter(initial=1, max=30)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What is to be validated, and with what.

    Attributes:
        model_uri: the SavedModel's folder.
        examples: what to ask with; None where there are none.
        stamp_uri: where to put the model with warm-up requests, if the
            configuration asks for it; None for nowhere. A folder that is there
            is replaced; after anything but a blessing there is none.
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


@dataclasses.dataclass(frozen=True)
class _Trial:
    """What every server is tried with.

    Attributes:
        role: which model it is.
        model: the model to serve.
        requests: what to send.
        warm_up_records: how many warm-up requests the server must replay, where
            that is known.
    """

    role: ModelRole
    model: ModelSource
    requests: Sequence[Request]
    warm_up_records: int | None = None


@dataclasses.dataclass(frozen=True)
class _Stamped:
    """A copy of the model that was stamped with warm-up.

    Attributes:
        model: the copy.
        records: how many requests its warm-up holds.
        size: bytes of the warm-up file.
    """

    model: ModelSource
    records: int
    size: int


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
        self._servers: list[ServingBinary] = []
        self._attempts: list[list[AttemptReport]] = []
        self._stamped: _Stamped | None = None
        self._stamped_at: str | None = None

    def run(self) -> Report:
        with self._closing:
            return self._run_all()

    def _run_all(self) -> Report:
        try:
            found = self._find_fault()
            self._cancellation.check()
        except BaseException:
            self._discard_stamped()
            raise
        if found is not None:
            self._discard_stamped()
        return self._report(found)

    def _find_fault(self) -> Fault | None:
        """Tries the model, then its copy with warm-up if there is to be one."""
        try:
            platform = self._retrying_storage(self._stage)
            self._try_all(platform, _Trial(ModelRole.CANDIDATE, self._model, self._requests))
            target = self._stamp_target()
            if target is not None:
                stamped = self._retrying_storage(lambda: self._stamp(platform, target))
                self._try_all(
                    platform,
                    _Trial(
                        ModelRole.STAMPED,
                        stamped.model,
                        first_of_each_signature(self._requests),
                        stamped.records,
                    ),
                )
        except FaultError as error:
            self._timeline.finish()
            return error.fault
        return None

    def _retrying_storage(self, step: Callable[[], Result]) -> Result:
        """Does what comes before servers are started, again where its fault may pass."""
        done: Result = self._retrying(
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, FaultError) and error.fault.transient
            ),
            reraise=True,
        )(step)
        return done

    def _stage(self) -> Platform:
        """Everything that can fail before a server is started."""
        self._timeline.enter(Phase.CONFIGURE)
        platform = self._find_platform(self._config.platform)
        if isinstance(platform, Closes):
            self._closing.callback(platform.close)
        self._servers = self._serving_binaries()
        self._attempts = [[] for _ in self._servers]
        self._timeline.enter(Phase.STAGE)
        check_is_saved_model(self._files, self._model.uri)
        self._requests = self._build_requests()
        target = self._stamp_target()
        if target is not None:
            _check_apart(self._model.uri, target)
            _check_place(self._files, target)
        self._prepare(platform, self._model)
        self._timeline.finish()
        return platform

    def _prepare(self, platform: Platform, model: ModelSource) -> None:
        for server in self._servers:
            self._cancellation.check()
            platform.prepare(server, model)

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
        if asked is None or (asked.source.needs_examples and self._candidate.examples is None):
            return []
        # What fills tensors needs numpy and TensorFlow's messages.
        from infra_validator.requests.build import make_requests

        made = make_requests(
            self._files,
            self._model.uri,
            self._config.model_name,
            asked,
            self._candidate.examples,
        )
        for note in made.notes:
            self._note(note)
        return list(made.requests)

    def _try_all(self, platform: Platform, trial: _Trial) -> None:
        """Side by side, up to the limit; then those alone that may have disturbed each other.

        Raises:
            FaultError: the fault that decides, if a server cannot serve the model.
        """
        width = min(self._config.limits.parallel_servers, len(self._servers))
        with concurrent.futures.ThreadPoolExecutor(width, "infra-validator") as pool:
            self._run(
                pool,
                [
                    functools.partial(self._try_binary, platform, trial, index)
                    for index in range(len(self._servers))
                ],
            )
            for index, server in enumerate(self._servers):
                if width > 1 and worth_trying_alone(self._attempts[index]):
                    _logger.info("%s: trying again alone", server.name)
                    self._run(pool, [functools.partial(self._attempt, platform, trial, index)])
        self._cancellation.check()
        decided = deciding_fault(self._binaries())
        if decided is not None:
            name, found = decided
            if len(self._servers) > 1:
                found = dataclasses.replace(found, summary=f"{name}: {found.summary}")
            raise FaultError(found)

    def _binaries(self) -> list[BinaryReport]:
        """What was tried so far."""
        return [
            judge_binary(server.name, done)
            for server, done in zip(self._servers, self._attempts, strict=True)
            if done
        ]

    def _run(
        self, pool: concurrent.futures.Executor, jobs: Sequence[Callable[[], Result]]
    ) -> list[Result]:
        """Runs jobs in other threads, so that a signal finds this one waiting for nothing else."""
        try:
            runs = [pool.submit(job) for job in jobs]
            while concurrent.futures.wait(runs, _NOTICE_SIGNAL_SECONDS).not_done:
                pass
        except BaseException as error:  # an interrupt from the keyboard, for one
            self._cancellation.cancel(f"interrupted by {type(error).__name__}")
            raise
        return [run.result() for run in runs]

    def _try_binary(self, platform: Platform, trial: _Trial, index: int) -> None:
        """Tries until it succeeds, fails for good, or has been tried often enough."""
        self._retrying(
            retry=tenacity.retry_if_result(lambda found: found is not None and found.transient),
            retry_error_callback=lambda _: None,
        )(lambda: self._attempt(platform, trial, index))

    def _retrying(self, **behaviour: Any) -> tenacity.Retrying:
        """Tries a thing again, up to the limit, with growing pauses that a cancellation ends."""
        return tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._config.limits.num_tries),
            wait=_RETRY_WAIT,
            sleep=self._cancellation.sleep,
            **behaviour,
        )

    def _attempt(self, platform: Platform, trial: _Trial, index: int) -> Fault | None:
        server = self._servers[index]
        number = len(self._attempts[index]) + 1
        subject = Subject(server.name, number, stamped=trial.role == ModelRole.STAMPED)
        workdir = self._workspace / f"{index}-{number}"
        workdir.mkdir(mode=0o700)
        wake = Wake()
        runner = platform.create_runner(
            ServerTask(
                server,
                trial.model,
                workdir,
                wake,
                asking_seconds=self._config.limits.request_seconds * len(trial.requests),
            )
        )
        attempt = Attempt(
            number,
            runner,
            server,
            AttemptLimits(
                platform.phase_limits,
                self._config.limits.loading_seconds,
                self._config.limits.request_seconds,
                self._config.limits.parallel_requests,
            ),
            Timeline(
                self._origin,
                subject,
                self._observer,
                limits={
                    **platform.phase_limits,
                    Phase.LOAD: self._config.limits.loading_seconds,
                },
                detail=functools.partial(progress_of, runner),
            ),
            wake,
            self._cancellation,
            role=trial.role,
            written_warm_up=trial.warm_up_records,
        )
        report = attempt.run(trial.requests)
        if report.fault is not None and trial.role == ModelRole.STAMPED:
            report = dataclasses.replace(report, fault=blame_warm_up(report.fault))
        if report.fault is not None:
            explained = explain(
                report.fault, self._files, trial.model.uri, report.server.get("versions") or {}
            )
            asked = self._config.requests
            if asked is not None and asked.source.kind == Source.SIGNATURE:
                explained = with_made_up_hint(explained)
            report = dataclasses.replace(report, fault=explained)
        self._attempts[index].append(report)
        for note in report.notes:
            _logger.warning("%s: %s", subject, note)
        if report.fault is not None:
            _logger.warning("%s: %s", subject, report.fault.summary)
        self._observer(AttemptEnded(subject, report.fault))
        return report.fault

    def _note(self, text: str) -> None:
        if text not in self._notes:  # staging may be tried again
            self._notes.append(text)

    def _stamp_target(self) -> str | None:
        """Where to put the stamped model, or None where there is to be none."""
        asked = self._config.requests
        if asked is None or not asked.make_warmup or not self._requests:
            return None
        return self._candidate.stamp_uri

    def _stamp(self, platform: Platform, target: str) -> _Stamped:
        """Makes the stamped model, on this machine and at its place."""
        self._timeline.enter(Phase.WARM_UP)
        chosen = self._choose_warm_up()
        there = local_path(target)
        copy = self._workspace / "stamped" if there is None else there
        source = self._model.local_path()
        self._stamped_at = target
        try:
            self._remove_stamped(target)
            size = stamp_model(
                self._files, source, copy, map(to_warmup_record, chosen), self._cancellation.check
            )
            if there is None:
                copy_tree(self._files, str(copy), target, self._cancellation.check)
        except OSError as error:
            raise _not_written(target, Phase.WARM_UP, error) from error
        model = ModelSource(
            target, self._files, self._workspace, self._cancellation.check, copy=copy
        )
        self._prepare(platform, model)
        self._timeline.finish()
        self._stamped = _Stamped(model, len(chosen), size)
        return self._stamped

    def _choose_warm_up(self) -> list[Request]:
        asked = self._config.requests
        limit = 0 if asked is None else asked.max_warmup_records
        kinds = [
            (request.signature, request.method, request.batch_size) for request in self._requests
        ]
        chosen = [self._requests[index] for index in choose_records(kinds, limit)]
        if len(chosen) < len(self._requests):
            self._note(
                f"Of {len(self._requests)} requests, {len(chosen)} were taken as warm-up, spread "
                "evenly over signatures and batch sizes; RequestSpec.max_warmup_records and "
                "TensorFlow Serving allow no more."
            )
        return chosen

    def _discard_stamped(self) -> None:
        """Leaves no stamped model at its place, whole or in part."""
        if self._stamped_at is not None:
            try:
                self._remove_stamped(self._stamped_at)
            except OSError as error:
                _logger.warning("Cannot remove %s: %s", self._stamped_at, error)

    def _remove_stamped(self, target: str) -> None:
        remove_tree(self._workspace / "stamped")
        there = local_path(target)
        if there is None:
            with storage_errors():
                if self._files.exists(target):
                    self._files.rmtree(target)
        elif there.is_symlink():
            there.unlink()
        else:
            remove_tree(there)

    def _report(self, found: Fault | None) -> Report:
        binaries = self._binaries()
        stamped = self._stamped
        if stamped is not None and found is None:
            self._note(
                "The stamped model holds the requests that were sent, with their content "
                "(RequestSpec.make_warmup). Whoever can read the model can read them; see that "
                "they hold no personal data."
            )
        attachments = self._attachments(binaries)
        if attachments:
            self._note(
                f"What failed is kept with its content (RequestSpec.keep_failed_request), in the "
                f"file {FAILED_REQUEST_FILE_NAME} beside this report."
            )
        if found is not None and not self._config.fail_execution_when_undetermined:
            found = with_caching_hint(found)
        return Report(
            schema_version=SCHEMA_VERSION,
            infra_validator_version=__version__,
            verdict=judge_fault(found),
            reason=self._success() if found is None else found.summary,
            mode=Mode.LOAD_ONLY
            if self._config.requests is None
            or (self._config.requests.source.needs_examples and self._candidate.examples is None)
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
            warm_up_records_written=None
            if stamped is None or found is not None
            else stamped.records,
            warm_up=None
            if stamped is None
            else WarmUpReport(stamped.records, stamped.size, compare_first_requests(binaries)),
            attachments=attachments,
        )

    def _attachments(self, binaries: Sequence[BinaryReport]) -> dict[str, bytes]:
        """The requests that the deciding fault is about, where the user wants them kept."""
        decided = deciding_fault(binaries)
        asked = self._config.requests
        if decided is None or asked is None or not asked.keep_failed_request:
            return {}
        failed = {
            number
            for binary in binaries
            if binary.name == decided[0]
            for number in binary.attempts[-1].failed_requests
        }
        if not failed:
            return {}
        file = io.BytesIO()
        write_records(
            file,
            (to_warmup_record(request) for request in self._requests if request.number in failed),
        )
        return {FAILED_REQUEST_FILE_NAME: file.getvalue()}

    def _success(self) -> str:
        if not self._requests:
            return "The model was loaded; no request was sent."
        sent = len(self._requests)
        answered = f"The model was loaded and answered {count(sent, 'request')}"
        if self._stamped is None:
            return f"{answered}."
        records = self._stamped.records
        taken = f"{records} of them" if records < sent else "it" if sent == 1 else "them"
        return f"{answered}; it was loaded again with {taken} as warm-up."


def _not_written(target: str, phase: Phase, error: OSError) -> FaultError:
    return storage_fault(
        f"The model with warm-up requests cannot be written: {target}", phase, error
    )


def _check_place(files: FileSystem, target: str) -> None:
    """Finds a place that cannot be written to before any server starts, where asking tells it."""
    there = local_path(target)
    try:
        if there is None:
            with storage_errors():
                files.exists(target)
            return
        above = next(folder for folder in there.absolute().parents if os.access(folder, os.F_OK))
        if not above.is_dir():
            raise NotADirectoryError(f"{above} is no folder")
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(f"{above} may not be written to")
    except OSError as error:
        raise _not_written(target, Phase.STAGE, error) from error


def _check_apart(model: str, target: str) -> None:
    """Making the stamped model must not touch the model."""
    one, other = (
        str(local.resolve()) if (local := local_path(uri)) is not None else uri.rstrip("/")
        for uri in (model, target)
    )
    if f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/"):
        raise FaultError(
            fault(
                "configuration_invalid",
                Phase.CONFIGURE,
                f"The model with warm-up cannot lie at {target}, for that is in, or above, the "
                f"model's own folder: {model}",
            )
        )
