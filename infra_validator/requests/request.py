"""A request, in the words of the project rather than of any server's API."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class Method(str, enum.Enum):
    """The RPC by which a signature is asked."""

    PREDICT = "Predict"
    CLASSIFY = "Classify"
    REGRESS = "Regress"
    MULTI_INFERENCE = "MultiInference"


@dataclasses.dataclass(frozen=True)
class Request:
    """One RPC to send.

    Attributes:
        number: its place among the requests, from 1.
        signature: the signature it asks; several are joined by a comma.
        method: the RPC.
        message: the RPC's request message.
        description: what it carries (names, types, shapes), never the content.
        batch_size: how many examples, or rows, it carries.
    """

    number: int
    signature: str
    method: Method
    message: Any
    description: str
    batch_size: int = 1


def to_warmup_record(request: Request) -> bytes:
    """The request as a serialized PredictionLog, as warm-up files hold them."""
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    field = {
        Method.PREDICT: log.predict_log,
        Method.CLASSIFY: log.classify_log,
        Method.REGRESS: log.regress_log,
        Method.MULTI_INFERENCE: log.multi_inference_log,
    }[request.method]
    field.request.CopyFrom(request.message)
    return bytes(log.SerializeToString())
