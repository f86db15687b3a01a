"""Takes requests from a file of PredictionLog records: recorded traffic, or warm-up."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from infra_validator.files import FileSystem
from infra_validator.request_config import Source
from infra_validator.requests.drafts import Draft
from infra_validator.requests.request import Method
from infra_validator.requests.request_files import invalid, open_requests
from infra_validator.requests.tensors import describe
from infra_validator.tfrecord import TFRecordError, read_records
from infra_validator.wire import parse_whole

_FIELD = Source.PREDICTION_LOG.value
_DEFAULT_SIGNATURE = "serving_default"
_METHODS = {
    "predict_log": Method.PREDICT,
    "classify_log": Method.CLASSIFY,
    "regress_log": Method.REGRESS,
    "multi_inference_log": Method.MULTI_INFERENCE,
}


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a file gave.

    Attributes:
        drafts: the requests.
        skipped: kind of a record that cannot be sent, to how many there are.
    """

    drafts: tuple[Draft, ...]
    skipped: dict[str, int]


def read_log(files: FileSystem, uri: str, signatures: Collection[str] | None, limit: int) -> Taken:
    """Reads requests, no further than needed.

    Args:
        files: where the file lies.
        uri: where it is.
        signatures: those wanted; None for all.
        limit: how many requests at most.

    Raises:
        FaultError: "request_file_invalid", "storage_failed" or "storage_denied".
    """
    taken: list[Draft] = []
    skipped: dict[str, int] = {}
    with open_requests(files, _FIELD, uri) as file:
        try:
            for number, record in enumerate(read_records(file), start=1):
                draft = _draft(uri, number, record, skipped)
                if draft is not None and _is_wanted(draft, signatures):
                    taken.append(draft)
                if len(taken) == limit:
                    break
        except TFRecordError as error:
            raise invalid(_FIELD, uri, f"not a readable TFRecord file: {error}") from error
    if not taken:
        wanted = "" if signatures is None else f" to {', '.join(sorted(signatures))}"
        raise invalid(_FIELD, uri, f"the file holds no request{wanted} that can be sent")
    return Taken(tuple(taken), skipped)


def _is_wanted(draft: Draft, signatures: Collection[str] | None) -> bool:
    return signatures is None or set(draft.signature.split(", ")) <= set(signatures)


def _draft(uri: str, number: int, record: bytes, skipped: dict[str, int]) -> Draft | None:
    try:
        log = parse_whole(prediction_log_pb2.PredictionLog, record)
    except DecodeError:
        raise invalid(_FIELD, uri, f"record {number} is not a PredictionLog") from None
    kind = log.WhichOneof("log_type")
    if kind is None:
        raise invalid(_FIELD, uri, f"record {number} is not a PredictionLog, or an empty one")
    if kind not in _METHODS:
        skipped[kind] = skipped.get(kind, 0) + 1
        return None
    recorded = getattr(log, kind)
    if not recorded.HasField("request"):
        raise invalid(_FIELD, uri, f"record {number} ({kind}) holds no request")
    if kind == "multi_inference_log" and not recorded.request.tasks:
        raise invalid(_FIELD, uri, f"record {number} ({kind}) asks no signature")
    return _from_message(_METHODS[kind], recorded.request)


def _from_message(method: Method, message: Any) -> Draft:
    specs = (
        [task.model_spec for task in message.tasks]
        if method == Method.MULTI_INFERENCE
        else [message.model_spec]
    )
    signature = ", ".join(spec.signature_name or _DEFAULT_SIGNATURE for spec in specs)
    if method == Method.PREDICT:
        shapes = [tensor.tensor_shape.dim for tensor in message.inputs.values()]
        sizes = {shape[0].size if shape else 1 for shape in shapes}
        size = sizes.pop() if len(sizes) == 1 else 1
        return Draft(signature, method, message, describe(message.inputs), size)
    kind = message.input.WhichOneof("kind")
    size = len(getattr(message.input, kind).examples) if kind else 0
    return Draft(
        signature, method, message, f"{size} tf.Example{'' if size == 1 else 's'}", max(size, 1)
    )
