"""Run by test_distribution in an environment without the full TFX: builds, compiles, runs."""

import json
import shutil
import sys
from pathlib import Path

from tfx.dsl.compiler import compiler
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration import metadata
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import Examples, Model

from infra_validator import (
    InfraValidator,
    LocalProcessConfig,
    RequestSpec,
    ServingSpec,
    TensorFlowServing,
    TensorFlowServingRequestSpec,
)


@component
def BringModel(model: OutputArtifact[Model], saved_model: Parameter[str]) -> None:  # noqa: N802
    shutil.copytree(saved_model, f"{model.uri}/Format-Serving")


@component
def BringExamples(examples: OutputArtifact[Examples], split: Parameter[str]) -> None:  # noqa: N802
    shutil.copytree(split, f"{examples.uri}/Split-train")
    examples.split_names = json.dumps(["train"])


def main(folder: str, saved_model: str, split: str) -> None:
    model = BringModel(saved_model=saved_model)
    examples = BringExamples(split=split)
    validator = InfraValidator(
        model=model.outputs["model"],
        examples=examples.outputs["examples"],
        serving_spec=ServingSpec(
            tensorflow_serving=TensorFlowServing(), local_process=LocalProcessConfig()
        ),
        request_spec=RequestSpec(tensorflow_serving=TensorFlowServingRequestSpec(), num_examples=3),
    )
    pipeline = Pipeline(
        pipeline_name="light",
        pipeline_root=f"{folder}/root",
        components=[model, examples, validator],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(f"{folder}/db"),
    )
    compiled = compiler.Compiler().compile(pipeline)
    assert len(compiled.nodes) == 3
    LocalDagRunner().run(pipeline)
    [report] = Path(folder).glob("root/InfraValidator/blessing/*/infra_validation_report.json")
    print("compiled, run:", json.loads(report.read_text())["verdict"])


if __name__ == "__main__":
    main(*sys.argv[1:])
