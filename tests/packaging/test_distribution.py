"""Wheel and sdist, and the library where only TFX's light distribution is installed."""

from __future__ import annotations

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

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


@pytest.fixture(scope="module")
def light_python(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with the wheel and what it needs, and no more."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    python = str(folder / "bin" / "python")
    [wheel] = distributions.glob("*.whl")
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "sync", "--quiet", "--python", python, str(ROOT / "requirements" / "sdk.txt")],
        ["pip", "install", "--quiet", "--python", python, "--no-deps", str(wheel)],
        ["pip", "check", "--quiet", "--python", python],
        # Where setuptools can be imported, TFX refuses its own artifact types unless the full
        # distribution is there (tfx/types/standard_artifacts.py).
        ["pip", "uninstall", "--quiet", "--python", python, "setuptools"],
    ):
        done = subprocess.run([UV, *command], capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    return python


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
    assert {"tfx", "kubeflow"} <= set(metadata.get_all("Provides-Extra", []))


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


def test_the_component_is_built_compiled_and_run_without_the_full_tfx(
    light_python: str, saved_model: Path, split: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(light_python, str(Path(__file__).parent / "light_pipeline.py")),
            *(str(tmp_path), str(saved_model), str(split)),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == "compiled, run: blessed"


def test_nothing_of_the_full_tfx_is_there(light_python: str) -> None:
    done = subprocess.run([light_python, "-c", "import tfx.v1"], capture_output=True, text=True)
    assert "No module named" in done.stderr
