"""Makes requests from records of examples."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from infra_validator import text
from infra_validator.requests import drafts
from infra_validator.requests.drafts import Draft, batches, fitting_sizes
from infra_validator.requests.examples import TF_EXAMPLE_FORMAT, Records
from infra_validator.requests.features import Table, parse_examples, unfit
from infra_validator.requests.mapping import (
    Plan,
    check_fillable,
    plan_constants,
    plan_inputs,
    unsupported,
)
from infra_validator.requests.tensors import Array, UnfitError, strings, to_proto
from infra_validator.saved_model.composites import Composite, Kind
from infra_validator.saved_model.reader import Signature, TensorSpec

Shape = Sequence["int | None"]


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What the graph tells of a signature, asked for only where it matters.

    Attributes:
        composites: the ragged and sparse tensors among its inputs.
        parses_examples: whether an input of it is parsed as serialized examples.
    """

    composites: Callable[[Signature], Sequence[Composite]] = lambda _: ()
    parses_examples: Callable[[Signature, str], bool] = lambda *_: True


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the user wants of the requests.

    Attributes:
        num_examples: how many examples each signature is asked with.
        batch_sizes: how many in a request; empty for what comes naturally.
        input_features: input to feature.
        input_constants: input to JSON value.
    """

    num_examples: int
    batch_sizes: Sequence[int] = ()
    input_features: Mapping[str, str] = dataclasses.field(default_factory=dict)
    input_constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class ExampleSource:
    """Records of one split, as a source of requests."""

    def __init__(self, records: Records, payload_format: str, asked: Asked) -> None:
        """Takes the records.

        Args:
            records: what to ask with.
            payload_format: TFX's name of what a record holds.
            asked: what is wanted of the requests.

        Raises:
            FaultError: "examples_unfit" for records that are not what the
                format says.
        """
        self._records = records
        self._format = payload_format
        self._asked = asked
        if payload_format == TF_EXAMPLE_FORMAT:
            self._table  # noqa: B018 - a broken record is a fault whatever is asked

    def requests(
        self, signature: Signature, facts: ModelFacts, notes: list[str]
    ) -> Iterator[Draft]:
        """Requests to a signature.

        Args:
            signature: the signature to ask.
            facts: what its graph tells of it.
            notes: gets what the user should know.

        Raises:
            FaultError: "signature_unsupported", "inputs_unmatched",
                "examples_unfit" or "configuration_invalid".
        """
        if signature.method in {drafts.CLASSIFY, drafts.REGRESS}:
            table = self._table_for(signature)
            only = drafts.only_size_of_examples(signature)
            for size in fitting_sizes(signature, self._asked.batch_sizes, only, notes):
                for batch in self._batches(size, notes):
                    yield drafts.on_examples(signature, [table.examples[i] for i in batch])
        elif signature.method == drafts.PREDICT:
            check_fillable(signature)
            serialized = drafts.is_serialized_input(signature)
            if serialized is not None and self._takes_records(signature, serialized, facts):
                yield from self._serialized(signature, serialized, notes)
            else:
                yield from self._by_features(signature, facts, notes)
        else:
            raise unsupported(
                f"The signature {signature.name!r} has the method {signature.method!r}; only "
                f"{', '.join(drafts.METHODS)} can be asked."
            )

    def together(self, signatures: Sequence[Signature], notes: list[str]) -> Iterator[Draft]:
        """MultiInference requests to signatures of one input."""
        table = self._table_for(signatures[0])
        only = drafts.only_size_of_examples(signatures[0])
        for size in fitting_sizes(signatures[0], self._asked.batch_sizes, only, notes):
            for batch in self._batches(size, notes):
                yield drafts.together(signatures, [table.examples[i] for i in batch])

    @functools.cached_property
    def _table(self) -> Table:
        return parse_examples(self._records)

    def _table_for(self, signature: Signature) -> Table:
        if self._format != TF_EXAMPLE_FORMAT:
            raise unfit(
                f"The signature {signature.name!r} ({signature.method}) takes tf.Example "
                f"messages, and the examples are {self._format}."
            )
        return self._table

    def _batches(self, size: int, notes: list[str]) -> Iterator[list[int]]:
        count = len(self._records.values)
        if count < size:
            notes.append(
                f"The split {self._records.split_name!r} holds only "
                f"{text.count(count, 'example')}, repeated to make batches of {size}."
            )
        yield from batches(count, self._asked.num_examples, size)

    def _takes_records(self, signature: Signature, name: str, facts: ModelFacts) -> bool:
        """Whether the one string input is for whole records, rather than for a feature."""
        asked = self._asked
        if name in asked.input_features or name in asked.input_constants:
            return False
        if self._format != TF_EXAMPLE_FORMAT or name not in self._table.features():
            return True
        return facts.parses_examples(signature, name)

    def _serialized(self, signature: Signature, name: str, notes: list[str]) -> Iterator[Draft]:
        shape = signature.inputs[name].shape
        only = None if shape is None or shape == (None,) else (shape or (1,))[0]
        for size in fitting_sizes(signature, self._asked.batch_sizes, only, notes):
            for batch in self._batches(size, notes):
                values = strings([self._records.values[i] for i in batch])
                try:
                    tensor = to_proto(values, "DT_STRING", () if shape == () else (size,))
                except UnfitError as error:
                    raise drafts.too_large(signature.name, error) from None
                yield drafts.predict(signature.name, {name: tensor}, size)

    def _by_features(
        self, signature: Signature, facts: ModelFacts, notes: list[str]
    ) -> Iterator[Draft]:
        if not signature.inputs:
            raise unsupported(f"The signature {signature.name!r} has no input to ask it with.")
        if self._format != TF_EXAMPLE_FORMAT:
            raise unsupported(
                f"The signature {signature.name!r} cannot be asked with examples of "
                f"{self._format}: it must have a single string input, and it has "
                f"{', '.join(f'{name}: {spec}' for name, spec in sorted(signature.inputs.items()))}"
                "."
            )
        constants = plan_constants(signature, self._asked.input_constants)
        plan = plan_inputs(
            signature,
            facts.composites(signature),
            self._table.features(),
            self._asked.input_features,
            constants,
        )
        filler = _Filler(signature, plan, self._table)
        for size in fitting_sizes(signature, self._asked.batch_sizes, filler.only_size, notes):
            for batch in self._batches(size, notes):
                try:
                    inputs = filler.inputs(batch)
                except UnfitError as error:
                    raise drafts.too_large(signature.name, error) from None
                yield drafts.predict(signature.name, inputs, size)


class _Filler:
    """Fills the inputs of one signature from the features of the examples."""

    def __init__(self, signature: Signature, plan: Plan, table: Table) -> None:
        self._plan = plan
        self._table = table
        self._dense: dict[str, tuple[TensorSpec, list[Array]]] = {}
        for name, feature in plan.dense.items():
            spec = signature.inputs[name]
            self._dense[name] = spec, table.column(feature, spec.dtype, may_miss=False)
        self._composites = [
            (
                composite,
                table.column(
                    feature, signature.inputs[composite.values_input].dtype, may_miss=True
                ),
            )
            for composite, feature in plan.composites
        ]
        self._specs = signature.inputs
        self._batched = self._decide_batched()
        self.only_size = self._fixed_size(signature.name)

    def inputs(self, batch: Sequence[int]) -> dict[str, Any]:
        """TensorProtos for these examples."""
        filled = {
            name: drafts.constant_tensor(constant, len(batch))
            for name, constant in self._plan.constants.items()
        }
        for name, (spec, column) in self._dense.items():
            rows = [column[place] for place in batch]
            numbers = [place + 1 for place in batch]
            shape = self._shape(name, spec, rows, numbers)
            values = rows[0] if len(rows) == 1 else np.concatenate(rows)
            filled[name] = to_proto(values, spec.dtype, shape)
        for composite, column in self._composites:
            made = self._components(composite, [column[place] for place in batch], batch)
            filled.update({key: value for key, value in made.items() if key not in filled})
        return filled

    def _decide_batched(self) -> bool:
        """Whether the first dimension is that of a batch; the first example tells."""
        first = [(spec.shape, len(column[0])) for spec, column in self._dense.values()]
        if self._composites or all(_takes(_per_example(shape), count) for shape, count in first):
            return True
        return not all(_takes(shape, count) for shape, count in first)

    def _fixed_size(self, name: str) -> int | None:
        if not self._batched:
            return 1
        sizes = {
            1 if spec.shape == () else spec.shape[0]
            for spec, _ in self._dense.values()
            if spec.shape is not None and (spec.shape == () or spec.shape[0] is not None)
        }
        if len(sizes) > 1:
            raise unsupported(
                f"The signature {name!r} has inputs of different fixed batch sizes: "
                f"{', '.join(map(str, sorted(filter(None, sizes))))}; set those that are not per "
                "example by RequestSpec.tensorflow_serving.input_constants."
            )
        return sizes.pop() if sizes else None

    def _shape(
        self, name: str, spec: TensorSpec, rows: Sequence[Array], numbers: Sequence[int]
    ) -> tuple[int, ...]:
        feature = self._plan.dense[name]
        takes = _per_example(spec.shape) if self._batched else spec.shape
        for number, row in zip(numbers, rows, strict=True):
            if not _takes(takes, len(row)):
                raise unfit(
                    f"The feature {feature!r} has {len(row)} values in "
                    f"{self._table.where([number])}, and the input {name!r} takes {spec}."
                )
            if len(row) != len(rows[0]):
                raise unfit(
                    f"The feature {feature!r} has {len(rows[0])} values in record {numbers[0]} "
                    f"and {len(row)} in {self._table.where([number])}, and the input {name!r} "
                    f"({spec}) takes equally many in a batch; ask with batches of 1."
                )
        count = len(rows[0])
        if not self._batched or spec.shape == ():
            return _resolve(spec.shape or (), count)
        if spec.shape is None:
            return (len(rows),) if count == 1 else (len(rows), count)
        return (len(rows), *_resolve(spec.shape[1:], count))

    def _components(
        self, composite: Composite, rows: Sequence[Array], batch: Sequence[int]
    ) -> dict[str, Any]:
        feature = {whole.name: name for whole, name in self._plan.composites}[composite.name]
        values = np.concatenate(rows)
        if composite.kind == Kind.RAGGED:
            return self._ragged(composite, feature, rows, values, batch)
        return self._sparse(composite, feature, rows, values, batch)

    def _ragged(
        self,
        composite: Composite,
        feature: str,
        rows: Sequence[Array],
        values: Array,
        batch: Sequence[int],
    ) -> dict[str, Any]:
        if len(composite.inputs) != 2:
            raise unsupported(
                f"The input {composite.name!r} is ragged in several dimensions, which one feature "
                "cannot fill; set its components by RequestSpec.tensorflow_serving.input_constants."
            )
        flat, splits = composite.inputs
        spec = self._specs[flat]
        inner = spec.shape[1:] if spec.shape else ()
        width = math.prod(size or 1 for size in inner)
        for place, row in zip(batch, rows, strict=True):
            if len(row) % max(width, 1):
                raise unfit(
                    f"The feature {feature!r} has {len(row)} values in "
                    f"{self._table.where([place + 1])}, and the ragged input {flat!r} takes them "
                    f"{width} by {width}."
                )
        lengths = [len(row) // max(width, 1) for row in rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        split_dtype = self._specs[splits].dtype
        stored = np.int32 if split_dtype == "DT_INT32" else np.int64
        return {
            flat: to_proto(values, spec.dtype, (sum(lengths), *(size or 1 for size in inner))),
            splits: to_proto(offsets.astype(stored), split_dtype, (len(offsets),)),
        }

    def _sparse(
        self,
        composite: Composite,
        feature: str,
        rows: Sequence[Array],
        values: Array,
        batch: Sequence[int],
    ) -> dict[str, Any]:
        indices, flat, dense_shape = composite.inputs
        if composite.shape is not None and len(composite.shape) != 2:
            raise unsupported(
                f"The sparse input {composite.name!r} has {len(composite.shape)} dimensions; a "
                "feature fills one of a batch dimension and another."
            )
        width = composite.shape[1] if composite.shape is not None else None
        for place, row in zip(batch, rows, strict=True):
            if width is not None and len(row) > width:
                raise unfit(
                    f"The feature {feature!r} has {len(row)} values in "
                    f"{self._table.where([place + 1])}, and the sparse input {composite.name!r} "
                    f"takes at most {width}."
                )
        lengths = [len(row) for row in rows]
        at_row = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
        at_column = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
        pairs = np.stack([at_row, at_column], axis=1)
        whole = np.array([len(rows), width if width is not None else max(lengths)], dtype=np.int64)
        return {
            indices: to_proto(pairs, "DT_INT64", pairs.shape),
            flat: to_proto(values, self._specs[flat].dtype, values.shape),
            dense_shape: to_proto(whole, "DT_INT64", (2,)),
        }


def _per_example(shape: Shape | None) -> Shape | None:
    """What of an input's shape one example fills; a scalar takes its one value."""
    return shape if not shape else shape[1:]


def _takes(shape: Shape | None, count: int) -> bool:
    """Whether that many values fill a shape."""
    if shape is None:
        return True
    known = math.prod(size for size in shape if size is not None)
    open_ones = sum(size is None for size in shape)
    if open_ones == 1:
        return count == 0 if known == 0 else count % known == 0
    return count == known


def _resolve(shape: Shape, count: int) -> tuple[int, ...]:
    """A shape without open dimensions for that many values; several open ones are 1 each."""
    known = math.prod(size for size in shape if size is not None)
    single = sum(size is None for size in shape) == 1
    free = (count // known if known else 0) if single else 1
    return tuple(free if size is None else size for size in shape)
