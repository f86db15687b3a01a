"""Stamps a model with warm-up records, which a server replays when it loads the model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from infra_validator.files import FileSystem, copy_tree, storage_errors
from infra_validator.tfrecord import write_records

MAX_WARMUP_RECORDS = 1000
"""More than these make TensorFlow Serving refuse the model (saved_model_warmup_util.cc)."""

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
"""Where a SavedModel has them."""


def choose_records(kinds: Sequence[Hashable], limit: int) -> list[int]:
    """Which of many requests become warm-up, so that each kind of them has its fair share.

    Kinds take turns, one request each, until the limit is reached or all are taken.

    Args:
        kinds: what kind each request is of.
        limit: how many to take at most.

    Returns:
        Indices into `kinds`, in order.
    """
    turns: dict[Hashable, int] = {}
    order = []
    for index, kind in enumerate(kinds):
        turn = turns[kind] = turns.get(kind, -1) + 1
        order.append((turn, index))
    return sorted(index for _, index in sorted(order)[:limit])


def stamp_model(
    files: FileSystem,
    model: Path,
    target: Path,
    records: Iterable[bytes],
    check: Callable[[], None],
) -> int:
    """Copies a model on this machine and gives the copy warm-up records.

    The model itself is only read. A warm-up file that it brings is replaced in
    the copy.

    Args:
        files: the file system that can read local folders.
        model: the SavedModel's folder.
        target: the folder to make; there must be none yet.
        records: serialized tensorflow.serving.PredictionLog messages, at most
            `MAX_WARMUP_RECORDS`.
        check: called now and then; what it raises ends the copy.

    Returns:
        Size of the warm-up file, in bytes.

    Raises:
        OSError: if a file cannot be read or written.
    """
    with storage_errors():
        target.mkdir(parents=True)
        copy_tree(files, str(model), str(target), check)
        warm_up = target / WARMUP_FILE
        warm_up.parent.mkdir(exist_ok=True)
        warm_up.unlink(missing_ok=True)
        with warm_up.open("xb") as file:
            write_records(file, records)
    return warm_up.stat().st_size
