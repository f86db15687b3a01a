"""Inputs of a signature that together are one ragged or sparse tensor.

TensorFlow 2 hands such a tensor over as its components, one input for each,
named `x`, `x_1`, `x_2`; the function that takes them still says what they are.
Models also name the components themselves, such as `x_values` and
`x_row_splits`.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator
from typing import Any

from infra_validator.saved_model.graph import Graph
from infra_validator.saved_model.reader import Signature

_INTEGERS = frozenset({"DT_INT64", "DT_INT32"})
_RAGGED, _SPARSE = "RaggedTensorSpec", "SparseTensorSpec"


class Kind(str, enum.Enum):
    """What the components are."""

    RAGGED = "ragged"
    SPARSE = "sparse"


@dataclasses.dataclass(frozen=True)
class Composite:
    """One tensor of several components.

    Attributes:
        kind: ragged or sparse.
        name: what it is called as a whole; the feature's name, if nothing else
            is said.
        inputs: the components' inputs: flat values and row splits, outermost
            first; or indices, values and dense shape.
        shape: of the whole; None where it is not known.
    """

    kind: Kind
    name: str
    inputs: tuple[str, ...]
    shape: tuple[int | None, ...] | None

    @property
    def values_input(self) -> str:
        """The input of its values."""
        return self.inputs[0] if self.kind == Kind.RAGGED else self.inputs[1]


def find_composites(graph: Graph, meta_graph: Any, signature: Signature) -> list[Composite]:
    """The ragged and sparse tensors among a signature's inputs."""
    found = list(_by_functions(graph, meta_graph, signature))
    taken = {name for composite in found for name in composite.inputs}
    return found + [
        composite for composite in _by_names(signature) if not taken & set(composite.inputs)
    ]


def _by_functions(graph: Graph, meta_graph: Any, signature: Signature) -> Iterator[Composite]:
    functions = meta_graph.object_graph_def.concrete_functions
    at: dict[str, dict[int, str]] = {}
    for name, spec in signature.inputs.items():
        if spec.endpoint:
            for function, place in graph.calls_with(spec.endpoint):
                if function in functions:
                    at.setdefault(function, {})[place] = name
    given: set[str] = set()
    for function, names in at.items():
        place = 0
        for kind, shape, count in _arguments(functions[function].canonicalized_input_signature):
            inputs = tuple(names[i] for i in range(place, place + count) if i in names)
            place += count
            whole = kind is not None and len(inputs) == count
            if kind is not None and whole and not given & set(inputs):
                given |= set(inputs)
                yield Composite(kind, min(inputs, key=len), inputs, shape)


Argument = tuple[Kind | None, "tuple[int | None, ...] | None", int]


def _arguments(value: Any) -> Iterator[Argument]:
    """The arguments of a function, each with the number of its components."""
    kind = value.WhichOneof("kind")
    if kind == "tuple_value":
        for item in value.tuple_value.values:
            yield from _arguments(item)
    elif kind == "list_value":
        for item in value.list_value.values:
            yield from _arguments(item)
    elif kind == "named_tuple_value":
        for pair in value.named_tuple_value.values:
            yield from _arguments(pair.value)
    elif kind == "dict_value":
        for _, item in sorted(value.dict_value.fields.items()):
            yield from _arguments(item)
    elif kind == "type_spec_value":
        spec = value.type_spec_value
        yield _composite(spec)
    elif kind in {"tensor_spec_value", "bounded_tensor_spec_value"}:
        yield None, None, 1


def _composite(spec: Any) -> Argument:
    state = spec.type_state.tuple_value.values
    shape = None
    if state and state[0].WhichOneof("kind") == "tensor_shape_value":
        proto = state[0].tensor_shape_value
        if not proto.unknown_rank:
            shape = tuple(None if dim.size < 0 else int(dim.size) for dim in proto.dim)
    if spec.type_spec_class_name == _RAGGED and spec.num_flat_components > 1:
        return Kind.RAGGED, shape, spec.num_flat_components
    if spec.type_spec_class_name == _SPARSE:
        return Kind.SPARSE, shape, 3
    return None, None, max(spec.num_flat_components, 1)


def _by_names(signature: Signature) -> Iterator[Composite]:
    """Components that are named as what they are, and of fitting types and shapes."""
    inputs = signature.inputs
    for name, spec in sorted(inputs.items()):
        match = re.fullmatch(r"(.*?)([/_.:-]?)row_splits", name)
        if match and spec.dtype in _INTEGERS and _rank(spec.shape) == 1:
            base, joint = match.groups()
            for values in (f"{base}{joint}values", f"{base}{joint}flat_values", base):
                if values in inputs and (_rank(inputs[values].shape) or 0) >= 1:
                    yield Composite(Kind.RAGGED, base or values, (values, name), None)
                    break
        match = re.fullmatch(r"(.*?)([/_.:-]?)indices", name)
        if match and spec.dtype == "DT_INT64" and _rank(spec.shape) == 2:
            base, joint = match.groups()
            values = f"{base}{joint}values"
            for shape in (f"{base}{joint}dense_shape", f"{base}{joint}shape"):
                if (
                    values in inputs
                    and shape in inputs
                    and inputs[shape].dtype == "DT_INT64"
                    and _rank(inputs[values].shape) == _rank(inputs[shape].shape) == 1
                ):
                    yield Composite(Kind.SPARSE, base or values, (name, values, shape), None)
                    break


def _rank(shape: tuple[int | None, ...] | None) -> int | None:
    return None if shape is None else len(shape)
