"""Where a model and examples are found below a folder that a person names."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra_validator.files import Gfile, absolute
from infra_validator.places import find_examples, find_model
from infra_validator.specs import SpecError


def make(root: Path, *files: str) -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize(
    ("files", "expected", "noted"),
    [
        (["saved_model.pb"], "", ""),
        (["saved_model.pbtxt", "7/saved_model.pb"], "", ""),
        (["Format-Serving/saved_model.pb", "Format-TFLite/model"], "Format-Serving", "artifact"),
        (["serving_model_dir/saved_model.pb"], "serving_model_dir", "artifact"),
        (
            ["serving_model_dir/export/chicago/1580/saved_model.pb"],
            "serving_model_dir/export/chicago/1580",
            "artifact",
        ),
        (
            ["serving_model_dir/export/a/1/saved_model.pb", "serving_model_dir/export/b/1/x"],
            "serving_model_dir",
            "artifact",
        ),
        (["9/saved_model.pb", "10/saved_model.pb"], "10", "newest"),
        (["007/saved_model.pb"], "007", "1 numbered version"),
        # Not a base folder: TensorFlow Serving would take 10, but a person may not mean it.
        (["10/saved_model.pb", "notes.txt"], "", ""),
        (["10", "9/saved_model.pb"], "", ""),
        (["notes.txt"], "", ""),
        ([".hidden/x", "3/saved_model.pb"], "3", "version"),
    ],
)
def test_a_model_is_found(tmp_path: Path, files: list[str], expected: str, noted: str) -> None:
    make(tmp_path, *files)
    found = find_model(Gfile(), f"{tmp_path}/")
    assert found.uri == str(tmp_path / expected).rstrip("/")
    assert (found.note is None) == (not noted)
    assert noted in (found.note or "")


@pytest.mark.parametrize(
    ("name", "said"), [("nowhere", "there is no such folder"), ("file", "not a folder")]
)
def test_a_place_that_is_no_folder_is_refused(tmp_path: Path, name: str, said: str) -> None:
    make(tmp_path, "file")
    with pytest.raises(SpecError, match=said):
        find_model(Gfile(), str(tmp_path / name))


def test_what_cannot_be_looked_at_is_left_to_the_reader() -> None:
    assert find_model(Gfile(), "nosuch://bucket/model").uri == "nosuch://bucket/model"
    assert find_examples(Gfile(), "nosuch://bucket/e").splits == {"examples": "nosuch://bucket/e"}


def test_examples_are_found(tmp_path: Path) -> None:
    make(tmp_path, "artifact/Split-train/a", "artifact/Split-eval/a", "artifact/notes")
    make(tmp_path, "folder/a-1.gz", "folder/a-2.gz", "folder/b", "odd[1]")
    look = {
        "artifact": {"eval": "artifact/Split-eval", "train": "artifact/Split-train"},
        "artifact/Split-train/": {"examples": "artifact/Split-train"},
        "folder": {"examples": "folder"},
        "folder/b": {"examples": "folder/b"},
        "folder/a-*.gz": {"examples": ("folder/a-1.gz", "folder/a-2.gz")},
        "folder/?": {"examples": ("folder/b",)},
        "odd[1]": {"examples": "odd[1]"},
    }
    for place, expected in look.items():
        whole = {
            split: str(tmp_path / where)
            if isinstance(where, str)
            else tuple(str(tmp_path / one) for one in where)
            for split, where in expected.items()
        }
        assert dict(find_examples(Gfile(), f"{tmp_path}/{place}").splits) == whole, place


def test_a_pattern_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.tfrecord")
    monkeypatch.chdir(tmp_path)
    assert find_examples(Gfile(), "*.tfrecord").splits == {"examples": ("./a.tfrecord",)}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere", "there is nothing at"),
        ("folder/*.gz", "no file matches"),
        ("nowhere/*.gz", "no file matches"),
        ("*/a", "only the last part"),
    ],
)
def test_examples_that_are_not_there_are_refused(tmp_path: Path, place: str, said: str) -> None:
    make(tmp_path, "folder/a")
    with pytest.raises(SpecError, match=said):
        find_examples(Gfile(), f"{tmp_path}/{place}")


def test_a_relative_path_to_a_model_becomes_absolute(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved_model.parent)
    assert find_model(Gfile(), f"{saved_model.name}/").uri == str(saved_model)


@pytest.mark.parametrize("uri", ["gs://bucket/model", "file:///a/b", "/a/b", ""])
def test_what_is_absolute_stays(uri: str) -> None:
    assert absolute(uri) == uri
