"""What a model's graph expects of serialized examples: the features that it parses them into."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from infra_validator.saved_model.graph import Frame, Graph

DECODES_IMAGES = frozenset({"DecodeImage", "DecodeJpeg", "DecodePng"})
READS_NUMBERS = frozenset({"StringToNumber"})


@dataclasses.dataclass(frozen=True)
class ParsedFeature:
    """A feature that an example must or may have.

    Attributes:
        name: its key.
        dtype: "DT_FLOAT", "DT_INT64" or "DT_STRING".
        shape: dimensions of its values, None for an open one.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class ParsingSpec:
    """What examples are parsed into.

    Attributes:
        context: features of a tf.Example, or of a SequenceExample's context.
        sequences: feature lists, by the features of one step; empty for a
            tf.Example.
        is_sequence: whether they are SequenceExamples.
    """

    context: tuple[ParsedFeature, ...]
    sequences: tuple[ParsedFeature, ...] = ()
    is_sequence: bool = False


@dataclasses.dataclass(frozen=True)
class StringUse:
    """What a graph does with a string input.

    Attributes:
        parsing: how it is parsed as serialized examples; None where it is not,
            or cannot be told.
        ops: the ops that are reached from it.
    """

    parsing: ParsingSpec | None
    ops: frozenset[str]


def find_use(graph: Graph, endpoint: str) -> StringUse:
    """What becomes of a string input.

    Args:
        graph: the model's graph.
        endpoint: the input's tensor.
    """
    ops: set[str] = set()
    found: list[ParsingSpec] = []
    for frame, node, places in graph.reached(endpoint):
        ops.add(node.op)
        if 0 in places and node.op in _READERS:
            read = _READERS[node.op](_Parser(graph, frame, node))
            if read is not None and read not in found:
                found.append(read)
    return StringUse(_merged(found), frozenset(ops))


def _merged(specs: Sequence[ParsingSpec]) -> ParsingSpec | None:
    if not specs:
        return None
    return ParsingSpec(
        _by_name(feature for spec in specs for feature in spec.context),
        _by_name(feature for spec in specs for feature in spec.sequences),
        any(spec.is_sequence for spec in specs),
    )


def _by_name(features: Iterable[ParsedFeature]) -> tuple[ParsedFeature, ...]:
    """Each feature once: of several shapes a fixed one, which fits where an open one is taken."""
    chosen: dict[str, ParsedFeature] = {}
    for feature in features:
        held = chosen.setdefault(feature.name, feature)
        chosen[feature.name] = max(held, feature, key=_strictness)
    return tuple(chosen.values())


def _strictness(feature: ParsedFeature) -> tuple[bool, int]:
    return None not in feature.shape, math.prod(size or 1 for size in feature.shape)


class _Parser:
    """One parsing op (tensorflow/core/ops/parsing_ops.cc)."""

    def __init__(self, graph: Graph, frame: Frame, node: Any) -> None:
        self._graph = graph
        self._frame = frame
        self._node = node
        self._inputs = [name for name in node.input if not name.startswith("^")]

    def count(self, attribute: str) -> int:
        return int(self._node.attr[attribute].i)

    def listed(self, attribute: str) -> list[str]:
        """Keys that are an attribute."""
        return [key.decode() for key in self._node.attr[attribute].list.s]

    def vector(self, place: int) -> list[str] | None:
        """Keys that are one input, a vector."""
        values = self._graph.constant_strings(self._frame, self._inputs[place])
        return None if values is None else [key.decode() for key in values]

    def scalars(self, place: int, count: int) -> list[str] | None:
        """Keys that are an input each."""
        keys: list[str] = []
        for at in range(place, place + count):
            values = self.vector(at)
            if values is None or len(values) != 1:
                return None
            keys += values
        return keys

    def dense(self, keys: list[str] | None, types: str, shapes: str) -> list[ParsedFeature] | None:
        if keys is None:
            return None
        return [
            ParsedFeature(key, _dtype_name(dtype), _shape(shape))
            for key, dtype, shape in zip(
                keys,
                self._node.attr[types].list.type,
                self._node.attr[shapes].list.shape,
                strict=False,
            )
        ]

    def varying(self, keys: list[str] | None, types: str) -> list[ParsedFeature] | None:
        if keys is None:
            return None
        return [
            ParsedFeature(key, _dtype_name(dtype), (None,))
            for key, dtype in zip(keys, self._node.attr[types].list.type, strict=False)
        ]


Parts = Iterable[list[ParsedFeature] | None]


def _spec(
    context: Parts, sequences: Parts = (), *, is_sequence: bool = False
) -> ParsingSpec | None:
    """A spec of several parts, unless one of them is not known."""
    whole: list[tuple[ParsedFeature, ...]] = []
    for parts in (context, sequences):
        features: list[ParsedFeature] = []
        for part in parts:
            if part is None:
                return None
            features += part
        whole.append(tuple(features))
    return ParsingSpec(whole[0], whole[1], is_sequence)


def _parse_example(parser: _Parser) -> ParsingSpec | None:
    sparse, dense = parser.count("Nsparse"), parser.count("Ndense")
    return _spec(
        [
            parser.varying(parser.scalars(2, sparse), "sparse_types"),
            parser.dense(parser.scalars(2 + sparse, dense), "Tdense", "dense_shapes"),
        ]
    )


def _parse_example_v2(parser: _Parser) -> ParsingSpec | None:
    return _spec(
        [
            parser.varying(parser.vector(2), "sparse_types"),
            parser.dense(parser.vector(3), "Tdense", "dense_shapes"),
            parser.varying(parser.vector(4), "ragged_value_types"),
        ]
    )


def _parse_single_example(parser: _Parser) -> ParsingSpec | None:
    return _spec(
        [
            parser.varying(parser.listed("sparse_keys"), "sparse_types"),
            parser.dense(parser.listed("dense_keys"), "Tdense", "dense_shapes"),
        ]
    )


def _parse_sequence_example(parser: _Parser) -> ParsingSpec | None:
    return _sequence_spec(
        parser,
        parser.listed("context_sparse_keys"),
        parser.listed("context_dense_keys"),
        parser.listed("feature_list_sparse_keys"),
        parser.listed("feature_list_dense_keys"),
    )


def _parse_sequence_example_v2(parser: _Parser) -> ParsingSpec | None:
    return _sequence_spec(
        parser,
        parser.vector(2),
        parser.vector(3),
        parser.vector(5),
        parser.vector(6),
        parser.varying(parser.vector(4), "context_ragged_value_types"),
        parser.varying(parser.vector(7), "feature_list_ragged_value_types"),
    )


def _parse_single_sequence_example(parser: _Parser) -> ParsingSpec | None:
    counts = [
        parser.count(name)
        for name in (
            "Ncontext_sparse",
            "Ncontext_dense",
            "Nfeature_list_sparse",
            "Nfeature_list_dense",
        )
    ]
    starts = [2 + sum(counts[:place]) for place in range(len(counts))]
    keys = [parser.scalars(start, count) for start, count in zip(starts, counts, strict=True)]
    return _sequence_spec(parser, keys[0], keys[1], keys[2], keys[3])


def _sequence_spec(
    parser: _Parser,
    context_sparse: list[str] | None,
    context_dense: list[str] | None,
    sequence_sparse: list[str] | None,
    sequence_dense: list[str] | None,
    *ragged: list[ParsedFeature] | None,
) -> ParsingSpec | None:
    return _spec(
        [
            parser.varying(context_sparse, "context_sparse_types"),
            parser.dense(context_dense, "Tcontext_dense", "context_dense_shapes"),
            *ragged[:1],
        ],
        [
            parser.varying(sequence_sparse, "feature_list_sparse_types"),
            parser.dense(sequence_dense, "feature_list_dense_types", "feature_list_dense_shapes"),
            *ragged[1:],
        ],
        is_sequence=True,
    )


_READERS: dict[str, Callable[[_Parser], ParsingSpec | None]] = {
    "ParseExample": _parse_example,
    "ParseExampleV2": _parse_example_v2,
    "ParseSingleExample": _parse_single_example,
    "ParseSequenceExample": _parse_sequence_example,
    "ParseSequenceExampleV2": _parse_sequence_example_v2,
    "ParseSingleSequenceExample": _parse_single_sequence_example,
}


def _shape(proto: Any) -> tuple[int | None, ...]:
    return tuple(None if dim.size < 0 else int(dim.size) for dim in proto.dim)


def _dtype_name(number: int) -> str:
    from tensorflow.core.framework import types_pb2

    return str(types_pb2.DataType.Name(number))
