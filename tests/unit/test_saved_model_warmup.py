import collections
import os
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.saved_model.warmup import MAX_WARMUP_RECORDS, choose_records, stamp_model

WARM_UP = "assets.extra/tf_serving_warmup_requests"


def content(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def stamp(files: Any, model: Path, target: Path, records: list[bytes]) -> None:
    size = stamp_model(files, model, target, iter(records), lambda: None)
    assert size == (target / WARM_UP).stat().st_size


def test_the_copy_is_the_model_with_the_records(
    files: Any, saved_models: Path, tmp_path: Path
) -> None:
    before = content(saved_models / "module")
    stamp(files, saved_models / "module", tmp_path / "stamped", [b"one", b"two"])
    after = content(tmp_path / "stamped")
    assert set(after) - set(before) == {WARM_UP}
    assert {name: after[name] for name in before} == before
    records = tf.data.TFRecordDataset(str(tmp_path / "stamped" / WARM_UP))
    assert list(records.as_numpy_iterator()) == [b"one", b"two"]
    assert content(saved_models / "module") == before


def test_the_copy_is_a_model_that_tensorflow_loads(saved_models: Path, tmp_path: Path) -> None:
    from infra_validator.files import Gfile

    stamp(Gfile(), saved_models / "module", tmp_path / "stamped", [b"one"])
    serve = tf.saved_model.load(str(tmp_path / "stamped")).signatures["serving_default"]
    assert serve(tf.constant(["ab"]))["twice"].numpy().tolist() == [b"abab"]


def test_replaces_the_models_own_warm_up_in_the_copy_only(files: Any, tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "assets.extra").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / WARM_UP).write_bytes(b"its own")
    (model / "assets.extra" / "vocabulary").write_bytes(b"words")
    stamp(files, model, tmp_path / "stamped", [b"one"])
    assert (model / WARM_UP).read_bytes() == b"its own"
    records = tf.data.TFRecordDataset(str(tmp_path / "stamped" / WARM_UP))
    assert list(records.as_numpy_iterator()) == [b"one"]
    assert (tmp_path / "stamped" / "assets.extra" / "vocabulary").read_bytes() == b"words"


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "read-only", "linked folder"])
def test_a_warm_up_file_that_is_there_is_never_written_to(
    files: Any, tmp_path: Path, kind: str
) -> None:
    """Whatever the model's own warm-up file is, what it is made of stays as it was."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    elsewhere = tmp_path / "elsewhere" / Path(WARM_UP).name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"its own")
    if kind == "linked folder":
        (model / "assets.extra").symlink_to(elsewhere.parent)
    else:
        (model / "assets.extra").mkdir()
        if kind == "symbolic link":
            (model / WARM_UP).symlink_to(elsewhere)
        else:
            os.link(elsewhere, model / WARM_UP)
    if kind == "read-only":
        for path in (elsewhere, model / "assets.extra", model):
            path.chmod(0o555 if path.is_dir() else 0o444)
    before = elsewhere.stat()
    stamp(files, model, tmp_path / "stamped", [b"one"])
    assert elsewhere.read_bytes() == b"its own"
    after = elsewhere.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_ctime_ns,
        before.st_mode,
    )
    assert (model / WARM_UP).read_bytes() == b"its own"
    stamped = tmp_path / "stamped" / WARM_UP
    assert not stamped.is_symlink()
    assert stamped.stat().st_ino != before.st_ino
    records = tf.data.TFRecordDataset(str(stamped))
    assert list(records.as_numpy_iterator()) == [b"one"]


def test_a_folder_that_is_there_is_not_written_into(
    files: Any, saved_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "stamped").mkdir()
    with pytest.raises(FileExistsError):
        stamp(files, saved_models / "module", tmp_path / "stamped", [b"one"])
    assert content(tmp_path / "stamped") == {}


@pytest.mark.parametrize(
    ("kinds", "limit", "chosen"),
    [
        ("", 5, []),
        ("aab", 5, [0, 1, 2]),
        ("aaaabbbb", 4, [0, 1, 4, 5]),
        ("aaaaaab", 3, [0, 1, 6]),
        ("abcd", 2, [0, 1]),
        ("aaabbbc", 5, [0, 1, 3, 4, 6]),
        ("ababab", 3, [0, 1, 2]),
    ],
)
def test_warm_up_is_shared_out_fairly(kinds: str, limit: int, chosen: list[int]) -> None:
    assert choose_records(kinds, limit) == chosen


@given(st.text("abcd", max_size=60), st.integers(1, 40))
def test_no_kind_of_request_gets_less_than_its_share(kinds: str, limit: int) -> None:
    chosen = choose_records(kinds, limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, len(kinds))
    had, took = collections.Counter(kinds), collections.Counter(kinds[at] for at in chosen)
    most = max(took.values(), default=0)
    for kind in had:
        assert took[kind] in {had[kind], most, most - 1}
        # The first of a kind come before its others.
        places = [at for at, one in enumerate(kinds) if one == kind]
        assert [at for at in chosen if kinds[at] == kind] == places[: took[kind]]


def test_what_the_check_raises_ends_it(files: Any, saved_models: Path, tmp_path: Path) -> None:
    class GivenUpError(Exception):
        pass

    def check() -> None:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        stamp_model(files, saved_models / "module", tmp_path / "s", [b"one"], check)
    assert not (tmp_path / "s" / WARM_UP).exists()


def test_a_target_that_cannot_be_written_is_an_os_error(
    files: Any, saved_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        stamp(files, saved_models / "module", tmp_path / "file" / "stamped", [b"one"])


def test_the_limit_is_that_of_tensorflow_serving() -> None:
    assert MAX_WARMUP_RECORDS == 1000
