"""The TFX component."""

from __future__ import annotations

import warnings
from typing import Any

from google.protobuf.message import Message
from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from infra_validator import config, notebook
from infra_validator.executor import Executor
from infra_validator.keys import (
    BLESSING_KEY,
    EXAMPLES_KEY,
    LOAD_ONLY_NOTES,
    MODEL_KEY,
    REQUEST_SPEC_KEY,
    SERVING_SPEC_KEY,
    VALIDATION_SPEC_KEY,
)
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.request_config import needs_examples
from infra_validator.specs import left_within, parameters_left, to_json, to_message


class InfraValidatorSpec(ComponentSpec):
    """Inputs, outputs and parameters, named and typed as those of TFX's component."""

    PARAMETERS = {  # noqa: RUF012 - as ComponentSpec declares it
        SERVING_SPEC_KEY: ExecutionParameter(type=pb.ServingSpec),
        VALIDATION_SPEC_KEY: ExecutionParameter(type=pb.ValidationSpec, optional=True),
        REQUEST_SPEC_KEY: ExecutionParameter(type=pb.RequestSpec, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {  # noqa: RUF012
        BLESSING_KEY: ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class InfraValidator(base_component.BaseComponent):
    """Checks that a model can be served, before Pusher pushes it.

    A drop-in for `tfx.components.InfraValidator`: it starts a model server of
    the kind that production uses, has it load the model and, given examples,
    answer sample requests. Its output `blessing`, an `InfraBlessing`, is what
    Pusher takes as `infra_blessing`.

        infra_validator = InfraValidator(
            model=trainer.outputs["model"],
            examples=example_gen.outputs["examples"],
            serving_spec=ServingSpec(
                tensorflow_serving=TensorFlowServing(), local_process=LocalProcessConfig()
            ),
            request_spec=RequestSpec(
                tensorflow_serving=TensorFlowServingRequestSpec(), num_examples=10
            ),
        )
    """

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel[Any],
        serving_spec: Any,
        examples: types.BaseChannel[Any] | None = None,
        request_spec: Any = None,
        validation_spec: Any = None,
    ) -> None:
        """Checks the specs as far as they are known.

        A spec is a message of this package or TFX's of the same name, a dict or
        JSON text in protobuf's JSON form, a RuntimeParameter of text, or a
        placeholder. A dict that holds RuntimeParameters is kept as TFX's
        component keeps it, but no runner of TFX fills them in; a warning says so.

        Args:
            model: channel of type `Model`, as Trainer makes it.
            serving_spec: a `ServingSpec`: what serves the model, and where.
            examples: channel of type `Examples` to build requests from.
            request_spec: a `RequestSpec`: what to ask. Requests are sent only
                if `examples` are given too, or it names another source.
            validation_spec: a `ValidationSpec`: time limits and tries.

        Raises:
            SpecError: a ValueError, for a spec that can never work; names the
                field.
        """
        specs = {
            SERVING_SPEC_KEY: _literal(serving_spec, pb.ServingSpec, SERVING_SPEC_KEY),
            VALIDATION_SPEC_KEY: _literal(validation_spec, pb.ValidationSpec, VALIDATION_SPEC_KEY),
            REQUEST_SPEC_KEY: _literal(request_spec, pb.RequestSpec, REQUEST_SPEC_KEY),
        }
        _check(specs, query=examples is not None)
        note = _load_only_note(examples is not None, specs[REQUEST_SPEC_KEY])
        if note is not None:
            warnings.warn(note, stacklevel=2)
        spec = InfraValidatorSpec(  # type: ignore[no-untyped-call]
            model=model,
            examples=examples,
            blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            **{
                key: to_json(value) if isinstance(value, Message) else value
                for key, value in specs.items()
            },
        )
        for key, kept in spec.exec_properties.items():
            left = parameters_left(kept) if isinstance(kept, str) else []
            if left:
                warnings.warn(left_within(left, key), stacklevel=2)
        super().__init__(spec=spec)


def _load_only_note(examples: bool, request_spec: Any) -> str | None:
    if isinstance(request_spec, pb.RequestSpec) and not needs_examples(request_spec):
        return None
    return LOAD_ONLY_NOTES.get((examples, request_spec is not None))


def _literal(value: Any, message_type: type[Message], parameter: str) -> Any:
    """The message that a spec known by now amounts to; one that is not known stays as it is."""
    if value is None and parameter != SERVING_SPEC_KEY:
        return value
    if isinstance(value, dict) and not _is_known(value):
        # What is known of it is checked for mistakes; the rest is known to the runner only.
        to_message(_known_part(value), message_type, parameter)
        return value
    return to_message(value, message_type, parameter) if _is_known(value) else value


def _known_part(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known_part(item) for key, item in value.items() if not _is_leaf_unknown(item)}
    if isinstance(value, (list, tuple)):
        return [_known_part(item) for item in value if not _is_leaf_unknown(item)]
    return value


def _is_leaf_unknown(value: Any) -> bool:
    return not isinstance(value, (dict, list, tuple)) and not _is_known(value)


def _is_known(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_known(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_known(item) for item in value)
    return value is None or isinstance(value, (Message, str, bytes, bool, int, float))


def _check(specs: dict[str, Any], *, query: bool) -> None:
    """Refuses now what would be refused when the pipeline runs, as far as it is known."""
    serving, validation, request = (
        specs[key] if isinstance(specs[key], Message) else None
        for key in (SERVING_SPEC_KEY, VALIDATION_SPEC_KEY, REQUEST_SPEC_KEY)
    )
    if serving is None:
        serving = pb.ServingSpec(
            tensorflow_serving=pb.TensorFlowServing(), local_process=pb.LocalProcessConfig()
        )
    config.parse(serving, validation, request, query=query)


if notebook.in_notebook():
    notebook.register()
