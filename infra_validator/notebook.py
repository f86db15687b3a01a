"""Shows the report where a notebook shows a blessing.

TFX's InteractiveContext keeps a registry of what shows which type of artifact;
in a notebook, importing the component adds this module's to it, so that
`context.show(infra_validator.outputs["blessing"])` needs no further step.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from tfx import types
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from infra_validator import report as reports
from infra_validator.report import Report, ReportError

_INTERACTIVE = "tfx.orchestration.experimental"


def in_notebook() -> bool:
    """Whether this process is an IPython session; imports nothing to find out."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def register() -> bool:
    """Has InteractiveContext show reports for blessings, where there is one.

    Returns:
        False where TFX is only its light distribution, which has no notebooks.
    """
    try:
        from tfx.orchestration.experimental.interactive import visualizations
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(_INTERACTIVE):
            return False
        raise

    class InfraBlessingVisualization(visualizations.ArtifactVisualization):
        """Shows the report beside a blessing."""

        ARTIFACT_TYPE = standard_artifacts.InfraBlessing

        def display(self, artifact: types.Artifact) -> None:  # type: ignore[override]
            """Shows it in the cell's output; as with TFX's own, nothing is returned."""
            show(artifact)

    visualizations.get_registry().register(InfraBlessingVisualization)
    return True


def show(blessing: types.Artifact) -> None:
    """Shows a blessing's report in the cell's output, or says why there is none."""
    from IPython.display import display

    shown: Any
    try:
        shown = read_report(blessing)
    except (OSError, ReportError) as error:
        display({"text/plain": f"No report can be shown: {error}"}, raw=True)
        return
    display(shown)


def read_report(blessing: types.Artifact) -> Report:
    """The report beside a blessing.

    Raises:
        OSError: if there is none, or it cannot be read.
        ReportError: if it is of a newer version of the package.
    """
    path = os.path.join(blessing.uri, reports.FILE_NAME)  # noqa: PTH118
    if not fileio.exists(path):
        raise FileNotFoundError(f"there is no {reports.FILE_NAME} at {blessing.uri}")
    with fileio.open(path, "rb") as file:
        return Report.from_json(file.read())
