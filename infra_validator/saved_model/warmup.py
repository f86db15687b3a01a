"""Stamps a model with warm-up records, which a server replays when it loads the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from infra_validator.files import FileSystem, copy_tree, storage_errors
from infra_validator.tfrecord import write_records

MAX_WARMUP_RECORDS = 1000
"""More than these make TensorFlow Serving refuse the model (saved_model_warmup_util.cc)."""


def stamp_model(
    files: FileSystem,
    model: str,
    target: str,
    records: Iterable[bytes],
    check: Callable[[], None],
) -> None:
    """Copies a model and gives the copy warm-up records.

    The model itself is only read. A warm-up file that it brings is replaced in
    the copy.

    Args:
        files: file system of both.
        model: the SavedModel's folder.
        target: the folder to make.
        records: serialized tensorflow.serving.PredictionLog messages, at most
            `MAX_WARMUP_RECORDS`.
        check: called now and then; what it raises ends the copy.

    Raises:
        OSError: if a file cannot be read or written.
    """
    copy_tree(files, model, target, check)
    with storage_errors():
        files.makedirs(f"{target}/assets.extra")
        with files.open(f"{target}/assets.extra/tf_serving_warmup_requests", "wb") as file:
            write_records(file, records)
