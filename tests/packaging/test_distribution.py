"""Wheel and sdist, and the library where only TFX's light distribution is installed."""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra_validator.report import PAGE_NAME

ROOT = Path(__file__).parents[2]
UV = str(Path(sys.executable).parent / "uv")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from the sources."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


def uv(*command: str, folder: Path) -> None:
    """Runs uv."""
    done = subprocess.run([UV, *command], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, f"{command}: {done.stderr}"


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    uv("venv", "--quiet", "--python", sys.executable, str(folder), folder=folder.parent)
    return folder


@pytest.fixture(scope="module", params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def programs(request: pytest.FixtureRequest, distributions: Path, light: Path) -> Path:
    """Where the environment keeps its programs; in it a distribution and what it needs, no more.

    The sdist is built at that, with nothing but what its own pyproject.toml asks for.
    """
    [distribution] = distributions.glob(request.param)
    for command in (
        ["sync", str(ROOT / "requirements" / "sdk.txt")],
        ["install", "--no-deps", str(distribution)],
        ["check"],
        # Where setuptools can be imported, TFX refuses its own artifact types unless the full
        # distribution is there (tfx/types/standard_artifacts.py).
        ["uninstall", "setuptools"],
    ):
        uv("pip", *command, "--quiet", "--python", str(light), folder=light.parent)
    return light / "bin"


def test_the_wheel_holds_what_it_must_and_no_more(distributions: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "infra_validator/py.typed",
        "infra_validator/proto/infra_validator_pb2.py",
        "infra_validator/proto/infra_validator_pb2.pyi",
        "infra_validator/report_page/page.css",
        "infra_validator/report_page/page.html.jinja",
        "infra_validator/runners/supervisor.py",
        "infra_validator/model_server/__main__.py",
    } <= names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "infra_validator").rglob("*.py")}
    assert sources <= names
    assert all(name.startswith(("infra_validator/", "infra_validator-")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_metadata_is_what_pyproject_says(distributions: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Name"] == "infra-validator"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert {"tfx", "kubernetes", "kubeflow"} <= set(metadata.get_all("Provides-Extra", []))
    # No other versions were tried than those that the locked environments of TFX hold.
    requirements = map(Requirement, metadata.get_all("Requires-Dist", []))
    [kubernetes] = [one for one in requirements if one.name == "kubernetes"]
    locks = [(ROOT / "requirements" / name).read_text() for name in ("tfx-1.15.txt", "dev.txt")]
    oldest, newest = (re.findall(r"^kubernetes==(\d+)", lock, re.MULTILINE)[0] for lock in locks)
    assert str(kubernetes.specifier) == f"<{int(newest) + 1},>={oldest}"


def test_the_sdist_holds_sources_protos_and_tests(distributions: Path) -> None:
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "protos/infra_validator/proto/infra_validator.proto",
        "infra_validator/py.typed",
        "infra_validator/proto/infra_validator_pb2.py",
        "tests/conftest.py",
    } <= names


def test_what_is_installed_is_the_distribution(programs: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [programs / "python", "-c", "import infra_validator as iv; print(iv.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert Path(done.stdout.strip()).is_relative_to(programs.parent), done.stderr
    helped = subprocess.run(
        [programs / "infra-validator", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "validate" in helped.stdout


def test_the_command_validates_a_model(programs: Path, saved_model: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [programs / "infra-validator", "validate", saved_model, "--json", "--report", "report"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout)["verdict"] == "blessed"
    assert (tmp_path / "report" / PAGE_NAME).read_text().startswith("<!DOCTYPE html>")


def test_the_component_is_built_compiled_and_run_without_the_full_tfx(
    programs: Path, saved_model: Path, split: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(str(programs / "python"), str(Path(__file__).parent / "light_pipeline.py")),
            *(str(tmp_path), str(saved_model), str(split)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "compiled, run: blessed"


def test_nothing_of_the_full_tfx_is_there(programs: Path) -> None:
    done = subprocess.run(
        [programs / "python", "-c", "import tfx.v1"], capture_output=True, text=True
    )
    assert "No module named" in done.stderr
