"""What a pipeline step's container runs: python -m tests.platforms.kubernetes_step JSON.

Drives the executor with artifacts as a launcher would, and prints the report. Keys of
the JSON object: `model` and `split`, which are copied below `root` first, and
`serving_spec`, `validation_spec` as the component's exec properties.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts

from infra_validator.executor import Executor

REPORT = "the report: "


def main() -> None:
    """Validates once, as a step of a pipeline."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.INFO)
    root = Path(given["root"])
    model, examples = standard_artifacts.Model(), standard_artifacts.Examples()
    blessing = standard_artifacts.InfraBlessing()
    model.uri = str(root / "Trainer" / "model" / "7")
    shutil.copytree(given["model"], Path(model.uri) / "Format-Serving")
    examples.uri = str(root / "ExampleGen" / "examples" / "5")
    examples.split_names = json.dumps(["train"])
    shutil.copytree(given["split"], Path(examples.uri) / "Split-train")
    blessing.uri = str(root / "InfraValidator" / "blessing" / "9")
    Path(blessing.uri).mkdir(parents=True)
    executor = Executor(
        base_executor.BaseExecutor.Context(
            tmp_dir=str(root / ".temp"), unique_id="9", stateful_working_dir=str(root / "stateful")
        )
    )
    executor.Do(
        {"model": [model], "examples": [examples]},
        {"blessing": [blessing]},
        {
            "serving_spec": given["serving_spec"],
            "validation_spec": given["validation_spec"],
            "request_spec": json.dumps({"tensorflow_serving": {}, "num_examples": 3}),
        },
    )
    report = Path(blessing.get_string_custom_property("report_uri")).read_text()
    print(REPORT + json.dumps(json.loads(report)), flush=True)


if __name__ == "__main__":
    main()
