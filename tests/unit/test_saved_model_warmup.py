from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from infra_validator.saved_model.warmup import MAX_WARMUP_RECORDS, stamp_model

WARM_UP = "assets.extra/tf_serving_warmup_requests"


def content(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def stamp(files: Any, model: Path, target: Path, records: list[bytes]) -> None:
    stamp_model(files, str(model), str(target), iter(records), lambda: None)


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


def test_what_the_check_raises_ends_it(files: Any, saved_models: Path, tmp_path: Path) -> None:
    class GivenUpError(Exception):
        pass

    def check() -> None:
        raise GivenUpError

    with pytest.raises(GivenUpError):
        stamp_model(files, str(saved_models / "module"), str(tmp_path / "s"), [b"one"], check)
    assert not (tmp_path / "s" / WARM_UP).exists()


def test_a_target_that_cannot_be_written_is_an_os_error(
    files: Any, saved_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        stamp(files, saved_models / "module", tmp_path / "file" / "stamped", [b"one"])


def test_the_limit_is_that_of_tensorflow_serving() -> None:
    assert MAX_WARMUP_RECORDS == 1000
