"""The validation as one function, for those who have a model and no pipeline."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from infra_validator import config
from infra_validator.files import FileSystem, Gfile, absolute, is_missing
from infra_validator.keys import LOAD_ONLY_NOTES
from infra_validator.places import find_examples, find_model
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from infra_validator.specs import SpecError, to_message
from infra_validator.validation import engine
from infra_validator.validation.progress import Observer, ignore
from infra_validator.waiting import Cancellation

if TYPE_CHECKING:
    from google.protobuf.message import Message

SpecForm: TypeAlias = "Message | Mapping[str, Any] | str"
"""A spec: our message, TFX's message of the same name, a dict, or JSON text."""

Path: TypeAlias = "str | os.PathLike[str]"


def validate(
    model_dir: Path,
    *,
    serving_spec: SpecForm | None = None,
    validation_spec: SpecForm | None = None,
    request_spec: SpecForm | None = None,
    examples: Path | None = None,
    stamped_model: Path | None = None,
    cancellation: Cancellation | None = None,
    observer: Observer = ignore,
) -> Report:
    """Serves a model, asks it, and says what came of it.

    Whatever the model or the infrastructure does, the answer is a report; see
    its `verdict`. Nothing is left running.

    Args:
        model_dir: the SavedModel's folder, a local path or a URI that TensorFlow
            reads. The folder of TFX's Model artifact is taken too, and a folder
            of numbered versions, of which the newest is validated.
        serving_spec: what serves, and where. What is not set: TensorFlow
            Serving, as a process of this machine.
        validation_spec: limits and tries; None for the defaults.
        request_spec: what to ask, and from which source; None for one request to
            the default signature where there are `examples`, else none.
        examples: what to ask with: the folder of TFX's Examples artifact, a
            folder of TFRecord files, one such file, or a pattern of their names.
            None to load the model only, or where `request_spec` has another source.
        stamped_model: a folder to make, for a copy of a blessed model with the
            requests as warm-up. Needed if `request_spec.make_warmup` is set.
        cancellation: by which another thread can have it given up.
        observer: is told what happens, from several threads.

    Returns:
        The report.

    Raises:
        SpecError: for arguments that can never work, before anything starts.
        Cancelled: if it was given up; everything is released then.
        OSError: if no folder for temporary files can be made.
    """
    parsed = parse_specs(
        serving_spec, validation_spec, request_spec, with_examples=examples is not None
    )
    target = None if stamped_model is None else os.fspath(stamped_model)
    check_stamping(parsed, target)
    files = Gfile()
    if target is not None and _is_taken(files, target):
        raise SpecError(
            f"stamped_model: there is something at {target} already; name a folder that is not "
            "there yet."
        )
    model = find_model(files, os.fspath(model_dir))
    found = None if examples is None else find_examples(files, os.fspath(examples))
    notes = [] if model.note is None else [model.note]
    if request_spec is not None and parsed.requests is None:
        notes.append(LOAD_ONLY_NOTES[False, True])
    return engine.validate(
        engine.Candidate(model.uri, found, None if target is None else absolute(target)),
        parsed,
        files,
        cancellation=cancellation,
        notes=notes,
        observer=observer,
    )


def parse_specs(
    serving_spec: SpecForm | None,
    validation_spec: SpecForm | None,
    request_spec: SpecForm | None,
    *,
    with_examples: bool,
) -> config.ValidationConfig:
    """Checks the specs and fills in the defaults of a validation without a pipeline.

    Raises:
        SpecError: for the first field that can never work.
    """
    serving = pb.ServingSpec()
    if serving_spec is not None:
        serving.CopyFrom(to_message(serving_spec, pb.ServingSpec, "serving_spec"))
    if serving.WhichOneof("serving_binary") is None:
        serving.tensorflow_serving.SetInParent()
    if serving.WhichOneof("serving_platform") is None:
        serving.local_process.SetInParent()
    request = pb.RequestSpec() if with_examples else None
    if request_spec is not None:
        request = pb.RequestSpec()
        request.CopyFrom(to_message(request_spec, pb.RequestSpec, "request_spec"))
    if request is not None and request.WhichOneof("kind") is None:
        request.tensorflow_serving.SetInParent()
    parsed = config.parse(
        serving,
        None
        if validation_spec is None
        else to_message(validation_spec, pb.ValidationSpec, "validation_spec"),
        request,
        query=with_examples,
    )
    # There is no pipeline whose cache could keep the outcome, and nothing to say of it.
    return dataclasses.replace(parsed, fail_execution_when_undetermined=True)


def _is_taken(files: FileSystem, target: str) -> bool:
    """Whether there is something at a path; where that cannot be told, using it tells why."""
    try:
        return not is_missing(files, target)
    except OSError:
        return False


def check_stamping(parsed: config.ValidationConfig, target: str | None) -> None:
    """Checks that it is known where to put a stamped model, if there will be one.

    Raises:
        SpecError: if only one of the two is given, or the place is none.
    """
    stamps = parsed.requests is not None and parsed.requests.make_warmup
    if target == "":
        raise SpecError("stamped_model: empty; name a folder that is not there yet.")
    if stamps and target is None:
        raise SpecError(
            "stamped_model: not given; say where to put the model with warm-up requests, which "
            "make_warmup asks for."
        )
    if target is not None and parsed.requests is None:
        raise SpecError(
            "stamped_model: nothing would be put there, for there is nothing to ask with; give "
            "examples or another source of requests, which are then stored with the model."
        )
    if target is not None and not stamps:
        raise SpecError(
            "stamped_model: nothing would be put there; set RequestSpec.make_warmup as well."
        )
