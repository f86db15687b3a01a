"""Reads the signatures of a SavedModel from its protos; the graph is never run."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.files import FileSystem, is_missing, storage_errors, storage_fault
from infra_validator.wire import parse_whole

_BINARY = "saved_model.pb"
_TEXT = "saved_model.pbtxt"
_SPLIT = "saved_model.cpb"
MODEL_FILES = (_BINARY, _TEXT, _SPLIT)


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name, such as "DT_STRING".
        shape: dimensions, None for an open one; None where the rank is not known.
        endpoint: the tensor in the graph, such as "serving_default_x:0"; None
            where it is not a single one, as with TF1's sparse inputs.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    endpoint: str | None = dataclasses.field(default="", compare=False)

    def __str__(self) -> str:
        """Type and shape, as descriptions and errors show them."""
        if self.shape is None:
            return f"{self.dtype} of unknown rank"
        dims = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} [{dims}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature that a server can be asked for.

    Attributes:
        name: its key in the MetaGraph.
        method: its method name, such as "tensorflow/serving/predict".
        inputs: input key to what it takes.
        defaults: inputs that a request may leave out.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    defaults: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Model:
    """One MetaGraph of a SavedModel.

    Attributes:
        signatures: all that it has, by name.
        meta_graph: its MetaGraphDef.
    """

    signatures: Mapping[str, Signature]
    meta_graph: Any

    def signature(self, name: str) -> Signature:
        """The signature of that name.

        Raises:
            FaultError: "signature_missing", the model's fault, since no server
                could serve it so.
        """
        if name in self.signatures:
            return self.signatures[name]
        # Names with two underscores are TensorFlow's own, such as __saved_model_init_op.
        known = sorted(key for key in self.signatures if not key.startswith("__"))
        meant = difflib.get_close_matches(name, known, n=1)
        raise FaultError(
            fault(
                "signature_missing",
                Phase.STAGE,
                f"The model has no signature named {name!r}; it has: "
                f"{', '.join(known) or 'none at all'}."
                + (f" Is {meant[0]!r} meant?" if meant else ""),
            )
        )


def check_is_saved_model(files: FileSystem, path: str) -> None:
    """Checks that a folder holds a SavedModel, without reading it.

    Raises:
        FaultError: "model_missing" if it does not; "storage_failed" if the
            storage cannot be asked.
    """
    try:
        with storage_errors():
            if any(files.exists(f"{path}/{name}") for name in MODEL_FILES):
                return
        missing = is_missing(files, path)
    except OSError as error:
        raise _storage_fault(path, error) from error
    if missing:
        summary = f"The model folder does not exist: {path}"
    else:
        summary = f"The model folder holds no {_BINARY}: {path}"
    raise FaultError(fault("model_missing", Phase.STAGE, summary))


def read_signatures(
    files: FileSystem, path: str, tag_set: Iterable[str], names: Iterable[str]
) -> list[Signature]:
    """Reads signatures of the MetaGraph that has exactly the given tags.

    Args:
        files: where the model lies.
        path: the SavedModel's folder.
        tag_set: the MetaGraph's tags.
        names: the signatures to read, in this order.

    Raises:
        FaultError: "model_unreadable", "tags_missing", "signature_missing",
            all the model's fault, since no server could serve it so; or
            "storage_failed".
    """
    model = read_model(files, path, tag_set)
    return [model.signature(name) for name in names]


def read_model(files: FileSystem, path: str, tag_set: Iterable[str]) -> Model:
    """Reads the MetaGraph that has exactly the given tags.

    Raises:
        FaultError: "model_unreadable", "tags_missing" or "storage_failed".
    """
    meta_graph = _find_meta_graph(_read(files, path), set(tag_set))
    return Model(
        {name: _signature(name, proto) for name, proto in meta_graph.signature_def.items()},
        meta_graph,
    )


def _read(files: FileSystem, path: str) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    check_is_saved_model(files, path)
    for name in (_BINARY, _TEXT):
        try:
            with storage_errors():
                if not files.exists(f"{path}/{name}"):
                    continue
                with files.open(f"{path}/{name}", "rb") as file:
                    content = file.read()
            if name == _BINARY:
                return parse_whole(saved_model_pb2.SavedModel, content)
            return text_format.Parse(content.decode(), saved_model_pb2.SavedModel())
        except OSError as error:
            raise _storage_fault(path, error) from error
        except (DecodeError, UnicodeDecodeError, text_format.ParseError) as error:
            raise FaultError(
                fault(
                    "model_unreadable",
                    Phase.STAGE,
                    f"The model's {name} is truncated or corrupt: {path}",
                    detail=str(error),
                )
            ) from error
    raise FaultError(
        fault(
            "signature_unsupported",
            Phase.STAGE,
            f"The model is split over several files ({_SPLIT}), whose signatures this version "
            f"cannot read: {path}",
            hint="Validate it without requests (leave request_spec unset).",
        )
    )


def _find_meta_graph(saved_model: Any, tag_set: set[str]) -> Any:
    available = [set(meta_graph.meta_info_def.tags) for meta_graph in saved_model.meta_graphs]
    for meta_graph, tags in zip(saved_model.meta_graphs, available, strict=True):
        if tags == tag_set:
            return meta_graph
    listing = "; ".join(", ".join(sorted(tags)) or "(no tags)" for tags in available)
    if not listing:
        raise FaultError(
            fault(
                "model_unreadable",
                Phase.STAGE,
                f"The model's {_BINARY} is empty or truncated: it holds no graph.",
            )
        )
    raise FaultError(
        fault(
            "tags_missing",
            Phase.STAGE,
            f"The model has no MetaGraph with exactly the tags {', '.join(sorted(tag_set))}; "
            f"it has: {listing}.",
        )
    )


def _signature(name: str, proto: Any) -> Signature:
    return Signature(
        name=name,
        method=proto.method_name,
        inputs={
            key: TensorSpec(
                dtype=_dtype_name(info.dtype),
                shape=None
                if info.tensor_shape.unknown_rank
                else tuple(
                    None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim
                ),
                endpoint=info.name if info.WhichOneof("encoding") in {"name", None} else None,
            )
            for key, info in sorted(proto.inputs.items())
        },
        defaults=frozenset(proto.defaults),
    )


def _dtype_name(number: int) -> str:
    from tensorflow.core.framework import types_pb2

    # A newer TensorFlow may have types that the one here does not know.
    known = types_pb2.DataType.values()
    return str(types_pb2.DataType.Name(number)) if number in known else f"DataType {number}"


def _storage_fault(path: str, error: OSError) -> FaultError:
    return storage_fault(f"The model cannot be read: {path}", Phase.STAGE, error)
