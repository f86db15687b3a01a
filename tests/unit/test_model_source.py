import os
import threading
from pathlib import Path
from typing import Any

import pytest

from infra_validator.faults import Blame, FaultError, Phase
from infra_validator.files import Gfile
from infra_validator.model_source import ModelSource


class Remote(Gfile):
    """A local folder that is reached as remote://, and counts what is read from it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.opened: list[str] = []

    def _local(self, path: Any) -> str:
        return str(path).replace("remote:/", str(self._root), 1)

    def exists(self, path: Any) -> bool:
        return super().exists(self._local(path))

    def isdir(self, path: Any) -> bool:
        return super().isdir(self._local(path))

    def open(self, path: Any, mode: str = "r") -> Any:
        if "r" in mode:
            self.opened.append(str(path))
        return super().open(self._local(path), mode)

    def walk(self, top: Any) -> Any:
        for folder, folders, names in super().walk(self._local(top)):
            yield folder.replace(str(self._root), "remote:/", 1), folders, names


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    (tmp_path / "bucket" / "model" / "variables").mkdir(parents=True)
    (tmp_path / "bucket" / "model" / "saved_model.pb").write_text("graph")
    (tmp_path / "bucket" / "model" / "variables" / "v").write_text("weights")
    return Remote(tmp_path / "bucket")


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "relative"])
def test_a_local_model_is_used_in_place(tmp_path: Path, form: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    uri = os.path.relpath(model) if form == "relative" else form.format(model)
    source = ModelSource(uri, Gfile(), tmp_path / "staging", lambda: None)
    path = source.local_path()
    assert path.is_absolute()
    assert path.samefile(model)
    assert not (tmp_path / "staging").exists()


def test_a_remote_model_is_staged_once_however_many_want_it(tmp_path: Path, remote: Remote) -> None:
    source = ModelSource("remote://model/", remote, tmp_path / "staging", lambda: None)
    assert remote.opened == []
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(source.local_path())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(remote.opened) == ["remote://model/saved_model.pb", "remote://model/variables/v"]
    [path] = set(found)
    assert path.is_relative_to(tmp_path / "staging")
    assert len(found) == 8
    assert (path / "variables" / "v").read_text() == "weights"


def test_a_remote_model_that_cannot_be_staged_is_the_storages_fault(
    tmp_path: Path, remote: Remote
) -> None:
    (tmp_path / "bucket" / "model" / "broken").symlink_to(tmp_path / "nowhere")
    source = ModelSource("remote://model", remote, tmp_path / "staging", lambda: None)
    with pytest.raises(FaultError) as caught:
        source.local_path()
    fault = caught.value.fault
    assert (fault.category, fault.blame) == ("storage_failed", Blame.INFRASTRUCTURE)
    assert (fault.phase, fault.transient) == (Phase.STAGE, True)
    assert "remote://model" in fault.summary


def test_staging_can_be_given_up(tmp_path: Path, remote: Remote) -> None:
    class GivenUpError(Exception):
        pass

    def check() -> None:
        raise GivenUpError

    source = ModelSource("remote://model", remote, tmp_path / "staging", check)
    with pytest.raises(GivenUpError):
        source.local_path()
