"""Imports go one way; the architecture's rules, held against the code."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import infra_validator

PACKAGE = Path(infra_validator.__file__).parent

USERS_OF_TFX = {"component", "executor", "blessing", "notebook"}
NOT_TO_BE_USED_OF_TFX = (
    "tfx.v1",
    "tfx.components",
    "tfx.proto",
    "tfx.types.standard_component_specs",
)
LOWER = ("requests", "servers", "clients", "runners", "saved_model")
UPPER = ("validation", "executor", "component", "blessing", "notebook", "cli", "api")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "proto" not in path.relative_to(PACKAGE).parts
}


def imports(path: Path) -> Iterator[str]:
    """Everything that a module imports, at its top and within functions, by its full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def own(*names: str) -> list[str]:
    return [f"infra_validator.{name}" for name in names]


def test_the_rules_are_held_against_all_of_the_code() -> None:
    packages = {name.partition(".")[0] for name in SOURCES}
    assert packages >= {*LOWER, "validation", "component", "executor", "blessing", "config"}


@pytest.mark.parametrize("name", SOURCES)
def test_only_the_rooms_that_know_tfx_import_it(name: str) -> None:
    used = [imported for imported in imports(SOURCES[name]) if is_below(imported, "tfx")]
    if name not in USERS_OF_TFX:
        assert used == []
    assert [imported for imported in used if is_below(imported, *NOT_TO_BE_USED_OF_TFX)] == []


@pytest.mark.parametrize("name", [name for name in SOURCES if is_below(name, "validation")])
def test_the_engine_knows_no_platform_and_no_tfx(name: str) -> None:
    runners = {
        imported
        for imported in imports(SOURCES[name])
        if is_below(imported, *own("runners"))
        and not is_below(imported, *own("runners.base", "runners.registry"))
    }
    assert runners == set()
    above = {
        imported
        for imported in imports(SOURCES[name])
        if is_below(imported, "tfx", "docker", "kubernetes", *own(*UPPER[1:]))
    }
    assert above == set()


@pytest.mark.parametrize("name", [name for name in SOURCES if is_below(name, *LOWER)])
def test_the_lower_rooms_do_not_know_the_upper(name: str) -> None:
    above = {imported for imported in imports(SOURCES[name]) if is_below(imported, *own(*UPPER))}
    assert above == set()


@pytest.mark.parametrize(
    "name", [name for name in SOURCES if name and not is_below(name, "model_server")]
)
def test_the_embedded_server_is_reached_over_the_network_only(name: str) -> None:
    assert [
        imported for imported in imports(SOURCES[name]) if is_below(imported, *own("model_server"))
    ] == []


@pytest.mark.parametrize("name", [name for name in SOURCES if is_below(name, "saved_model")])
def test_the_model_is_never_run_in_the_validators_process(name: str) -> None:
    used = {imported for imported in imports(SOURCES[name]) if is_below(imported, "tensorflow")}
    assert {imported for imported in used if not is_below(imported, "tensorflow.core")} == set()


HEAVY = (
    "tensorflow",
    "tfx",
    "docker",
    "kubernetes",
    "grpc",
    "ml_metadata",
    "numpy",
    "rich",
    "jinja2",
)


def loaded_by(statement: str) -> set[str]:
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import infra_validator",
        "from infra_validator import __version__",
        "from infra_validator import ServingSpec, ValidationSpec, RequestSpec, LocalProcessConfig",
        "import infra_validator; dir(infra_validator)",
        "import infra_validator; infra_validator.validate",
        "import infra_validator.cli.main",
        "import infra_validator.config, infra_validator.specs, infra_validator.report",
        "import infra_validator.validation.engine, infra_validator.files",
        "import infra_validator.runners.local_process, infra_validator.servers.tensorflow_serving",
    ],
)
def test_heavy_modules_load_when_first_used(statement: str) -> None:
    loaded = loaded_by(statement)
    assert any(name.startswith("infra_validator") for name in loaded)
    assert loaded & set(HEAVY) == set()


WITHOUT_FULL_TFX = """
import importlib.abc
import sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == hidden or name.startswith(hidden + ".") for hidden in HIDDEN) or (
            name.startswith("tfx.proto.") and not name.startswith("tfx.proto.orchestration")
        ):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

HIDDEN = %r
sys.meta_path.insert(0, NotInstalled())
from infra_validator import *
print(InfraValidator.__name__)
"""
ONLY_WITH_FULL_TFX = (
    "tfx.v1",
    "tfx.components",
    "tfx.types.standard_component_specs",
    "apache_beam",
    "kfp",
    "struct2tensor",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_transform",
    "tfx_bsl",
)


def test_the_component_needs_only_what_ml_pipelines_sdk_holds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FULL_TFX % (ONLY_WITH_FULL_TFX,)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "InfraValidator"
