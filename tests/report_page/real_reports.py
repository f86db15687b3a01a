"""Reports of real validations, one of each kind that a page must show well.

    python -m tests.report_page.real_reports FOLDER

writes them there as JSON and as pages, to be looked at.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra_validator.faults import Phase, fault
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report
from infra_validator.runners.local_process import LocalProcessPlatform
from infra_validator.validation.engine import refuse
from tests.conftest import STAND_IN, example_bytes, write_split
from tests.engine.helpers import run

QUICK = pb.ValidationSpec(num_tries=1, max_loading_time_seconds=120)
PERSISTENT = pb.ValidationSpec(num_tries=2, max_loading_time_seconds=120)
LOG = """\
2026-01-01 10:00:00.000000: I tensorflow_serving/model_servers/server.cc:74] Building single model
2026-01-01 10:00:00.000001: I tensorflow_serving/core/basic_manager.cc:740] Successfully reserved \
resources to load servable {name: infra-validation-model version: 1}
2026-01-01 10:00:00.000002: I external/org_tensorflow/reader.cc:83] Reading SavedModel from: \
/models/infra-validation-model/1"""


def make_reports(folder: Path, saved_model: Path) -> dict[str, Report]:
    """Validates, and gives the reports by what is special of them.

    Args:
        folder: an empty folder to work in.
        saved_model: the model of the `saved_model` fixture.
    """
    split = write_split(folder / "Split", (example_bytes(x=float(n)) for n in range(1000)))
    unfit = write_split(folder / "Split-unfit", [example_bytes(z=1.0)])
    stand_in = folder / "tensorflow_model_server"
    stand_in.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    stand_in.chmod(0o755)
    executable = str(stand_in)

    def failing(kind: str, **given: Any) -> Report:
        env = {"STAND_IN_FAULT": kind, "STAND_IN_LOG": LOG}
        return run(saved_model, split=split, executable=executable, env=env, **given)

    return {
        "blessed": run(saved_model, split=split, num_examples=10),
        "blessed_by_three": run(
            saved_model,
            split=split,
            num_examples=20,
            signatures=("serving_default",),
            images=("2.15.1", "2.16.1", "2.17.1"),
            image_name="tensorflow/serving",
            platform=LocalProcessPlatform({}),
            limits=QUICK,
        ),
        "broken": run(_calls_python(folder / "calls-python"), split=split, num_examples=10),
        "not_loaded": failing("exit_while_loading"),
        "unanswered": run(saved_model, split=unfit),
        "undetermined": failing("killed_while_loading", limits=PERSISTENT),
        "crashed": failing("killed_on_request"),
        "load_only": run(saved_model),
        "warm_up": _warmed_up(saved_model, split, folder / "stamped"),
        "thousand": run(saved_model, split=split, num_examples=1000),
        "refused": refuse(
            str(saved_model),
            fault(
                "configuration_invalid",
                Phase.CONFIGURE,
                "ServingSpec.local_docker.cpus: -1.0 is not a number of processors, at least 0.01.",
            ),
        ),
    }


def _warmed_up(saved_model: Path, split: Path, stamped: Path) -> Report:
    """A model that brings warm-up requests, and gets them anew."""
    run(saved_model, split=split, num_examples=5, make_warmup=True, stamp_uri=str(stamped))
    again = str(stamped) + "-again"
    return run(stamped, split=split, num_examples=40, make_warmup=True, stamp_uri=again)


def _calls_python(path: Path) -> Path:
    import tensorflow as tf

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: Any) -> Any:
            return {"y": tf.numpy_function(lambda x: x, [examples], tf.string)}

    module = Module()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


def write_pages(reports: Mapping[str, Report], folder: Path) -> None:
    """Each report as JSON and as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, report in reports.items():
        (folder / f"{name}.json").write_text(report.to_json(), encoding="utf-8")
        (folder / f"{name}.html").write_text(report.to_html(), encoding="utf-8")


def save_doubler(path: Path) -> Path:
    """The model of the `saved_model` fixture, where there is no pytest."""
    import tensorflow as tf

    class Doubler(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: Any) -> Any:
            parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            return {"y": parsed["x"] * 2.0}

    module = Doubler()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(prefix="models-") as work:
        made = make_reports(Path(work), save_doubler(Path(work) / "doubler"))
    write_pages(made, Path(sys.argv[1]))
