"""Replay of recorded requests before the model counts as loaded.

tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc and saved_model_warmup.cc.
"""

import time
from pathlib import Path
from typing import Any

from infra_validator.model_server import log, protos
from infra_validator.model_server.classify import classify
from infra_validator.model_server.model import Model
from infra_validator.model_server.multi_inference import multi_inference
from infra_validator.model_server.predict import predict
from infra_validator.model_server.regress import regress
from infra_validator.model_server.status import Code, StatusError, invalid_argument
from infra_validator.model_server.storage import filesystem_error
from infra_validator.model_server.tfrecord import RecordError, read_records

REQUESTS_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000

_HANDLERS = {
    "classify_log": classify,
    "regress_log": regress,
    "predict_log": predict,
    "multi_inference_log": multi_inference,
}


def _replay(model: Model, record: Any) -> None:
    """Runs the request of one PredictionLog; one without any is passed over."""
    kind = record.WhichOneof("log_type")
    if kind is None:
        return
    handler = _HANDLERS.get(kind)
    if handler is None:
        number = record.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    handler(model, getattr(record, kind).request, 0, None)


def run_warmup(model: Model, version_directory: str, iterations: int) -> None:
    """Replays the model's warm-up file, if it has one.

    Args:
        model: what to run the requests on.
        version_directory: the SavedModel.
        iterations: how often each request is run.

    Raises:
        StatusError: the file is unfit or a request failed; the load fails with it.
    """
    path = Path(version_directory) / REQUESTS_FILE
    if not path.exists():
        log.info(f"No warmup data file found at {path}")
        return
    log.info(
        f"Starting to read warmup data for model at {path} with model-warmup-options "
        f"num_request_iterations {{ value: {iterations} }}"
    )
    start = time.monotonic()
    count = 0
    try:
        for data in read_records(path):
            try:
                record = protos.PredictionLog.FromString(data)
            except protos.DecodeError:
                raise invalid_argument(
                    b"Failed to parse warmup record: %b from %b" % (data, bytes(path))
                ) from None
            for _ in range(iterations):
                _replay(model, record)
            count += 1
            if count > MAX_RECORDS:
                raise invalid_argument(
                    f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}"
                )
    except RecordError as error:
        raise StatusError(
            error.code,
            error.message + b". Please verify your warmup data is in TFRecord format.",
        ) from error
    except OSError as error:
        raise filesystem_error(error) from error
    elapsed = int((time.monotonic() - start) * 1_000_000)
    log.info(
        f"Finished reading warmup data for model at {path}. Number of warmup records read: "
        f"{count}. Elapsed time (microseconds): {elapsed}."
    )
