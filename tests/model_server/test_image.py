"""The image of docker/model-server: the contract of tensorflow/serving, on a real engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

Start = Callable[..., Any]
_SECONDS = 60


@pytest.fixture
def start(docker_client: Any, model_server_image: str, saved_model: Path) -> Iterator[Start]:
    """Starts a container with the model where the image expects it; it is removed afterwards."""
    containers = []

    def start(
        *arguments: str, at: str = "/models/model/1", model: Path = saved_model, **options: Any
    ) -> Any:
        container = docker_client.containers.create(
            model_server_image,
            list(arguments),
            volumes={str(model): {"bind": at, "mode": "ro"}},
            **options,
        )
        containers.append(container)
        container.start()
        return container

    yield start
    for container in containers:
        container.remove(force=True)


def version_of(container: Any, name: str) -> int:
    """The version of the model that the container serves, once it serves it."""
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    container.reload()
    address = container.attrs["NetworkSettings"]["IPAddress"]
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 100)]
    with grpc.insecure_channel(f"{address}:8500", options=options) as channel:
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
            request, wait_for_ready=True, timeout=_SECONDS
        )
    [status] = answer.model_version_status
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    return int(status.version)


def test_environment_ports_and_entry_point_are_those_of_tensorflow_serving(
    docker_client: Any, model_server_image: str
) -> None:
    config = docker_client.images.get(model_server_image).attrs["Config"]
    assert {"MODEL_BASE_PATH=/models", "MODEL_NAME=model"} <= set(config["Env"])
    assert set(config["ExposedPorts"]) == {"8500/tcp", "8501/tcp"}
    assert config["Entrypoint"] == ["/usr/bin/tf_serving_entrypoint.sh"]
    assert not config["User"]


def test_serves_what_lies_in_the_default_place(start: Start) -> None:
    assert version_of(start(), "model") == 1


def test_the_environment_chooses_the_model(start: Start) -> None:
    container = start(
        at="/elsewhere/mine/7", environment={"MODEL_NAME": "mine", "MODEL_BASE_PATH": "/elsewhere"}
    )
    assert version_of(container, "mine") == 7


def test_arguments_are_appended_so_that_they_win(start: Start) -> None:
    container = start("--model_name=renamed", "--no_such_flag=1")
    assert version_of(container, "renamed") == 1
    log = container.logs().decode()
    assert "unknown argument: --no_such_flag=1" in log
    assert "the embedded server ignores --rest_api_port" in log


def test_bash_stays_the_first_process_as_in_the_real_image(start: Start) -> None:
    container = start()
    version_of(container, "model")
    processes = container.top(ps_args="-o pid,args")["Processes"]
    assert processes[0][1].startswith("/bin/bash /usr/bin/tf_serving_entrypoint.sh")


def test_a_model_that_cannot_be_loaded_ends_the_container_with_255(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    container = start("--max_num_load_retries=0", model=tmp_path)
    assert container.wait(timeout=_SECONDS)["StatusCode"] == 255
    assert "Failed to start server. Error: " in container.logs().decode()


def test_runs_with_the_least_of_rights(start: Start) -> None:
    container = start(
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        pids_limit=512,
        tmpfs={"/tmp": ""},  # noqa: S108
        user="1000:1000",
    )
    assert version_of(container, "model") == 1


def test_tells_its_version(docker_client: Any, model_server_image: str) -> None:
    output = docker_client.containers.run(
        model_server_image, ["--version"], entrypoint="tensorflow_model_server", remove=True
    )
    assert b"TensorFlow ModelServer: " in output
    assert b"TensorFlow Library: 2.21" in output
