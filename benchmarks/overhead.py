"""What a validation takes beyond its server, and how soon it sees a server die.

A stand-in server of known timing is run bare (started, probed each millisecond,
asked by one channel) and by the engine on the local process platform, in turn,
so that both see the same machine. TFX's component is not beside them: it can
only run servers in Docker or Kubeflow.

    python benchmarks/overhead.py [--runs N] [--load-seconds S]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from infra_validator.report import Report, Verdict
from tests.conftest import STAND_IN, example_bytes, write_split
from tests.engine.helpers import run

REQUESTS = 10


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--load-seconds", type=float, default=0.5)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        server = work / "tensorflow_model_server"
        server.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
        server.chmod(0o755)
        model, split = make_model(work / "model"), make_split(work / "Split-train")
        validate(model, split, server, options.load_seconds)  # imports, and bytecode
        bare, ours, noticed = [], [], []
        for _ in range(options.runs):
            bare.append(serve_bare(work, server, options.load_seconds))
            ours.append(validate(model, split, server, options.load_seconds))
            noticed.append(notice_death(work, model, server))
    print(f"healthy model, {options.runs} runs in turn, {options.load_seconds} s of loading")
    show("server alone, to available and 10 answers", bare)
    show("validation, all of it", ours)
    print(f"  ratio of medians {statistics.median(ours) / statistics.median(bare):.2f}")
    show("beyond the server (aim: under 0.3 s)", [a - b for a, b in zip(ours, bare, strict=True)])
    print("server that dies while it loads")
    show("noticed after (aim: within 0.2 s)", noticed)


def show(label: str, seconds: Sequence[float]) -> None:
    """A line with minimum, median and maximum."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"  {label:45} min {low:.3f} s   median {middle:.3f} s   max {high:.3f} s")


def make_model(path: Path) -> Path:
    """A SavedModel that takes serialized examples; the stand-in never loads it."""
    module = tf.Module()
    module.serve = tf.function(
        lambda examples: {"y": examples}, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


def make_split(path: Path) -> Path:
    """Examples to ask with."""
    return write_split(path, (example_bytes(x=float(number)) for number in range(REQUESTS)))


def serve_bare(work: Path, server: Path, load_seconds: float) -> float:
    """Seconds from exec to the last of the answers, with nothing around it."""
    socket = work / "bare.sock"
    socket.unlink(missing_ok=True)
    started = time.monotonic()
    process = subprocess.Popen(
        [str(server), f"--grpc_socket_path={socket}"],
        env={**os.environ, "STAND_IN_LOAD_SECONDS": str(load_seconds)},
    )
    try:
        while not socket.exists():
            time.sleep(0.001)
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            models = model_service_pb2_grpc.ModelServiceStub(channel)
            models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(), wait_for_ready=True)
            predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for _ in range(REQUESTS):
                predictions.Predict(predict_pb2.PredictRequest())
        return time.monotonic() - started
    finally:
        process.kill()
        process.wait()


def validate(model: Path, split: Path, server: Path, load_seconds: float) -> float:
    """Seconds of a whole validation, staging, stopping and cleaning up included."""
    started = time.monotonic()
    report = run(
        model,
        split=split,
        executable=str(server),
        env={"STAND_IN_LOAD_SECONDS": str(load_seconds)},
        num_examples=REQUESTS,
    )
    seconds = time.monotonic() - started
    if report.verdict != Verdict.BLESSED:
        sys.exit(f"the stand-in was not blessed: {report.reason}")
    return seconds


def notice_death(work: Path, model: Path, server: Path) -> float:
    """Seconds from the server's last act to the engine's turning to the next phase."""
    last_act = work / "last act"
    wrapper = work / "dying"
    wrapper.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        "if '--version' in sys.argv: sys.exit()\n"
        "time.sleep(0.3)\n"
        f"open({str(last_act)!r}, 'w').write(str(time.monotonic()))\n"
        "os._exit(3)\n"
    )
    wrapper.chmod(0o755)
    started = time.monotonic()
    report = run(model, executable=str(wrapper))
    return started + stopping(report) - float(last_act.read_text())


def stopping(report: Report) -> float:
    """When the only attempt turned to stopping, in seconds from the start."""
    [attempt] = report.binaries[0].attempts
    return attempt.phases[-1].started


if __name__ == "__main__":
    main(sys.argv[1:])
