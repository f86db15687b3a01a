"""Makes up requests from what a model says of itself, where there are no examples."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from infra_validator.requests import drafts
from infra_validator.requests.drafts import Draft, fitting_sizes
from infra_validator.requests.mapping import (
    Constant,
    check_fillable,
    plan_constants,
    unsupported,
)
from infra_validator.requests.tensors import UnfitError, check_size, to_proto, zeros
from infra_validator.saved_model.composites import Composite, Kind
from infra_validator.saved_model.parsing_spec import (
    DECODES_IMAGES,
    READS_NUMBERS,
    ParsedFeature,
    ParsingSpec,
    StringUse,
)
from infra_validator.saved_model.reader import Signature, TensorSpec

Shape = Sequence["int | None"]

# A PNG of one black pixel, in colours; every op that decodes JPEG or PNG reads it.
_IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
_UNKNOWN_USE = StringUse(None, frozenset())


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What the graph tells of a signature.

    Attributes:
        composites: the ragged and sparse tensors among its inputs.
        use: what becomes of a string input.
    """

    composites: Callable[[Signature], Sequence[Composite]] = lambda _: ()
    use: Callable[[Signature, str], StringUse] = lambda *_: _UNKNOWN_USE


class MadeUpSource:
    """Made-up values, as a source of requests."""

    def __init__(
        self, knowledge: Knowledge, batch_sizes: Sequence[int], input_constants: Mapping[str, Any]
    ) -> None:
        """Takes what is known.

        Args:
            knowledge: what the graph tells.
            batch_sizes: how many examples in a request; empty for what comes
                naturally.
            input_constants: input to JSON value.
        """
        self._knowledge = knowledge
        self._batch_sizes = batch_sizes
        self._constants = input_constants

    def requests(self, signature: Signature, notes: list[str]) -> Iterator[Draft]:
        """One request to a signature for each batch size.

        Raises:
            FaultError: "signature_unsupported" or "configuration_invalid".
        """
        if signature.method in {drafts.CLASSIFY, drafts.REGRESS}:
            example = self._example(signature, notes)
            only = drafts.only_size_of_examples(signature)
            for size in fitting_sizes(signature, self._batch_sizes, only, notes):
                yield drafts.on_examples(signature, [example] * size)
            return
        if signature.method != drafts.PREDICT or not signature.inputs:
            raise unsupported(
                f"The signature {signature.name!r} (method {signature.method!r}, "
                f"{len(signature.inputs)} inputs) is none that can be asked."
            )
        check_fillable(signature)
        constants = plan_constants(signature, self._constants)
        for size in fitting_sizes(signature, self._batch_sizes, _only_size(signature), notes):
            try:
                inputs = self._inputs(signature, constants, size, notes)
            except UnfitError as error:
                raise drafts.too_large(signature.name, error) from None
            yield drafts.predict(signature.name, inputs, size, " (made up)")

    def together(self, signatures: Sequence[Signature], notes: list[str]) -> Iterator[Draft]:
        """MultiInference requests to signatures of one input."""
        example = self._example(signatures[0], notes)
        only = drafts.only_size_of_examples(signatures[0])
        for size in fitting_sizes(signatures[0], self._batch_sizes, only, notes):
            yield drafts.together(signatures, [example] * size)

    def _example(self, signature: Signature, notes: list[str]) -> Any:
        from tensorflow.core.example import example_pb2

        [name, *_] = signature.inputs or [""]
        use = self._knowledge.use(signature, name) if name else _UNKNOWN_USE
        if use.parsing is None or use.parsing.is_sequence:
            notes.append(_not_known(signature, name))
            return example_pb2.Example()
        return make_example(use.parsing, _text(use))

    def _inputs(
        self,
        signature: Signature,
        constants: Mapping[str, Constant],
        size: int,
        notes: list[str],
    ) -> dict[str, Any]:
        filled = {
            name: drafts.constant_tensor(constant, size) for name, constant in constants.items()
        }
        for composite in self._knowledge.composites(signature):
            for name, tensor in _components(signature, composite, size).items():
                filled.setdefault(name, tensor)
        for name, spec in signature.inputs.items():
            if name not in filled and name not in signature.defaults:
                filled[name] = self._input(signature, name, spec, size, notes)
        return filled

    def _input(
        self, signature: Signature, name: str, spec: TensorSpec, size: int, notes: list[str]
    ) -> Any:
        shape = _made_shape(spec.shape, size)
        if spec.dtype != "DT_STRING":
            return to_proto(zeros(shape, spec.dtype), spec.dtype, shape)
        use = self._knowledge.use(signature, name)
        if use.parsing is None:
            text = _text(use)
            if not text:
                notes.append(_not_known(signature, name))
        else:
            text = make_example(use.parsing, _text(use)).SerializeToString()
        check_size(math.prod(shape) * len(text))
        return to_proto(zeros(shape, spec.dtype, text), spec.dtype, shape)


def make_example(parsing: ParsingSpec, text: bytes = b"") -> Any:
    """An Example or SequenceExample that can be parsed so.

    Args:
        parsing: what it is parsed into.
        text: the value of strings in it.
    """
    from tensorflow.core.example import example_pb2

    if not parsing.is_sequence:
        example = example_pb2.Example()
        for feature in parsing.context:
            _fill(example.features.feature[feature.name], feature, text)
        return example
    sequence = example_pb2.SequenceExample()
    for feature in parsing.context:
        _fill(sequence.context.feature[feature.name], feature, text)
    for feature in parsing.sequences:
        _fill(sequence.feature_lists.feature_list[feature.name].feature.add(), feature, text)
    return sequence


def _fill(target: Any, feature: ParsedFeature, text: bytes) -> None:
    count = math.prod(1 if size is None else size for size in feature.shape)
    check_size(count)
    if feature.dtype == "DT_STRING":
        target.bytes_list.value.extend([text] * count)
    elif feature.dtype == "DT_FLOAT":
        target.float_list.value.extend([0.0] * count)
    else:
        target.int64_list.value.extend([0] * count)


def _text(use: StringUse) -> bytes:
    """A text that the ops can read: an image, a number, or nothing in particular."""
    if use.ops & DECODES_IMAGES:
        return _IMAGE
    return b"0" if use.ops & READS_NUMBERS else b""


def _not_known(signature: Signature, name: str) -> str:
    return (
        f"What texts the input {name!r} of the signature {signature.name!r} takes cannot be told "
        "from the model's graph; it was asked with empty ones."
    )


def _only_size(signature: Signature) -> int | None:
    """The one batch size of a signature without any open first dimension."""
    firsts = {
        spec.shape[0] if spec.shape else 1
        for spec in signature.inputs.values()
        if spec.shape is not None
    }
    if None in firsts or len(firsts) < 1:
        return None
    return firsts.pop() if len(firsts) == 1 else 1


def _made_shape(shape: Shape | None, size: int) -> tuple[int, ...]:
    if shape is None:
        return (size,)
    return tuple(
        (size if place == 0 else 1) if known is None else known for place, known in enumerate(shape)
    )


def _components(signature: Signature, composite: Composite, size: int) -> dict[str, Any]:
    """One value in each row."""
    specs = [signature.inputs[name] for name in composite.inputs]
    if composite.kind == Kind.RAGGED:
        inner = _made_shape(specs[0].shape, size)[1:]
        made = {
            composite.inputs[0]: to_proto(
                zeros((size, *inner), specs[0].dtype), specs[0].dtype, (size, *inner)
            )
        }
        for name, spec in zip(composite.inputs[1:], specs[1:], strict=True):
            stored = np.int32 if spec.dtype == "DT_INT32" else np.int64
            made[name] = to_proto(np.arange(size + 1, dtype=stored), spec.dtype, (size + 1,))
        return made
    rank = len(composite.shape) if composite.shape is not None else _sparse_rank(specs)
    shape = _made_shape(composite.shape or (None,) * rank, size)
    rows = shape[0] if rank else 1
    indices = np.zeros((rows, rank), dtype=np.int64)
    if rank:
        indices[:, 0] = np.arange(rows)
    values = zeros((rows,), specs[1].dtype)
    return dict(
        zip(
            composite.inputs,
            (
                to_proto(indices, "DT_INT64", indices.shape),
                to_proto(values, specs[1].dtype, values.shape),
                to_proto(np.array(shape, dtype=np.int64), "DT_INT64", (rank,)),
            ),
            strict=True,
        )
    )


def _sparse_rank(specs: Sequence[TensorSpec]) -> int:
    return (specs[0].shape or (None, 2))[1] or (specs[2].shape or (2,))[0] or 2
