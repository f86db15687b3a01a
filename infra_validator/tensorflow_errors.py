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
