"""What the Kubeflow example says of wrong arguments, and where something is not installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubeflow" / "compile.py"
USUAL = ("--image", "penguin", "--root", "gs://b/root", "--push-to", "gs://b/models")

# Runs the example as if these modules were not installed.
_WITHOUT = """
import runpy, sys
example, lacks, *arguments = sys.argv[1:]
sys.modules.update(dict.fromkeys(filter(None, lacks.split(",")), None))
sys.path.insert(0, example.rpartition("/")[0])
sys.argv = [example, *arguments]
runpy.run_path(example, run_name="__main__")
"""


def compile_example(
    *arguments: str, folder: Path, lacks: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", _WITHOUT, str(EXAMPLE), ",".join(lacks)),
            *(*arguments, *USUAL, "--output", str(folder)),
        ],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v3"], "invalid choice: 'v3'"),
        (["v2", "--platform", "local_docker"], "'local_docker' (choose from"),
        (["v2", "--platform", "model_name"], "'model_name' (choose from"),
        (["v1", "--claim", "data"], "argument --claim: 'data' is not NAME:PATH"),
        (["v1", "--claim", "data:mnt"], "argument --claim: 'data:mnt' is not NAME:PATH"),
        (["v1", "--claim", ":/mnt"], "argument --claim: ':/mnt' is not NAME:PATH"),
        (["v2", "--claim", "data:/mnt"], "--claim is for v1"),
    ],
)
def test_a_wrong_argument_is_refused_before_tfx_is_looked_for(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    done = compile_example(*arguments, folder=tmp_path, lacks=["tfx"])
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("version", "lacks", "needed"),
    [
        ("v1", "tfx", "TFX 1.15 and its extra kfp"),
        ("v1", "kfp", "TFX 1.15 and its extra kfp"),
        ("v2", "tfx", "TFX 1.16 to 1.21 and kfp"),
        ("v2", "kfp", "TFX 1.16 to 1.21 and kfp"),
    ],
)
def test_an_environment_that_lacks_something_is_told_in_a_sentence(
    version: str, lacks: str, needed: str, tmp_path: Path
) -> None:
    done = compile_example(version, folder=tmp_path, lacks=[lacks])
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(f"A pipeline for Kubeflow Pipelines {version} is compiled with")
    assert needed in sentence
    assert lacks in sentence
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    importlib.util.find_spec("tfx.orchestration.kubeflow.kubeflow_dag_runner") is not None,
    reason="this TFX has the runner for Kubeflow Pipelines v1",
)
def test_a_newer_tfx_is_told_that_v1_needs_an_older_one(tmp_path: Path) -> None:
    done = compile_example("v1", folder=tmp_path)
    assert done.returncode == 1
    assert "TFX 1.15 and its extra kfp" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
