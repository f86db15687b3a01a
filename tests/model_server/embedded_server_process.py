"""The embedded server as a process, and a client for it."""

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

REPOSITORY = Path(__file__).resolve().parents[2]
READY = "Running gRPC ModelServer at"
START_SECONDS = 120.0
RPC_SECONDS = 120.0
STOP_SECONDS = 10.0


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "infra_validator.model_server", *flags]


class StartError(AssertionError):
    """The server did not come up."""


class ServerProcess:
    """A running server; its output is kept line by line."""

    def __init__(self, flags: list[str]) -> None:
        self.process = subprocess.Popen(
            command(*flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment(),
            cwd=REPOSITORY,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))
                self._queue.put(line)
        self._queue.put(None)

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str) -> None:
        """Waits for a line that contains ``text``."""
        while True:
            line = self._queue.get(timeout=START_SECONDS)
            if line is None:
                raise StartError(f"ended with {self.process.wait()} before {text!r}:\n{self.log}")
            if text in line:
                return

    def wait(self) -> int:
        code = self.process.wait(START_SECONDS)
        self._reader.join()
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self._reader.join()


class Client:
    """Calls a server; an RPC that fails gives its code and message."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_http_proxy", 0),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        model = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self._methods = {
            "Predict": prediction.Predict,
            "Classify": prediction.Classify,
            "Regress": prediction.Regress,
            "MultiInference": prediction.MultiInference,
            "GetModelMetadata": prediction.GetModelMetadata,
            "GetModelStatus": model.GetModelStatus,
            "HandleReloadConfigRequest": model.HandleReloadConfigRequest,
        }

    def call(self, method: str, request: Any, timeout: float | None = RPC_SECONDS) -> Any:
        return self._methods[method](request, timeout=timeout)

    def future(self, method: str, request: Any, timeout: float | None = RPC_SECONDS) -> Any:
        return self._methods[method].future(request, timeout=timeout)

    def failure(
        self, method: str, request: Any, timeout: float | None = RPC_SECONDS
    ) -> tuple[str, str]:
        try:
            response = self.call(method, request, timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        raise AssertionError(f"{method} answered {response}")

    def raw(self, path: str, data: bytes) -> bytes:
        return self.channel.unary_unary(path)(data, timeout=RPC_SECONDS)


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a UNIX socket's name."""
    path = Path(tempfile.mkdtemp(prefix="ivms-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def running(base_path: Path | None, *flags: str, name: str = "m") -> Iterator[Any]:
    """A server on a UNIX socket, ready; yields ``(client, server)``."""
    with short_directory() as directory:
        socket = directory / "s.sock"
        arguments = [
            "--port=0",
            f"--grpc_socket_path={socket}",
            f"--model_name={name}",
            "--max_num_load_retries=0",
            "--load_retry_interval_micros=0",
        ]
        if base_path is not None:
            arguments.append(f"--model_base_path={base_path}")
        server = ServerProcess([*arguments, *flags])
        try:
            server.wait_for(READY)
            client = Client(f"unix:{socket}")
            try:
                yield client, server
            finally:
                client.channel.close()
        finally:
            server.stop()


def run_to_end(*flags: str | bytes, wrapper: tuple[str, ...] = ()) -> tuple[int, str, str]:
    """Runs a server that is expected to end by itself: exit code, stdout, stderr."""
    done = subprocess.run(
        [*wrapper, *command(), *flags],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=START_SECONDS,
        env=environment(),
        cwd=REPOSITORY,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
