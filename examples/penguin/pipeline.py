"""The pipeline: from a CSV file to a pushed model that a model server has answered with."""

from __future__ import annotations

import hashlib
from pathlib import Path

import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from infra_validator import (
    InfraValidator,
    RequestSpec,
    ServingSpec,
    TensorFlowServingRequestSpec,
    ValidationSpec,
)

MIN_ACCURACY = 0.9


def create_pipeline(
    *,
    name: str,
    root: Path,
    metadata: Path,
    data: Path,
    push_to: Path,
    trainer_module: str,
    serving_spec: ServingSpec,
) -> tfx.dsl.Pipeline:
    """Puts the components together.

    Args:
        name: the pipeline's name.
        root: folder for what the components write.
        metadata: the SQLite file of ML Metadata.
        data: folder that holds the CSV file.
        push_to: folder that production serves models from.
        trainer_module: importable name of the module whose `run_fn` trains.
        serving_spec: what to try the model on, as close to production as it gets.
    """
    example_gen = tfx.components.CsvExampleGen(input_base=str(data))

    trainer = tfx.components.Trainer(
        run_fn=f"{trainer_module}.run_fn",
        examples=example_gen.outputs["examples"],
        train_args=tfx.proto.TrainArgs(num_steps=400),
        eval_args=tfx.proto.EvalArgs(),
        # The cache compares parameters, and knows of changed code only what stands in them.
        custom_config={"code": _fingerprint(Path(__file__).parent)},
    )

    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        eval_config=_eval_config(),
    )

    infra_validator = InfraValidator(
        model=trainer.outputs["model"],
        examples=example_gen.outputs["examples"],
        serving_spec=serving_spec,
        request_spec=RequestSpec(
            tensorflow_serving=TensorFlowServingRequestSpec(), num_examples=10
        ),
        # With the cache on, a verdict that only a broken machine caused must not be kept.
        validation_spec=ValidationSpec(fail_execution_when_undetermined=True),
    )

    pusher = tfx.components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=infra_validator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(push_to))
        ),
    )

    return tfx.dsl.Pipeline(
        pipeline_name=name,
        pipeline_root=str(root),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(metadata)
        ),
        components=[example_gen, trainer, evaluator, infra_validator, pusher],
        enable_cache=True,
    )


def _eval_config() -> tfma.EvalConfig:
    accuracy = tfma.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config='"name": "accuracy"',
        threshold=tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(lower_bound={"value": MIN_ACCURACY})
        ),
    )
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="species")],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=[accuracy])],
    )


def _fingerprint(folder: Path) -> str:
    """A hash of the modules that train."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*trainer.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
