import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import infra_validator
from infra_validator.faults import (
    CATEGORIES,
    MEMORY_CATEGORIES,
    TIME_CATEGORIES,
    Blame,
    Evidence,
    Fault,
    FaultError,
    Phase,
    fault,
)

PACKAGE = Path(infra_validator.__file__).parent
SOURCES = [
    path
    for path in PACKAGE.rglob("*.py")
    if not {"proto", "model_server"} & set(path.relative_to(PACKAGE).parts)
]


def strings_in(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def categories_named_in(tree: ast.AST) -> Iterator[str]:
    """Literals given to whatever makes a fault, and literals put into a name `category`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            function = getattr(node.func, "id", getattr(node.func, "attr", None))
            first = node.args[0]
            if function in {"fault", "found"} and isinstance(first, ast.Constant):
                yield first.value
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from assigned_to_category(target, node.value)


def assigned_to_category(target: ast.expr, value: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for name, part in zip(target.elts, value.elts, strict=True):
            yield from assigned_to_category(name, part)
    elif isinstance(target, ast.Name) and target.id == "category":
        yield from category_literals(value)


def category_literals(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from category_literals(node.body)
        yield from category_literals(node.orelse)
    else:
        yield from strings_in(node)


def test_every_category_that_the_code_names_is_in_the_table() -> None:
    named = {
        (path.relative_to(PACKAGE).as_posix(), category)
        for path in SOURCES
        for category in categories_named_in(ast.parse(path.read_text()))
    }
    assert len({category for _, category in named}) > 20
    assert [entry for entry in sorted(named) if entry[1] not in CATEGORIES] == []


def test_every_category_of_the_table_is_used() -> None:
    used = {
        text
        for path in SOURCES
        if path != PACKAGE / "faults.py"
        for text in strings_in(ast.parse(path.read_text()))
    }
    assert set(CATEGORIES) - used == set()


@pytest.mark.parametrize("name", CATEGORIES)
def test_every_category_is_complete(name: str) -> None:
    category = CATEGORIES[name]
    assert category.name == name
    assert name == name.lower()
    assert name.replace("_", "").isalpha()
    assert category.hint.endswith(".")
    assert category.hint == category.hint.strip()


@pytest.mark.parametrize("name", CATEGORIES)
def test_only_infrastructure_is_worth_another_try(name: str) -> None:
    """A model that cannot be loaded fails once, at once."""
    assert not CATEGORIES[name].transient or CATEGORIES[name].blame == Blame.INFRASTRUCTURE


def test_faults_of_memory_are_worth_another_try() -> None:
    assert set(CATEGORIES) >= MEMORY_CATEGORIES
    assert all(CATEGORIES[name].transient for name in MEMORY_CATEGORIES)


@pytest.mark.parametrize("name", CATEGORIES)
def test_a_fault_takes_everything_from_its_category(name: str) -> None:
    category = CATEGORIES[name]
    assert fault(name, Phase.LOAD, "It failed.") == Fault(
        phase=Phase.LOAD,
        category=name,
        blame=category.blame,
        transient=category.transient,
        summary="It failed.",
        detail="",
        hint=category.hint,
        evidence=Evidence(None, None, None, ()),
    )


def test_what_more_is_known_goes_with_the_fault() -> None:
    evidence = Evidence(exit_code=1, events=("pulled",))
    made = fault("op_missing", Phase.LOAD, "s", detail="d", hint="h", evidence=evidence)
    assert (made.detail, made.hint, made.evidence) == ("d", "h", evidence)
    assert fault("op_missing", Phase.LOAD, "s", hint="").hint == ""


def test_an_unknown_category_is_an_error() -> None:
    with pytest.raises(KeyError):
        fault("no_such_category", Phase.LOAD, "s")


def test_the_exception_carries_the_fault_and_says_its_summary() -> None:
    made = fault("op_missing", Phase.LOAD, "It failed.")
    assert FaultError(made).fault is made
    assert str(FaultError(made)) == "It failed."


def test_phases_are_in_the_order_in_which_they_happen() -> None:
    assert [phase.value for phase in Phase] == [
        "configure",
        "stage",
        "image",
        "schedule",
        "start",
        "load",
        "warm-up",
        "query",
        "check",
        "stop",
    ]


@pytest.mark.parametrize(
    ("summary", "sentence"),
    [("It failed", "It failed."), ("It failed.", "It failed."), ("Why?", "Why?"), ("cut …",) * 2],
)
def test_a_summary_that_ends_with_another_ones_words_is_a_sentence_all_the_same(
    summary: str, sentence: str
) -> None:
    assert fault("op_missing", Phase.LOAD, summary).summary == sentence


def test_every_time_limit_that_a_model_is_blamed_for_is_asked_about() -> None:
    limits = {name for name in CATEGORIES if name.endswith("_timeout")}
    assert {name for name in limits if CATEGORIES[name].blame == Blame.MODEL} == TIME_CATEGORIES
