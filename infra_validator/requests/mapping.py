"""Decides what feeds each input of a Predict signature."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.requests.json_values import to_array
from infra_validator.requests.tensors import FILLABLE, Array, UnfitError
from infra_validator.saved_model.composites import Composite
from infra_validator.saved_model.reader import Signature, TensorSpec

_FIELD = "RequestSpec.tensorflow_serving"
_SHOWN = 60


@dataclasses.dataclass(frozen=True)
class Constant:
    """A constant input.

    Attributes:
        values: in stored form, of the shape that the user gave.
        spec: what the input takes.
        per_example: whether it is one example's value, to be repeated.
    """

    values: Array
    spec: TensorSpec
    per_example: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """What feeds each input.

    Attributes:
        constants: input to its constant.
        dense: input to the feature that feeds it.
        composites: ragged and sparse tensors, each with its feature.
    """

    constants: Mapping[str, Constant]
    dense: Mapping[str, str]
    composites: tuple[tuple[Composite, str], ...]


def check_inputs_exist(
    signatures: Sequence[Signature], features: Mapping[str, str], constants: Mapping[str, Any]
) -> None:
    """Refuses a mapping or constant for an input that no signature has.

    Raises:
        FaultError: "configuration_invalid".
    """
    known = sorted({name for signature in signatures for name in signature.inputs})
    for field, names in (("input_features", features), ("input_constants", constants)):
        for name in names:
            if name not in known:
                meant = difflib.get_close_matches(name, known, n=1)
                raise FaultError(
                    fault(
                        "configuration_invalid",
                        Phase.STAGE,
                        f"{_FIELD}.{field}: no signature that is asked has an input {name!r}; "
                        f"they have: {_limited(known) or 'none at all'}."
                        + (f" Is {meant[0]!r} meant?" if meant else ""),
                    )
                )


def check_fillable(signature: Signature) -> None:
    """Refuses a signature with an input that no request can fill.

    Raises:
        FaultError: "signature_unsupported".
    """
    for name, spec in sorted(signature.inputs.items()):
        if spec.endpoint is None:
            problem = "is a sparse or composite tensor of TensorFlow 1, which TensorFlow Serving "
            problem += "cannot feed; export its components as inputs of their own"
        elif spec.dtype not in FILLABLE:
            problem = f"is of type {spec.dtype}, which no request can carry"
        else:
            continue
        raise unsupported(f"The input {name!r} of the signature {signature.name!r} {problem}.")


def plan_constants(signature: Signature, given: Mapping[str, Any]) -> dict[str, Constant]:
    """The constant inputs of a signature.

    Raises:
        FaultError: "configuration_invalid" for a constant that does not fit.
    """
    constants = {}
    for name, value in given.items():
        if name not in signature.inputs:
            continue
        spec = signature.inputs[name]
        try:
            values = to_array(value, spec.dtype)
            constants[name] = Constant(values, spec, _is_per_example(values.shape, spec.shape))
        except UnfitError as error:
            raise FaultError(
                fault(
                    "configuration_invalid",
                    Phase.STAGE,
                    f"{_FIELD}.input_constants[{name!r}]: {error}; the signature "
                    f"{signature.name!r} takes {spec}.",
                )
            ) from None
    return constants


def _is_per_example(given: Sequence[int], wanted: Sequence[int | None] | None) -> bool:
    if wanted is None or _fits(given, wanted):
        # A batch of one stands for every example.
        return bool(wanted) and wanted is not None and wanted[0] is None and given[0] == 1
    if len(wanted) > 0 and _fits(given, wanted[1:]):
        return True
    raise UnfitError(f"is of shape {list(given)}")


def _fits(given: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(given) == len(wanted) and all(
        size is None or size == have for have, size in zip(given, wanted, strict=True)
    )


def plan_inputs(
    signature: Signature,
    composites: Iterable[Composite],
    features: Mapping[str, str],
    chosen: Mapping[str, str],
    constants: Mapping[str, Constant],
) -> Plan:
    """Finds the feature for each input that is not constant.

    Args:
        signature: its inputs are to be fed.
        composites: ragged and sparse tensors among them.
        features: name to type of the features that there are.
        chosen: input to feature, by the user.
        constants: what needs no feature; neither do inputs that have a
            default.

    Raises:
        FaultError: "inputs_unmatched", with both sides.
    """
    dense: dict[str, str] = {}
    grouped: list[tuple[Composite, str]] = []
    unmatched: list[str] = []
    taken: set[str] = set()
    for composite in composites:
        if all(name in features for name in composite.inputs):
            continue  # then they are inputs of their own
        if set(composite.inputs) <= constants.keys():
            continue
        wanted = chosen.get(composite.values_input) or chosen.get(composite.inputs[0])
        feature = _find(wanted or composite.name, features, exact=wanted is not None)
        if feature is None and wanted is None:
            feature = _find(composite.values_input, features, exact=False)
        taken.update(composite.inputs)
        if feature is None:
            unmatched.append(wanted or composite.name)
        else:
            grouped.append((composite, feature))
    for name in sorted(signature.inputs):
        if name in constants or name in taken:
            continue
        feature = _find(chosen.get(name, name), features, exact=name in chosen)
        if feature is not None:
            dense[name] = feature
        elif name in chosen or name not in signature.defaults:
            unmatched.append(chosen.get(name, name))
    if unmatched:
        raise _unmatched(signature, features, unmatched)
    return Plan(constants, dense, tuple(grouped))


def _find(name: str, features: Mapping[str, str], *, exact: bool) -> str | None:
    """A feature of that name, or the one that TensorFlow would make this input's name of."""
    if name in features:
        return name
    if exact:
        return None
    cleaned = [feature for feature in features if _clean(feature) == name]
    return cleaned[0] if len(cleaned) == 1 else None


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _unmatched(
    signature: Signature, features: Mapping[str, str], names: Sequence[str]
) -> FaultError:
    hints = []
    for name in names:
        close = difflib.get_close_matches(name, features, n=2)
        hints.append(f"{name!r}" + (f" (close: {', '.join(map(repr, close))})" if close else ""))
    inputs = [f"{name}: {spec}" for name, spec in sorted(signature.inputs.items())]
    have = [f"{name} ({kind})" for name, kind in sorted(features.items())]
    return FaultError(
        fault(
            "inputs_unmatched",
            Phase.STAGE,
            f"The signature {signature.name!r} has inputs that no feature feeds: the examples "
            f"have no feature {_limited(hints)}. Inputs: {_limited(inputs)}. Features: "
            f"{_limited(have) or 'none'}.",
        )
    )


def _limited(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def unsupported(summary: str) -> FaultError:
    """The fault of a signature that cannot be asked so."""
    return FaultError(fault("signature_unsupported", Phase.STAGE, summary))
