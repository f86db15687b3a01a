"""Reads the messages of TensorFlow itself, which a server passes on. Pure."""

from __future__ import annotations

import dataclasses
import re

from infra_validator.saved_model.op_registry import is_python_op, package_of

# tensorflow/core/framework/op.cc and op_kernel.cc
_MISSING_OP = re.compile(
    r"Op type not registered '([^']+)'|No OpKernel was registered to support Op '([^']+)'"
)
_PYTHON_HINT = (
    "The model calls a Python function (tf.py_function or tf.numpy_function), which exists only "
    "in the process that exported it; write it with TensorFlow's own ops."
)

# What quotes a request (example_proto_fast_parsing.cc, example_proto_helper.cc,
# string_to_number_op.cc, decode_csv_op.cc, parse_tensor_op.cc, example_parsing_ops.cc,
# substr_op.cc). A quoted text ends where a node or the next line of a log begins: it may hold any
# character, and be cut before its closing quote.
_QUOTED_TEXT = re.compile(
    r"(value: '|correctly convert string: |in record(?: \d+)? is not a valid \w+: "
    r"|parse tensor from proto: |as TensorProto, base64: |Error while parsing JSON: "
    r"|out of range for string b')"
    r".*?(?=\n\s*\[\[|\n\d{4}-\d\d-\d\d \d\d:\d\d:|\Z)",
    re.DOTALL,
)
# Of one index, or of all of an element (gather_op.cc, scatter_nd_op.cc, sparse_tensor.h,
# segment_reduction_ops_impl.h, dynamic_partition_op.cc, sparse_tensor_dense_matmul_op.cc).
_QUOTED_INDEX = re.compile(
    r"((?:indices|segment_ids|partitions)\[[\d,]*\] ==? |\b[km] \((?=-?\d+\) from index\[))"
    r"(?:-?\d+|\[[-\d, ]*\])"
)
# Assert prints what it is given (logging_ops.cc), on one line: of tf.debugging.assert_less and the
# like a message and the condition, then tensors.
_ASSERTED = re.compile(
    r"(assertion failed: (?:(?:\[[^\]\n]*\] )?\[Condition [^\]\n]* did not hold[^\]\n]*\] )?)[^\n]+"
)
# TensorFlow Serving's own, of a record of the model's (saved_model_warmup.cc). The rest of the
# message is read elsewhere, so the path that ends the record has to stay.
_QUOTED_RECORD = re.compile(
    r"(Failed to parse warmup record: )"
    r".*?(?= from (?:/|\w+:/)(?:(?! from )[^\n])*?assets\.extra/|\n\d{4}-\d\d-\d\d \d\d:\d\d:|\Z)",
    re.DOTALL,
)
_MARKS = (
    "warmup record: ",
    "assertion failed: ",
    "value: '",
    "convert string: ",
    "is not a valid ",
    "from proto: ",
    "base64: ",
    "parsing JSON: ",
    "for string b'",
    "indices[",
    "segment_ids[",
    "partitions[",
    ") from index[",
)
_HIDDEN = r"\1(not shown)"

# Platforms keep the end of a log: the last MiB (of characters with four bytes at most), or fewer
# bytes but this many lines. Where it begins may be amid a quoted text.
_CUT_CHARACTERS = 256 * 1024
_CUT_LINES = 1000
_TEXT_ENDED = re.compile(r"^(?:[ \t]*\[\[|\d{4}-\d\d-\d\d \d\d:\d\d:)", re.MULTILINE)


def hide_content(text: str) -> str:
    """A message or log without what TensorFlow's own ops quote of requests; quick where none do."""
    if not any(mark in text for mark in _MARKS):
        return text
    for pattern in (_QUOTED_TEXT, _QUOTED_INDEX, _QUOTED_RECORD, _ASSERTED):
        text = pattern.sub(_HIDDEN, text)
    return text


def hide_content_of_log(log: str) -> str:
    """The same of a log, which may be the end of a longer one and begin amid a quoted text.

    Of a log in which TensorFlow wrote nothing, only the first line is left out.
    """
    if len(log) >= _CUT_CHARACTERS or log.count("\n") >= _CUT_LINES:
        log = without_cut_text(log)
    return hide_content(log)


def without_cut_text(log: str) -> str:
    """A log whose beginning is missing, without what may be the rest of a quoted text."""
    ended = _TEXT_ENDED.search(log)
    return log[ended.start() :] if ended is not None else log.partition("\n")[2]


@dataclasses.dataclass(frozen=True)
class MissingOp:
    """An op that a server does not have.

    Attributes:
        name: of the op.
        hint: what to do, where more is known than of any missing op.
    """

    name: str
    hint: str | None


def find_missing_op(message: str) -> MissingOp | None:
    """The op that a message complains of, or None."""
    match = _MISSING_OP.search(message)
    if match is None:
        return None
    name = match[1] or match[2]
    package = package_of(name)
    if is_python_op(name):
        hint = _PYTHON_HINT
    elif package is not None:
        hint = (
            f"The op is likely of {package}. Serve the model with a server that is built with it, "
            "or export it without this op."
        )
    else:
        hint = None
    return MissingOp(name, hint)
