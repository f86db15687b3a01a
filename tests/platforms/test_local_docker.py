"""The local Docker platform, against a real engine, which judges what is there and what is left."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator import docker_config
from infra_validator.faults import Blame, Phase
from infra_validator.files import Gfile
from infra_validator.model_source import ModelSource
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report, Verdict
from infra_validator.runners import docker_removal, local_docker
from infra_validator.runners.base import Platform, ServerTask
from infra_validator.runners.docker_container import find_own_id
from infra_validator.runners.docker_follow import OutputFollower, ran_out_of_memory
from infra_validator.runners.docker_owner import Owner
from infra_validator.runners.local_docker import LocalDockerPlatform, LocalDockerRunner
from infra_validator.servers.base import ServingBinary
from infra_validator.servers.tensorflow_serving import TensorFlowServing
from infra_validator.validation import engine as validation_engine
from infra_validator.validation.progress import Event, PhaseBegan
from infra_validator.waiting import Cancellation, Cancelled, Deadline, Wake
from infra_validator.workspace import open_workspace
from tests.engine.helpers import run
from tests.platforms.conformance import PlatformConformance
from tests.platforms.docker_engine import (
    LABEL,
    EngineProxy,
    RegistryHandler,
    SecondEngine,
    TestEngine,
    TinyImage,
    make_network,
    registry,
    test_images,
)

ROOT = Path(__file__).parents[2]
_LIMIT_SECONDS = 250.0
_SOCKET = "/var/run/docker.sock"

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")


@pytest.fixture(scope="session")
def engine(
    docker_client: Any, model_server_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestEngine]:
    """The engine with the images of this test run."""
    run_id = uuid.uuid4().hex[:12]
    with test_images(
        docker_client,
        model_server_image,
        f"infra-validator/tests-{run_id}",
        run_id,
        tmp_path_factory.mktemp("images"),
    ) as ready:
        yield ready


@pytest.fixture(autouse=True)
def _leaves_nothing_in_the_engine(
    engine: TestEngine, leaves_nothing: Callable[[], set[str]]
) -> Iterator[None]:
    since = time.time()
    yield
    left = engine.containers()
    engine.remove_all()
    assert left == []
    assert engine.volumes_since(since) == set()


Validate = Callable[..., Report]


@pytest.fixture
def validate(engine: TestEngine, saved_model: Path) -> Validate:
    """Validates on the engine; fields of LocalDockerConfig are given as `docker`."""

    def validate(tag: str | tuple[str, ...] = "good", **options: Any) -> Report:
        docker = options.pop("docker", {})
        # No test takes so long, but for a slow machine.
        options.setdefault("limits", pb.ValidationSpec(num_tries=1, max_loading_time_seconds=120))
        return run(
            options.pop("model", saved_model),
            image_name=options.pop("image_name", engine.name),
            images=(tag,) if isinstance(tag, str) else tag,
            local_docker=pb.LocalDockerConfig(**docker),
            **options,
        )

    return validate


def server_of(report: Report) -> Any:
    """What the report says of the one server of the last attempt."""
    [binary] = report.binaries
    return binary.attempts[-1].server


def told(report: Report) -> tuple[str, Blame, Phase]:
    """The fault that decided."""
    assert report.fault is not None, report.reason
    assert report.fault.hint
    assert "\n" not in report.reason
    return report.fault.category, report.fault.blame, report.fault.phase


def wait_for(done: Callable[[], Any], what: str) -> None:
    """Waits for something that nobody tells of."""
    limit = Deadline.after(_LIMIT_SECONDS)
    while not done():
        assert not limit.expired(), f"in vain: {what}"
        time.sleep(0.02)


class Watch:
    """Tells how far a validation is, by what it tells itself."""

    def __init__(self) -> None:
        self._phases: dict[tuple[Phase, int], threading.Event] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseBegan):
            self._began(event.phase, event.subject.attempt).set()

    def wait(self, phase: Phase, attempt: int = 1) -> None:
        """Waits until an attempt reaches a phase."""
        reached = self._began(phase, attempt).wait(_LIMIT_SECONDS)
        assert reached, f"attempt {attempt} did not reach {phase}"

    def _began(self, phase: Phase, attempt: int) -> threading.Event:
        with self._lock:
            return self._phases.setdefault((phase, attempt), threading.Event())


@contextlib.contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Has something done in a thread; what is raised in it is raised here."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        doing = pool.submit(act)
        yield
        doing.result(_LIMIT_SECONDS)


def settings(**fields: Any) -> docker_config.DockerSettings:
    return docker_config.parse(pb.LocalDockerConfig(**fields))


class TestConformance(PlatformConformance):
    @pytest.fixture(autouse=True)
    def _engine(self, engine: TestEngine) -> None:
        self.engine = engine

    @pytest.fixture
    def binary(self, engine: TestEngine) -> ServingBinary:
        return TensorFlowServing(model_name="a model", image=f"{engine.name}:good")

    @pytest.fixture
    def platform(self) -> Platform:
        return LocalDockerPlatform(settings())

    @pytest.fixture
    def exiting_platform(self, tmp_path: Path) -> Platform:
        script = tmp_path / "server"
        script.write_text("#!/bin/sh\necho goodbye\nexit 3\n")
        script.chmod(0o755)
        mount = pb.Mount(source=str(script), target="/usr/bin/tensorflow_model_server")
        return LocalDockerPlatform(settings(mounts=[mount]))

    def count_servers(self, workdir: Path) -> int:
        return len(self.engine.running())


# The model gets in.


@pytest.mark.parametrize(
    ("delivery", "expected"), [("AUTO", "mount"), ("MOUNT", "mount"), ("COPY", "copy")]
)
def test_a_good_model_is_blessed_and_the_report_says_what_served_it(
    engine: TestEngine, validate: Validate, split: Path, delivery: str, expected: str
) -> None:
    report = validate(split=split, docker={"model_delivery": delivery})
    assert report.verdict == Verdict.BLESSED, report.reason
    server = server_of(report)
    assert report.platform == "local_docker"
    assert server["server"] == f"{engine.name}:good"
    assert server["model_delivery"] == expected
    assert server["user"] == "65534:65534"
    assert server["image_id"] == engine.client.images.get(f"{engine.name}:good").id
    assert server["engine"] == engine.client.version()["Version"]
    assert set(server["versions"]) >= {"ModelServer", "Library"}
    [binary] = report.binaries
    assert [phase.phase for phase in binary.attempts[0].phases] == [
        Phase.START,
        Phase.LOAD,
        *[Phase.QUERY],
        Phase.STOP,
    ]


@pytest.mark.parametrize(
    "name", ["with spaces", "ünïcödé 模型", "comma,colon:and'quote\"", "=equals;&$(x)"]
)
@pytest.mark.parametrize("delivery", ["MOUNT", "COPY"])
def test_any_name_of_the_models_folder_will_do(
    validate: Validate, saved_model: Path, tmp_path: Path, name: str, delivery: str
) -> None:
    model = tmp_path / name
    shutil.copytree(saved_model, model)
    report = validate(model=model, docker={"model_delivery": delivery}, model_name=name)
    assert report.verdict == Verdict.BLESSED, report.reason


def private_copy(model: Path, target: Path, owners: tuple[int, ...]) -> Path:
    """A copy as umask 077 makes it; its files belong to these users in turn."""
    shutil.copytree(model, target)
    paths = [target, *sorted(target.rglob("*"))]
    for index, path in enumerate(paths):
        path.chmod(0o700 if path.is_dir() else 0o600)
        os.chown(path, owners[index % len(owners)], 12345)
    return target


@needs_root
@pytest.mark.parametrize("owner", [0, 12345])
def test_a_private_model_is_served_as_its_owner(
    validate: Validate, saved_model: Path, tmp_path: Path, split: Path, owner: int
) -> None:
    model = private_copy(saved_model, tmp_path / "private", (owner,))
    report = validate(model=model, split=split)
    assert report.verdict == Verdict.BLESSED, report.reason
    assert server_of(report)["model_delivery"] == "mount"
    assert server_of(report)["user"] == f"{owner}:12345"


@needs_root
def test_a_model_that_no_one_user_may_read_is_copied(
    validate: Validate, saved_model: Path, tmp_path: Path, split: Path
) -> None:
    model = private_copy(saved_model, tmp_path / "mixed", (12345, 12346))
    report = validate(model=model, split=split)
    assert report.verdict == Verdict.BLESSED, report.reason
    assert server_of(report)["model_delivery"] == "copy"
    refused = validate(model=model, docker={"model_delivery": "MOUNT"})
    assert told(refused) == ("mount_denied", Blame.INFRASTRUCTURE, Phase.START)
    assert "no one user may read" in refused.reason


def test_a_model_of_links_is_copied(
    validate: Validate, saved_model: Path, tmp_path: Path, split: Path
) -> None:
    model = tmp_path / "links"
    for path in sorted(saved_model.rglob("*")):
        link = model / path.relative_to(saved_model)
        if path.is_dir():
            link.mkdir(parents=True)
        else:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    report = validate(model=model, split=split)
    assert report.verdict == Verdict.BLESSED, report.reason
    assert server_of(report)["model_delivery"] == "copy"


def test_a_model_whose_main_file_is_a_link_in_its_folder_is_mounted(
    validate: Validate, saved_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / "real").mkdir()
    (model / "saved_model.pb").rename(model / "real" / "graph.pb")
    (model / "saved_model.pb").symlink_to("real/graph.pb")
    report = validate(model=model, docker={"model_delivery": "MOUNT"})
    assert report.verdict == Verdict.BLESSED, report.reason


def test_what_cannot_be_copied_of_a_model_is_no_fault_of_the_engine(
    validate: Validate, saved_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / "assets").mkdir(exist_ok=True)
    os.mkfifo(model / "assets" / "pipe")
    report = validate(model=model, docker={"model_delivery": "COPY"})
    assert told(report) == ("storage_failed", Blame.INFRASTRUCTURE, Phase.START)
    assert report.fault is not None
    assert "pipe is neither a file nor a folder" in report.fault.detail


def test_a_model_with_a_link_to_nowhere_is_no_fault_of_the_engine(
    validate: Validate, saved_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "dangling").symlink_to("nowhere")
    report = validate(model=model)
    assert report.fault is None or report.fault.category == "storage_failed", report.reason


# The validator in a process of its own: another user, another view of the files, signals.


class Validator:
    """A process that validates."""

    def __init__(self, home: Path, **given: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.platforms.docker_validator", json.dumps(given)],
            cwd=ROOT,
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> tuple[int, str, str]:
        out, err = self._process.communicate(timeout=_LIMIT_SECONDS)
        return self._process.returncode, out, err

    def report(self) -> Any:
        code, out, err = self.wait()
        assert code == 0, err[-3000:]
        return json.loads(out)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter and write to."""
    with tempfile.TemporaryDirectory(prefix="ivt-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        (folder / "home").chmod(0o1777)
        yield folder


@pytest.fixture
def validator(
    engine: TestEngine, saved_model: Path, open_folder: Path
) -> Iterator[Callable[..., Validator]]:
    started: list[Validator] = []

    def start(tag: str = "good", **given: Any) -> Validator:
        given = {
            "model": str(saved_model),
            "image_name": engine.name,
            "images": [tag],
            "limits": {"num_tries": 1, "max_loading_time_seconds": 120},
            **given,
        }
        started.append(Validator(open_folder / "home", **given))
        return started[-1]

    yield start
    for process in started:
        process.kill()


USER = 12345


@needs_root
def test_a_validator_that_is_not_root_validates_its_private_model(
    validator: Callable[..., Validator], saved_model: Path, open_folder: Path
) -> None:
    model = private_copy(saved_model, open_folder / "model", (USER,))
    report = validator(
        model=str(model), uid=USER, gid=12345, groups=[Path(_SOCKET).stat().st_gid]
    ).report()
    assert report["verdict"] == "blessed", report["reason"]
    server = report["binaries"][0]["attempts"][0]["server"]
    assert server["model_delivery"] == "mount"
    assert server["user"] == f"{USER}:12345"


@needs_root
def test_a_file_that_the_validator_may_not_copy_is_no_fault_of_the_engine(
    validator: Callable[..., Validator], saved_model: Path, open_folder: Path
) -> None:
    model = private_copy(saved_model, open_folder / "model", (USER,))
    (model / "variables" / "variables.index").chmod(0)
    report = validator(
        model=str(model), uid=USER, gid=12345, groups=[Path(_SOCKET).stat().st_gid]
    ).report()
    assert report["fault"]["category"] == "storage_denied", report["reason"]
    assert "variables.index" in report["fault"]["detail"]


@needs_root
def test_a_user_who_may_not_use_the_socket_is_told(
    validator: Callable[..., Validator], saved_model: Path, open_folder: Path
) -> None:
    shutil.copytree(saved_model, open_folder / "model")
    report = validator(model=str(open_folder / "model"), uid=USER, gid=12345, groups=[]).report()
    assert report["fault"]["category"] == "engine_access_denied"
    assert _SOCKET in report["reason"]
    assert "group docker" in report["fault"]["hint"]


@needs_root
@pytest.mark.parametrize(
    ("engine_sees", "delivery", "expected"),
    [
        ("nothing", "AUTO", "copy"),
        ("an older model of the same size", "AUTO", "copy"),
        ("nothing", "MOUNT", "mount_denied"),
    ],
)
def test_a_model_that_the_engine_does_not_see_is_copied(
    validator: Callable[..., Validator],
    saved_model: Path,
    split: Path,
    open_folder: Path,
    engine_sees: str,
    delivery: str,
    expected: str,
) -> None:
    """As with an engine on another machine, or a validator in a container."""
    shared = open_folder / "shared"
    model = shared / "model"
    shared.mkdir()
    if engine_sees != "nothing":
        shutil.copytree(saved_model, model)
        graph = model / "saved_model.pb"
        graph.write_bytes(bytes(graph.stat().st_size))
        os.utime(graph, (1, 1))
    source = open_folder / "source"
    source.mkdir()
    shutil.copytree(saved_model, source / "model")
    report = validator(
        model=str(model),
        split=str(split),
        instead=[str(shared), str(source)],
        local_docker={"model_delivery": delivery},
    ).report()
    if expected == "copy":
        assert report["verdict"] == "blessed", report["reason"]
        assert report["binaries"][0]["attempts"][0]["server"]["model_delivery"] == "copy"
    else:
        assert report["fault"]["category"] == expected


# What the server is given, with the engine as judge.


@pytest.fixture
def start(
    engine: TestEngine, saved_model: Path
) -> Iterator[Callable[..., tuple[LocalDockerRunner, Any]]]:
    """Starts a server that sleeps; gives its runner and container."""
    runners: list[LocalDockerRunner] = []
    with open_workspace() as workspace:

        def start(**fields: Any) -> tuple[LocalDockerRunner, Any]:
            platform = LocalDockerPlatform(settings(**fields))
            wake = Wake()
            task = ServerTask(
                TensorFlowServing(
                    "m", image=f"{engine.name}:shell", env={"SERVER_SCRIPT": "exec sleep 300"}
                ),
                ModelSource(str(saved_model), Gfile(), workspace, lambda: None),
                workspace,
                wake,
            )
            platform.prepare(task.binary, task.model)
            runner = platform.create_runner(task)
            runners.append(runner)
            runner.start()
            limit = Deadline.after(_LIMIT_SECONDS)
            while runner.endpoint() is None:
                assert runner.diagnose() is None, runner.diagnose()
                assert not limit.expired()
                wake.wait(limit.remaining())
            container = engine.client.containers.get(runner.identity()["container"])
            return runner, container

        yield start
        for runner in runners:
            runner.stop()


def shell(container: Any, command: str) -> tuple[int, str]:
    """Runs a command beside the server, with its rights."""
    result = container.exec_run(["sh", "-c", command])
    return result.exit_code, result.output.decode().strip()


def status_of(container: Any) -> dict[str, str]:
    """The kernel's word on the server's own process."""
    _, text = shell(container, "cat /proc/$(pgrep -o sleep || echo 1)/status || cat /proc/1/status")
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}


def test_the_server_has_the_least_of_rights(
    start: Callable[..., tuple[LocalDockerRunner, Any]],
) -> None:
    _, container = start()
    status = status_of(container)
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh"):
        assert int(status[kind], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split() == ["65534"] * 4
    assert status["Gid"].split() == ["65534"] * 4
    assert shell(container, "touch /usr/x")[0] != 0
    assert shell(container, "touch /model/m/1/saved_model.pb")[0] != 0
    assert shell(container, "touch /tmp/x") == (0, "")
    host = container.attrs["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["AutoRemove"] is False
    assert host["PidsLimit"] >= 512


def in_bridge(container: Any) -> dict[str, Any]:
    """What a container has in the engine's own network."""
    found: dict[str, Any] = container.attrs["NetworkSettings"]["Networks"]["bridge"]
    return found


def test_the_port_is_on_loopback_only(
    engine: TestEngine, start: Callable[..., tuple[LocalDockerRunner, Any]]
) -> None:
    _, container = start()
    [bound] = container.attrs["NetworkSettings"]["Ports"]["8500/tcp"]
    assert bound["HostIp"] == "127.0.0.1"
    assert set(container.attrs["HostConfig"]["PortBindings"]) == {"8500/tcp"}
    gateway = in_bridge(container)["Gateway"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((gateway, int(bound["HostPort"])), timeout=_LIMIT_SECONDS)


def test_another_loopback_address_is_published_on_alone(
    start: Callable[..., tuple[LocalDockerRunner, Any]],
) -> None:
    _, container = start(host_ip_address="127.0.0.2")
    [bound] = container.attrs["NetworkSettings"]["Ports"]["8500/tcp"]
    assert bound["HostIp"] == "127.0.0.2"


def test_a_name_is_asked_at_the_address_that_is_published(
    start: Callable[..., tuple[LocalDockerRunner, Any]],
) -> None:
    """gRPC would try IPv6 first, where the port may be another container's."""
    runner, container = start(host_ip_address="localhost")
    [bound] = container.attrs["NetworkSettings"]["Ports"]["8500/tcp"]
    assert runner.endpoint() == f"{bound['HostIp']}:{bound['HostPort']}"


def test_beyond_loopback_it_is_reached_too(
    engine: TestEngine, validate: Validate, split: Path
) -> None:
    gateway = engine.client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    report = validate(split=split, docker={"host_ip_address": gateway})
    assert report.verdict == Verdict.BLESSED, report.reason


@pytest.mark.usefixtures("ssh")
def test_from_a_container_the_server_is_asked_at_its_own_address_if_both_are_neighbours(
    start: Callable[..., tuple[LocalDockerRunner, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine elsewhere may be one in Docker, whose networks are its own."""
    elsewhere = f"ssh://me@127.0.0.1:22{_SOCKET}"
    monkeypatch.setattr(local_docker, "_in_container", lambda: True)

    runner, container = start()
    address = in_bridge(container)["IPAddress"]
    assert runner.endpoint() == f"{address}:8500"

    runner, other = start(client_base_url=elsewhere)
    [bound] = other.attrs["NetworkSettings"]["Ports"]["8500/tcp"]
    assert runner.endpoint() == f"127.0.0.1:{bound['HostPort']}"

    # As if this process were in the first one.
    own = find_own_id(shell(container, "cat /proc/self/mountinfo")[1])
    assert own == container.id
    monkeypatch.setattr(local_docker, "find_own_id", lambda mountinfo: own)
    runner, third = start(client_base_url=elsewhere)
    assert runner.endpoint() == f"{in_bridge(third)['IPAddress']}:8500"


def test_the_server_can_be_reached_by_its_published_port(validate: Validate, split: Path) -> None:
    report = validate(split=split, docker={"host_ip_address": "127.0.0.1"})
    assert report.verdict == Verdict.BLESSED, report.reason


def test_every_field_is_really_set(
    engine: TestEngine,
    start: Callable[..., tuple[LocalDockerRunner, Any]],
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)
    network = engine.client.networks.create(f"tests-{engine.run}", labels={LABEL: engine.run})
    volume = engine.client.volumes.create(f"tests-{engine.run}", labels={LABEL: engine.run})
    try:
        runner, container = start(
            cpus=0.5,
            memory="256m",
            shared_memory="16m",
            ulimits=[pb.Ulimit(name="nofile", soft=100, hard=200)],
            network=network.name,
            mounts=[
                pb.Mount(source=str(data), target="/data"),
                pb.Mount(source=str(data), target="/writable", writable=True),
                pb.Mount(source=volume.name, target="/volume"),
            ],
            user="1000:1001",
            capabilities=["SYS_NICE"],
            allow_new_privileges=True,
            writable_root=True,
            pids_limit=77,
        )
        host = container.attrs["HostConfig"]
        assert host["NanoCpus"] == 500_000_000
        assert host["Memory"] == host["MemorySwap"] == 256 * 1024**2
        assert host["ShmSize"] == 16 * 1024**2
        assert host["PidsLimit"] == 77
        assert host["NetworkMode"] == network.name
        assert shell(container, "df -k /dev/shm | tail -1")[1].split()[1] == "16384"
        limits = shell(container, "grep 'open files' /proc/1/limits")[1].split()
        assert limits[3:5] == ["100", "200"]
        status = status_of(container)
        assert status["Uid"].split()[0] == "1000"
        assert status["Gid"].split()[0] == "1001"
        assert status["NoNewPrivs"] == "0"
        assert int(status["CapBnd"], 16) == 1 << 23  # CAP_SYS_NICE
        assert shell(container, "touch /data/x")[0] != 0
        assert shell(container, "touch /writable/x") == (0, "")
        assert shell(container, "touch /volume/x")[0] != 0
        assert (data / "x").exists()
        assert list(container.attrs["NetworkSettings"]["Networks"]) == [network.name]
        assert shell(container, "touch /var/tmp/x") == (0, "")
        runner.stop()
        assert engine.client.volumes.get(volume.name)  # a named volume is somebody's
    finally:
        engine.remove_all()
        volume.remove()
        network.remove()


def test_a_mount_at_the_temporary_folder_takes_the_place_of_ours(
    start: Callable[..., tuple[LocalDockerRunner, Any]], tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    place = "/tmp"  # noqa: S108 - in the container
    _, container = start(mounts=[pb.Mount(source=str(tmp_path), target=place, writable=True)])
    assert shell(container, "touch /tmp/x") == (0, "")
    assert (tmp_path / "x").exists()


def test_only_the_servers_own_variables_reach_it(
    validate: Validate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid:1")
    report = validate(
        "shell", env={"SERVER_SCRIPT": "env; exit 1", "OMP_NUM_THREADS": "3"}, model_name="a b"
    )
    log = report.binaries[0].attempts[0].log_tail
    assert {"OMP_NUM_THREADS=3", "MODEL_NAME=a b", "MODEL_BASE_PATH=/model"} <= set(log)
    assert not [line for line in log if "secret" in line or "nowhere.invalid" in line]


# Configuration files.


@pytest.fixture(scope="session")
def not_batchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose output has no entry for each example: it works until requests are batched."""
    import tensorflow as tf

    class Sum(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def serve(self, examples: Any) -> Any:
            parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
            return {"y": tf.reduce_sum(parsed["x"])}

    path = tmp_path_factory.mktemp("models") / "sum"
    module = Sum()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


@pytest.mark.parametrize("delivery", ["MOUNT", "COPY"])
def test_a_model_that_productions_batching_breaks_is_not_blessed(
    validate: Validate, not_batchable: Path, split: Path, delivery: str
) -> None:
    batching = pb.ConfigFile(text="max_batch_size { value: 8 }\nallowed_batch_sizes: 8\n")
    given: dict[str, Any] = {
        "model": not_batchable,
        "split": split,
        "docker": {"model_delivery": delivery},
    }
    assert validate(**given).verdict == Verdict.BLESSED
    report = validate(
        **given,
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": batching},
    )
    assert told(report) == ("request_failed", Blame.MODEL, Phase.QUERY)


def test_a_batching_file_that_the_server_refuses_is_told(validate: Validate) -> None:
    batching = pb.ConfigFile(text="max_batch_size { value: 8 }\nallowed_batch_sizes: 4\n")
    report = validate(
        args=("--enable_batching=true",), config_files={"batching_parameters_file": batching}
    )
    assert told(report) == ("server_flags_refused", Blame.CONFIGURATION, Phase.LOAD)
    assert "last entry was 4" in report.reason


def test_config_files_arrive_as_they_are(validate: Validate, tmp_path: Path) -> None:
    elsewhere = tmp_path / "monitoring.txt"
    elsewhere.write_text("from a file")
    script = (
        'for a in "$@"; do case "$a" in *_file=*) echo "${a%%=*}"; cat "${a#*=}"; echo;; esac; '
        "done; exit 1"
    )
    report = validate(
        "shell",
        env={"SERVER_SCRIPT": script},
        config_files={
            "batching_parameters_file": pb.ConfigFile(text="ünïcödé"),
            "monitoring_config_file": pb.ConfigFile(uri=str(elsewhere)),
        },
    )
    assert list(report.binaries[0].attempts[0].log_tail) == [
        "--batching_parameters_file",
        "ünïcödé",
        "--monitoring_config_file",
        "from a file",
    ]


# Several binaries.


def test_several_tags_have_a_verdict_each(
    engine: TestEngine, validate: Validate, split: Path
) -> None:
    report = validate(("good", "shell", "again"), split=split)
    assert [binary.name for binary in report.binaries] == [
        f"{engine.name}:{tag}" for tag in ("good", "shell", "again")
    ]
    assert [binary.verdict for binary in report.binaries] == [
        Verdict.BLESSED,
        Verdict.UNDETERMINED,
        Verdict.BLESSED,
    ]
    assert report.verdict == Verdict.UNDETERMINED
    assert report.reason.startswith(f"{engine.name}:shell: ")
    for binary, tag in zip(report.binaries, ("good", "shell", "again"), strict=True):
        server = binary.attempts[-1].server
        assert server["image_id"] == engine.client.images.get(f"{engine.name}:{tag}").id
    assert report.binaries[2].attempts[-1].server["versions"] == {
        "tensorflow_serving_github_branchtag": "2.99.0"
    }


def test_a_server_that_neither_image_nor_log_gives_a_version_is_asked_for_it(
    validate: Validate,
) -> None:
    report = validate("stand-in")
    assert report.verdict == Verdict.BLESSED, report.reason
    assert server_of(report)["versions"] == {"ModelServer": "0.0-stand-in", "Library": "0.0"}


def test_tags_run_side_by_side(validate: Validate, split: Path) -> None:
    company = threading.Barrier(3, timeout=_LIMIT_SECONDS)

    def wait_for_the_others(event: Event) -> None:
        if isinstance(event, PhaseBegan) and event.phase == Phase.LOAD:
            company.wait()

    report = validate(("good", "again", "stand-in"), split=split, observer=wait_for_the_others)
    assert report.verdict == Verdict.BLESSED, report.reason


# What a server does wrong.


# The second has to be long enough for the server to say that it loads.
_LOADING_SECONDS = {"never_ready": 2, "never_ready_after_loading_began": 15}


@pytest.mark.parametrize(
    ("fault", "category", "blame", "phase", "exit_code"),
    [
        ("exit_at_start", "server_exited", Blame.INFRASTRUCTURE, Phase.START, 3),
        ("exit_while_loading", "op_missing", Blame.MODEL, Phase.LOAD, 255),
        ("killed_while_loading", "server_killed", Blame.INFRASTRUCTURE, Phase.LOAD, 137),
        ("never_ready", "server_not_ready", Blame.INFRASTRUCTURE, Phase.LOAD, None),
        ("never_ready_after_loading_began", "load_timeout", Blame.MODEL, Phase.LOAD, None),
        ("other_service", "server_incompatible", Blame.INFRASTRUCTURE, Phase.LOAD, None),
        ("end_state", "model_load_failed", Blame.MODEL, Phase.LOAD, None),
        ("exit_on_request", "server_crashed", Blame.MODEL, Phase.QUERY, 134),
        ("killed_on_request", "server_killed", Blame.INFRASTRUCTURE, Phase.QUERY, 137),
        ("hang_on_request", "request_timeout", Blame.MODEL, Phase.QUERY, None),
        ("refuse_request", "request_failed", Blame.MODEL, Phase.QUERY, None),
    ],
)
def test_what_a_server_does_wrong_is_told(
    validate: Validate,
    split: Path,
    fault: str,
    category: str,
    blame: Blame,
    phase: Phase,
    exit_code: int | None,
) -> None:
    report = validate(
        "stand-in",
        split=split,
        env={"STAND_IN_FAULT": fault},
        limits=pb.ValidationSpec(
            num_tries=1,
            max_loading_time_seconds=_LOADING_SECONDS.get(fault, 60),
            request_timeout_seconds=2 if fault == "hang_on_request" else 60,
        ),
    )
    assert told(report) == (category, blame, phase)
    assert report.fault is not None
    assert report.fault.evidence.exit_code == exit_code
    assert report.reason == report.fault.summary
    expected = Verdict.NOT_BLESSED if blame == Blame.MODEL else Verdict.UNDETERMINED
    assert report.verdict == expected


@pytest.mark.parametrize("published", [False, True])
def test_a_server_that_ends_at_once_is_told_by_its_exit_code(
    validate: Validate, published: bool
) -> None:
    for code in (0, 1, 3, 7):
        report = validate(
            "shell",
            env={"SERVER_SCRIPT": f"exit {code}"},
            docker={"host_ip_address": "127.0.0.1"} if published else {},
        )
        assert told(report) == ("server_exited", Blame.INFRASTRUCTURE, Phase.START)
        assert report.fault is not None
        assert report.fault.evidence.exit_code == code
        assert f"exit code {code}" in report.reason


@pytest.mark.parametrize(
    ("number", "category", "blame"),
    [
        (signal.SIGILL, "illegal_instruction", Blame.INFRASTRUCTURE),
        (signal.SIGSEGV, "server_crashed", Blame.MODEL),
        (signal.SIGABRT, "server_crashed", Blame.MODEL),
        (signal.SIGKILL, "server_killed", Blame.INFRASTRUCTURE),
    ],
)
def test_a_server_that_a_signal_ends_is_told_by_it(
    validate: Validate, number: signal.Signals, category: str, blame: Blame
) -> None:
    script = f"echo 'Loading servable version {{name: m version: 1}}'; kill -{int(number)} $$"
    report = validate("shell", env={"SERVER_SCRIPT": script})
    assert told(report)[:2] == (category, blame)
    assert report.fault is not None
    assert report.fault.evidence.exit_code == 128 + number


def test_garbage_neither_blocks_nor_fills_the_memory(validate: Validate) -> None:
    script = "head -c 2000000 /dev/urandom; head -c 2000000 /dev/zero; echo; echo end; exit 3"
    report = validate("shell", env={"SERVER_SCRIPT": script})
    assert report.fault is not None
    assert report.fault.evidence.exit_code == 3
    assert report.binaries[0].attempts[0].log_tail[-1] == "end"


def test_the_last_words_are_not_lost_when_the_engine_rotates_the_log(validate: Validate) -> None:
    # The log's file holds 64 MB, and each of these bytes takes six in it.
    script = r"head -c 14000000 /dev/zero | tr '\0' '\1'; echo; echo end"
    report = validate("shell", env={"SERVER_SCRIPT": f"{script}; exit 3"})
    assert report.fault is not None
    assert report.fault.evidence.exit_code == 3
    assert report.binaries[0].attempts[0].log_tail[-1] == "end"


def test_a_quoted_text_in_which_the_engine_rotates_the_log_is_not_shown(
    validate: Validate,
) -> None:
    # Most of it is in the file that the engine throws away; of the rest, the next one holds less
    # than what looks cut.
    quote = "2026-01-02 03:04:05.6: W x.cc:1] Could not parse example input, value: "
    failed = "2026-01-02 03:04:06.7: E x.cc:1] no"
    script = (
        f"echo \"{quote}'\"; head -c 10800000 /dev/zero | tr '\\0' '\\1'; echo; "
        f"echo hunter2; echo hunter2; echo '{failed}'; exit 3"
    )
    report = validate("shell", env={"SERVER_SCRIPT": script})
    shown = report.binaries[0].attempts[0].log_tail
    assert shown[-1] == failed
    assert not any("hunter2" in line for line in shown)


EAT = "exec /opt/model-server/bin/python -c 'x = bytearray(b\"x\" * 2**30)'"


def test_a_server_beyond_the_memory_of_production_is_the_models_fault(
    validate: Validate,
) -> None:
    report = validate(
        "shell",
        env={"SERVER_SCRIPT": EAT},
        docker={"memory": "128m"},
        limits=pb.ValidationSpec(num_tries=3),
    )
    assert told(report) == ("memory_limit_exceeded", Blame.MODEL, Phase.LOAD)
    assert report.verdict == Verdict.NOT_BLESSED
    assert "128 MiB" in report.reason
    assert len(report.binaries[0].attempts) == 1


def test_a_request_beyond_the_memory_of_production_is_the_models_fault(
    validate: Validate, split: Path
) -> None:
    report = validate(
        "stand-in",
        split=split,
        env={"STAND_IN_FAULT": "memory_on_request"},
        docker={"memory": "256m"},
    )
    assert told(report) == ("memory_limit_exceeded", Blame.MODEL, Phase.QUERY)


@pytest.mark.parametrize(("script", "expected"), [(EAT, True), ("kill -9 $$", False)])
def test_memory_is_known_by_the_event_too(engine: TestEngine, script: str, expected: bool) -> None:
    """Of the exit an engine may hear first; then its state does not tell."""
    container = engine.client.containers.run(
        f"{engine.name}:shell",
        environment={"SERVER_SCRIPT": script},
        labels={LABEL: engine.run},
        mem_limit="64m",
        memswap_limit="64m",
        detach=True,
    )
    try:
        container.wait()
        container.reload()
        state = container.attrs["State"]
        assert state["ExitCode"] == 137
        state["OOMKilled"] = False
        assert ran_out_of_memory(engine.client, container.name, state) is expected
    finally:
        container.remove(force=True)


# What the configuration does not give the server.


@pytest.mark.parametrize(
    ("docker", "field"),
    [
        ({"pids_limit": 1}, "pids_limit"),  # not even the server itself
        ({"pids_limit": 4}, "pids_limit"),  # not TensorFlow's threads
        ({"pids_limit": 8}, "pids_limit"),  # not gRPC's
        ({"ulimits": [pb.Ulimit(name="nofile", soft=8)]}, "ulimits"),  # not the container
        ({"ulimits": [pb.Ulimit(name="nofile", soft=10)]}, "ulimits"),
    ],
)
def test_a_limit_that_leaves_the_server_no_room_is_named(
    validate: Validate, split: Path, docker: dict[str, Any], field: str
) -> None:
    report = validate(
        split=split,
        docker=docker,
        limits=pb.ValidationSpec(num_tries=3, max_loading_time_seconds=120),
    )
    assert told(report)[:2] == ("configuration_invalid", Blame.CONFIGURATION)
    assert report.reason.startswith(f"ServingSpec.local_docker.{field}: the server could ")
    *before, _ = report.binaries[0].attempts
    # Now and then runc's own first process is what finds no room, of which it tells no cause.
    assert all(one.fault and "a stopped process" in one.fault.summary for one in before)


@needs_root
@pytest.mark.parametrize("user", ["1001", "1001:1001", "0:0"])
def test_a_private_model_is_copied_for_a_user_who_may_not_read_it(
    validate: Validate, saved_model: Path, tmp_path: Path, split: Path, user: str
) -> None:
    model = private_copy(saved_model, tmp_path / "private", (12345,))
    report = validate(model=model, split=split, docker={"user": user})
    assert report.verdict == Verdict.BLESSED, report.reason
    assert server_of(report)["model_delivery"] == "copy"
    assert server_of(report)["user"] == user


@needs_root
@pytest.mark.parametrize(
    ("docker", "closed", "phase"),
    [
        # Of a name only the image knows who that is.
        ({"user": "games"}, ".", Phase.LOAD),
        ({"user": "5:5", "model_delivery": "MOUNT"}, ".", Phase.LOAD),
        ({"user": "5", "model_delivery": "MOUNT"}, "saved_model.pb", Phase.LOAD),
        # TensorFlow takes such a model for one without variables.
        ({"user": "5", "model_delivery": "MOUNT"}, "variables", Phase.LOAD),
    ],
)
def test_a_user_who_cannot_read_the_model_is_named(
    validate: Validate,
    saved_model: Path,
    tmp_path: Path,
    docker: dict[str, Any],
    closed: str,
    phase: Phase,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / closed).chmod(0o700)
    report = validate(model=model, docker=docker, limits=pb.ValidationSpec(num_tries=3))
    assert told(report) == ("configuration_invalid", Blame.CONFIGURATION, phase)
    assert report.reason.startswith(f"ServingSpec.local_docker.user: {docker['user']} cannot read ")
    assert len(report.binaries[0].attempts) == 1


START_THREADS = (
    "exec /opt/model-server/bin/python -c 'import threading as t; "
    "[t.Thread(target=t.Event().wait, daemon=True).start() for _ in range(64)]'"
)


@pytest.mark.parametrize(
    ("script", "limited", "field"),
    [
        (
            "while exec {file}</dev/null; do :; done; exit 1",
            {"name": "nofile", "soft": 64},
            "ulimits",
        ),
        (START_THREADS, {}, "pids_limit"),
    ],
)
@pytest.mark.parametrize("set_by_user", [False, True])
def test_what_a_server_runs_out_of_is_blamed_on_the_field_that_limits_it(
    validate: Validate, script: str, limited: dict[str, Any], field: str, set_by_user: bool
) -> None:
    """Without one, the fault stays the model's, with a hint."""
    begin = "echo 'Loading servable version {name: m version: 1}';"
    given: dict[str, Any] = {"ulimits": [pb.Ulimit(**limited)]} if limited else {"pids_limit": 32}
    if not set_by_user:
        begin += " ulimit -n 64;" if limited else ""
        script = script if limited else 'echo "RuntimeError: can\'t start new thread"; exit 1'
    report = validate(
        "shell",
        env={"SERVER_SCRIPT": f"{begin} {script}"},
        docker=given if set_by_user else {},
    )
    if set_by_user:
        assert told(report) == ("configuration_invalid", Blame.CONFIGURATION, Phase.LOAD)
        assert report.reason.startswith(f"ServingSpec.local_docker.{field}: ")
    else:
        assert told(report) == ("model_load_failed", Blame.MODEL, Phase.LOAD)
        assert report.fault is not None
        assert "ServingSpec.local_docker." in report.fault.hint


LOADING = "echo 'Loading servable version {name: m version: 1}';"


def test_no_word_excuses_a_segmentation_fault(validate: Validate) -> None:
    words = "RuntimeError: can't start new thread"
    report = validate(
        "shell",
        env={"SERVER_SCRIPT": f'{LOADING} echo "{words}"; kill -SEGV $$'},
        docker={"pids_limit": 64},
        limits=pb.ValidationSpec(num_tries=3),
    )
    assert told(report) == ("server_crashed", Blame.MODEL, Phase.LOAD)
    assert len(report.binaries[0].attempts) == 1


@pytest.mark.parametrize("docker", [{}, {"user": "5:5"}, {"model_delivery": "COPY"}])
def test_a_file_elsewhere_that_the_model_reads_is_the_models_fault(
    validate: Validate, docker: dict[str, Any]
) -> None:
    error = (
        "Failed to start server. Error: Unknown: 1 servable(s) did not become available: "
        "{{name: m version: 1} due to error: Permission denied: /root/words; Permission denied}, }"
    )
    report = validate(
        "shell",
        env={"SERVER_SCRIPT": f"{LOADING} cat /root/words; echo '{error}'; exit 255"},
        docker=docker,
        limits=pb.ValidationSpec(num_tries=3),
    )
    assert told(report) == ("asset_unreadable", Blame.MODEL, Phase.LOAD)
    assert "/root/words" in report.reason
    assert len(report.binaries[0].attempts) == 1


@pytest.mark.parametrize("delivery", ["MOUNT", "COPY"])
def test_a_broken_model_is_told_by_the_servers_own_error(
    validate: Validate, saved_model: Path, tmp_path: Path, delivery: str
) -> None:
    model = tmp_path / "broken"
    shutil.copytree(saved_model, model)
    (model / "variables" / "variables.index").write_bytes(b"no index")
    report = validate(
        model=model, docker={"model_delivery": delivery}, limits=pb.ValidationSpec(num_tries=5)
    )
    assert told(report) == ("variables_unreadable", Blame.MODEL, Phase.LOAD)
    assert "DATA_LOSS: " in report.reason
    assert report.fault is not None
    assert report.fault.evidence.exit_code == 255
    assert len(report.binaries[0].attempts) == 1


@pytest.mark.parametrize("tag", ["no-entrypoint", "no-program"])
def test_an_image_that_cannot_be_run_is_told(validate: Validate, tag: str) -> None:
    report = validate(tag, limits=pb.ValidationSpec(num_tries=3))
    assert told(report)[:2] == ("image_unusable", Blame.INFRASTRUCTURE)
    assert len(report.binaries[0].attempts) == 1


# What the engine refuses.


@pytest.mark.parametrize(
    ("docker", "category", "blame", "named"),
    [
        ({"network": "nowhere"}, "configuration_invalid", Blame.CONFIGURATION, "network"),
        (
            {"mounts": [pb.Mount(source="/nowhere", target="/x")]},
            "mount_source_missing",
            Blame.CONFIGURATION,
            "mounts",
        ),
        (
            {"device_requests": [pb.DeviceRequest(count=-1)]},
            "device_unavailable",
            Blame.CONFIGURATION,
            "device_requests",
        ),
        (
            {"device_requests": [pb.DeviceRequest(driver="nvidia", device_ids=["0"])]},
            "device_unavailable",
            Blame.CONFIGURATION,
            "device_requests",
        ),
        ({"cpus": 4096}, "configuration_invalid", Blame.CONFIGURATION, "cpus"),
        ({"user": "no-such-user"}, "configuration_invalid", Blame.CONFIGURATION, "user"),
        ({"user": "2147483648"}, "configuration_invalid", Blame.CONFIGURATION, "user"),
        (
            {"capabilities": ["NOTHING"]},
            "configuration_invalid",
            Blame.CONFIGURATION,
            "capabilities",
        ),
        (
            {"ulimits": [pb.Ulimit(name="nothing", soft=1)]},
            "configuration_invalid",
            Blame.CONFIGURATION,
            "ulimits",
        ),
        (
            {"platform": "linux/s390x", "pull_policy": "NEVER"},
            "image_unusable",
            Blame.INFRASTRUCTURE,
            "",
        ),
    ],
)
def test_what_the_engine_can_never_do_is_refused_once_and_by_its_field(
    validate: Validate, docker: dict[str, Any], category: str, blame: Blame, named: str
) -> None:
    report = validate(docker=docker, limits=pb.ValidationSpec(num_tries=2))
    assert told(report)[:2] == (category, blame)
    assert not named or report.reason.startswith(f"ServingSpec.local_docker.{named}: ")
    assert len(report.binaries[0].attempts) == 1


def test_a_mount_source_that_does_not_exist_is_refused_before_anything_starts(
    validate: Validate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local_docker, "_in_container", lambda: False)
    mounts = [pb.Mount(source=str(tmp_path), target="/a"), pb.Mount(source="/nowhere", target="/b")]
    report = validate("nowhere", docker={"mounts": mounts})
    assert told(report) == ("mount_source_missing", Blame.CONFIGURATION, Phase.STAGE)
    assert report.reason.startswith("ServingSpec.local_docker.mounts[1].source: /nowhere ")
    assert report.binaries == ()


def test_a_volume_that_does_not_exist_is_refused_and_not_made(
    engine: TestEngine, validate: Validate
) -> None:
    name = f"tests-{engine.run}-nowhere"
    mounts = [pb.Mount(source=name, target="/a")]
    report = validate("nowhere", docker={"mounts": mounts})
    assert told(report) == ("mount_source_missing", Blame.CONFIGURATION, Phase.STAGE)
    assert report.reason.startswith("ServingSpec.local_docker.mounts[0].source: ")
    assert name in report.reason
    assert engine.client.api.volumes(filters={"name": name})["Volumes"] in (None, [])


@pytest.mark.parametrize("target", ["/usr", "/proc/x", "/model/m/1/x"])
def test_a_mount_at_a_place_that_takes_none_is_named(
    validate: Validate, tmp_path: Path, target: str
) -> None:
    (tmp_path / "file").touch()
    mounts = [pb.Mount(source=str(tmp_path / "file"), target=target)]
    report = validate(
        model_name="m", docker={"mounts": mounts}, limits=pb.ValidationSpec(num_tries=3)
    )
    assert told(report) == ("configuration_invalid", Blame.CONFIGURATION, Phase.START)
    assert report.reason.startswith("ServingSpec.local_docker.mounts[0]: ")
    assert len(report.binaries[0].attempts) == 1


def test_a_server_that_serves_but_is_not_reached_is_the_networks_fault(
    validate: Validate,
) -> None:
    report = validate(
        "shell",
        env={
            "SERVER_SCRIPT": "echo 'Loading servable version {name: m version: 1}';"
            "echo 'Running gRPC ModelServer at 0.0.0.0:8500 ...'; exec sleep 300"
        },
        docker={"host_ip_address": "192.0.2.1"},  # of no machine (RFC 5737)
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=8),
    )
    assert told(report) == ("server_not_ready", Blame.INFRASTRUCTURE, Phase.LOAD)
    assert "says that it serves" in report.reason


def test_no_engine_names_the_socket_that_was_tried(
    validate: Validate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"unix://{tmp_path}/nowhere.sock"
    report = validate(docker={"client_base_url": nowhere})
    assert told(report) == ("engine_unavailable", Blame.INFRASTRUCTURE, Phase.STAGE)
    assert nowhere in report.reason
    assert report.binaries == ()
    assert report.verdict == Verdict.UNDETERMINED
    monkeypatch.setenv("DOCKER_HOST", nowhere)
    report = validate()
    assert told(report)[0] == "engine_unavailable"
    assert nowhere in report.reason


def docker_context(folder: Path, name: str, host: str) -> None:
    """Writes Docker's configuration with a current context."""
    import hashlib

    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    endpoint = {"docker": {"Host": host, "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": endpoint})
    )
    (folder / "config.json").write_text(json.dumps({"currentContext": name}))


def test_the_engine_is_found_by_the_current_context(
    engine: TestEngine, validate: Validate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    docker_context(tmp_path, "mine", f"unix://{tmp_path}/nowhere.sock")
    report = validate()
    assert told(report)[0] == "engine_unavailable"
    assert f"{tmp_path}/nowhere.sock" in report.reason
    # DOCKER_HOST comes before the context, the field before both.
    monkeypatch.setenv("DOCKER_HOST", f"unix://{_SOCKET}")
    assert validate().verdict == Verdict.BLESSED
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert validate(docker={"client_base_url": f"unix://{_SOCKET}"}).verdict == Verdict.BLESSED


def test_a_context_that_is_not_there_is_not_exchanged_for_another(
    validate: Validate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's own client says: context "gone" does not exist."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "gone"}))
    report = validate()
    assert told(report)[0] == "engine_unavailable"
    assert "gone" in report.reason


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that stays on this machine; it writes down what it was told."""
    if shutil.which("docker") is None:
        pytest.skip("needs Docker's own client, as the machine at the other end does")
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\nunset DOCKER_HOST DOCKER_CONTEXT\n'
        'while [ "$1" != -- ]; do shift; done\nhost=$2\nshift 2\n'
        'if [ "$host" = nowhere ]; then echo "ssh: connect to host nowhere: No route" >&2; '
        'exit 255; fi\nexec "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return tmp_path / "told"


def test_an_engine_at_the_other_end_of_ssh(
    engine: TestEngine, validate: Validate, split: Path, ssh: Path
) -> None:
    address = f"ssh://me@localhost:22{_SOCKET}"
    report = validate(split=split, docker={"client_base_url": address})
    assert report.verdict == Verdict.BLESSED, report.reason
    lines = set(ssh.read_text().splitlines())
    assert lines == {
        "-o ConnectTimeout=30 -T -l me -p 22 -- localhost "
        f"docker --host unix://{_SOCKET} system dial-stdio"
    }
    assert engine.containers() == []
    # The model may be copied that way too, which is what an engine elsewhere needs.
    copied = validate(docker={"client_base_url": address, "model_delivery": "COPY"})
    assert copied.verdict == Verdict.BLESSED, copied.reason


@pytest.mark.usefixtures("ssh")
def test_a_host_without_an_address_is_told(engine: TestEngine, validate: Validate) -> None:
    report = validate(docker={"client_base_url": f"ssh://nowhere.invalid{_SOCKET}"})
    assert told(report) == ("platform_failed", Blame.INFRASTRUCTURE, Phase.START)
    assert "'nowhere.invalid'" in report.reason
    assert engine.containers() == []


@pytest.mark.usefixtures("ssh")
def test_what_ssh_says_is_told(validate: Validate) -> None:
    report = validate(docker={"client_base_url": "ssh://nowhere"})
    assert told(report)[0] == "engine_unavailable"
    assert "ssh://nowhere" in report.reason
    assert report.fault is not None
    assert "No route" in report.fault.detail


def test_certificates_that_are_not_there_are_told(
    validate: Validate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    assert told(validate())[0] == "engine_unavailable"


@pytest.mark.parametrize("version", ["1.99", "1.10"])
def test_an_api_version_that_the_engine_does_not_speak_is_told(
    validate: Validate, version: str
) -> None:
    report = validate(docker={"client_api_version": version})
    assert told(report) == ("engine_api_mismatch", Blame.CONFIGURATION, Phase.STAGE)


def test_an_api_version_that_it_speaks_is_used(engine: TestEngine, validate: Validate) -> None:
    version = engine.client.version()["ApiVersion"]
    assert validate(docker={"client_api_version": version}).verdict == Verdict.BLESSED


# Images.


def test_an_image_that_may_not_be_pulled_is_missed_at_once(
    engine: TestEngine, validate: Validate
) -> None:
    report = validate("nowhere", docker={"pull_policy": "NEVER"})
    assert told(report) == ("image_not_found", Blame.INFRASTRUCTURE, Phase.IMAGE)
    assert f"{engine.name}:nowhere" in report.reason
    assert "pull_policy" in report.reason


def denied(request: RegistryHandler) -> None:
    request.refuse(
        401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="here"'
    )


def unknown(request: RegistryHandler) -> None:
    if request.path.rstrip("/") == "/v2":
        request.reply(200, b"{}")
    else:
        request.refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")


def too_many(request: RegistryHandler) -> None:
    if request.path.rstrip("/") == "/v2":
        request.reply(200, b"{}")
    else:
        request.refuse(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")


def broken(request: RegistryHandler) -> None:
    request.reply(503, b"<html>no backend</html>", Content_Type="text/html")


def cut_short(request: RegistryHandler) -> None:
    request.connection.shutdown(socket.SHUT_RDWR)
    request.close_connection = True


@pytest.mark.parametrize(
    ("answer", "category", "transient"),
    [
        (denied, "image_pull_denied", False),
        (unknown, "image_not_found", False),
        (too_many, "image_pull_failed", True),
        (broken, "image_pull_failed", True),
        (cut_short, "image_pull_failed", True),
    ],
)
@pytest.mark.parametrize("policy", ["IF_NOT_PRESENT", "ALWAYS"])
def test_what_a_registry_refuses_is_told(
    validate: Validate,
    answer: Callable[[RegistryHandler], None],
    category: str,
    transient: bool,
    policy: str,
) -> None:
    with registry(answer) as there:
        report = validate("1", image_name=f"{there.address}/a/b", docker={"pull_policy": policy})
    assert there.asked.is_set()
    assert told(report) == (category, Blame.INFRASTRUCTURE, Phase.IMAGE)
    assert report.fault is not None
    assert report.fault.transient is transient


def test_no_registry_is_told(validate: Validate) -> None:
    report = validate("1", image_name="127.0.0.1:1/a")
    assert told(report) == ("image_pull_failed", Blame.INFRASTRUCTURE, Phase.IMAGE)
    assert "connection refused" in report.reason


def test_a_pull_that_takes_too_long_is_told(validate: Validate) -> None:
    with registry(RegistryHandler.hang) as there:
        report = validate("1", image_name=f"{there.address}/a", docker={"pull_timeout_seconds": 1})
    assert told(report) == ("image_pull_timeout", Blame.INFRASTRUCTURE, Phase.IMAGE)


def test_a_pull_that_takes_too_long_is_ended_in_the_engine_too(
    engine: TestEngine, validate: Validate, caplog: pytest.LogCaptureFixture
) -> None:
    image = TinyImage({LABEL: engine.run})
    with registry(image.serve_for_ever) as there, caplog.at_level("INFO", "infra_validator"):
        name = f"{there.address}/a"

        def wait_for_the_layer(event: Event) -> None:
            if isinstance(event, PhaseBegan) and event.phase == Phase.IMAGE:
                there.trickling.wait(_LIMIT_SECONDS)

        report = validate(
            "1",
            image_name=name,
            docker={"pull_timeout_seconds": 3},
            observer=wait_for_the_layer,
        )
        assert there.left.wait(_LIMIT_SECONDS), "the engine still pulls"
    assert told(report) == ("image_pull_timeout", Blame.INFRASTRUCTURE, Phase.IMAGE)
    assert report.fault is not None
    assert report.fault.detail.startswith(f"pulling {name}:1: ")
    assert f"pulling {name}:1: waiting for the registry" in caplog.messages


def test_a_pull_is_given_up_at_once(engine: TestEngine, validate: Validate) -> None:
    image = TinyImage({LABEL: engine.run})
    cancellation = Cancellation()
    with registry(image.serve_for_ever) as there:

        def cancel() -> None:
            there.trickling.wait()
            cancellation.cancel("enough")

        with meanwhile(cancel), pytest.raises(Cancelled):
            validate("1", image_name=f"{there.address}/a", cancellation=cancellation)
        assert there.left.wait(_LIMIT_SECONDS), "the engine still pulls"


def test_an_image_of_another_platform_is_not_the_one_asked_for(
    engine: TestEngine, validate: Validate
) -> None:
    here, other = (TinyImage({LABEL: engine.run}, name) for name in ("amd64", "s390x"))
    with registry(here.serve) as there:
        name = f"{there.address}/a"
        with removing_image(engine, f"{name}:1"):
            first = server_of(validate("1", image_name=name))
            assert first["image_digests"] == [f"{name}@{here.digest}"]
            there.asked.clear()
            validate("1", image_name=name, docker={"platform": "linux/amd64"})
            assert not there.asked.is_set()
            there.answer = other.serve
            second = server_of(validate("1", image_name=name, docker={"platform": "linux/s390x"}))
            assert there.asked.is_set()
            assert second["image_digests"] == [f"{name}@{other.digest}"]
            engine.client.images.remove(first["image_id"], force=True)


@contextlib.contextmanager
def removing_image(engine: TestEngine, name: str) -> Iterator[None]:
    import docker

    try:
        yield
    finally:
        engine.remove_all()
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.client.images.remove(name, force=True)


@pytest.mark.parametrize("policy", ["IF_NOT_PRESENT", "ALWAYS"])
def test_an_image_is_pulled_with_dockers_own_credentials(
    engine: TestEngine,
    validate: Validate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    image = TinyImage({LABEL: engine.run})
    login = base64.b64encode(b"me:secret").decode()

    def answer(request: RegistryHandler) -> None:
        if request.headers.get("Authorization") == f"Basic {login}":
            image.serve(request)
        else:
            denied(request)

    with registry(answer) as there:
        name = f"{there.address}/a/b"
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        (tmp_path / "config.json").write_text(
            json.dumps({"auths": {there.address: {"auth": login}}})
        )
        with removing_image(engine, f"{name}:1"):
            report = validate("1", image_name=name, docker={"pull_policy": policy})
            assert server_of(report)["image_digests"] == [f"{name}@{image.digest}"]
            assert report.fault is not None
            there.asked.clear()
            validate("1", image_name=name, docker={"pull_policy": policy})
            assert there.asked.is_set() is (policy == "ALWAYS")


@pytest.mark.parametrize(
    ("keeper", "pulled"),
    [
        ('read registry; echo \'{"Username": "me", "Secret": "secret"}\'', True),
        ("echo 'the keychain is locked'; exit 1", False),
        ("echo nonsense", False),
        ("echo '{}'", False),
        (None, False),
    ],
)
def test_the_program_that_keeps_dockers_credentials_is_asked(
    engine: TestEngine,
    validate: Validate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keeper: str | None,
    pulled: bool,
) -> None:
    """As where Docker's configuration came from another machine, with its credsStore."""
    image = TinyImage({LABEL: engine.run})
    login = base64.b64encode(b"me:secret").decode()

    def answer(request: RegistryHandler) -> None:
        if request.headers.get("Authorization") == f"Basic {login}":
            image.serve(request)
        else:
            denied(request)

    if keeper is not None:
        program = tmp_path / "docker-credential-mine"
        program.write_text(f"#!/bin/sh\n{keeper}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "mine"}))
    with registry(answer) as there:
        name = f"{there.address}/a/b"
        with removing_image(engine, f"{name}:1"):
            report = validate("1", image_name=name, limits=pb.ValidationSpec(num_tries=3))
    if pulled:
        assert server_of(report)["image_digests"] == [f"{name}@{image.digest}"]
        return
    assert told(report) == ("image_pull_denied", Blame.INFRASTRUCTURE, Phase.IMAGE)
    assert there.address in report.reason
    assert report.fault is not None
    assert "credsStore" in report.fault.hint
    assert len(report.binaries[0].attempts) == 1


def test_an_image_is_pulled_by_its_digest(engine: TestEngine) -> None:
    image = TinyImage({LABEL: engine.run})
    with registry(image.serve) as there:
        name = f"{there.address}/a"
        binary = TensorFlowServing("m", image=f"{name}@{image.digest}")
        with removing_image(engine, f"{name}@{image.digest}"), open_workspace() as workspace:
            wake = Wake()
            model = ModelSource("/nowhere", Gfile(), workspace, lambda: None)
            runner = LocalDockerPlatform(settings()).create_runner(
                ServerTask(binary, model, workspace, wake)
            )
            runner.start()
            try:
                limit = Deadline.after(_LIMIT_SECONDS)
                while "image_digests" not in runner.identity():
                    assert not limit.expired()
                    wake.wait(limit.remaining())
                assert runner.identity()["image_digests"] == [f"{name}@{image.digest}"]
            finally:
                runner.stop()


# Somebody else's hand in it.


@pytest.fixture
def disturbed(
    engine: TestEngine, validate: Validate, split: Path
) -> Callable[[Callable[[Any], None], str], Report]:
    """Validates while something is done to the container, in the phase that is given."""

    def disturb(action: Callable[[Any], None], fault: str) -> Report:
        watch = Watch()

        def act() -> None:
            action(stuck_container(engine, watch, fault))

        with meanwhile(act):
            return validate(
                "stand-in",
                split=split,
                env={"STAND_IN_FAULT": fault},
                limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=60),
                observer=watch,
            )

    return disturb


def stuck_container(engine: TestEngine, watch: Watch, fault: str) -> Any:
    """The container of a server that hangs, as soon as the validator waits for it."""
    watch.wait(Phase.QUERY if fault == "hang_on_request" else Phase.LOAD)
    container = engine.client.containers.get(engine.running()[0])
    if fault == "hang_on_request":
        wait_for(lambda: b"hanging" in container.logs(), "a request")
    return container


@pytest.mark.parametrize(
    ("fault", "phase"), [("never_ready", Phase.LOAD), ("hang_on_request", Phase.QUERY)]
)
@pytest.mark.parametrize("how", ["remove", "kill", "stop"])
def test_a_container_that_somebody_else_ends_is_not_the_models_fault(
    disturbed: Callable[[Callable[[Any], None], str], Report], fault: str, phase: Phase, how: str
) -> None:
    def act(container: Any) -> None:
        if how == "remove":
            container.remove(force=True, v=True)
        elif how == "kill":
            container.kill()
        else:
            container.stop(timeout=0)

    report = disturbed(act, fault)
    assert report.verdict == Verdict.UNDETERMINED, report.reason
    assert report.fault is not None
    assert report.fault.category == "server_killed"
    assert report.fault.transient
    assert report.fault.phase == phase


@pytest.fixture
def proxy(open_folder: Path) -> Iterator[EngineProxy]:
    """The engine by another way, which can be cut."""
    there = EngineProxy(open_folder / "engine.sock", _SOCKET)
    yield there
    there.cut()


@pytest.fixture
def before_retry(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something done before the next try, which follows at once."""

    def set_up(act: Callable[[], None]) -> None:
        def no_wait(_: object) -> float:
            act()
            return 0

        monkeypatch.setattr(validation_engine, "_RETRY_WAIT", no_wait)

    return set_up


@pytest.fixture
def once(open_folder: Path) -> pb.Mount:
    """Where a stand-in leaves word that it has been faulty once."""
    folder = open_folder / "state"
    folder.mkdir()
    folder.chmod(0o777)
    return pb.Mount(source=str(folder), target="/state", writable=True)


_ONCE = {"STAND_IN_ONCE": "/state/once"}


@pytest.mark.parametrize("fault", ["never_ready", "hang_on_request"])
@pytest.mark.parametrize("removed", [False, True])
def test_an_engine_that_is_lost_and_found_again_serves_the_next_try(
    engine: TestEngine,
    validate: Validate,
    split: Path,
    proxy: EngineProxy,
    once: pb.Mount,
    before_retry: Callable[[Callable[[], None]], None],
    fault: str,
    removed: bool,
) -> None:
    """The container may be gone with the engine, or be removed when it is back."""
    watch = Watch()
    left: list[str] = []
    lost = threading.Event()

    def lose() -> None:
        container = stuck_container(engine, watch, fault)
        wait_for(Path(once.source, "once").exists, "the server's word")
        proxy.cut()
        if removed:
            container.remove(force=True, v=True)
        lost.set()

    def find() -> None:
        wait_for(lost.is_set, "the engine's end")
        left.extend(engine.containers())
        proxy.listen()

    before_retry(find)
    with meanwhile(lose):
        report = validate(
            "stand-in",
            split=split,
            env={"STAND_IN_FAULT": fault, **_ONCE},
            docker={"client_base_url": proxy.address, "mounts": [once]},
            limits=pb.ValidationSpec(num_tries=2, max_loading_time_seconds=60),
            observer=watch,
        )
    assert report.verdict == Verdict.BLESSED, report.reason
    first, _ = report.binaries[0].attempts
    assert first.fault is not None
    assert first.fault.category == "engine_lost"
    assert first.fault.phase == (Phase.QUERY if fault == "hang_on_request" else Phase.LOAD)
    assert len(left) == (0 if removed else 1)
    assert engine.containers() == []


def held_while_asking(proxy: EngineProxy) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, PhaseBegan) and event.phase == Phase.QUERY:
            proxy.hold()
        elif isinstance(event, PhaseBegan) and event.phase == Phase.STOP:
            proxy.release()

    return observe


def test_an_engine_that_does_not_answer_at_the_end_is_told(
    validate: Validate, split: Path, proxy: EngineProxy
) -> None:
    """Whether the server that answered was the right one cannot be known then."""
    report = validate(
        "stand-in",
        split=split,
        docker={"client_base_url": proxy.address, "client_timeout_seconds": 15},
        observer=held_while_asking(proxy),
    )
    assert told(report) == ("engine_lost", Blame.INFRASTRUCTURE, Phase.QUERY)


def test_a_limit_that_passes_while_the_engine_is_cut_off_is_not_the_models_fault(
    validate: Validate, split: Path, proxy: EngineProxy
) -> None:
    """As with an engine on another machine, when the network between them fails."""
    report = validate(
        "stand-in",
        split=split,
        env={"STAND_IN_FAULT": "hang_on_request"},
        docker={"client_base_url": proxy.address, "client_timeout_seconds": 15},
        limits=pb.ValidationSpec(
            num_tries=1, max_loading_time_seconds=120, request_timeout_seconds=2
        ),
        observer=held_while_asking(proxy),
    )
    assert told(report) == ("engine_lost", Blame.INFRASTRUCTURE, Phase.QUERY)


def test_a_crash_stays_one_when_the_engine_is_lost_with_it(
    validate: Validate, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = OutputFollower.finish

    def lose(follower: OutputFollower, client: Any, seconds: float) -> None:
        proxy.cut()
        finish(follower, client, seconds)

    def find(event: Event) -> None:
        if isinstance(event, PhaseBegan) and event.phase == Phase.STOP:
            proxy.listen()

    monkeypatch.setattr(OutputFollower, "finish", lose)
    report = validate(
        "shell",
        env={"SERVER_SCRIPT": f"{LOADING} kill -SEGV $$"},
        docker={"client_base_url": proxy.address},
        limits=pb.ValidationSpec(num_tries=3),
        observer=find,
    )
    assert told(report) == ("server_crashed", Blame.MODEL, Phase.LOAD)
    assert report.fault is not None
    assert report.fault.evidence.exit_code == 139
    assert len(report.binaries[0].attempts) == 1


@pytest.mark.parametrize("patience", [60.0, 0.0])
def test_an_engine_that_comes_back_after_the_last_try_keeps_nothing(
    engine: TestEngine,
    validate: Validate,
    proxy: EngineProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    patience: float,
) -> None:
    monkeypatch.setattr(docker_removal, "_LAST_TRY_SECONDS", patience)
    docker = {"client_base_url": proxy.address}
    watch = Watch()

    def tries() -> int:
        return sum(message.startswith("Not removed yet") for message in caplog.messages)

    def restart() -> None:
        watch.wait(Phase.LOAD)
        proxy.cut()
        if patience:
            wait_for(lambda: tries() > 2, "several tries to remove the container")
            proxy.listen()

    with meanwhile(restart):
        report = validate(
            "stand-in", env={"STAND_IN_FAULT": "never_ready"}, docker=docker, observer=watch
        )
    assert told(report) == ("engine_lost", Blame.INFRASTRUCTURE, Phase.LOAD)
    if not patience:  # then the same process removes it when it validates again
        assert len(engine.containers()) == 1
        proxy.listen()
        assert validate("stand-in", docker=docker).verdict == Verdict.BLESSED
    assert engine.containers() == []


def test_an_engine_that_goes_away_during_a_pull_is_told(
    validate: Validate, proxy: EngineProxy
) -> None:
    with registry(RegistryHandler.hang) as there:

        def cut() -> None:
            there.asked.wait()
            proxy.cut()

        with meanwhile(cut):
            report = validate(
                "1",
                image_name=f"{there.address}/a",
                docker={"client_base_url": proxy.address, "pull_timeout_seconds": 60},
            )
    assert told(report) == ("engine_lost", Blame.INFRASTRUCTURE, Phase.IMAGE)


def start_second_engine(folder: Path, *flags: str) -> SecondEngine:
    """An engine that may be restarted, since nobody else uses it."""
    if os.getuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("only root can start a second Docker engine, where there is dockerd")
    second = SecondEngine(folder, *flags)
    try:
        second.start()
    except BaseException:
        second.remove()
        raise
    return second


def on_second_engine(second: SecondEngine, *mounts: pb.Mount) -> pb.LocalDockerConfig:
    return pb.LocalDockerConfig(
        client_base_url=second.address,
        network=second.network,
        host_ip_address="127.0.0.1",  # where nothing of this engine can be reached
        mounts=[*mounts, *(pb.Mount(source=here, target=at) for here, at in second.mounts())],
    )


@pytest.fixture
def second_engine(open_folder: Path) -> Iterator[SecondEngine]:
    second = start_second_engine(open_folder)
    yield second
    second.remove()


def test_an_engine_that_is_restarted_while_a_model_loads(
    saved_model: Path,
    second_engine: SecondEngine,
    once: pb.Mount,
    before_retry: Callable[[Callable[[], None]], None],
) -> None:
    second_engine.make_network()
    watch = Watch()
    back = threading.Event()
    before_retry(lambda: wait_for(back.is_set, "the engine"))

    def restart() -> None:
        watch.wait(Phase.LOAD)
        wait_for(Path(once.source, "once").exists, "the server's word")
        second_engine.stop()
        second_engine.start()
        back.set()

    with meanwhile(restart):
        report = run(
            saved_model,
            image_name=second_engine.make_image(),
            images=("sleeps",),
            env={"SERVER_SCRIPT": "[ -e /state/once ] && exit 3; : > /state/once; exec sleep 300"},
            local_docker=on_second_engine(second_engine, once),
            limits=pb.ValidationSpec(num_tries=2, max_loading_time_seconds=60),
            observer=watch,
        )
    first, second = (attempt.fault for attempt in report.binaries[0].attempts)
    assert first is not None
    # The engine ends its containers before itself, so either may be seen first.
    assert first.category in {"server_killed", "engine_lost"}
    assert first.phase == Phase.LOAD
    assert second is not None
    assert (second.category, second.evidence.exit_code) == ("server_exited", 3)
    assert second_engine.client.api.containers(all=True) == []


def test_an_engine_without_an_init_runs_servers_without_one(
    saved_model: Path, open_folder: Path
) -> None:
    second = start_second_engine(open_folder, "--init-path", "no-such-init")
    try:
        second.make_network()
        report = run(
            saved_model,
            image_name=second.make_image(),
            images=("sleeps",),
            local_docker=on_second_engine(second),
            limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=3),
        )
        assert told(report) == ("server_not_ready", Blame.INFRASTRUCTURE, Phase.LOAD)
        assert second.client.api.containers(all=True) == []
    finally:
        second.remove()


def test_an_answer_from_another_container_that_got_the_address_blesses_nothing(
    engine: TestEngine,
    validate: Validate,
    split: Path,
    proxy: EngineProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Addresses are given anew as soon as a container has ended, ports too."""
    monkeypatch.setattr(local_docker, "_in_container", lambda: True)  # to ask at its own address
    network = make_network(engine.client, f"tests-{engine.run}")
    watch = Watch()

    def exchange() -> None:
        watch.wait(Phase.LOAD)
        first = engine.client.containers.get(engine.running()[0])
        address = first.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]
        proxy.hold()
        first.kill()
        first.wait()  # for the address to be free
        api = engine.client.api
        second = api.create_container(
            f"{engine.name}:stand-in",
            networking_config={
                "EndpointsConfig": {
                    network.name: {"IPAMConfig": {"IPv4Address": address}},
                }
            },
        )
        connections = proxy.accepted
        api.start(second)
        watch.wait(Phase.QUERY)
        wait_for(lambda: proxy.accepted > connections, "the question whether the server still runs")
        proxy.release()

    try:
        with meanwhile(exchange):
            report = validate(
                "shell",
                split=split,
                env={"SERVER_SCRIPT": "exec sleep 300"},
                docker={"client_base_url": proxy.address, "network": network.name},
                limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=60),
                observer=watch,
            )
    finally:
        engine.remove_all()
        network.remove()
    assert report.verdict == Verdict.UNDETERMINED
    assert told(report)[0] == "server_killed"
    assert all(request.seconds for request in report.binaries[0].attempts[0].requests)


def test_a_copy_is_given_up_at_once(
    engine: TestEngine, validate: Validate, proxy: EngineProxy, big_model: Path
) -> None:
    cancellation = Cancellation()
    proxy.hold_at(32 * 1024**2)

    def cancel() -> None:
        assert proxy.held.wait(_LIMIT_SECONDS), "the copy did not begin"
        connections = proxy.accepted
        cancellation.cancel("enough")
        wait_for(lambda: proxy.accepted > connections, "the container's removal to begin")
        proxy.release()

    with meanwhile(cancel), pytest.raises(Cancelled):
        validate(
            model=big_model,
            docker={"client_base_url": proxy.address, "model_delivery": "COPY"},
            cancellation=cancellation,
        )
    assert proxy.sent < 64 * 1024**2
    assert engine.containers() == []


# Signals to the validator, in each phase.


@pytest.fixture
def big_model(saved_model: Path, tmp_path: Path) -> Path:
    """A model that takes a while to copy."""
    model = tmp_path / "big"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    with (model / "assets.extra" / "big").open("wb") as file:
        file.truncate(512 * 1024**2)
    return model


@pytest.fixture
def in_phase(
    engine: TestEngine,
    validator: Callable[..., Validator],
    big_model: Path,
    split: Path,
    open_folder: Path,
) -> Iterator[Callable[[str], Validator]]:
    """A validator that has got as far as a phase, and stays there."""
    closing = contextlib.ExitStack()
    phases = open_folder / "phases"
    phases.touch()

    def reach(phase: str) -> Validator:
        given: dict[str, Any] = {"phases": str(phases)}
        if phase == "image":
            there = closing.enter_context(registry(RegistryHandler.hang))
            process = validator(image_name=f"{there.address}/a", images=["1"], **given)
            wait_for(there.asked.is_set, "a pull")
            return process
        fault = "hang_on_request" if phase == "query" else "never_ready"
        given |= {"split": str(split), "env": {"STAND_IN_FAULT": fault}}
        if phase == "start":
            copied = {"model": str(big_model), "local_docker": {"model_delivery": "COPY"}}
            process = validator("stand-in", **given, **copied)
            wait_for(engine.containers, "a container")
        else:
            process = validator("stand-in", **given)
            wait_for(
                lambda: phase in phases.read_text().split() or not process.alive(),
                f"the phase {phase}",
            )
            if phase == "query":
                container = engine.client.containers.get(engine.running()[0])
                wait_for(lambda: b"hanging" in container.logs(), "a request")
        assert process.alive(), process.wait()[2][-3000:]
        return process

    with closing:
        yield reach


PHASES = ["image", "start", "load", "query"]


@pytest.mark.parametrize("phase", PHASES)
def test_sigterm_leaves_nothing(
    engine: TestEngine, in_phase: Callable[[str], Validator], phase: str
) -> None:
    process = in_phase(phase)
    assert bool(engine.containers()) is (phase != "image")
    process.send(signal.SIGTERM)
    code, _, err = process.wait()
    assert code == 1
    assert "Cancelled" in err, err[-3000:]
    assert engine.containers() == []


@pytest.mark.parametrize("phase", PHASES)
def test_after_sigkill_the_next_run_sweeps(
    engine: TestEngine,
    in_phase: Callable[[str], Validator],
    validate: Validate,
    phase: str,
) -> None:
    process = in_phase(phase)
    assert bool(engine.containers()) is (phase != "image")
    process.send(signal.SIGKILL)
    process.wait()
    assert validate().verdict == Verdict.BLESSED
    assert engine.containers() == []


def test_the_sweep_takes_its_own_dead_and_nothing_else(
    engine: TestEngine, validate: Validate, in_phase: Callable[[str], Validator]
) -> None:
    image = f"{engine.name}:shell"
    here = Owner.this_process()
    later, before = time.time() + 3600, time.time() - 2 * 3600

    def create(labels: dict[str, str]) -> str:
        container = engine.client.containers.create(
            image, labels=labels, mounts=[{"Type": "volume", "Target": "/x"}]
        )
        return str(container.name)

    living = in_phase("load")
    [of_the_living] = engine.containers()
    elsewhere = {"infra-validator.namespace": "pid:[1]"}
    kept = {
        of_the_living,
        create({}),
        create({"maintainer": "somebody"}),
        create({**here.labels(later)}),
        create({**here.labels(later), **elsewhere}),
    }
    gone = {
        create({**here.labels(later), "infra-validator.started": "1"}),
        create({**here.labels(before), **elsewhere}),
    }
    # The tests beside these sweep too.
    assert kept <= set(engine.containers()) <= kept | gone
    assert validate().verdict == Verdict.BLESSED
    assert set(engine.containers()) == kept
    assert living.alive()
    living.send(signal.SIGTERM)
    living.wait()
    assert set(engine.containers()) == kept - {of_the_living}
    engine.remove_all()
