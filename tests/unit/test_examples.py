import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from infra_validator.faults import Blame, FaultError, Phase
from infra_validator.files import Gfile
from infra_validator.requests.examples import Examples, Records, choose_splits, take_records
from infra_validator.tfrecord import write_records


def write_shard(folder: Path, name: str, records: list[bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    opened: Any = gzip.open if name.endswith(".gz") else open
    with opened(path, "wb") as file:
        write_records(file, records)
    return path


def examples(root: Path, *splits: str) -> Examples:
    return Examples({split: str(root / f"Split-{split}") for split in splits})


def failure(files: Any, *arguments: Any) -> FaultError:
    with pytest.raises(FaultError) as caught:
        take_records(files, *arguments)
    assert caught.value.fault.phase == Phase.STAGE
    return caught.value


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("shards", "count", "taken"),
    [
        ([[b"a", b"b", b"c"]], 2, [b"a", b"b"]),
        ([[b"a"], [b"b"], [b"c"]], 2, [b"a", b"b"]),
        ([[b"a", b"b"], [b"c", b"d"]], 3, [b"a", b"b", b"c"]),
        ([[b"a", b"b"], [b"c", b"d"]], 4, [b"a", b"b", b"c", b"d"]),
        ([[b"a"]], 9, [b"a"]),
        ([[], [], [b"a"], [], [b"b"]], 2, [b"a", b"b"]),
        ([[b"", b""]], 2, [b"", b""]),
    ],
)
def test_takes_the_first_records_in_the_order_of_the_shards(
    files: Any,
    tmp_path: Path,
    shards: list[list[bytes]],
    count: int,
    taken: list[bytes],
    ending: str,
) -> None:
    for number, records in reversed(list(enumerate(shards))):
        name = f"data_tfrecord-{number:05d}-of-{len(shards):05d}{ending}"
        write_shard(tmp_path / "Split-train", name, records)
    assert take_records(files, examples(tmp_path, "train"), "train", count) == Records(
        "train", tuple(taken)
    )


@pytest.mark.parametrize(
    ("asked", "split_name", "value"),
    [(None, "train", b"t"), ("train", "train", b"t"), ("eval", "eval", b"e")],
)
def test_takes_from_the_split_that_is_named_or_the_first(
    files: Any, tmp_path: Path, asked: str | None, split_name: str, value: bytes
) -> None:
    write_shard(tmp_path / "Split-eval", "data.gz", [b"e"])
    write_shard(tmp_path / "Split-train", "data.gz", [b"t"])
    records = take_records(files, examples(tmp_path, "train", "eval"), asked, 1)
    assert records == Records(split_name, (value,))


def test_opens_no_shard_that_it_does_not_need(files: Any, tmp_path: Path) -> None:
    write_shard(tmp_path / "Split-train", "data-0", [b"a", b"b"])
    (tmp_path / "Split-train" / "data-1").write_bytes(b"nothing like a TFRecord")
    assert take_records(files, examples(tmp_path, "train"), None, 2).values == (b"a", b"b")


def test_takes_no_more_of_a_broken_shard_than_needed(files: Any, tmp_path: Path) -> None:
    path = write_shard(tmp_path / "Split-train", "data", [b"a", b"b", b"c"])
    os.truncate(path, path.stat().st_size - 1)
    assert take_records(files, examples(tmp_path, "train"), None, 2).values == (b"a", b"b")


def test_passes_over_folders_in_the_split(files: Any, tmp_path: Path) -> None:
    write_shard(tmp_path / "Split-train", "data", [b"a"])
    write_shard(tmp_path / "Split-train" / "another", "data", [b"b"])
    assert take_records(files, examples(tmp_path, "train"), None, 2).values == (b"a",)


@pytest.mark.parametrize("name", ["run[1]", "a*b", "what?", "{a,b}", "with space", "straße"])
def test_the_folder_may_have_any_name(files: Any, tmp_path: Path, name: str) -> None:
    write_shard(tmp_path / name / "Split-train", "data", [b"a"])
    records = take_records(files, examples(tmp_path / name, "train"), None, 1)
    assert records.values == (b"a",)


def test_reads_a_sparse_split_of_5_gb_no_further_than_needed(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "Split-train", "data", [b"a", b"b"])
    os.truncate(path, 5 * 10**9)
    assert take_records(Gfile(), examples(tmp_path, "train"), None, 2).values == (b"a", b"b")


@pytest.mark.parametrize(
    ("splits", "asked", "named"),
    [
        ([], None, "no split"),
        ([], "train", "RequestSpec.split_name"),
        (["train", "eval"], "tset", "train, eval"),
        (["train"], "train", "Split-train"),
    ],
)
def test_a_split_that_is_not_there_is_the_datas_fault(
    files: Any, tmp_path: Path, splits: list[str], asked: str | None, named: str
) -> None:
    error = failure(files, examples(tmp_path, *splits), asked, 1)
    assert (error.fault.category, error.fault.blame) == ("examples_missing", Blame.DATA)
    assert named in error.fault.summary


@pytest.mark.parametrize("shards", [[], ["data"], ["data-0.gz", "data-1.gz"]])
def test_an_empty_split_is_the_datas_fault(files: Any, tmp_path: Path, shards: list[str]) -> None:
    (tmp_path / "Split-eval").mkdir()
    for name in shards:
        write_shard(tmp_path / "Split-eval", name, [])
    error = failure(files, examples(tmp_path, "eval"), "eval", 1)
    assert (error.fault.category, error.fault.blame) == ("examples_missing", Blame.DATA)
    assert "'eval'" in error.fault.summary


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n",
        b"\x1f\x8b\x08\x00garbage",
        gzip.compress(b"a,b\n1,2\n", mtime=0),
        gzip.compress(b"x" * 1000, mtime=0)[:20],
    ],
)
def test_a_broken_shard_is_the_datas_fault_and_named(
    files: Any, tmp_path: Path, content: bytes
) -> None:
    write_shard(tmp_path / "Split-train", "data-0", [b"a"])
    (tmp_path / "Split-train" / "data-1").write_bytes(content)
    error = failure(files, examples(tmp_path, "train"), None, 2)
    assert (error.fault.category, error.fault.blame) == ("examples_unreadable", Blame.DATA)
    assert str(tmp_path / "Split-train" / "data-1") in error.fault.summary
    assert "record 1" in error.fault.summary


def test_a_file_that_cannot_be_opened_is_the_storages_fault(files: Any, tmp_path: Path) -> None:
    write_shard(tmp_path / "Split-train", "data-0", [b"a"])
    (tmp_path / "Split-train" / "data-1").symlink_to(tmp_path / "nowhere")
    error = failure(files, examples(tmp_path, "train"), None, 2)
    assert (error.fault.category, error.fault.blame) == ("storage_failed", Blame.INFRASTRUCTURE)
    assert error.fault.transient
    assert "data-1" in error.fault.summary
    assert error.fault.detail


def test_several_folders_of_a_split_follow_each_other(files: Any, tmp_path: Path) -> None:
    folders = tuple(str(tmp_path / name / "Split-train") for name in ("span-2", "span-1"))
    write_shard(Path(folders[0]), "data.gz", [b"a", b"b"])
    write_shard(Path(folders[1]), "data.gz", [b"c"])
    spans = Examples({"train": folders})
    assert take_records(files, spans, None, 3).values == (b"a", b"b", b"c")
    (tmp_path / "span-1" / "Split-train" / "data.gz").write_bytes(b"never looked at")
    assert take_records(files, spans, "train", 2).values == (b"a", b"b")


@pytest.mark.parametrize(
    ("name", "names", "chosen"),
    [
        (None, (), ["train"]),
        ("eval", (), ["eval"]),
        (None, ("*",), ["train", "eval"]),
        (None, ("eval", "train"), ["eval", "train"]),
    ],
)
def test_the_splits_that_are_meant(
    tmp_path: Path, name: str | None, names: tuple[str, ...], chosen: list[str]
) -> None:
    assert choose_splits(examples(tmp_path, "train", "eval"), name, names) == chosen


def test_one_split_of_several_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="split_names: the examples have no split 'tset'"):
        choose_splits(examples(tmp_path, "train"), None, ["train", "tset"])
