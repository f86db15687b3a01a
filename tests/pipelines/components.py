"""Small components that stand for Trainer and ExampleGen: they bring what tests made."""

import json
import shutil

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model, String


@component
def BringModel(model: OutputArtifact[Model], saved_model: Parameter[str]) -> None:  # noqa: N802
    """A Model artifact with a copy of a SavedModel."""
    shutil.copytree(saved_model, f"{model.uri}/Format-Serving")


@component
def BringExamples(examples: OutputArtifact[Examples], split: Parameter[str]) -> None:  # noqa: N802
    """An Examples artifact with a copy of a split."""
    shutil.copytree(split, f"{examples.uri}/Split-train")
    examples.split_names = json.dumps(["train"])


@component
def BringText(text: OutputArtifact[String], value: Parameter[str]) -> None:  # noqa: N802
    """A String artifact."""
    text.write(value)


@component
def BringSpan(  # noqa: N802
    examples: OutputArtifact[Examples], split: Parameter[str], span: Parameter[int]
) -> None:
    """An Examples artifact of a span, as ExampleGen marks it."""
    shutil.copytree(split, f"{examples.uri}/Split-train")
    examples.split_names = json.dumps(["train"])
    examples.set_int_custom_property("span", span)
