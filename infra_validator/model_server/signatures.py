"""What a SavedModel's signatures say, and which one a request asks for."""

import dataclasses
from collections.abc import Mapping
from typing import Any

#: Taken where a request names none (tensorflow/cc/saved_model/signature_constants.h).
DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"


@dataclasses.dataclass(frozen=True)
class Signature:
    """One SignatureDef, ready for use.

    Attributes:
        method_name: what the exporter meant it for.
        inputs: alias → name of the endpoint to feed, sorted by alias.
        outputs: alias → name of the endpoint to fetch, sorted by alias.
        defaults: alias → serialized TensorProto to feed where the request brings none.
        definition: the SignatureDef.
    """

    method_name: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    defaults: Mapping[str, bytes]
    definition: Any

    @classmethod
    def from_proto(cls, definition: Any) -> "Signature":
        """Reads a SignatureDef."""
        return cls(
            method_name=definition.method_name,
            inputs={alias: definition.inputs[alias].name for alias in sorted(definition.inputs)},
            outputs={alias: definition.outputs[alias].name for alias in sorted(definition.outputs)},
            defaults={
                alias: definition.defaults[alias].SerializeToString()
                for alias in sorted(definition.defaults)
            },
            definition=definition,
        )


def effective_name(requested: str) -> str:
    """Returns the signature that a ModelSpec's ``signature_name`` stands for."""
    return requested or DEFAULT_SIGNATURE


def fill_model_spec(spec: Any, name: str, signature_name: str | None, version: int | None) -> None:
    """Fills the ModelSpec of a response.

    Args:
        spec: the empty ModelSpec.
        name: the model's name as the request gave it.
        signature_name: as the request gave it; None leaves the field unset.
        version: the version that answered; None (a warm-up) leaves the field unset.
    """
    spec.name = name
    if signature_name is not None:
        spec.signature_name = effective_name(signature_name)
    if version is not None:
        spec.version.value = version
