"""Features of tf.Examples, as columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.example import example_pb2

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.requests.examples import Records
from infra_validator.requests.tensors import Array, UnfitError, fit, strings
from infra_validator.wire import parse_whole

# An Example without features, written in either way.
_EMPTY_EXAMPLES = (b"", b"\x0a\x00")

_SHOWN_RECORDS = 5


@dataclasses.dataclass(frozen=True)
class Table:
    """The tf.Examples of a split.

    Attributes:
        records: the records, as stored.
        examples: the same, parsed.
    """

    records: Records
    examples: Sequence[Any]

    def features(self) -> dict[str, str]:
        """Every feature's name, with its type: "bytes", "float", "int64", or "empty"."""
        found: dict[str, str] = {}
        for example in self.examples:
            for name, feature in example.features.feature.items():
                if found.get(name, "empty") == "empty":
                    found[name] = _kind(feature)
        return found

    def column(self, name: str, dtype: str, *, may_miss: bool) -> list[Array]:
        """A feature's values of each record, as that type in stored form.

        Args:
            name: the feature.
            dtype: one of `tensors.FILLABLE`.
            may_miss: whether a record without it has no values, instead of
                being a fault.

        Raises:
            FaultError: "examples_unfit".
        """
        values: list[Array] = []
        missing: list[int] = []
        for number, example in enumerate(self.examples, start=1):
            features = example.features.feature
            feature = features.get(name)
            if feature is None or _kind(feature) == "empty":
                missing.append(number)
                values.append(np.empty(0, dtype=np.int64 if dtype != "DT_STRING" else object))
            else:
                values.append(_values(feature))
        if missing and not may_miss:
            raise unfit(
                f"The feature {name!r} is missing in {self.where(missing)}, of "
                f"{len(self.examples)}; it is needed in all."
            )
        return [self._fit(name, number, row, dtype) for number, row in enumerate(values, start=1)]

    def where(self, numbers: Sequence[int]) -> str:
        """Record numbers in words."""
        shown = ", ".join(map(str, numbers[:_SHOWN_RECORDS]))
        more = len(numbers) - _SHOWN_RECORDS
        return (
            f"{'record' if len(numbers) == 1 else 'records'} {shown}"
            f"{f' and {more} more' if more > 0 else ''} of the split {self.records.split_name!r}"
        )

    def _fit(self, name: str, number: int, row: Array, dtype: str) -> Array:
        try:
            return fit(row, dtype)
        except UnfitError as error:
            raise unfit(f"The feature {name!r} {error}, in {self.where([number])}.") from None


def parse_examples(records: Records) -> Table:
    """Parses records as tf.Examples.

    Raises:
        FaultError: "examples_unfit" if one is none.
    """
    return Table(
        records,
        [_parse_example(number, record) for number, record in enumerate(records.values, start=1)],
    )


def unfit(summary: str) -> FaultError:
    """The fault of examples that do not fit."""
    return FaultError(fault("examples_unfit", Phase.STAGE, summary))


def _parse_example(number: int, record: bytes) -> Any:
    try:
        example = parse_whole(example_pb2.Example, record)
    except DecodeError as error:
        raise unfit(f"Record {number} of the examples is not a tf.Example.") from error
    # Some other message may parse too, with all of its content in unknown fields.
    if not example.features.feature and record not in _EMPTY_EXAMPLES:
        raise unfit(f"Record {number} of the examples is not a tf.Example.")
    return example


def _kind(feature: Any) -> str:
    chosen = feature.WhichOneof("kind")
    return "empty" if chosen is None else str(chosen).removesuffix("_list")


def _values(feature: Any) -> Array:
    kind = _kind(feature)
    if kind == "bytes":
        return strings(feature.bytes_list.value)
    if kind == "float":
        return np.array(feature.float_list.value, dtype=np.float32)
    return np.array(feature.int64_list.value, dtype=np.int64)
