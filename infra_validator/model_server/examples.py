"""Examples in a request (the ``Input`` message) and the one tensor that they become.

tensorflow_serving/servables/tensorflow/util.cc: the serialized Examples, one string each; a
context is put before each of them, which merges the two, as protobuf's wire form allows.
"""

from typing import Any

from infra_validator.model_server.capi import Library, Tensor, strings_tensor
from infra_validator.model_server.status import invalid_argument


def serialized_examples(input_: Any) -> list[bytes]:
    """Returns the serialized Examples of an Input.

    Raises:
        StatusError: INVALID_ARGUMENT, where there are none.
    """
    kind = input_.WhichOneof("kind")
    context, examples = b"", ()
    if kind == "example_list":
        examples = input_.example_list.examples
    elif kind == "example_list_with_context":
        context = input_.example_list_with_context.context.SerializeToString()
        examples = input_.example_list_with_context.examples
    if not examples:
        raise invalid_argument("Input is empty.")
    return [context + example.SerializeToString() for example in examples]


def examples_tensor(library: Library, examples: list[bytes]) -> Tensor:
    """Returns the vector of strings that the graph parses."""
    return strings_tensor(library, [len(examples)], examples)
