"""Takes the first records of a split of examples."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.files import FileSystem, is_missing, storage_errors, storage_fault
from infra_validator.request_config import ALL
from infra_validator.tfrecord import TFRecordError, read_records

TF_EXAMPLE_FORMAT = "FORMAT_TF_EXAMPLE"

# Formats that TFX stores as TFRecord (tfx/proto/example_gen.proto).
_RECORD_FORMATS = frozenset({TF_EXAMPLE_FORMAT, "FORMAT_TF_SEQUENCE_EXAMPLE", "FORMAT_PROTO"})


@dataclasses.dataclass(frozen=True)
class Examples:
    """Where examples lie.

    Attributes:
        splits: split name to the folder of its files, or to several folders,
            one for each span; in the artifact's order.
        payload_format: TFX's name of what a record holds, such as
            "FORMAT_TF_EXAMPLE".
    """

    splits: Mapping[str, str | tuple[str, ...]]
    payload_format: str = TF_EXAMPLE_FORMAT


@dataclasses.dataclass(frozen=True)
class Records:
    """Records taken from a split.

    Attributes:
        split_name: the split.
        values: the records, as stored.
    """

    split_name: str
    values: tuple[bytes, ...]


def choose_splits(
    examples: Examples, split_name: str | None, split_names: Sequence[str]
) -> list[str]:
    """The splits that are meant.

    Args:
        examples: where they are looked for.
        split_name: one; None for the first.
        split_names: several, "*" for all; empty where `split_name` says it.

    Raises:
        FaultError: "examples_missing" for one that is not there.
    """
    if not examples.splits and split_name is None:
        raise _missing("The examples have no split.")
    if list(split_names) == [ALL]:
        return list(examples.splits)
    named = list(split_names)
    if not named:
        named = list(examples.splits)[:1] if split_name is None else [split_name]
    for name in named:
        if name not in examples.splits:
            field = "split_names" if split_names else "split_name"
            known = ", ".join(examples.splits) or "none"
            raise _missing(
                f"RequestSpec.{field}: the examples have no split {name!r}; they have: {known}."
            )
    return named


def take_records(
    files: FileSystem, examples: Examples, split_name: str | None, count: int
) -> Records:
    """Reads the first records of a split, in the order of its folders and its files' names.

    Args:
        files: where the examples lie.
        examples: the splits.
        split_name: which to read; None for the first.
        count: how many records; fewer are taken where the split holds fewer.

    Raises:
        FaultError: "examples_missing", "examples_unreadable" or "storage_failed".
    """
    [split_name] = choose_splits(examples, split_name, ())
    if examples.payload_format not in _RECORD_FORMATS:
        raise FaultError(
            fault(
                "examples_unfit",
                Phase.STAGE,
                f"The examples are {examples.payload_format}, which cannot be read record by "
                "record.",
            )
        )
    folders = examples.splits[split_name]
    folders = (folders,) if isinstance(folders, str) else folders
    values: list[bytes] = []
    for folder in folders:
        if len(values) < count:
            for path in _data_files(files, folder):
                values += _take(files, path, count - len(values))
                if len(values) == count:
                    break
    if not values:
        raise _missing(f"The split {split_name!r} of the examples is empty: {', '.join(folders)}")
    return Records(split_name, tuple(values))


def _data_files(files: FileSystem, folder: str) -> list[str]:
    try:
        with storage_errors():
            if is_missing(files, folder):
                return []
            names = sorted(name for name in files.listdir(folder) if not name.startswith("."))
            paths = [f"{folder.rstrip('/')}/{name}" for name in names if not name.endswith("/")]
            return [path for path in paths if not files.isdir(path)]
    except OSError as error:
        raise _storage_failed(folder, error) from error


def _take(files: FileSystem, path: str, count: int) -> list[bytes]:
    try:
        with storage_errors(), files.open(path, "rb") as file:
            return list(itertools.islice(read_records(file), count))
    except TFRecordError as error:
        raise FaultError(
            fault(
                "examples_unreadable",
                Phase.STAGE,
                f"The examples cannot be read: {path}: {error}",
            )
        ) from error
    except OSError as error:
        raise _storage_failed(path, error) from error


def _missing(summary: str) -> FaultError:
    return FaultError(fault("examples_missing", Phase.STAGE, summary))


def _storage_failed(path: str, error: OSError) -> FaultError:
    return storage_fault(f"The examples cannot be read: {path}", Phase.STAGE, error)
