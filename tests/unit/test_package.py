import ast
import importlib.util
import re
from pathlib import Path

import pytest

import infra_validator
from infra_validator import keys


@pytest.mark.parametrize("name", infra_validator.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(infra_validator, name) is getattr(infra_validator, name)
    assert name in dir(infra_validator)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="NoSuchThing"):
        infra_validator.NoSuchThing  # noqa: B018
    with pytest.raises(ImportError, match="NoSuchThing"):
        from infra_validator import NoSuchThing  # noqa: F401


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(infra_validator.__file__).read_text())
    seen = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infra_validator")
        for alias in node.names
    }
    assert seen == set(infra_validator.__all__)


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z].*)?", infra_validator.__version__)


def constants_of_tfx(module: str) -> dict[str, str]:
    """Text constants at the top of a module, read rather than imported: that takes 10 s."""
    package = importlib.util.find_spec("tfx")
    assert package is not None
    [root] = package.submodule_search_locations or []
    tree = ast.parse((Path(root) / module).read_text())
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


@pytest.mark.parametrize(
    "name",
    [
        "MODEL_KEY",
        "EXAMPLES_KEY",
        "BLESSING_KEY",
        "SERVING_SPEC_KEY",
        "VALIDATION_SPEC_KEY",
        "REQUEST_SPEC_KEY",
    ],
)
def test_keys_are_those_of_tfx(name: str) -> None:
    theirs = constants_of_tfx("types/standard_component_specs.py")
    assert getattr(keys, name) == theirs[name]


def test_marker_files_and_properties_are_those_of_tfx() -> None:
    texts = set(constants_of_tfx("components/infra_validator/executor.py").values())
    assert {
        keys.BLESSED_FILE,
        keys.NOT_BLESSED_FILE,
        keys.BLESSED_PROPERTY,
        keys.HAS_MODEL_PROPERTY,
    } <= texts


@pytest.mark.parametrize(("examples", "request_spec"), [(True, False), (False, True)])
def test_a_note_says_what_is_missing(examples: bool, request_spec: bool) -> None:
    note = keys.LOAD_ONLY_NOTES[(examples, request_spec)]
    assert ("give examples" if request_spec else "give a request_spec") in note


@pytest.mark.parametrize("both", [True, False])
def test_no_note_where_nothing_is_amiss(both: bool) -> None:
    assert (both, both) not in keys.LOAD_ONLY_NOTES
