"""Tar streams, read back by tarfile and by the system's own tar."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra_validator.runners.docker_archive import (
    is_self_contained,
    modes_of,
)
from infra_validator.runners.docker_container import FileMode
from infra_validator.runners.tar_stream import Archive

MIB = 1024 * 1024
CHUNK = MIB // 4


def stream_folder(folder: Path, at: str) -> Iterator[bytes]:
    return Archive({at: folder}, {}).chunks()


def pack_files(files: dict[str, bytes]) -> bytes:
    return b"".join(Archive({}, files).chunks())


def read(stream: Iterator[bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        return {entry.name: entry for entry in archive}


def contents(archive_bytes: bytes) -> dict[str, bytes | None]:
    """Name to content; None for folders."""
    with tarfile.open(fileobj=io.BytesIO(archive_bytes)) as archive:
        return {
            entry.name: None if (file := archive.extractfile(entry)) is None else file.read()
            for entry in archive
        }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "variables").mkdir(parents=True)
    (path / "empty").mkdir()
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"")
    return path


def test_holds_the_folder_at_its_place_with_every_folder_on_the_way(model: Path) -> None:
    stream = b"".join(stream_folder(model, "my ranker/1"))
    assert contents(stream) == {
        "my ranker": None,
        "my ranker/1": None,
        "my ranker/1/saved_model.pb": b"graph",
        "my ranker/1/empty": None,
        "my ranker/1/variables": None,
        "my ranker/1/variables/variables.index": b"",
    }
    assert len(stream) % tarfile.BLOCKSIZE == 0


def test_folders_come_before_what_is_in_them(model: Path) -> None:
    names = list(read(stream_folder(model, "a/1")))
    for name in names:
        parent = name.rpartition("/")[0]
        assert not parent or names.index(parent) < names.index(name)


def test_everybody_may_read_what_was_private(model: Path) -> None:
    (model / "saved_model.pb").chmod(0o400)
    (model / "variables").chmod(0o700)
    model.chmod(0o700)
    for entry in read(stream_folder(model, "a/1")).values():
        assert entry.mode == (0o755 if entry.isdir() else 0o644)
        assert (entry.uid, entry.gid) == (0, 0)


def test_the_systems_own_tar_reads_it(model: Path, tmp_path: Path) -> None:
    (model / ("ü" * 60)).write_bytes(b"x" * 1000)
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(
        ["tar", "-xf", "-", "-C", str(target)],
        input=b"".join(stream_folder(model, "a/1")),
        check=True,
    )
    subprocess.run(["diff", "-r", str(model), str(target / "a" / "1")], check=True)


def test_links_become_what_they_lead_to(model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "vocabulary").write_bytes(b"words")
    (model / "assets").symlink_to(elsewhere)
    (model / "copy.pb").symlink_to("saved_model.pb")
    os.link(model / "saved_model.pb", model / "hard.pb")
    found = contents(b"".join(stream_folder(model, "a")))
    assert found["a/assets"] is None
    assert found["a/assets/vocabulary"] == b"words"
    assert found["a/copy.pb"] == found["a/hard.pb"] == b"graph"


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60
).filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 255)
SIZES = st.sampled_from([0, 1, 511, 512, 513, MIB - 1, MIB, MIB + 1])


@settings(max_examples=60)
@given(
    st.dictionaries(NAMES, st.one_of(st.binary(max_size=600), SIZES.map(bytes)), max_size=4),
    st.lists(NAMES, min_size=1, max_size=3),
)
def test_any_names_and_sizes_come_back(files: dict[str, bytes], folders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        inner = root / "inner"
        inner.mkdir()
        deepest = inner.joinpath(*folders)
        deepest.mkdir(parents=True)
        for name, content in files.items():
            (deepest / name).write_bytes(content)
        found = contents(b"".join(stream_folder(inner, "a/1")))
        place = "/".join(["a/1", *folders])
        assert {name: found[f"{place}/{name}"] for name in files} == files
        assert len(found) == 2 + len(folders) + len(files)


def test_a_name_that_is_no_unicode_comes_back(model: Path) -> None:
    (model / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    found = contents(b"".join(stream_folder(model, "a")))
    assert found[os.fsdecode(b"a/caf\xe9")] == b"x"


def test_deep_folders_come_back(model: Path) -> None:
    deep = model.joinpath(*["a folder with a long name"] * 12)
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"deep")
    found = contents(b"".join(stream_folder(model, "m")))
    assert found[f"m/{deep.relative_to(model)}/file"] == b"deep"


def test_a_sparse_file_beyond_8_gib_is_announced_with_its_size(model: Path) -> None:
    with (model / "big").open("wb") as file:
        file.truncate(9 * 1024**3)
    (model / "saved_model.pb").unlink()
    (model / "variables" / "variables.index").unlink()
    start = b""
    for chunk in stream_folder(model, "a"):
        start += chunk
        if len(start) > MIB:
            break
    with tarfile.open(fileobj=io.BytesIO(start), mode="r|") as archive:
        sizes = {}
        for entry in archive:
            sizes[entry.name] = entry.size
            if entry.name == "a/big":
                break
    assert sizes["a/big"] == 9 * 1024**3


def test_only_a_chunk_is_in_memory(model: Path) -> None:
    with (model / "big").open("wb") as file:
        file.truncate(20 * MIB)
    assert max(map(len, stream_folder(model, "a"))) == CHUNK


def test_a_file_that_shrinks_is_an_error_and_no_wrong_archive(model: Path) -> None:
    big = model / "big"
    big.write_bytes(bytes(3 * MIB))

    def shrink() -> None:
        for chunk in stream_folder(model, "a"):
            if len(chunk) == CHUNK:
                os.truncate(big, MIB)

    with pytest.raises(OSError, match="big became shorter"):
        shrink()


def test_a_file_that_grows_is_sent_as_it_was_announced(model: Path) -> None:
    big = model / "big"
    big.write_bytes(b"a" * (2 * MIB))
    stream = b""
    for chunk in stream_folder(model, "a"):
        stream += chunk
        if len(chunk) == CHUNK:
            with big.open("ab") as file:
                file.write(b"b" * 100)
    assert contents(stream)["a/big"] == b"a" * (2 * MIB)


def test_a_file_that_is_gone_is_an_error(model: Path) -> None:
    (model / "dangling").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        b"".join(stream_folder(model, "a"))


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        b"".join(stream_folder(tmp_path / "missing", "a"))
    with pytest.raises(FileNotFoundError):
        list(modes_of(tmp_path / "missing"))


def test_modes_are_those_of_the_folder_and_all_in_it(model: Path) -> None:
    model.chmod(0o711)
    (model / "saved_model.pb").chmod(0o604)
    (model / "link").symlink_to("saved_model.pb")
    found = sorted(modes_of(model), key=lambda mode: mode.mode)
    kinds = [(stat.S_ISDIR(mode.mode), mode.mode & 0o777) for mode in found]
    assert kinds.count((False, 0o604)) == 2  # the file, and the link to it
    assert kinds.count((True, 0o711)) == 1
    assert len(kinds) == 6
    assert all(isinstance(mode, FileMode) and mode.uid == os.getuid() for mode in found)


def test_modes_of_a_dangling_link_are_an_error(model: Path) -> None:
    (model / "dangling").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        list(modes_of(model))


def test_a_folder_is_whole_only_if_no_link_leads_out(model: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    assert is_self_contained(model)
    (model / "inside").symlink_to("saved_model.pb")
    (model / "variables" / "up").symlink_to("../saved_model.pb")
    assert is_self_contained(model)
    for target in (
        "../../outside",
        "../../model/saved_model.pb",  # in a container, what holds the folder has another name
        str(tmp_path / "outside"),
        str(model / "saved_model.pb"),
    ):
        link = model / "variables" / "out"
        link.symlink_to(target)
        assert not is_self_contained(model), target
        link.unlink()


def test_a_folder_reached_by_a_link_is_whole(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(model)
    (model / "inside").symlink_to("saved_model.pb")
    assert is_self_contained(link)


def test_small_files_are_readable_to_everybody() -> None:
    files = {"batching_parameters_file": b"x" * 1000, "empty": b""}
    packed = pack_files(files)
    assert contents(packed) == files
    assert {entry.mode for entry in read(iter([packed])).values()} == {0o644}


def test_no_files_are_an_empty_archive() -> None:
    assert contents(pack_files({})) == {}
