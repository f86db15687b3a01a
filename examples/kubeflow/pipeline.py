"""The penguin pipeline for Kubeflow: data and training code lie in the image of its steps."""

from __future__ import annotations

from tfx import v1 as tfx

from infra_validator import (
    InfraValidator,
    RequestSpec,
    ServingSpec,
    TensorFlowServing,
    TensorFlowServingRequestSpec,
    ValidationSpec,
)

NAME = "penguin"
IN_IMAGE = "/pipeline"


def create_pipeline(*, root: str, push_to: str, platform: str) -> tfx.dsl.Pipeline:
    """Puts the components together.

    Args:
        root: folder or URI for what the components write; every step must reach it.
        push_to: folder or URI that production serves models from.
        platform: where the model is tried out, a field of ServingSpec.
    """
    example_gen = tfx.components.CsvExampleGen(input_base=f"{IN_IMAGE}/data")
    trainer = tfx.components.Trainer(
        run_fn="trainer.run_fn",
        examples=example_gen.outputs["examples"],
        train_args=tfx.proto.TrainArgs(num_steps=400),
        eval_args=tfx.proto.EvalArgs(),
    )
    infra_validator = InfraValidator(
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        serving_spec=ServingSpec(
            tensorflow_serving=TensorFlowServing(tags=["2.19.1"]), **{platform: {}}
        ),
        request_spec=RequestSpec(
            tensorflow_serving=TensorFlowServingRequestSpec(), num_examples=10
        ),
        # With the cache on, a verdict that only a broken machine caused must not be kept.
        validation_spec=ValidationSpec(fail_execution_when_undetermined=True),
    )
    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        infra_blessing=infra_validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=push_to)
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=NAME,
        pipeline_root=root,
        components=[example_gen, trainer, infra_validator, pusher],
        enable_cache=True,
    )
