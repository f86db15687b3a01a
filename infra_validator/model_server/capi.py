"""TensorFlow's C API by ctypes: sessions and tensors.

Declared in tensorflow/c/c_api.h, tf_tensor.h, tf_status.h, tf_buffer.h, tf_tstring.h and (for
``TF_TensorFromProto``) c_api_experimental.h. The calls were the same in TensorFlow 2.15 to 2.21.
"""

import ctypes
import functools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra_validator.model_server import protos
from infra_validator.model_server.status import Code, StatusError, invalid_argument

_DT_STRING = 7
_DT_FLOAT = 1
_STRING_SLOT_BYTES = 24  # sizeof(TF_TString)
_CACHED_CALLS = 256

_Pointer = ctypes.c_void_p


class _Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("data_deallocator", ctypes.c_void_p),
    )


class _Output(ctypes.Structure):
    """TF_Output: one endpoint of the graph."""

    _fields_ = (("oper", ctypes.c_void_p), ("index", ctypes.c_int))


_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "TF_Version": (ctypes.c_char_p, []),
    "TF_NewStatus": (_Pointer, []),
    "TF_DeleteStatus": (None, [_Pointer]),
    "TF_GetCode": (ctypes.c_int, [_Pointer]),
    "TF_Message": (ctypes.c_char_p, [_Pointer]),
    "TF_NewBuffer": (_Pointer, []),
    "TF_DeleteBuffer": (None, [_Pointer]),
    "TF_NewGraph": (_Pointer, []),
    "TF_DeleteGraph": (None, [_Pointer]),
    "TF_GraphOperationByName": (_Pointer, [_Pointer, ctypes.c_char_p]),
    "TF_NewSessionOptions": (_Pointer, []),
    "TF_DeleteSessionOptions": (None, [_Pointer]),
    "TF_SetConfig": (None, [_Pointer, ctypes.c_char_p, ctypes.c_size_t, _Pointer]),
    "TF_LoadSessionFromSavedModel": (
        _Pointer,
        [
            _Pointer,
            _Pointer,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int,
            _Pointer,
            _Pointer,
            _Pointer,
        ],
    ),
    "TF_CloseSession": (None, [_Pointer, _Pointer]),
    "TF_DeleteSession": (None, [_Pointer, _Pointer]),
    "TF_SessionRun": (
        None,
        [
            _Pointer,
            ctypes.POINTER(_Buffer),
            ctypes.POINTER(_Output),
            ctypes.POINTER(_Pointer),
            ctypes.c_int,
            ctypes.POINTER(_Output),
            ctypes.POINTER(_Pointer),
            ctypes.c_int,
            _Pointer,
            ctypes.c_int,
            _Pointer,
            _Pointer,
        ],
    ),
    "TF_AllocateTensor": (
        _Pointer,
        [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_size_t],
    ),
    "TF_DeleteTensor": (None, [_Pointer]),
    "TF_DataTypeSize": (ctypes.c_size_t, [ctypes.c_int]),
    "TF_TensorFromProto": (None, [ctypes.POINTER(_Buffer), _Pointer, _Pointer]),
    "TF_TensorType": (ctypes.c_int, [_Pointer]),
    "TF_NumDims": (ctypes.c_int, [_Pointer]),
    "TF_Dim": (ctypes.c_int64, [_Pointer, ctypes.c_int]),
    "TF_TensorByteSize": (ctypes.c_size_t, [_Pointer]),
    "TF_TensorData": (_Pointer, [_Pointer]),
    "TF_TensorElementCount": (ctypes.c_int64, [_Pointer]),
    "TF_StringGetDataPointer": (_Pointer, [_Pointer]),
    "TF_StringGetSize": (ctypes.c_size_t, [_Pointer]),
}

# tensorflow::DisableXlaCompilation(), which tensorflow_model_server calls at start unless a flag
# says otherwise. It is C++ and no part of the C API, but it takes nothing and returns nothing.
_DISABLE_XLA = "_ZN10tensorflow21DisableXlaCompilationEv"


class Library:
    """TensorFlow's runtime.

    Args:
        directory: the installed ``tensorflow`` package.

    Raises:
        OSError: the shared libraries are missing or cannot be loaded.
    """

    def __init__(self, directory: Path) -> None:
        ctypes.CDLL(str(directory / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
        self.calls = ctypes.CDLL(str(directory / "libtensorflow_cc.so.2"))
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self.calls, name)
            function.restype = result
            function.argtypes = arguments

    def version(self) -> str:
        """Returns the version of TensorFlow, such as ``2.16.2``."""
        return bytes(self.calls.TF_Version()).decode()

    def disable_xla(self) -> bool:
        """Switches XLA's compilation off, and says whether this TensorFlow has the switch."""
        function = getattr(self.calls, _DISABLE_XLA, None)
        if function is None:
            return False
        function.restype = None
        function.argtypes = []
        function()
        return True


class _Status:
    """A TF_Status for the time of one call; leaving the block raises what it holds."""

    def __init__(self, library: Library) -> None:
        self._calls = library.calls

    def __enter__(self) -> int:
        self._pointer = int(self._calls.TF_NewStatus())
        return self._pointer

    def __exit__(self, *_: object) -> None:
        code = self._calls.TF_GetCode(self._pointer)
        message = self._calls.TF_Message(self._pointer) if code else b""
        self._calls.TF_DeleteStatus(self._pointer)
        if code:
            raise StatusError(Code(code), message)


def _borrowed(data: bytes) -> _Buffer:
    """Returns a TF_Buffer over ``data``, which must outlive it."""
    return _Buffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), None)


class Tensor:
    """A tensor of TensorFlow's, freed with this object."""

    __slots__ = ("_library", "pointer")

    def __init__(self, library: Library, pointer: int) -> None:
        self._library = library
        self.pointer = pointer

    def __del__(self) -> None:
        self._library.calls.TF_DeleteTensor(self.pointer)

    @classmethod
    def from_proto(cls, library: Library, serialized: bytes) -> "Tensor":
        """Parses a serialized TensorProto, as ``tensorflow::Tensor::FromProto`` does.

        Raises:
            StatusError: it is not the proto of a tensor.
        """
        # TF_TensorFromProto wants a tensor to overwrite.
        tensor = cls._allocated(library, _DT_FLOAT, (), 4)
        with _Status(library) as status:
            library.calls.TF_TensorFromProto(_borrowed(serialized), tensor.pointer, status)
        return tensor

    @classmethod
    def from_bytes(
        cls, library: Library, dtype: int, shape: Sequence[int], data: bytes
    ) -> "Tensor":
        """Returns a tensor of a fixed-width dtype with a copy of ``data`` as its memory.

        Raises:
            StatusError: the dtype has no fixed width, the shape wants more or less data, or there
                is no memory.
        """
        width = library.calls.TF_DataTypeSize(dtype)
        if not width or len(data) != math.prod(shape) * width:
            raise StatusError(
                Code.INTERNAL,
                f"{len(data)} bytes are no tensor of {_dtype_name(dtype)} and shape {list(shape)}",
            )
        if not data:
            # TF_AllocateTensor returns NULL where there is nothing to allocate.
            return _tensor_of_proto(library, dtype, shape)
        tensor = cls._allocated(library, dtype, shape, len(data))
        ctypes.memmove(library.calls.TF_TensorData(tensor.pointer), data, len(data))
        return tensor

    @classmethod
    def _allocated(cls, library: Library, dtype: int, shape: Sequence[int], size: int) -> "Tensor":
        dims = (ctypes.c_int64 * len(shape))(*shape)
        pointer = library.calls.TF_AllocateTensor(dtype, dims, len(shape), size)
        if not pointer:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED, f"no memory for a tensor of shape {list(shape)}"
            )
        return cls(library, pointer)

    @property
    def dtype(self) -> int:
        """The number of its DataType."""
        return int(self._library.calls.TF_TensorType(self.pointer))

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        calls = self._library.calls
        return tuple(calls.TF_Dim(self.pointer, i) for i in range(calls.TF_NumDims(self.pointer)))

    def data(self) -> memoryview:
        """Returns its memory; it is gone with the tensor."""
        calls = self._library.calls
        if not calls.TF_TensorElementCount(self.pointer):
            # It may have no buffer, and TF_TensorByteSize would look into it.
            return memoryview(b"")
        size = calls.TF_TensorByteSize(self.pointer)
        address = calls.TF_TensorData(self.pointer)
        return memoryview((ctypes.c_char * size).from_address(address)).cast("B")

    def strings(self) -> list[bytes]:
        """Returns the elements of a DT_STRING tensor, row by row."""
        calls = self._library.calls
        count = calls.TF_TensorElementCount(self.pointer)
        address = calls.TF_TensorData(self.pointer) if count else 0
        pointer_of, size_of = calls.TF_StringGetDataPointer, calls.TF_StringGetSize
        return [
            ctypes.string_at(pointer_of(slot), size_of(slot))
            for slot in range(address, address + count * _STRING_SLOT_BYTES, _STRING_SLOT_BYTES)
        ]


def _dtype_name(dtype: int) -> str:
    return str(dict(map(reversed, protos.DataType.items())).get(dtype, dtype))


def _tensor_of_proto(
    library: Library, dtype: int, shape: Sequence[int], **values: Sequence[bytes]
) -> Tensor:
    proto = protos.TensorProto(dtype=dtype, **values)
    proto.tensor_shape.SetInParent()
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return Tensor.from_proto(library, proto.SerializeToString())


def strings_tensor(library: Library, shape: Sequence[int], values: Sequence[bytes]) -> Tensor:
    """Returns a DT_STRING tensor."""
    if len(values) != math.prod(shape):
        # TensorFlow repeats the last one where some are missing.
        raise StatusError(
            Code.INTERNAL, f"{len(values)} strings are no tensor of shape {list(shape)}"
        )
    return _tensor_of_proto(library, _DT_STRING, shape, string_val=values)


class Session:
    """A loaded MetaGraph: ``tensorflow::LoadSavedModel`` and ``tensorflow::Session::Run``."""

    def __init__(self, library: Library, session: int, graph: int) -> None:
        self._library = library
        self._session = session
        self._graph = graph
        self._prepared = functools.lru_cache(_CACHED_CALLS)(self._prepare)

    @property
    def library(self) -> Library:
        """The runtime it belongs to."""
        return self._library

    @classmethod
    def load(
        cls, library: Library, config: bytes, export_dir: str, tags: Sequence[str]
    ) -> tuple["Session", bytes]:
        """Loads one MetaGraph of a SavedModel: restore, assets and init ops included.

        Args:
            library: the runtime.
            config: a serialized ConfigProto.
            export_dir: the SavedModel's directory.
            tags: the tags that name the MetaGraph.

        Returns:
            The session and the serialized MetaGraphDef.

        Raises:
            StatusError: with TensorFlow's own status.
        """
        calls = library.calls
        tag_array = (ctypes.c_char_p * len(tags))(*map(os.fsencode, tags))
        options = calls.TF_NewSessionOptions()
        graph = calls.TF_NewGraph()
        meta_graph = calls.TF_NewBuffer()
        try:
            with _Status(library) as status:
                calls.TF_SetConfig(options, config, len(config), status)
            with _Status(library) as status:
                session = calls.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(export_dir),
                    tag_array,
                    len(tags),
                    graph,
                    meta_graph,
                    status,
                )
            buffer = _Buffer.from_address(meta_graph)
            return cls(library, session, graph), ctypes.string_at(buffer.data, buffer.length)
        except StatusError:
            calls.TF_DeleteGraph(graph)
            raise
        finally:
            calls.TF_DeleteBuffer(meta_graph)
            calls.TF_DeleteSessionOptions(options)

    def close(self) -> None:
        """Frees the session and its graph; nothing may run in it any more."""
        with _Status(self._library) as status:
            self._library.calls.TF_CloseSession(self._session, status)
        with _Status(self._library) as status:
            self._library.calls.TF_DeleteSession(self._session, status)
        self._library.calls.TF_DeleteGraph(self._graph)

    def run(
        self,
        feeds: Sequence[tuple[str, Tensor]],
        fetches: Sequence[str],
        timeout_ms: int,
    ) -> list[Tensor]:
        """Runs the graph.

        Args:
            feeds: names of endpoints, such as ``x:0``, and their tensors.
            fetches: names of endpoints; the results come in their order.
            timeout_ms: RunOptions.timeout_in_ms; 0 for none.

        Raises:
            StatusError: with TensorFlow's own status.
        """
        names = tuple(name for name, _ in feeds)
        inputs, outputs = self._prepared(names, tuple(fetches))
        values = (_Pointer * len(feeds))(*(tensor.pointer for _, tensor in feeds))
        results = (_Pointer * len(fetches))()
        run_options = protos.RunOptions(timeout_in_ms=timeout_ms).SerializeToString()
        try:
            with _Status(self._library) as status:
                self._library.calls.TF_SessionRun(
                    self._session,
                    _borrowed(run_options),
                    inputs,
                    values,
                    len(feeds),
                    outputs,
                    results,
                    len(fetches),
                    None,
                    0,
                    None,
                    status,
                )
        finally:
            # A run that fails while it hands its results out has set some of them.
            tensors = [Tensor(self._library, pointer) for pointer in results if pointer]
        if len(tensors) != len(fetches):
            raise StatusError(Code.INTERNAL, "the session returned no tensor for an output")
        return tensors

    def _prepare(
        self, feeds: tuple[str, ...], fetches: tuple[str, ...]
    ) -> tuple["ctypes.Array[_Output]", "ctypes.Array[_Output]"]:
        inputs = (_Output * len(feeds))(*map(self._endpoint, feeds))
        outputs = (_Output * len(fetches))(*map(self._endpoint, fetches))
        return inputs, outputs

    def _endpoint(self, name: str) -> _Output:
        node, _, index = name.rpartition(":")
        if not node or not index.isascii() or not index.isdigit():
            node, index = name, "0"
        operation = self._library.calls.TF_GraphOperationByName(self._graph, node.encode())
        if not operation:
            # What DirectSession says of a name it cannot find; the C API takes no names.
            raise invalid_argument(
                f"Tensor {node}:{index}, specified in either feed_devices or fetch_devices was "
                "not found in the Graph"
            )
        return _Output(operation, int(index))
