"""What a model's own files say of a fault."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from infra_validator.faults import CATEGORIES, Blame, Fault, Phase, fault
from infra_validator.files import Gfile
from infra_validator.validation.explain import explain

SERVER = {"Library": "2.1.0"}


def explained(
    model: Path, category: str, detail: str = "", server: dict[str, str] = SERVER
) -> Fault:
    return explain(
        fault(category, Phase.LOAD, "It failed.", detail=detail), Gfile(), str(model), server
    )


def hint(model: Path, category: str, detail: str = "") -> str:
    """What is said beyond the category's hint."""
    found = explained(model, category, detail).hint
    assert found.startswith(CATEGORIES[category].hint)
    return found.removeprefix(CATEGORIES[category].hint).strip()


def test_an_op_is_told_with_the_signatures_that_need_it(saved_model: Path) -> None:
    """Even if the TensorFlow here has it."""
    said = hint(saved_model, "op_missing", "Op type not registered 'Mul' in binary running on h.")
    assert "Signatures that need the op Mul: raw, serving_default." in said
    assert "the server's is the older 2.1.0" in said


@pytest.mark.parametrize("version", ["", "99.0.0"])
def test_a_newer_server_or_one_that_says_nothing_is_not_called_older(
    saved_model: Path, version: str
) -> None:
    server = {"Library": version} if version else {}
    assert "older" not in explained(saved_model, "model_load_failed", server=server).hint


def test_the_size_is_told_where_memory_lacks(saved_model: Path) -> None:
    for category in ("memory_limit_exceeded", "out_of_memory", "server_killed", "load_timeout"):
        said = hint(saved_model, category)
        assert said.startswith("The model's files have ")
        assert re.search(r"variables [1-9]\d* B", said)


def test_the_tags_are_told(saved_model: Path) -> None:
    assert hint(saved_model, "tags_missing") == "The model has the tags serve."


def test_what_lacks_beside_the_graph_is_told(saved_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    assert hint(model, "variables_unreadable") == ""
    shutil.rmtree(model / "variables")
    assert "no file in a folder variables" in hint(model, "variables_unreadable")
    assert "no file in a folder assets" in hint(model, "asset_unreadable")


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_model_that_cannot_be_read_raises_nothing(category: str, tmp_path: Path) -> None:
    nothing = fault(category, Phase.LOAD, "It failed.")
    assert explain(nothing, Gfile(), str(tmp_path / "nowhere"), {}) == nothing
    (tmp_path / "saved_model.pb").write_bytes(b"\xff no graph")
    found = explain(nothing, Gfile(), str(tmp_path), {})
    if category in {"model_load_failed", "variables_unreadable"}:
        assert (found.category, found.blame) == ("model_unreadable", Blame.MODEL)
        assert found.summary.endswith("It failed.")
    else:
        assert found == nothing


@pytest.mark.parametrize("category", ["request_failed", "image_not_found", "server_exited"])
def test_a_fault_of_which_the_model_tells_nothing_stays_as_it_is(
    category: str, saved_model: Path
) -> None:
    assert hint(saved_model, category) == ""
