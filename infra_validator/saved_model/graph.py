"""Follows what comes into a graph by its inputs, through its functions; nothing is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# Inputs of a node that come before those handed on to its functions.
_OWN_INPUTS = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
# The functions' arguments are the node's inputs, one for one.
_CALLS = frozenset(
    {"PartitionedCall", "StatefulPartitionedCall", "TPUPartitionedCall", "While", "StatelessWhile"}
)
_MAX_DEPTH = 100


@dataclasses.dataclass(frozen=True)
class Frame:
    """A graph, or a call of a function.

    Attributes:
        nodes: its nodes by name.
        consumers: node or argument name to the nodes that take its outputs,
            each with the place among their inputs.
        arguments: argument names of the function, in order.
        caller: whence it is called; None for the graph itself.
        passed: for each argument, the caller's reference; None where unknown.
    """

    nodes: Mapping[str, Any]
    consumers: Mapping[str, list[tuple[Any, int]]]
    arguments: tuple[str, ...] = ()
    caller: Frame | None = None
    passed: tuple[str | None, ...] = ()


class Graph:
    """The graph of a MetaGraph, with its functions."""

    def __init__(self, meta_graph: Any) -> None:
        self._functions = {
            function.signature.name: function for function in meta_graph.graph_def.library.function
        }
        self._indexed: dict[str, Frame] = {}
        self._root = _index(meta_graph.graph_def.node)

    def reached(self, endpoint: str) -> Iterator[tuple[Frame, Any, frozenset[int]]]:
        """Nodes that something computed from a tensor reaches.

        Args:
            endpoint: the tensor, such as "serving_default_x:0".

        Yields:
            The frame, the node, and which of its inputs are reached.
        """
        yield from self._reached(self._root, {_source(endpoint)}, set(), 0)

    def calls_with(self, endpoint: str) -> Iterator[tuple[str, int]]:
        """Functions that take a tensor as it is: name, and which argument it is."""
        yield from self._calls_with(self._root, _source(endpoint), set())

    def constant_strings(self, frame: Frame, reference: str) -> list[bytes] | None:
        """The strings that a reference stands for, where they are constant."""
        name = _source(reference)
        node = frame.nodes.get(name)
        if node is None:
            if frame.caller is None or name not in frame.arguments:
                return None
            passed = frame.passed[frame.arguments.index(name)]
            return None if passed is None else self.constant_strings(frame.caller, passed)
        if node.op == "Const":
            return _strings(node.attr["value"].tensor)
        if node.op == "Identity":
            return self.constant_strings(frame, node.input[0])
        return None

    def _reached(
        self, frame: Frame, names: set[str], seen: set[tuple[str, frozenset[int]]], depth: int
    ) -> Iterator[tuple[Frame, Any, frozenset[int]]]:
        reached: dict[str, set[int]] = {}
        waiting = list(names)
        while waiting:
            for node, place in frame.consumers.get(waiting.pop(), ()):
                if node.name not in reached:
                    reached[node.name] = set()
                    waiting.append(node.name)
                reached[node.name].add(place)
        for name, places in reached.items():
            node = frame.nodes[name]
            yield frame, node, frozenset(places)
            for function, offset in self._called(node):
                inner = self._call(frame, node, function, offset)
                arguments = frozenset(
                    place - offset for place in places if 0 <= place - offset < len(inner.arguments)
                )
                key = (function, arguments)
                if arguments and key not in seen and depth < _MAX_DEPTH:
                    seen.add(key)
                    taken = {inner.arguments[place] for place in arguments}
                    yield from self._reached(inner, taken, seen, depth + 1)

    def _calls_with(
        self, frame: Frame, name: str, seen: set[tuple[str, int]]
    ) -> Iterator[tuple[str, int]]:
        for node, place in frame.consumers.get(name, ()):
            if node.op == "Identity":
                yield from self._calls_with(frame, node.name, seen)
            elif node.op in _CALLS or node.op in self._functions:
                for function, offset in self._called(node):
                    inner = self._call(frame, node, function, offset)
                    if place < len(inner.arguments) and (function, place) not in seen:
                        seen.add((function, place))
                        yield function, place
                        yield from self._calls_with(inner, inner.arguments[place], seen)

    def _called(self, node: Any) -> Iterator[tuple[str, int]]:
        """Functions that a node calls, each with the place of its first argument."""
        if node.op in self._functions:
            yield node.op, 0
        for value in node.attr.values():
            for function in (value.func, *value.list.func):
                if function.name in self._functions:
                    yield function.name, _OWN_INPUTS.get(node.op, 0)

    def _call(self, caller: Frame, node: Any, function: str, offset: int) -> Frame:
        if function not in self._indexed:
            definition = self._functions[function]
            self._indexed[function] = dataclasses.replace(
                _index(definition.node_def),
                arguments=tuple(argument.name for argument in definition.signature.input_arg),
            )
        inner = self._indexed[function]
        inputs = [reference for reference in node.input if not reference.startswith("^")]
        passed: list[str | None] = list(inputs[offset:])
        passed += [None] * (len(inner.arguments) - len(passed))
        return dataclasses.replace(inner, caller=caller, passed=tuple(passed))


def _index(nodes: Iterable[Any]) -> Frame:
    by_name: dict[str, Any] = {}
    consumers: dict[str, list[tuple[Any, int]]] = {}
    for node in nodes:
        by_name[node.name] = node
        for place, reference in enumerate(node.input):
            if not reference.startswith("^"):
                consumers.setdefault(_source(reference), []).append((node, place))
    return Frame(by_name, consumers)


def _source(reference: str) -> str:
    """The node or argument that a reference is an output of ("a:0", in functions "a:out:0")."""
    return reference.partition(":")[0]


def _strings(tensor: Any) -> list[bytes]:
    values = list(tensor.string_val)
    size = 1
    for dim in tensor.tensor_shape.dim:
        size *= dim.size
    # A tensor whose last values are alike may be stored without them.
    return values + values[-1:] * (size - len(values))
