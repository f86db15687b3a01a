"""What RequestSpec says of how requests are made, checked and with the defaults filled in. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import SpecError, to_dict

ALL = "*"
"""Stands for all splits, or all signatures."""

DEFAULT_BATCH_SIZES = (1,)
DEFAULT_FILE_REQUESTS = 1000
MAX_BATCH_SIZE = 100_000


class Source(str, enum.Enum):
    """What requests are made from."""

    EXAMPLES = "examples"
    PREDICTION_LOG = "prediction_log_file"
    JSON = "json_file"
    SIGNATURE = "from_signature"


@dataclasses.dataclass(frozen=True)
class SourceConfig:
    """How requests are made.

    Attributes:
        kind: what from.
        uri: the file, where it is one.
        split_names: splits of the examples; empty where RequestSpec.split_name
            says it.
        batch_sizes: examples in a request; empty for 1, or for what a
            signature of a fixed batch size takes.
        max_requests: how many requests are taken from a file.
        signatures_chosen: whether the user named signatures.
        input_features: input name to the feature that feeds it.
        input_constants: input name to its value, in JSON's types.
        multi_inference: whether to ask by MultiInference as well.
    """

    kind: Source = Source.EXAMPLES
    uri: str | None = None
    split_names: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    max_requests: int = DEFAULT_FILE_REQUESTS
    signatures_chosen: bool = False
    input_features: Mapping[str, str] = dataclasses.field(default_factory=dict)
    input_constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    multi_inference: bool = False

    @property
    def needs_examples(self) -> bool:
        """Whether nothing can be asked without examples."""
        return self.kind == Source.EXAMPLES


def needs_examples(spec: pb.RequestSpec) -> bool:
    """Whether nothing can be asked without examples."""
    return _kind(spec) == Source.EXAMPLES


def parse(spec: pb.RequestSpec) -> SourceConfig:
    """Checks how requests are to be made.

    Raises:
        SpecError: for the first field that can never work.
    """
    kind = _kind(spec)
    serving = spec.tensorflow_serving
    uri = getattr(spec, kind.value) if kind in {Source.PREDICTION_LOG, Source.JSON} else None
    if uri is not None and not uri.strip():
        raise SpecError(f"RequestSpec.{kind.value}: empty; give the path or URI of a file.")
    if kind != Source.EXAMPLES and (spec.split_name or spec.split_names):
        raise SpecError(
            f"RequestSpec.{kind.value}: requests are not made from examples then, so no split "
            "can be chosen; remove RequestSpec.split_name and RequestSpec.split_names."
        )
    config = SourceConfig(
        kind=kind,
        uri=uri,
        split_names=_split_names(spec),
        batch_sizes=_batch_sizes(spec.batch_sizes),
        max_requests=spec.num_examples or DEFAULT_FILE_REQUESTS,
        signatures_chosen=bool(serving.signature_names),
        input_features=_input_features(serving.input_features),
        input_constants=_input_constants(serving),
        multi_inference=serving.multi_inference,
    )
    _check_combination(config)
    return config


def _kind(spec: pb.RequestSpec) -> Source:
    chosen = spec.WhichOneof("source")
    if chosen is None or (chosen == Source.SIGNATURE.value and not spec.from_signature):
        return Source.EXAMPLES
    return Source(chosen)


def _split_names(spec: pb.RequestSpec) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(spec.split_names))
    if "" in names:
        raise SpecError("RequestSpec.split_names: an entry is empty.")
    if names and spec.split_name:
        raise SpecError(
            "RequestSpec.split_names: RequestSpec.split_name is set too; keep one of them."
        )
    if ALL in names and len(names) > 1:
        raise SpecError('RequestSpec.split_names: "*" means all; name no other split beside it.')
    return names


def _batch_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    for index, size in enumerate(sizes):
        if not 1 <= size <= MAX_BATCH_SIZE:
            raise SpecError(
                f"RequestSpec.batch_sizes[{index}]: {size} is not a number of examples from 1 to "
                f"{MAX_BATCH_SIZE}."
            )
    return tuple(dict.fromkeys(sizes))


def _input_features(features: Mapping[str, str]) -> dict[str, str]:
    for name, feature in features.items():
        if not name or not feature:
            raise SpecError(
                "RequestSpec.tensorflow_serving.input_features: an entry names no input or no "
                "feature."
            )
    return dict(sorted(features.items()))


def _input_constants(serving: pb.TensorFlowServingRequestSpec) -> dict[str, Any]:
    try:
        return to_dict(serving.input_constants)
    # Older versions of protobuf write it as text; newer ones raise the one or the other.
    except (json_format.SerializeToJsonError, ValueError):
        raise SpecError(
            "RequestSpec.tensorflow_serving.input_constants: JSON has no such number; write it as "
            'text, "Infinity", "-Infinity" or "NaN".'
        ) from None


def _check_combination(config: SourceConfig) -> None:
    """Refuses what would have no effect, as it is surely meant otherwise."""
    field = "RequestSpec.tensorflow_serving"
    both = sorted(config.input_features.keys() & config.input_constants.keys())
    if both:
        raise SpecError(f"{field}.input_constants: {both[0]!r} is in input_features too; keep one.")
    if config.input_features and config.kind != Source.EXAMPLES:
        raise SpecError(
            f"{field}.input_features: requests are not made from examples but by "
            f"RequestSpec.{config.kind.value}, so there are no features; remove it."
        )
    if config.kind in {Source.PREDICTION_LOG, Source.JSON}:
        for name in ("batch_sizes", "input_constants", "multi_inference"):
            if getattr(config, name):
                place = "RequestSpec" if name == "batch_sizes" else field
                raise SpecError(
                    f"{place}.{name}: requests of RequestSpec.{config.kind.value} are sent as they "
                    "are; remove it."
                )
