"""A real notebook under TFX's InteractiveContext, executed by a real kernel."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("tfx.orchestration.experimental.interactive.interactive_context")

ROOT = Path(__file__).parents[2]

SETUP = """\
import logging, warnings
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
from tfx.orchestration.experimental.interactive.interactive_context import InteractiveContext
from tests.pipelines.components import BringExamples, BringModel
context = InteractiveContext(pipeline_root={root!r})
model = BringModel(saved_model={model!r})
context.run(model)
examples = BringExamples(split={split!r})
context.run(examples)
from infra_validator import *
infra_validator = InfraValidator(
    model=model.outputs["model"],
    examples=examples.outputs["examples"],
    serving_spec=ServingSpec(
        tensorflow_serving=TensorFlowServing(), local_process=LocalProcessConfig()
    ),
    request_spec=RequestSpec(tensorflow_serving=TensorFlowServingRequestSpec(), num_examples=3),
)
context.run(infra_validator)
"""
READ = """\
from infra_validator import notebook
report = notebook.read_report(infra_validator.outputs["blessing"].get()[0])
report
"""
FOREIGN = """\
from tfx.types import standard_artifacts
foreign = standard_artifacts.InfraBlessing()
foreign.uri = {root!r}
notebook.show(foreign)
"""


@pytest.fixture(scope="module")
def outputs(
    tmp_path_factory: pytest.TempPathFactory, saved_model: Path, split: Path
) -> dict[str, list[Any]]:
    """What each cell put out."""
    root = str(tmp_path_factory.mktemp("root"))
    sources = {
        "setup": SETUP.format(root=root, model=str(saved_model), split=str(split)),
        "show": 'context.show(infra_validator.outputs["blessing"])',
        "report": READ,
        "foreign": FOREIGN.format(root=root),
    }
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources.values()]
    )
    client = nbclient.NotebookClient(
        notebook,
        timeout=240,
        iopub_timeout=60,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
    )
    client.execute()
    return {name: cell.outputs for name, cell in zip(sources, notebook.cells, strict=True)}


def frames(outputs: list[Any]) -> list[str]:
    """The pages in the frames that a cell shows."""
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    return [
        html.unescape(page) for page in re.findall(r'<iframe sandbox [^>]*srcdoc="([^"]*)"', shown)
    ]


def test_showing_the_blessing_shows_the_report(outputs: dict[str, list[Any]]) -> None:
    [page] = frames(outputs["show"])
    assert page.startswith("<!DOCTYPE html>")
    assert "The model was loaded and answered 3 requests." in page
    assert 'class="blessed"' in page


def test_nothing_of_the_page_is_outside_of_its_frame(outputs: dict[str, list[Any]]) -> None:
    for output in [*outputs["show"], *outputs["report"]]:
        outside = re.sub(r"<iframe .*?</iframe>", "", output.get("data", {}).get("text/html", ""))
        assert "<style" not in outside
        assert "<script" not in outside


def test_a_report_is_shown_as_a_page_and_as_text(outputs: dict[str, list[Any]]) -> None:
    [result] = outputs["report"]
    assert len(frames([result])) == 1
    assert result["data"]["text/plain"].startswith("Blessed: The model was loaded")


def test_a_blessing_without_a_report_says_so(outputs: dict[str, list[Any]]) -> None:
    [said] = outputs["foreign"]
    assert (
        "No report can be shown: there is no infra_validation_report.json"
        in (said["data"]["text/plain"])
    )


def test_a_plain_pipeline_does_not_import_the_interactive_package() -> None:
    script = (
        "import sys; from infra_validator import InfraValidator\n"
        "print([n for n in sys.modules if 'interactive' in n or n.startswith('IPython')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
