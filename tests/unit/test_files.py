import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator.files import Gfile, copy_tree, local_path, remove_tree, storage_errors


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/model", "/data/model"),
        ("relative/model", "relative/model"),
        ("/data/a%20b", "/data/a%20b"),
        ("/data/a:b", "/data/a:b"),
        ("file:///data/model", "/data/model"),
        ("file:///data/a%20b", "/data/a%20b"),
        ("file://localhost/data", "/data"),
        ("file:///", "/"),
        ("file://", None),
        ("file://another-host/data", None),
        ("gs://bucket/model", None),
        ("s3://bucket/model", None),
        ("hdfs://namenode:8020/model", None),
        ("memory://x", None),
    ],
)
def test_local_path(uri: str, path: str | None) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


def make_tree(root: Path) -> dict[str, bytes]:
    content = {
        "saved_model.pb": b"graph",
        "variables/variables.index": b"\x00\xff" * 10,
        "assets/deep/er/vocabulary": "größe\n".encode(),
        "with space/[1]*?": b"odd",
    }
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return content


def read_tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("slash", ["", "/"])
def test_copies_all_files(files: Any, tmp_path: Path, slash: str) -> None:
    content = make_tree(tmp_path / "source")
    count, size = copy_tree(
        files, f"{tmp_path}/source{slash}", f"{tmp_path}/new/target{slash}", lambda: None
    )
    assert read_tree(tmp_path / "new" / "target") == content
    assert (count, size) == (len(content), sum(map(len, content.values())))
    assert read_tree(tmp_path / "source") == content


def test_copies_empty_files(files: Any, tmp_path: Path) -> None:
    (tmp_path / "source" / "assets").mkdir(parents=True)
    (tmp_path / "source" / "assets" / "vocabulary").touch()
    assert copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", lambda: None) == (1, 0)
    assert read_tree(tmp_path / "target") == {"assets/vocabulary": b""}


def test_copies_empty_folders(files: Any, tmp_path: Path) -> None:
    (tmp_path / "source" / "variables" / "none").mkdir(parents=True)
    assert copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", lambda: None) == (0, 0)
    assert (tmp_path / "target" / "variables" / "none").is_dir()


def test_copies_what_links_point_to(files: Any, tmp_path: Path) -> None:
    make_tree(tmp_path / "elsewhere")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "folder").symlink_to(tmp_path / "elsewhere" / "variables")
    (tmp_path / "source" / "file").symlink_to(tmp_path / "elsewhere" / "saved_model.pb")
    copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", lambda: None)
    assert read_tree(tmp_path / "target") == {
        "folder/variables.index": b"\x00\xff" * 10,
        "file": b"graph",
    }
    assert not (tmp_path / "target" / "file").is_symlink()


def test_copies_big_files_whole(files: Any, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    big = tmp_path / "source" / "big"
    big.write_bytes(b"begin")
    os.truncate(big, 20 * 1024 * 1024)
    with big.open("ab") as file:
        file.write(b"end")
    checked = []
    copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", lambda: checked.append(1))
    assert (tmp_path / "target" / "big").read_bytes() == big.read_bytes()
    assert len(checked) >= 3


@pytest.fixture
def reflinks() -> Iterator[Path]:
    """A folder on a disk whose files can share blocks, such as btrfs or XFS."""
    root = os.environ.get("REFLINK_DIR")
    if root is None:
        pytest.skip("REFLINK_DIR names no folder on a disk with reflinks")
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)


def test_copies_by_reflink_where_the_disk_can(files: Any, reflinks: Path) -> None:
    content = make_tree(reflinks / "source")
    big = reflinks / "source" / "big"
    big.write_bytes(os.urandom(20 * 1024 * 1024))
    os.sync()
    free = shutil.disk_usage(reflinks).free
    count, size = copy_tree(files, f"{reflinks}/source", f"{reflinks}/target", lambda: None)
    os.sync()
    assert free - shutil.disk_usage(reflinks).free < 10 * 1024 * 1024
    assert (count, size) == (len(content) + 1, sum(map(len, content.values())) + 20 * 1024 * 1024)
    copy = reflinks / "target" / "big"
    assert copy.read_bytes() == big.read_bytes()
    before = big.read_bytes()
    with copy.open("r+b") as file:
        file.write(b"changed")
    assert big.read_bytes() == before


def test_copies_from_a_disk_with_reflinks_to_another(
    files: Any, reflinks: Path, tmp_path: Path
) -> None:
    content = make_tree(reflinks / "source")
    copy_tree(files, f"{reflinks}/source", f"{tmp_path}/target", lambda: None)
    assert read_tree(tmp_path / "target") == content


def test_a_copy_shares_nothing_with_what_it_was_copied_from(files: Any, tmp_path: Path) -> None:
    """What is read-only in the source can be written in the copy, and changes the copy only."""
    content = make_tree(tmp_path / "source")
    os.link(tmp_path / "source" / "saved_model.pb", tmp_path / "other name")
    for path in (tmp_path / "source").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", lambda: None)
    for name in content:
        copy = tmp_path / "target" / name
        assert copy.stat().st_nlink == 1
        assert copy.stat().st_mode & 0o200
        copy.write_bytes(b"changed")
    assert read_tree(tmp_path / "source") == content
    assert (tmp_path / "other name").read_bytes() == content["saved_model.pb"]


@pytest.mark.parametrize("at", [1, 2, 5])
def test_what_the_check_raises_ends_the_copy(files: Any, tmp_path: Path, at: int) -> None:
    class GivenUpError(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise GivenUpError

    content = make_tree(tmp_path / "source")
    with pytest.raises(GivenUpError):
        copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", check)
    assert calls == at
    assert len(read_tree(tmp_path / "target")) < len(content)


def test_a_source_that_is_not_there_is_an_os_error(files: Any, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        copy_tree(files, f"{tmp_path}/none", f"{tmp_path}/target", lambda: None)


def test_a_file_that_cannot_be_read_is_an_os_error(files: Any, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"nowhere|broken"):
        copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/target", lambda: None)


def test_a_target_that_cannot_be_written_is_an_os_error(files: Any, tmp_path: Path) -> None:
    make_tree(tmp_path / "source")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        copy_tree(files, f"{tmp_path}/source", f"{tmp_path}/file/target", lambda: None)


def test_gfile_reads_and_writes_like_the_file_system_of_tfx(files: Any, tmp_path: Path) -> None:
    path = f"{tmp_path}/folder/file"
    assert not files.exists(path)
    files.makedirs(f"{tmp_path}/folder")
    files.makedirs(f"{tmp_path}/folder")
    with files.open(path, "wb") as file:
        file.write(b"one\ntwo")
    with files.open(path, "rb") as file:
        assert file.read(3) == b"one"
        file.seek(0)
        assert file.read() == b"one\ntwo"
        assert file.read() == b""
    with files.open(path) as file:
        assert file.read() == "one\ntwo"
    assert files.exists(path)
    assert not files.isdir(path)
    assert files.isdir(f"{tmp_path}/folder")
    assert [name.rstrip("/") for name in files.listdir(f"{tmp_path}/folder")] == [Path(path).name]
    assert [tuple(entry) for entry in files.walk(str(tmp_path))] == [
        (str(tmp_path), ["folder"], []),
        (f"{tmp_path}/folder", [], ["file"]),
    ]


@pytest.mark.parametrize("operation", ["open", "exists", "isdir", "listdir", "makedirs", "walk"])
def test_an_unknown_file_system_is_nothing_but_an_os_error(operation: str) -> None:
    """Some operations answer that nothing is there; none may raise anything else."""
    with contextlib.suppress(OSError), storage_errors():
        answer = getattr(Gfile(), operation)("nosuchscheme://bucket/x")
        assert operation not in {"open", "makedirs"} or answer.read()
        assert not list(answer or [])


def test_opening_a_file_of_an_unknown_file_system_is_an_os_error() -> None:
    with pytest.raises(OSError, match="nosuchscheme"), storage_errors():
        Gfile().open("nosuchscheme://bucket/x", "rb").read()


def test_errors_of_others_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), storage_errors():
        raise ZeroDivisionError


def test_remove_tree(tmp_path: Path) -> None:
    make_tree(tmp_path / "kept")
    make_tree(tmp_path / "removed")
    (tmp_path / "removed" / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "removed")
    remove_tree(tmp_path / "removed")
    assert list(tmp_path.iterdir()) == [tmp_path / "kept"]
    assert len(read_tree(tmp_path / "kept")) == 4


def test_what_cannot_be_removed_is_told_but_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    remove_tree(tmp_path / "file")
    assert str(tmp_path / "file") in caplog.text
