"""Whether taking 10 records costs the same from a large split as from a small one.

Both splits begin with the same records; the large one goes on for 5 GB (a hole
in the file, which reading it would fill with zeros). They are read in turn.

    python benchmarks/examples.py [--runs N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from infra_validator.files import Gfile
from infra_validator.requests.examples import Examples, take_records
from tests.conftest import example_bytes, write_split

SIZES = {"5 MB": 5 * 10**6, "5 GB": 5 * 10**9}
RECORDS = 10


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        splits = {name: make_split(Path(folder) / name, size) for name, size in SIZES.items()}
        seconds: dict[str, list[float]] = {name: [] for name in splits}
        for split in splits.values():
            take(split)  # imports TensorFlow
        for _ in range(options.runs):
            for name, split in splits.items():
                seconds[name].append(take(split))
    print(f"first {RECORDS} records of a split, {options.runs} runs in turn")
    for name, values in seconds.items():
        print(f"  {name}: median {1000 * statistics.median(values):.2f} ms")
    small, large = (statistics.median(values) for values in seconds.values())
    print(f"  ratio {large / small:.2f}")


def make_split(folder: Path, size: int) -> Path:
    """A split whose one file is that large."""
    write_split(folder, (example_bytes(x=float(number)) for number in range(10000)))
    [path] = folder.iterdir()
    os.truncate(path, size)
    return folder


def take(split: Path) -> float:
    """Seconds to take the records."""
    started = time.monotonic()
    records = take_records(Gfile(), Examples({"train": str(split)}), "train", RECORDS)
    seconds = time.monotonic() - started
    if len(records.values) != RECORDS:
        sys.exit("the split was not read")
    return seconds


if __name__ == "__main__":
    main(sys.argv[1:])
