"""Building 10 requests from a large split: ours and TFX's request builder, in turn.

Each run is a process of its own. It imports what it needs, then builds once. Ours
takes the first records; TFX's shuffles those that it reads, so it takes others.

    python benchmarks/request_building.py [--runs N] [--records N]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

REQUESTS = 10
RECORD_BYTES = 200


def main(arguments: Sequence[str]) -> None:
    """Measures and prints, or builds once where it is told to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--build", nargs=2, metavar=("BUILDER", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.build:
        builder, folder = options.build
        print(json.dumps(build(builder, Path(folder))))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.records)
        results: dict[str, list[dict[str, Any]]] = {"ours": [], "TFX's": []}
        for _ in range(options.runs):
            for builder, runs in results.items():
                runs.append(run(builder, folder))
    print(f"{REQUESTS} requests from a split of {options.records} records, {options.runs} runs")
    medians = {}
    for builder, runs in results.items():
        medians[builder] = [
            statistics.median(one[key] for one in runs) for key in ("seconds", "grown", "peak")
        ]
        seconds, grown, peak = medians[builder]
        print(
            f"  {builder}: {1000 * seconds:.1f} ms, {grown:.1f} MB more than after the imports, "
            f"{peak:.0f} MB at the peak"
        )
    ratios = [ours / theirs for ours, theirs in zip(*medians.values(), strict=True)]
    print(f"  ours / TFX's: time {ratios[0]:.3f}, growth {ratios[1]:.3f}, peak {ratios[2]:.2f}")


def run(builder: str, folder: str) -> dict[str, Any]:
    """What one process measured."""
    command = [sys.executable, __file__, "--build", builder, folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def prepare(folder: Path, records: int) -> None:
    """A split of one gzip file as ExampleGen writes it, and a model that takes Examples."""
    import tensorflow as tf

    from infra_validator.tfrecord import write_records
    from tests.conftest import example_bytes

    (folder / "Split-train").mkdir()
    with gzip.open(folder / "Split-train" / "data_tfrecord-00000-of-00001.gz", "wb", 1) as file:
        numbers = (
            example_bytes(**{f"x{place}": float(number * place) for place in range(20)})
            for number in range(records)
        )
        write_records(file, numbers)
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="examples")
    module.serve = tf.function(lambda examples: {"y": examples}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "Format-Serving"), {"serving_default": module.serve})


def build(builder: str, folder: Path) -> dict[str, Any]:
    """Builds once, after the imports."""
    once = ours if builder == "ours" else theirs
    prepared = once(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    requests = prepared()
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if len(requests) != REQUESTS:
        sys.exit(f"{builder}: {len(requests)} requests")
    sizes = {len(request.inputs["examples"].string_val[0]) for request in requests}
    if min(sizes) < RECORD_BYTES or len({str(request) for request in requests}) < REQUESTS:
        sys.exit(f"{builder}: these are not requests of different records")
    return {"seconds": seconds, "grown": (peak - before) / 1024, "peak": peak / 1024}


def ours(folder: Path) -> Any:
    """Our builder, ready to be called."""
    import tensorflow as tf  # noqa: F401 - files are read through it
    from tensorflow_serving.apis import classification_pb2  # noqa: F401

    from infra_validator import config
    from infra_validator.files import Gfile
    from infra_validator.proto import infra_validator_pb2 as pb
    from infra_validator.requests.build import make_requests
    from infra_validator.requests.examples import Examples

    asked = config.parse(
        pb.ServingSpec(
            tensorflow_serving=pb.TensorFlowServing(), local_process=pb.LocalProcessConfig()
        ),
        None,
        pb.RequestSpec(tensorflow_serving=pb.TensorFlowServingRequestSpec(), num_examples=REQUESTS),
        query=True,
    ).requests
    if asked is None:
        sys.exit("nothing is asked")
    examples = Examples({"train": str(folder / "Split-train")})
    model = str(folder / "Format-Serving")
    return lambda: [
        request.message for request in make_requests(Gfile(), model, "m", asked, examples).requests
    ]


def theirs(folder: Path) -> Any:
    """TFX's builder, ready to be called."""
    from tfx.components.infra_validator import request_builder
    from tfx.proto import infra_validator_pb2
    from tfx.types import standard_artifacts

    model = standard_artifacts.Model()
    model.uri = str(folder)
    examples = standard_artifacts.Examples()
    examples.uri = str(folder)
    examples.split_names = '["train"]'
    spec = infra_validator_pb2.RequestSpec(
        tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(),
        num_examples=REQUESTS,
    )
    return lambda: list(
        request_builder.build_requests(
            model_name="m", model=model, examples=examples, request_spec=spec
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
