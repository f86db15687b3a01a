"""What all tests share: real models, real examples, and a look at what they leave behind."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator.tfrecord import write_records

STAND_IN = Path(__file__).parent / "stand_in_server.py"


_TEMPORARY = pytest.StashKey[str]()
_LEFT_BY_WORKERS = pytest.StashKey[set[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Gives this run a temporary folder of its own, so that what it leaves can be told."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # What runs in the background of a shell ignores these, and so would the programs under test.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    config.stash[_LEFT_BY_WORKERS] = set()
    config.stash[_TEMPORARY] = tempfile.mkdtemp(prefix="ivt-", dir="/tmp")
    os.environ["TMPDIR"] = tempfile.tempdir = config.stash[_TEMPORARY]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the whole run if a validation in it left anything behind."""
    left = left_behind() | session.config.stash[_LEFT_BY_WORKERS]
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_behind"] = sorted(left)  # only the controller's exit code counts
    elif left:
        print("\nLeft behind by the tests:", *sorted(left), sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes note of what a worker's tests left behind."""
    left = getattr(node, "workeroutput", {}).get("left_behind", ())
    node.config.stash[_LEFT_BY_WORKERS].update(left)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[_TEMPORARY])


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel whose `serving_default` takes serialized Examples with the feature x."""
    import tensorflow as tf

    class Doubler(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: Any) -> Any:
            parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            return {"y": parsed["x"] * self.factor}

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
        def raw(self, x: Any) -> Any:
            return {"y": x * self.factor}

    path = tmp_path_factory.mktemp("models") / "doubler"
    module = Doubler()
    tf.saved_model.save(
        module, str(path), signatures={"serving_default": module.serve, "raw": module.raw}
    )
    return path


def example_bytes(**features: float) -> bytes:
    """A serialized tf.Example of float features."""
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    for name, value in features.items():
        example.features.feature[name].float_list.value.append(value)
    return bytes(example.SerializeToString())


def write_split(folder: Path, records: Iterable[bytes], shards: int = 1) -> Path:
    """A split of examples as ExampleGen writes it: gzip TFRecord, in shards."""
    folder.mkdir(parents=True)
    records = list(records)
    for shard in range(shards):
        name = f"data_tfrecord-{shard:05d}-of-{shards:05d}.gz"
        with gzip.open(folder / name, "wb") as file:
            write_records(file, records[shard::shards])
    return folder


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split of 20 examples that fit `saved_model`."""
    folder = tmp_path_factory.mktemp("examples") / "Split-train"
    return write_split(folder, (example_bytes(x=float(number)) for number in range(20)))


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """An executable stand-in for tensorflow_model_server."""
    path = tmp_path / "tensorflow_model_server"
    path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    path.chmod(0o755)
    return str(path)


def left_behind() -> set[str]:
    """What validations of this test run have acquired and not released: folders and processes."""
    mark = f"{tempfile.gettempdir()}/infra-validator-"
    folders = {str(path) for path in Path(tempfile.gettempdir()).glob("infra-validator-*")}
    processes = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark in command:
            processes.add(f"{entry.name}: {command}")
    return folders | processes


@pytest.fixture
def leaves_nothing() -> Iterator[Callable[[], set[str]]]:
    """Fails the test if it leaves a folder or a process of a validation behind."""
    before = left_behind()
    yield lambda: left_behind() - before
    assert left_behind() - before == set()


def _required(variable: str, reason: str) -> None:
    """Skips the test, or fails it where the environment says that its real part must be there."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_client() -> Iterator[Any]:
    """A client of a real Docker engine."""
    import docker

    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        _required("REQUIRE_DOCKER", f"there is no Docker engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def model_server_image(docker_client: Any) -> str:
    """The image of docker/model-server, as `make image` builds it."""
    name = os.environ.get("MODEL_SERVER_IMAGE", "infra-validator/model-server:dev")
    return _built(docker_client, name, "make image")


@pytest.fixture(scope="session")
def component_image(docker_client: Any) -> str:
    """The image of docker/component, as `make image-component` builds it."""
    name = os.environ.get("COMPONENT_IMAGE", "infra-validator/component:dev")
    return _built(docker_client, name, "make image-component")


def _built(client: Any, name: str, command: str) -> str:
    import docker

    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        _required("REQUIRE_DOCKER", f"the image {name} is not built; run `{command}`")
    return name


@pytest.fixture(scope="session")
def kubernetes_namespace() -> Iterator[Any]:
    """A namespace of this test run's own, on a real cluster; it goes with all that is in it."""
    from infra_validator.runners.kubernetes.api import (
        Api,
        ApiError,
        ClusterConfigError,
        ConnectionFailed,
        find_cluster,
    )
    from tests.platforms.kubernetes_cluster import TestNamespace

    try:
        api = Api(find_cluster(None, None))
        api.call("GET", "/version")
    except (ClusterConfigError, ConnectionFailed, ApiError) as error:
        _required("REQUIRE_KUBERNETES", f"there is no Kubernetes cluster: {error}")
    namespace = TestNamespace.create(api)
    yield namespace
    namespace.remove()
