"""A stand-in for tensorflow_model_server with known timing and chosen faults.

Takes the real one's flags, speaks the real one's protocol by bytes, and needs
nothing but grpcio, so it starts quickly. What it does is chosen by variables of
its environment:

    STAND_IN_LOAD_SECONDS  time before the socket opens; default 0
    STAND_IN_LOG           text to print before anything else
    STAND_IN_FAULT         one of FAULTS; default none
    STAND_IN_ONCE          a file: the fault happens only while it does not exist,
                           and makes it
    STAND_IN_TRACE         a file: the process's and its children's numbers are
                           written there
    STAND_IN_WARM_UP       if set, log and fault are only those of a model that has
                           a warm-up file
    STAND_IN_AT_ONCE       answer no request before that many are under way, which
                           may take no longer than 10 seconds
    STAND_IN_FAULT_FROM    number of the request from which on the fault happens, if
                           it is one of requests; default 1
    STAND_IN_REFUSE        numbers of the requests to refuse, with commas, in the
                           order of their arrival, from 1
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

FAULTS = (
    "exit_at_start",
    "exit_while_loading",
    "killed_while_loading",
    "never_ready",
    "never_ready_after_loading_began",
    "other_service",
    "end_state",
    "exit_on_request",
    "killed_on_request",
    "hang_on_request",
    "memory_on_request",
    "refuse_request",
    "grandchildren",
)

# GetModelStatusResponse{model_version_status{version: 1, state: ...}}
_AVAILABLE = b"\x0a\x04\x08\x01\x10\x1e"
_END = b"\x0a\x16\x08\x01\x10\x32\x1a\x10\x08\x05\x12\x0cno such file"


def main() -> None:
    """Serves until killed, or does what the fault says."""
    flags = dict(argument.lstrip("-").partition("=")[::2] for argument in sys.argv[1:])
    if "version" in flags:
        print("TensorFlow ModelServer: 0.0-stand-in\nTensorFlow Library: 0.0")
        return
    fault = _chosen_fault()
    if "STAND_IN_WARM_UP" in os.environ and not _has_warm_up(flags):
        fault = None
    elif "STAND_IN_LOG" in os.environ:
        print(os.environ["STAND_IN_LOG"], flush=True)
    _trace(os.getpid())
    if fault == "exit_at_start":
        sys.exit(3)
    if fault == "grandchildren":
        _spawn_grandchildren()
    time.sleep(float(os.environ.get("STAND_IN_LOAD_SECONDS", "0")))
    if fault == "exit_while_loading":
        print(
            "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
            "{{{name: m version: 1} due to error: NOT_FOUND: Op type not registered 'FancyOp' in "
            "binary running on here.}, }",
            flush=True,
        )
        sys.exit(255)
    if fault == "killed_while_loading":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "never_ready_after_loading_began":
        print("Loading servable version {name: m version: 1}", flush=True)
    if fault in {"never_ready", "never_ready_after_loading_began"}:
        threading.Event().wait()
    socket = flags.get("grpc_socket_path")
    _serve(f"unix:{socket}" if socket else f"0.0.0.0:{flags['port']}", fault)


def _chosen_fault() -> str | None:
    fault = os.environ.get("STAND_IN_FAULT")
    if fault is not None and fault not in FAULTS:
        sys.exit(f"unknown fault {fault}")
    once = os.environ.get("STAND_IN_ONCE")
    if once is not None:
        if Path(once).exists():
            return None
        Path(once).touch()
    return fault


def _has_warm_up(flags: dict[str, str]) -> bool:
    model = Path(flags["model_base_path"], "1")
    return (model / "assets.extra" / "tf_serving_warmup_requests").exists()


def _trace(pid: int) -> None:
    if "STAND_IN_TRACE" in os.environ:
        with Path(os.environ["STAND_IN_TRACE"]).open("a") as file:
            file.write(f"{pid}\n")


def _spawn_grandchildren() -> None:
    for new_session in (False, True):
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", "import threading; threading.Event().wait()"],
            start_new_session=new_session,
        )
        _trace(child.pid)


def _serve(address: str, fault: str | None) -> None:
    import grpc

    def status(request: bytes, context: grpc.ServicerContext) -> bytes:
        return _END if fault == "end_state" else _AVAILABLE

    arrived = itertools.count(1)
    company = threading.Barrier(int(os.environ.get("STAND_IN_AT_ONCE", "1")), timeout=10)
    faulty_from = int(os.environ.get("STAND_IN_FAULT_FROM", "1"))
    refused = os.environ.get("STAND_IN_REFUSE", "").split(",")

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        number = next(arrived)
        if number > 1:  # the first to a signature comes alone
            company.wait()
        if str(number) in refused:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"refused: number {number}")
        if number < faulty_from:
            return b""
        if fault == "exit_on_request":
            os._exit(134)
        if fault == "killed_on_request":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang_on_request":
            print("hanging", flush=True)
            threading.Event().wait()
        if fault == "memory_on_request":
            bytearray(b"x" * 2**30)
        if fault == "refuse_request":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float")
        return b""

    methods = {
        name: grpc.unary_unary_rpc_method_handler(answer)
        for name in ("Predict", "Classify", "Regress")
    }
    services = [
        grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods)
    ]
    if fault != "other_service":
        services.append(
            grpc.method_handlers_generic_handler(
                "tensorflow.serving.ModelService",
                {"GetModelStatus": grpc.unary_unary_rpc_method_handler(status)},
            )
        )
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers(tuple(services))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
