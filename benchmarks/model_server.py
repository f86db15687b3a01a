"""What the embedded model server costs: start-up, and time per Predict.

Run it on an idle machine: ``python benchmarks/model_server.py``. It makes a small model with
TensorFlow, starts the server on a loopback port and prints

- exec to port open and answering, against importing TensorFlow and loading the same bundle;
- throughput, p50 and p99 of Predict at batch 1 and 64 with 1 and 8 clients, against the same
  session called in process through the C API, request and response converted as the server does.
"""

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from infra_validator.model_server import bare_tensorflow

FEATURES = 16
STARTS = 5
SECONDS_PER_CASE = 4.0
WARMUP_CALLS = 50
METHOD = "/tensorflow.serving.PredictionService/Predict"

MAKE_MODEL = f"""
import sys
import tensorflow as tf

class Model(tf.Module):
    def __init__(self):
        self.w = tf.Variable(tf.random.stateless_normal([{FEATURES}, 8], [1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples):
        spec = {{"x": tf.io.FixedLenFeature([{FEATURES}], tf.float32)}}
        x = tf.io.parse_example(examples, spec)["x"]
        return {{"y": tf.nn.softmax(tf.matmul(x, self.w))}}

model = Model()
tf.saved_model.save(model, sys.argv[1] + "/1", {{"serving_default": model.serve}})
"""

LOAD_IN_PROCESS = """
import sys
import tensorflow as tf
tf.saved_model.load(sys.argv[1] + "/1").signatures["serving_default"]
"""


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(base: str) -> Iterator[tuple[str, float]]:
    """A server for the model; yields its address and the seconds from exec to port open."""
    port = free_port()
    command = [sys.executable, "-m", "infra_validator.model_server", f"--port={port}"]
    command += ["--model_name=m", f"--model_base_path={base}", "--max_num_load_retries=0"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b"Running gRPC ModelServer" in line:
                break
        else:
            raise RuntimeError(f"the server ended with {process.wait()}")
        elapsed = time.perf_counter() - start
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield f"127.0.0.1:{port}", elapsed
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def seconds_of(command: list[str]) -> float:
    """Runs a command and returns its wall time."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def make_request(batch: int) -> bytes:
    """Returns a serialized PredictRequest with ``batch`` Examples."""
    from tensorflow.core.example.example_pb2 import Example

    from infra_validator.model_server import protos

    example = Example()
    example.features.feature["x"].float_list.value.extend([0.5] * FEATURES)
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    tensor = request.inputs["examples"]
    tensor.dtype = protos.DataType.Value("DT_STRING")
    tensor.tensor_shape.dim.add(size=batch)
    tensor.string_val.extend([example.SerializeToString()] * batch)
    return bytes(request.SerializeToString())


def in_process_call(base: str) -> Callable[[bytes], Any]:
    """Returns a function that answers a serialized request in this process."""
    from infra_validator.model_server import protos
    from infra_validator.model_server.capi import Library, Session
    from infra_validator.model_server.model import Model, read_signatures
    from infra_validator.model_server.predict import predict

    library = Library(bare_tensorflow.package_directory())
    session, meta_graph = Session.load(library, b"", f"{base}/1", ["serve"])
    signatures = read_signatures(protos.MetaGraphDef.FromString(meta_graph))
    model = Model(library, session, signatures, False)

    def call(request: bytes) -> Any:
        parsed = protos.PredictRequest.FromString(request)
        return predict(model, parsed, 0, 1).SerializeToString()

    return call


def measure(call: Callable[[bytes], Any], request: bytes, callers: int) -> list[float]:
    """Calls from ``callers`` threads for a while; returns the seconds of each call, sorted."""
    for _ in range(WARMUP_CALLS):
        call(request)
    end = time.perf_counter() + SECONDS_PER_CASE
    per_caller: list[list[float]] = [[] for _ in range(callers)]

    def work(times: list[float]) -> None:
        while (start := time.perf_counter()) < end:
            call(request)
            times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(times,)) for times in per_caller]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(seconds for times in per_caller for seconds in times)


def report(name: str, times: list[float]) -> float:
    """Prints one line; returns the median in milliseconds."""
    median = statistics.median(times) * 1e3
    p99 = times[int(len(times) * 0.99)] * 1e3
    rate = len(times) / SECONDS_PER_CASE
    print(f"  {name:12} {rate:9.0f}/s   p50 {median:7.3f} ms   p99 {p99:7.3f} ms")
    return median


def main() -> None:
    """Runs the benchmark."""
    with tempfile.TemporaryDirectory() as base:
        seconds_of([sys.executable, "-c", MAKE_MODEL, base])
        loads = [seconds_of([sys.executable, "-c", LOAD_IN_PROCESS, base]) for _ in range(2)]
        starts = []
        for _ in range(STARTS):
            with serving(base) as (_, elapsed):
                starts.append(elapsed)
        print(f"exec to port open: {min(starts):.2f} s best, {max(starts):.2f} s worst of {STARTS}")
        print(f"import tensorflow and load in process: {min(loads):.2f} s")
        bare_tensorflow.install()
        call_in_process = in_process_call(base)
        with serving(base) as (address, _), grpc.insecure_channel(address) as channel:
            call = channel.unary_unary(METHOD)
            for batch in (1, 64):
                request = make_request(batch)
                for callers in (1, 8):
                    print(f"batch {batch}, {callers} client(s)")
                    alone = report("in process", measure(call_in_process, request, callers))
                    served = report("server", measure(call, request, callers))
                    if callers == 1:
                        print(f"  overhead at p50: {served - alone:.3f} ms")
    sys.stdout.flush()
    # TensorFlow's threads may still run; its static destructors must not meet them.
    os._exit(0)


if __name__ == "__main__":
    main()
