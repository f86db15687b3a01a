"""What the report says to start a server by hand, done: it serves the model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator.clients.tensorflow_serving import TensorFlowServingClient
from infra_validator.config import DEFAULT_MODEL_NAME
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report, Verdict
from infra_validator.waiting import Wake
from tests.engine.helpers import run
from tests.platforms.kubernetes_cluster import TestNamespace

BATCHING = "max_batch_size { value: 8 }\nallowed_batch_sizes: 8"


def reproduction(report: Report) -> str:
    assert report.verdict == Verdict.BLESSED, report.reason
    text = report.binaries[0].attempts[-1].server["reproduce"]
    assert isinstance(text, str)
    assert "infra-validator-" not in text, "a folder that is gone"
    return text


def await_ready(endpoint: str, process: subprocess.Popen[bytes] | None = None) -> None:
    wake = Wake()
    client = TensorFlowServingClient(endpoint, DEFAULT_MODEL_NAME, wake)
    try:
        end = time.monotonic() + 60
        while not client.ready():
            assert time.monotonic() < end, "it does not serve the model"
            assert process is None or process.poll() is None, "it has ended"
            wake.wait(0.2)
    finally:
        client.close()


def test_a_process(saved_model: Path, tmp_path: Path) -> None:
    report = run(
        saved_model,
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": pb.ConfigFile(text=BATCHING)},
        env={"SECRET": "not to be told"},
    )
    text = reproduction(report)
    assert "not to be told" not in text
    (tmp_path / "batching_parameters_file").write_text(BATCHING)
    folder = tmp_path / "t"
    folder.mkdir()
    process = subprocess.Popen(
        ["bash", "-euc", text],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(folder), "SECRET": "x"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (made := list(folder.iterdir())):
            assert process.poll() is None
            time.sleep(0.05)
        await_ready(f"unix:{made[0]}/server.sock", process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def name(docker_client: Any) -> Iterator[str]:
    """A container's name; the container is gone afterwards."""
    import docker

    name = f"by-hand-{uuid.uuid4().hex[:8]}"
    yield name
    try:
        docker_client.api.remove_container(name, force=True, v=True)
    except docker.errors.NotFound:
        return


@pytest.mark.parametrize("delivery", ["MOUNT", "COPY"])
def test_a_container(
    docker_client: Any,
    model_server_image: str,
    name: str,
    saved_model: Path,
    tmp_path: Path,
    delivery: str,
) -> None:
    repository, _, tag = model_server_image.rpartition(":")
    limits = pb.LocalDockerConfig(
        model_delivery=delivery,
        memory="2g",
        cpus=1.5,
        shared_memory="64m",
        ulimits=[pb.Ulimit(name="nofile", soft=1024, hard=2048)],
    )
    report = run(
        saved_model,
        image_name=repository,
        images=(tag,),
        local_docker=limits,
        env={"SECRET": "not to be told"},
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": pb.ConfigFile(text=BATCHING)},
    )
    text = reproduction(report)
    assert "not to be told" not in text
    (tmp_path / "batching_parameters_file").write_text(BATCHING)
    # On a port that nobody has, and not in the foreground; all else as it is said.
    assert "127.0.0.1:8500:8500" in text
    text = text.replace("127.0.0.1:8500:8500", "127.0.0.1::8500")
    text = text.replace("docker run --rm", f"docker run --rm --detach --name {name}")
    subprocess.run(
        ["bash", "-euc", text],
        cwd=tmp_path,
        env={**os.environ, "SECRET": "x"},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    made = docker_client.api.inspect_container(name)
    port = made["NetworkSettings"]["Ports"]["8500/tcp"][0]["HostPort"]
    await_ready(f"127.0.0.1:{port}")
    host = made["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (2 * 2**30, 2 * 2**30)
    assert (host["NanoCpus"], host["ShmSize"]) == (1_500_000_000, 64 * 2**20)
    assert host["Ulimits"] == [{"Name": "nofile", "Soft": 1024, "Hard": 2048}]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Init"]) == (True, ["ALL"], True)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert made["Config"]["User"] == report.binaries[0].attempts[-1].server["user"]
    assert "SECRET=x" in made["Config"]["Env"]
    assert json.dumps(made["Config"]["Cmd"]).count("batching_parameters_file") == 2


def test_a_pod(kubernetes_namespace: TestNamespace, saved_model: Path, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl")
    image, tag = kubernetes_namespace.image
    report = run(
        saved_model,
        image_name=image,
        images=(tag,),
        kubernetes=kubernetes_namespace.config(model_delivery="STREAM"),
        env={"SECRET": "not to be told"},
        args=("--enable_batching=true",),
        config_files={"batching_parameters_file": pb.ConfigFile(text=BATCHING)},
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    text = report.binaries[0].attempts[-1].server["reproduce"]
    assert "not to be told" not in report.to_json()
    (tmp_path / "batching_parameters_file").write_text(BATCHING)
    # On a port that nobody has.
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    assert " 8500:8500;" in text
    text = text.replace(" 8500:8500;", f" {endpoint.rpartition(':')[2]}:8500;")
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await_ready(endpoint, process)
        pod = kubernetes_namespace.get("pods/infra-validator-by-hand")
        [container] = pod["spec"]["containers"]
        assert {"name": "SECRET", "value": "(not shown)"} in container["env"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kubernetes_namespace.delete("pods/infra-validator-by-hand")
