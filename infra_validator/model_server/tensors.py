"""Tensors on their way out: the form of ``tensorflow::Tensor::AsProtoField``.

TensorFlow Serving answers with the typed fields of TensorProto (``float_val`` and so on), never
with ``tensor_content`` (tensorflow_serving/model_servers/server_core.h).
"""

from typing import Any, Literal

from infra_validator.model_server import protos
from infra_validator.model_server.capi import Tensor
from infra_validator.model_server.status import Code, StatusError

_STRING = 7
_FLOAT8_TYPES = (24, 25, 26, 27, 28)
_INT4, _UINT4 = 29, 30

# DataType number → tag of a packed field whose wire form is the tensor's own memory.
_RAW_FIELD_TAGS = {
    1: b"\x2a",  # DT_FLOAT: float_val = 5
    2: b"\x32",  # DT_DOUBLE: double_val = 6
    8: b"\x4a",  # DT_COMPLEX64: scomplex_val = 9
    10: b"\x5a",  # DT_BOOL: bool_val = 11
    18: b"\x62",  # DT_COMPLEX128: dcomplex_val = 12
}

# DataType number → field of varints and the format of one element in memory.
_VARINT_FIELDS: dict[int, tuple[str, Literal["b", "B", "h", "H", "i", "I", "q", "Q"]]] = {
    3: ("int_val", "i"),  # DT_INT32
    4: ("int_val", "B"),  # DT_UINT8
    5: ("int_val", "h"),  # DT_INT16
    6: ("int_val", "b"),  # DT_INT8
    9: ("int64_val", "q"),  # DT_INT64
    11: ("int_val", "b"),  # DT_QINT8
    12: ("int_val", "B"),  # DT_QUINT8
    13: ("int_val", "i"),  # DT_QINT32
    14: ("half_val", "H"),  # DT_BFLOAT16
    15: ("int_val", "h"),  # DT_QINT16
    16: ("int_val", "H"),  # DT_QUINT16
    17: ("int_val", "H"),  # DT_UINT16
    19: ("half_val", "H"),  # DT_HALF
    22: ("uint32_val", "I"),  # DT_UINT32
    23: ("uint64_val", "Q"),  # DT_UINT64
}


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def shape_text(shape: tuple[int, ...]) -> str:
    """Returns a shape as ``TensorShape::DebugString`` writes it, such as ``[2,3]``."""
    return f"[{','.join(map(str, shape))}]"


def fill_proto(tensor: Tensor, proto: Any) -> None:
    """Writes ``tensor`` into an empty TensorProto.

    Raises:
        StatusError: UNIMPLEMENTED, for a dtype whose memory is no value, such as resource.
    """
    dtype = tensor.dtype
    proto.dtype = dtype
    proto.tensor_shape.SetInParent()
    for size in tensor.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == _STRING:
        proto.string_val.extend(tensor.strings())
    elif dtype in _RAW_FIELD_TAGS:
        data = tensor.data()
        if data:
            proto.MergeFromString(_RAW_FIELD_TAGS[dtype] + _varint(len(data)) + data)
    elif dtype in _VARINT_FIELDS:
        field, element = _VARINT_FIELDS[dtype]
        getattr(proto, field).extend(tensor.data().cast(element))
    elif dtype in _FLOAT8_TYPES:
        proto.float8_val = bytes(tensor.data())
    elif dtype == _INT4:
        # One element in the low half of each byte; what the high half holds is not said.
        proto.int_val.extend(((byte & 0xF) ^ 8) - 8 for byte in tensor.data())
    elif dtype == _UINT4:
        proto.int_val.extend(byte & 0xF for byte in tensor.data())
    else:
        name = protos.DataType.Name(dtype)
        raise StatusError(
            Code.UNIMPLEMENTED, f"the embedded server cannot return a tensor of {name}"
        )
