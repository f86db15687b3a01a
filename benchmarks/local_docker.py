"""TFX's own InfraValidator and this one on local Docker, in turn, on the same image.

Both executors are driven with the same artifacts and the same exec properties,
as a pipeline would, and all of a call is measured: staging, start, loading,
requests, removal. Needs the full TFX, a Docker engine and an image with the
contract of tensorflow/serving:

    make image
    python benchmarks/local_docker.py [--image NAME:TAG] [--runs N]

The model that fails to load is validated by this component at default settings.
TFX's takes its whole time limit there, for each of its tries; so as not to take
25 minutes its limit and tries are lowered, and what the defaults would have
meant is computed from the figures.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import grpc
import tensorflow as tf
from absl import logging as absl_logging
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

import docker
from tests.conftest import example_bytes, write_split

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tfx.components.infra_validator import executor as tfx_executor
    from tfx.dsl.components.base.base_executor import BaseExecutor
    from tfx.types import artifact_utils, standard_artifacts
    from tfx.types.artifact import Artifact
    from tfx.version import __version__ as tfx_version

    from infra_validator import executor as our_executor
    from infra_validator.config import DEFAULT_MAX_LOADING_TIME_SECONDS, DEFAULT_NUM_TRIES
    from infra_validator.executor import ValidationFailedError

IMAGE = "infra-validator/model-server:dev"
REQUESTS = 10
MODEL_NAME = "infra-validation-model"
REPORT_FILE = "infra_validation_report.json"
# The name under which the image is tagged for the time of the run.
TAGGED = "infra-validator-benchmark"
TAGS = ("a", "b", "c")
EXECUTORS: Mapping[str, type[BaseExecutor]] = {
    "TFX": tfx_executor.Executor,
    "ours": our_executor.Executor,
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """One validation.

    Attributes:
        seconds: all of it.
        blessed: the verdict.
        written: bytes that the process wrote meanwhile.
        report: what our component found out; empty for TFX's.
    """

    seconds: float
    blessed: bool
    written: int
    report: Mapping[str, Any]

    def phases(self) -> str:
        """Seconds by phase, of the last attempt of each binary."""
        last = [binary["attempts"][-1]["phases"] for binary in self.report["binaries"]]
        return ", ".join(
            f"{phase['phase']} {phase['seconds']:.2f}"
            for phases in [self.report["phases"], *last]
            for phase in phases
        )


def main(arguments: Sequence[str]) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", default=IMAGE, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="default: %(default)s")
    parser.add_argument(
        "--tfx-limit",
        type=int,
        default=20,
        metavar="SECONDS",
        help="time limit for TFX's component with the model that fails; default: %(default)s",
    )
    parser.add_argument("--gib", type=float, default=2, help="big model; default: %(default)s")
    options = parser.parse_args(arguments)
    absl_logging.set_verbosity(absl_logging.FATAL)
    logging.disable(logging.CRITICAL)
    with bench(options.image) as work:
        engine = work.client.version()
        print(
            f"TFX {tfx_version}, Docker engine {engine['Version']}, image {options.image}, "
            f"{os.cpu_count()} processors"
        )
        work.validate("ours", work.model)  # imports, bytecode, the image in the page cache
        healthy(work, options.runs)
        broken(work, options.tfx_limit)
        several(work, options.runs)
        big(work, options.gib)


@contextlib.contextmanager
def bench(image: str) -> Iterator[Bench]:
    """What the measurements share; all of it is removed at the end."""
    client = docker.from_env()
    tagged = []
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            for tag in TAGS:
                client.images.get(image).tag(TAGGED, tag)
                tagged.append(f"{TAGGED}:{tag}")
            yield Bench(client, Path(folder))
    finally:
        for name in tagged:
            client.images.remove(name, noprune=True)
        client.close()


class Bench:
    """Models, examples, and both executors.

    Attributes:
        client: of the engine.
        model: a healthy model.
    """

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self.client = client
        self.model = make_model(folder / "healthy")
        self._folder = folder
        self._runs = 0
        records = (example_bytes(x=float(number)) for number in range(REQUESTS))
        write_split(folder / "examples" / "Split-train", records)

    def copy_of_model(self, name: str) -> Path:
        """Another model to change."""
        return Path(shutil.copytree(self.model, self._folder / name))

    def validate(
        self,
        whose: str,
        model: Path,
        *,
        query: bool = True,
        tags: Sequence[str] = TAGS[:1],
        limits: Mapping[str, int] | None = None,
    ) -> Measured:
        """Runs a component's executor once, in folders of its own."""
        self._runs += 1
        home = self._folder / f"run-{self._runs}"
        blessing = standard_artifacts.InfraBlessing()
        blessing.uri = str(home / "blessing")
        context = BaseExecutor.Context(
            tmp_dir=str(home / "tmp"),
            unique_id=str(self._runs),
            stateful_working_dir=str(home / "state"),
        )
        for folder in (blessing.uri, context.stateful_working_dir, home / "tmp"):
            Path(folder).mkdir(parents=True)
        executor = EXECUTORS[whose](context)
        inputs: dict[str, list[Artifact]] = {"model": [model_artifact(model)]}
        if query:
            inputs["examples"] = [self._examples()]
        exec_properties = {
            "serving_spec": json.dumps(
                {
                    "tensorflow_serving": {"image_name": TAGGED, "tags": list(tags)},
                    "local_docker": {},
                    "model_name": MODEL_NAME,
                }
            ),
            "validation_spec": json.dumps(limits or {}),
            "request_spec": json.dumps({"tensorflow_serving": {}, "num_examples": REQUESTS})
            if query
            else None,
        }
        written, started = bytes_written(), time.monotonic()
        try:
            executor.Do(inputs, {"blessing": [blessing]}, exec_properties)
        except ValidationFailedError as error:
            sys.exit(str(error))
        seconds = time.monotonic() - started
        report = Path(blessing.uri) / REPORT_FILE
        return Measured(
            seconds=seconds,
            blessed=blessing.get_int_custom_property("blessed") == 1,
            written=bytes_written() - written,
            report=json.loads(report.read_text()) if report.exists() else {},
        )

    def serve_bare(self) -> tuple[float, float]:
        """The server alone, without a validator: until it runs, and until it has answered.

        Removal is not counted.
        """
        client = docker.from_env()  # of its own, since clients are not made for several threads
        started = time.monotonic()
        container = client.containers.create(
            f"{TAGGED}:{TAGS[0]}",
            environment={"MODEL_NAME": MODEL_NAME, "MODEL_BASE_PATH": "/model"},
            ports={"8500/tcp": ("127.0.0.1", None)},
            mounts=[
                docker.types.Mount(
                    f"/model/{MODEL_NAME}/1",
                    str(self.model / "Format-Serving"),
                    type="bind",
                    read_only=True,
                )
            ],
        )
        try:
            container.start()
            runs = time.monotonic() - started
            container.reload()
            [port] = container.ports["8500/tcp"]
            ask(f"127.0.0.1:{port['HostPort']}")
            return runs, time.monotonic() - started
        finally:
            container.remove(force=True, v=True)
            client.close()

    def serve_bare_side_by_side(self, count: int) -> float:
        """The same for several at once: until the last has answered."""
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            each = [pool.submit(self.serve_bare) for _ in range(count)]
            return max(one.result()[1] for one in each)

    def _examples(self) -> Artifact:
        examples = standard_artifacts.Examples()
        examples.uri = str(self._folder / "examples")
        examples.split_names = artifact_utils.encode_split_names(["train"])
        return examples


def healthy(work: Bench, runs: int) -> None:
    """A model that is served, with requests."""
    bare, running = [], []
    found: dict[str, list[Measured]] = {whose: [] for whose in EXECUTORS}
    for _ in range(runs):
        runs_after, answered_after = work.serve_bare()
        running.append(runs_after)
        bare.append(answered_after)
        for whose in EXECUTORS:
            found[whose].append(expect(True, work.validate(whose, work.model)))
    print(f"\nA healthy model, {REQUESTS} requests, {runs} runs in turn (medians)")
    server = statistics.median(bare)
    tfx, ours = (median(found[whose]) for whose in ("TFX", "ours"))
    show("the server alone: create, start, load, answers", server)
    show("  of which the engine's create and start", statistics.median(running))
    show("TFX", tfx)
    show("ours", ours, f"{tfx / ours:.1f} times quicker (aim: 5)")
    beyond = [o.seconds - alone for o, alone in zip(found["ours"], bare, strict=True)]
    show("ours beyond the server (aim: at most 0.7 s)", statistics.median(beyond))
    print(f"  ours by phase: {found['ours'][-1].phases()}")


def broken(work: Bench, limit: int) -> None:
    """A model that fails to load, at default settings."""
    model = work.copy_of_model("broken")
    [variables] = (model / "Format-Serving" / "variables").glob("*.data-*")
    variables.write_bytes(b"")
    lowered = {"max_loading_time_seconds": limit, "num_tries": 1}
    tfx = expect(False, work.validate("TFX", model, limits=lowered))
    ours = expect(False, work.validate("ours", model))
    beyond = max(0.0, tfx.seconds - limit)
    default = DEFAULT_NUM_TRIES * (DEFAULT_MAX_LOADING_TIME_SECONDS + beyond)
    print("\nA model that fails to load")
    show(f"TFX, measured: 1 try, limit {limit} s", tfx.seconds)
    show(
        f"TFX, computed: {DEFAULT_NUM_TRIES} tries, limit {DEFAULT_MAX_LOADING_TIME_SECONDS} s",
        default,
        f"(each try {beyond:.1f} s beyond its limit)",
    )
    show(
        "ours, measured, default settings",
        ours.seconds,
        f"{default / ours.seconds:.0f} times quicker than the default (aim: 100), "
        f"{tfx.seconds / ours.seconds:.1f} times than what was measured",
    )
    print(f"  ours says: {ours.report['reason']}")


def several(work: Bench, runs: int) -> None:
    """One tag and three tags of the image, the model only loaded."""
    alone: dict[int, list[float]] = {1: [], len(TAGS): []}
    ours: dict[int, list[Measured]] = {1: [], len(TAGS): []}
    for _ in range(runs):
        for count in ours:
            alone[count].append(work.serve_bare_side_by_side(count))
            found = work.validate("ours", work.model, query=False, tags=TAGS[:count])
            ours[count].append(expect(True, found))
    tfx = {
        count: expect(True, work.validate("TFX", work.model, query=False, tags=TAGS[:count]))
        for count in ours
    }
    print(f"\nOne tag and three, LOAD_ONLY, {runs} runs in turn, one of TFX (medians)")
    for whose, one, three in (
        ("the servers alone", statistics.median(alone[1]), statistics.median(alone[len(TAGS)])),
        ("TFX", tfx[1].seconds, tfx[len(TAGS)].seconds),
        ("ours", median(ours[1]), median(ours[len(TAGS)])),
    ):
        show(f"{whose}, one", one)
        show(f"{whose}, three", three, f"{three / one:.2f} times one")
    ratio = tfx[len(TAGS)].seconds / median(ours[len(TAGS)])
    print(f"  three tags: ours is {ratio:.1f} times quicker than TFX's")


def big(work: Bench, gib: float) -> None:
    """A model with a big file that no server reads, so that only its delivery counts."""
    model = work.copy_of_model("big")
    assets = model / "Format-Serving" / "assets.extra"
    assets.mkdir()
    with (assets / "ballast").open("wb") as file:
        file.truncate(int(gib * 2**30))  # sparse: kind to whoever copies
    tfx = expect(True, work.validate("TFX", model, query=False))
    ours = expect(True, work.validate("ours", model, query=False))
    [binary] = ours.report["binaries"]
    delivery = binary["attempts"][-1]["server"].get("model_delivery", "not told")
    print(f"\nA model of {gib:g} GiB, LOAD_ONLY (a sparse file in assets.extra; one run each)")
    show("TFX", tfx.seconds, f"{tfx.written / 2**20:.0f} MiB written by the validator")
    show(
        "ours",
        ours.seconds,
        f"{ours.written / 2**20:.2f} MiB written by the validator; delivery: {delivery}",
    )
    print(f"  ours is {tfx.seconds / ours.seconds:.1f} times quicker")


def expect(blessed: bool, found: Measured) -> Measured:
    """The same, unless the verdict is another: then nothing that follows means anything."""
    if found.blessed != blessed:
        sys.exit(f"expected blessed={blessed}: {found.report.get('reason', 'by TFX')}")
    return found


def median(found: Sequence[Measured]) -> float:
    """The middle of the seconds."""
    return statistics.median(one.seconds for one in found)


def show(label: str, seconds: float, remark: str = "") -> None:
    """A line."""
    print(f"  {label:48} {seconds:8.2f} s   {remark}".rstrip(), flush=True)


def bytes_written() -> int:
    """What this process has written to files so far (proc(5), io).

    What it sends over sockets is not in it; a model that is streamed into a
    container is told by `model_delivery` of the report.
    """
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(told["wchar"])


def model_artifact(model: Path) -> Artifact:
    """The artifact that Trainer would have made of it."""
    artifact = standard_artifacts.Model()
    artifact.uri = str(model)
    return artifact


def make_model(path: Path) -> Path:
    """A SavedModel as Trainer lays it out."""
    module = tf.Module()
    module.factor = tf.Variable(2.0)

    def serve(examples: Any) -> Any:
        features = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
        return {"y": features["x"] * module.factor}

    signature: Callable[..., Any] = tf.function(
        serve, input_signature=[tf.TensorSpec([None], tf.string, name="examples")]
    )
    module.serve = signature
    tf.saved_model.save(
        module, str(path / "Format-Serving"), signatures={"serving_default": module.serve}
    )
    return path


def ask(endpoint: str) -> None:
    """Waits for the model with a probe each few milliseconds, then sends the requests."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL_NAME
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    while True:
        # A channel of its own for each probe: one that was refused would hold back.
        with grpc.insecure_channel(endpoint, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                status = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
                    request, timeout=1
                )
            except grpc.RpcError:
                time.sleep(0.005)
                continue
            if [version.state for version in status.model_version_status] != [available]:
                time.sleep(0.005)
                continue
            predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for number in range(REQUESTS):
                predict = predict_pb2.PredictRequest()
                predict.model_spec.name = MODEL_NAME
                predict.inputs["examples"].CopyFrom(
                    tf.make_tensor_proto([example_bytes(x=float(number))])
                )
                predictions.Predict(predict)
            return


if __name__ == "__main__":
    main(sys.argv[1:])
