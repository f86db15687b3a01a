"""Everything that a SavedModel says of itself, read from its files; nothing of it is run."""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from infra_validator.files import FileSystem, storage_errors
from infra_validator.saved_model.op_registry import is_python_op, package_of
from infra_validator.saved_model.reader import TensorSpec, _dtype_name, _read
from infra_validator.tfrecord import TFRecordError, read_records
from infra_validator.wire import parse_whole

_WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
_KINDS = ("variables", "assets", "assets.extra")
_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_NAMED_FILES = 5
_INDEX = "variables.index"
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")
_REQUESTS = {
    "predict_log": "Predict",
    "classify_log": "Classify",
    "regress_log": "Regress",
    "multi_inference_log": "MultiInference",
    "session_log": "SessionRun",
}


@dataclasses.dataclass(frozen=True)
class SignatureInspection:
    """A signature.

    Attributes:
        name: its key in the MetaGraph.
        method: its method name, such as "tensorflow/serving/predict".
        inputs: input key to what it takes.
        outputs: output key to what it gives.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class ForeignOp:
    """An op that TensorFlow itself does not have.

    Attributes:
        name: of the op.
        count: how often the graph and its functions have it.
        package: what is likely to have it, or None.
        signatures: those that need it.
    """

    name: str
    count: int
    package: str | None
    signatures: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class PythonOp:
    """An op that calls a Python function, which no server has.

    Attributes:
        name: of the op.
        count: how often the graph and its functions have it.
        signatures: those that need it.
    """

    name: str
    count: int
    signatures: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class MetaGraphInspection:
    """A MetaGraph.

    Attributes:
        tags: its tags.
        tensorflow_version: of the TensorFlow that wrote it; empty if it does
            not say.
        producer: version of the graph's format.
        min_consumer: the oldest version of the graph's format that can read it.
        signatures: by name; TensorFlow's own left out.
        nodes: nodes of the graph and of its functions.
        functions: functions in its library.
        foreign_ops: ops that TensorFlow does not have, by name.
        python_ops: ops that call Python, by name.
    """

    tags: tuple[str, ...]
    tensorflow_version: str
    producer: int
    min_consumer: int
    signatures: tuple[SignatureInspection, ...]
    nodes: int
    functions: int
    foreign_ops: tuple[ForeignOp, ...]
    python_ops: tuple[PythonOp, ...]


@dataclasses.dataclass(frozen=True)
class WarmUpInspection:
    """The warm-up requests that come with the model.

    Attributes:
        records: how many.
        requests: method and signature, such as "Predict serving_default", to
            how many.
        problem: why a server would refuse the file, or None.
    """

    records: int
    requests: Mapping[str, int]
    problem: str | None


@dataclasses.dataclass(frozen=True)
class FilesInspection:
    """Files of one kind.

    Attributes:
        count: how many.
        size: bytes in all.
    """

    count: int
    size: int


@dataclasses.dataclass(frozen=True)
class Inspection:
    """A SavedModel.

    Attributes:
        model: its folder.
        meta_graphs: in the file's order.
        warm_up: its warm-up requests, or None if it has none.
        files: "graph", "variables", "assets", "assets.extra" and "other", those
            that there are, to its files.
        compared_with: version of the TensorFlow whose ops `foreign_ops` was
            found against.
        missing_files: files of its variables that are not there, as far as their
            names can be told.
    """

    model: str
    meta_graphs: tuple[MetaGraphInspection, ...]
    warm_up: WarmUpInspection | None
    files: Mapping[str, FilesInspection]
    compared_with: str
    missing_files: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def inspect_model(
    files: FileSystem, path: str, known_ops: frozenset[str], compared_with: str
) -> Inspection:
    """Reads what a SavedModel says of itself.

    Args:
        files: where the model lies.
        path: the SavedModel's folder.
        known_ops: names of the ops that TensorFlow has.
        compared_with: which TensorFlow has them.

    Raises:
        FaultError: "model_missing", "model_unreadable", "storage_failed", ….
        OSError: if a file besides the graph cannot be read.
    """
    saved_model = _read(files, path)
    return Inspection(
        model=path,
        meta_graphs=tuple(_meta_graph(graph, known_ops) for graph in saved_model.meta_graphs),
        warm_up=_read_warm_up(files, path),
        files=_measure(files, path),
        compared_with=compared_with,
        missing_files=_missing_files(files, path, saved_model.meta_graphs),
    )


def _meta_graph(proto: Any, known_ops: frozenset[str]) -> MetaGraphInspection:
    library = proto.graph_def.library
    ops = collections.Counter(_ops(proto.graph_def))
    own = {function.signature.name for function in library.function}
    foreign = sorted(name for name in ops if name not in known_ops and name not in own)
    needed = _ops_by_signature(proto)

    def needing(op: str) -> tuple[str, ...]:
        return tuple(name for name in sorted(needed) if op in needed[name])

    return MetaGraphInspection(
        tags=tuple(proto.meta_info_def.tags),
        tensorflow_version=proto.meta_info_def.tensorflow_version,
        producer=proto.graph_def.versions.producer,
        min_consumer=proto.graph_def.versions.min_consumer,
        signatures=tuple(
            _signature(name, proto.signature_def[name])
            for name in sorted(proto.signature_def)
            if not name.startswith("__")
        ),
        nodes=sum(ops.values()),
        functions=len(library.function),
        foreign_ops=tuple(
            ForeignOp(name, ops[name], package_of(name), needing(name)) for name in foreign
        ),
        python_ops=tuple(
            PythonOp(name, ops[name], needing(name)) for name in sorted(ops) if is_python_op(name)
        ),
    )


def _ops(graph_def: Any) -> Iterator[str]:
    for node in graph_def.node:
        yield node.op
    for function in graph_def.library.function:
        for node in function.node_def:
            yield node.op


def _ops_by_signature(proto: Any) -> dict[str, frozenset[str]]:
    """For each signature the ops that its outputs depend on, in the graph and in functions."""
    nodes = {node.name: node for node in proto.graph_def.node}
    functions = {function.signature.name: function for function in proto.graph_def.library.function}
    found = {}
    for name, signature in proto.signature_def.items():
        if name.startswith("__"):
            continue
        ops: set[str] = set()
        called: set[str] = set()
        visited: set[str] = set()
        waiting = [_node_name(output.name) for output in signature.outputs.values()]
        while waiting:
            node_name = waiting.pop()
            if node_name in visited or node_name not in nodes:
                continue
            visited.add(node_name)
            node = nodes[node_name]
            waiting += map(_node_name, node.input)
            ops.add(node.op)
            called |= _calls(node)
        entered: set[str] = set()
        while called - entered:
            function = (called - entered).pop()
            entered.add(function)
            for node in functions[function].node_def if function in functions else ():
                ops.add(node.op)
                called |= _calls(node)
        found[name] = frozenset(ops)
    return found


def _node_name(tensor: str) -> str:
    """Of a reference to an output ("node:0") or a control input ("^node")."""
    return tensor.lstrip("^").partition(":")[0]


def _calls(node: Any) -> set[str]:
    """The functions that a node may call: its op, and those in its attributes."""
    called = {node.op}
    for value in node.attr.values():
        called.add(value.func.name)
        called.update(function.name for function in value.list.func)
    return called - {""}


def _signature(name: str, proto: Any) -> SignatureInspection:
    return SignatureInspection(
        name, proto.method_name, _tensors(proto.inputs), _tensors(proto.outputs)
    )


def _tensors(protos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        key: TensorSpec(
            _dtype_name(protos[key].dtype),
            None
            if protos[key].tensor_shape.unknown_rank
            else tuple(
                None if dim.size < 0 else int(dim.size) for dim in protos[key].tensor_shape.dim
            ),
        )
        for key in sorted(protos)
    }


def _read_warm_up(files: FileSystem, path: str) -> WarmUpInspection | None:
    from tensorflow_serving.apis import prediction_log_pb2

    place = f"{path}/{_WARM_UP_FILE}"
    with storage_errors():
        if not files.exists(place):
            return None
        requests: collections.Counter[str] = collections.Counter()
        problem = None
        try:
            with files.open(place, "rb") as file:
                for record in read_records(file):
                    requests[_describe(parse_whole(prediction_log_pb2.PredictionLog, record))] += 1
        except (TFRecordError, DecodeError) as error:
            problem = f"{_WARM_UP_FILE} cannot be read to its end: {error}"
    return WarmUpInspection(sum(requests.values()), dict(requests), problem)


def _describe(log: Any) -> str:
    kind: str | None = log.WhichOneof("log_type")
    if kind is None:
        return "unknown"
    request = getattr(log, kind).request
    if not hasattr(request, "model_spec"):
        return _REQUESTS.get(kind, kind)
    return f"{_REQUESTS.get(kind, kind)} {request.model_spec.signature_name or 'serving_default'}"


def _measure(files: FileSystem, path: str) -> dict[str, FilesInspection]:
    found: dict[str, list[int]] = collections.defaultdict(list)
    with storage_errors():
        for folder, _, names in files.walk(path):
            relative = str(folder)[len(path) :].strip("/")
            kind = relative.partition("/")[0]
            for name in names:
                is_graph = not relative and name.startswith(("saved_model.", "fingerprint."))
                shown = "graph" if is_graph else kind if kind in _KINDS else "other"
                found[shown].append(_size(files, f"{str(folder).rstrip('/')}/{name}"))
    order = ("graph", *_KINDS, "other")
    return {
        kind: FilesInspection(len(found[kind]), sum(found[kind])) for kind in order if kind in found
    }


def _missing_files(files: FileSystem, path: str, graphs: Iterable[Any]) -> tuple[str, ...]:
    folder = f"{path}/variables"
    with storage_errors():
        listed = files.listdir(folder) if files.isdir(folder) else ()
    names = {str(name).rstrip("/") for name in listed}
    if not names and not any(_VARIABLE_OPS.intersection(_ops(graph.graph_def)) for graph in graphs):
        return ()  # as TensorFlow 1 exports a model without variables
    return tuple(f"variables/{name}" for name in missing_variables(names))


def missing_variables(names: Collection[str]) -> list[str]:
    """What a folder of variables lacks, by the names that it has; how many shards tell theirs."""
    shards = [match for match in map(_SHARD.fullmatch, sorted(names)) if match is not None]
    total = shards[0][2] if shards else "00001"
    wanted = [_INDEX, *(f"variables.data-{n:05d}-of-{total}" for n in range(int(total)))]
    return [name for name in wanted if name not in names]


def _size(files: FileSystem, path: str) -> int:
    with files.open(path, "rb") as file:
        file.seek(0, 2)
        return int(file.tell())


def problems(found: Inspection) -> Iterable[str]:
    """What of it a server may stumble over, one sentence each."""
    if not found.meta_graphs:
        yield "It holds no graph."
    for graph in found.meta_graphs:
        where = f"The MetaGraph {', '.join(graph.tags) or '(no tags)'}"
        for call in graph.python_ops:
            if call.signatures:
                yield (
                    f"{', '.join(call.signatures)} calls a Python function ({call.name}), which "
                    "exists only in the process that exported the model; no server can run it."
                )
        for op in graph.foreign_ops:
            owner = f" It is likely of {op.package}." if op.package else ""
            asked = ", ".join(op.signatures) or "no signature"
            yield (
                f"{where} has the op {op.name}, which TensorFlow {found.compared_with} does not "
                f"have; {asked} needs it.{owner}"
            )
    if found.meta_graphs and not any("serve" in graph.tags for graph in found.meta_graphs):
        yield "No MetaGraph has the tag serve, which TensorFlow Serving looks for."
    if found.meta_graphs and not any(graph.signatures for graph in found.meta_graphs):
        yield "It has no signature that could be asked."
    if found.missing_files:
        named = ", ".join(found.missing_files[:_NAMED_FILES])
        more = len(found.missing_files) - _NAMED_FILES
        yield (
            f"Its variables cannot be restored: there is no {named}"
            f"{f', nor {more} more of such a kind' if more > 0 else ''}."
        )
    if found.warm_up is not None and found.warm_up.problem is not None:
        yield f"{found.warm_up.problem}."
