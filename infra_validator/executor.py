"""What TFX runs: artifacts and JSON in, blessing out."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from infra_validator import blessing as blessings
from infra_validator import config
from infra_validator.faults import Blame, Fault, FaultError, Phase, fault
from infra_validator.files import storage_errors
from infra_validator.keys import (
    BLESSING_KEY,
    EXAMPLES_KEY,
    LOAD_ONLY_NOTES,
    MODEL_KEY,
    REQUEST_SPEC_KEY,
    SERVING_SPEC_KEY,
    VALIDATION_SPEC_KEY,
)
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from infra_validator.request_config import needs_examples
from infra_validator.requests.examples import TF_EXAMPLE_FORMAT, Examples
from infra_validator.specs import Spec, SpecError, left_within, parameters_left, to_message
from infra_validator.validation.engine import Candidate, refuse, validate
from infra_validator.waiting import Cancellation, Cancelled

_logger = logging.getLogger(__name__)

# Custom property of Examples that says what a record holds (tfx/components/example_gen/utils.py).
_PAYLOAD_FORMAT_PROPERTY = "payload_format"
_FILE_FORMAT_PROPERTY = "file_format"


class ValidationFailedError(RuntimeError):
    """Raised where nothing can be said of the model and the execution must fail.

    Its text carries the reason, what to do, and where the report is, since a
    failed execution publishes no artifact.
    """


class Executor(base_executor.BaseExecutor):
    """Runs one validation."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Validates the model, and marks the blessing.

        Args:
            input_dict: `model`, one `Model`; `examples`, any number of
                `Examples`, such as one for each span.
            output_dict: `blessing`, one `InfraBlessing`.
            exec_properties: `serving_spec`, `validation_spec`, `request_spec`
                as JSON text.

        Raises:
            ValidationFailedError: if the execution must fail: for a spec that
                can never work, for the data's fault, and for an undetermined
                outcome where the spec asks for it.
            Cancelled: on SIGTERM; everything is released then.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING_KEY])
        examples = input_dict.get(EXAMPLES_KEY) or []
        models = input_dict[MODEL_KEY]
        if len(models) != 1:
            uris = ", ".join(model.uri for model in models)
            self._finish(refuse(uris, _not_one(models)), blessing, fail_when_undetermined=True)
            return
        model = models[0]

        try:
            request_spec = _spec(exec_properties, REQUEST_SPEC_KEY, pb.RequestSpec)
            parsed = config.parse(
                _spec(exec_properties, SERVING_SPEC_KEY, pb.ServingSpec) or pb.ServingSpec(),
                _spec(exec_properties, VALIDATION_SPEC_KEY, pb.ValidationSpec),
                request_spec,
                query=bool(examples),
            )
        except SpecError as error:
            found = fault("configuration_invalid", Phase.CONFIGURE, str(error))
            self._finish(refuse(model.uri, found), blessing, fail_when_undetermined=True)
            return
        fail_when_undetermined = parsed.fail_execution_when_undetermined
        try:
            model_path = _serving_model_path(model)
            given = _read_examples(examples) if examples else None
        except FaultError as error:
            self._finish(refuse(model.uri, error.fault, parsed), blessing, fail_when_undetermined)
            return

        note = None
        if request_spec is None or needs_examples(request_spec):
            note = LOAD_ONLY_NOTES.get((bool(examples), request_spec is not None))
        candidate = Candidate(
            model_uri=model_path,
            examples=given,
            stamp_uri=path_utils.stamped_model_path(blessing.uri),
        )
        with _cancelled_by_sigterm() as cancellation:
            try:
                report = validate(
                    candidate,
                    parsed,
                    fileio,
                    cancellation=cancellation,
                    notes=[] if note is None else [note],
                )
            except Cancelled:
                raise
            except Exception as error:
                # Whatever it was, there is a report of it, and its traceback goes on its way.
                summary = f"The validation itself failed: {type(error).__name__}: {error}"
                found = fault("internal_error", Phase.CONFIGURE, summary)
                place = self._write_failed(refuse(model_path, found, parsed), blessing)
                raise ValidationFailedError(f"{summary} Report: {place}") from error
            self._finish(report, blessing, fail_when_undetermined)
            # A SIGTERM that came late must not be taken for an end in peace.
            cancellation.check()

    def _finish(
        self, report: Report, blessing: types.Artifact, fail_when_undetermined: bool
    ) -> None:
        found = report.fault
        if found is not None and _fails_execution(found, fail_when_undetermined):
            place = self._write_failed(report, blessing)
            raise ValidationFailedError(f"{report.reason} {found.hint} Report: {place}")
        place = blessings.publish(report, blessing)
        for note in report.notes:
            _logger.warning("%s", note)
        if found is None:
            _logger.info("Blessed. %s Report: %s", report.reason, place)
        else:
            verdict = report.verdict.value.replace("_", " ").capitalize()
            _logger.warning("%s. %s %s Report: %s", verdict, report.reason, found.hint, place)

    def _write_failed(self, report: Report, blessing: types.Artifact) -> str:
        """TFX removes the outputs of a failed execution, and keeps its working folder."""
        kept = self._context.stateful_working_dir if self._context else None
        return blessings.write_report(report, kept or blessing.uri)


def _fails_execution(found: Fault, fail_when_undetermined: bool) -> bool:
    if found.blame == Blame.INFRASTRUCTURE:
        return fail_when_undetermined
    return found.blame in {Blame.DATA, Blame.CONFIGURATION}


def _not_one(models: list[types.Artifact]) -> Fault:
    """For an input without a model or with several; those are several validations."""
    found = ", ".join(model.uri for model in models) or "none"
    return fault(
        "configuration_invalid",
        Phase.CONFIGURE,
        f"The input '{MODEL_KEY}' must hold exactly one artifact, but holds {len(models)}: "
        f"{found}.",
        hint="Choose one with a Resolver, or validate each in a tfx.dsl.ForEach.",
    )


def _spec(exec_properties: dict[str, Any], key: str, message_type: type[Spec]) -> Spec | None:
    value = exec_properties.get(key)
    if value is None or (not isinstance(value, Message) and not value):
        return None
    left = parameters_left(value) if isinstance(value, str) else []
    if left:
        raise SpecError(left_within(left, key))
    return to_message(value, message_type, key)


def _serving_model_path(model: types.Artifact) -> str:
    """The SavedModel's folder, in any layout that TFX's Trainer ever wrote.

    Raises:
        FaultError: "model_missing" if that leads to no one folder,
            "storage_failed" if the storage cannot be asked.
    """
    try:
        with storage_errors():
            path: str = path_utils.serving_model_path(
                model.uri, path_utils.is_old_model_artifact(model)
            )
            return path
    except RuntimeError as error:  # several folders where one is meant (TFX's io_utils)
        raise FaultError(
            fault(
                "model_missing",
                Phase.STAGE,
                f"The model artifact does not hold exactly one exported model: {model.uri}",
                detail=str(error),
            )
        ) from error
    except OSError as error:
        raise FaultError(
            fault(
                "storage_failed",
                Phase.STAGE,
                f"The model artifact cannot be read: {model.uri}",
                detail=str(error),
            )
        ) from error


def _read_examples(artifacts: list[types.Artifact]) -> Examples:
    """What all the artifacts hold together, split by split, in their order.

    Raises:
        FaultError: "examples_unfit" if they cannot be read as one.
    """
    formats = {_property(artifact, _PAYLOAD_FORMAT_PROPERTY) for artifact in artifacts}
    if len(formats) > 1:
        listing = ", ".join(sorted(known or "unset" for known in formats))
        raise _unfit(f"The examples are of several payload formats: {listing}.")
    for artifact in artifacts:
        file_format = _property(artifact, _FILE_FORMAT_PROPERTY)
        if file_format is not None and not file_format.startswith("tfrecord"):
            raise _unfit(
                f"The examples are stored as {file_format}; only TFRecord files can be read: "
                f"{artifact.uri}"
            )
    splits: dict[str, tuple[str, ...]] = {}
    for artifact in artifacts:
        for split in artifact_utils.decode_split_names(artifact.split_names):
            folder = artifact_utils.get_split_uri([artifact], split)
            splits[split] = (*splits.get(split, ()), folder)
    return Examples(splits=splits, payload_format=formats.pop() or TF_EXAMPLE_FORMAT)


def _property(artifact: types.Artifact, name: str) -> str | None:
    if not artifact.has_custom_property(name):
        return None
    return artifact.get_string_custom_property(name) or None


def _unfit(summary: str) -> FaultError:
    return FaultError(fault("examples_unfit", Phase.STAGE, summary))


@contextlib.contextmanager
def _cancelled_by_sigterm() -> Iterator[Cancellation]:
    """Turns SIGTERM into a cancellation, where this is the main thread.

    Elsewhere no handler can be set; SIGTERM then ends the whole process, and
    what runs the servers sees to it that they end with it.
    """
    cancellation = Cancellation()
    if threading.current_thread() is not threading.main_thread():
        yield cancellation
        return
    previous = signal.signal(
        signal.SIGTERM, lambda *_: cancellation.cancel("the validator was told to end (SIGTERM)")
    )
    try:
        yield cancellation
    finally:
        signal.signal(signal.SIGTERM, previous)
