"""The ops that TensorFlow itself has, asked of its C library; and the packages that have others."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

_PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})

_SERVING_HAS_TEXT = "tensorflow-text; TensorFlow Serving comes with most of its ops"
_SERVING_HAS_FORESTS = "tensorflow-decision-forests; TensorFlow Serving comes with it from 2.11 on"
_PACKAGES_BY_PREFIX: Mapping[str, str] = {
    "Addons>": "tensorflow-addons",
    "Horovod": "horovod",
    "IO>": "tensorflow-io",
    "SimpleML": _SERVING_HAS_FORESTS,
    "TFRA>": "tensorflow-recommenders-addons",
    "TFText>": _SERVING_HAS_TEXT,
    "TRTEngineOp": "TensorFlow built with TensorRT",
    "Sentencepiece": _SERVING_HAS_TEXT,
    "Wordpiece": _SERVING_HAS_TEXT,
    "FastWordpiece": _SERVING_HAS_TEXT,
    "FastSentencepiece": _SERVING_HAS_TEXT,
    "FastBert": _SERVING_HAS_TEXT,
    "CaseFoldUTF8": _SERVING_HAS_TEXT,
    "NormalizeUTF8": _SERVING_HAS_TEXT,
    "WhitespaceTokenize": _SERVING_HAS_TEXT,
    "UnicodeScriptTokenize": _SERVING_HAS_TEXT,
    "RegexSplitWithOffsets": _SERVING_HAS_TEXT,
    "SplitMerge": _SERVING_HAS_TEXT,
    "SentenceFragments": _SERVING_HAS_TEXT,
    "ConstrainedSequence": _SERVING_HAS_TEXT,
    "MaxSpanningTree": _SERVING_HAS_TEXT,
    "RougeL": _SERVING_HAS_TEXT,
    "DecodeProtoSparse": "struct2tensor",
    "EquiJoin": "struct2tensor",
}


class _Buffer(ctypes.Structure):
    """TF_Buffer of tensorflow/c/tf_buffer.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("data_deallocator", ctypes.c_void_p),
    )


@functools.cache
def registered_ops() -> frozenset[str]:
    """The names of all ops of the TensorFlow that is installed here.

    Raises:
        OSError: if its shared libraries cannot be loaded.
        ModuleNotFoundError: if it is not installed.
    """
    from tensorflow.core.framework import op_def_pb2

    spec = importlib.util.find_spec("tensorflow")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    folder = Path(spec.submodule_search_locations[0])
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    library.TF_GetAllOpList.restype = ctypes.POINTER(_Buffer)
    library.TF_GetAllOpList.argtypes = []
    library.TF_DeleteBuffer.restype = None
    library.TF_DeleteBuffer.argtypes = [ctypes.POINTER(_Buffer)]
    buffer = library.TF_GetAllOpList()
    try:
        content = ctypes.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        library.TF_DeleteBuffer(buffer)
    return frozenset(op.name for op in op_def_pb2.OpList.FromString(content).op)


def is_python_op(name: str) -> bool:
    """Whether an op calls a Python function, which no server has."""
    return name in _PYTHON_OPS


def package_of(name: str) -> str | None:
    """The package that is likely to have an op that TensorFlow has not, or None."""
    for prefix, package in _PACKAGES_BY_PREFIX.items():
        if name.startswith(prefix):
            return package
    return None
