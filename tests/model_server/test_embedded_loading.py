"""Start, load, fail, wait and end: the process as its operator sees it."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import embedded_saved_models as saved_models
import grpc
import pytest
import tensorflow as tf
from embedded_server_process import (
    READY,
    START_SECONDS,
    Client,
    ServerProcess,
    command,
    environment,
    run_to_end,
    running,
    short_directory,
)
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

# Root reads everything, unless it gives these capabilities up.
_UNPRIVILEGED = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
)
ONCE = ("--max_num_load_retries=0", "--load_retry_interval_micros=0")


def ask(client: Any, version: int | None = None, label: str = "", name: str = "m") -> list[float]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 1.0]]))
    return list(client.call("Predict", request).outputs["y"].float_val)


def states(client: Any) -> dict[int, int]:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    response = client.call("GetModelStatus", request)
    return {entry.version: entry.state for entry in response.model_version_status}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def broken(matrix: Path, tmp_path: Path) -> Path:
    """A copy of a good model, for breaking."""
    shutil.copytree(matrix / "1", tmp_path / "1")
    return tmp_path


def failed_load(base: Path, *flags: str) -> str:
    """Runs a server that cannot load; returns the status it gives for the version."""
    code, out, err = run_to_end(
        "--port=0", f"--grpc_socket_path={base}/s", "--model_name=m",
        f"--model_base_path={base}", *ONCE, *flags,
    )  # fmt: skip
    assert code == 255, out + err
    assert READY not in err
    assert "Traceback" not in out + err
    found = re.search(
        r"Failed to start server\. Error: UNKNOWN: 1 servable\(s\) did not become available: "
        r"\{\{\{name: m version: 1\} due to error: (.*)\}, \}\n\Z",
        out,
        re.DOTALL,
    )
    assert found, out
    assert f"Loading servable: {{name: m version: 1}} failed: {found[1]}\n" in err
    return found[1]


def test_no_saved_model(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert failed_load(tmp_path) == (
        "NOT_FOUND: Specified file path does not appear to contain a SavedModel bundle (should "
        "have a file called `saved_model.pb`)\n"
        f"Specified file path: {tmp_path}/1"
    )


def test_no_such_tags(matrix: Path) -> None:
    assert failed_load(matrix, "--saved_model_tags=train").startswith(
        "NOT_FOUND: Could not find meta graph def matching supplied tags: { train }. To inspect "
        "available tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
    )


def test_truncated_saved_model(broken: Path) -> None:
    file = broken / "1" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:100])
    code, _, message = failed_load(broken).partition(": ")
    assert code in ("OUT_OF_RANGE", "DATA_LOSS")
    assert message


def test_variables_missing(broken: Path) -> None:
    for file in (broken / "1" / "variables").glob("*.data*"):
        file.unlink()
    assert re.match("(NOT_FOUND|DATA_LOSS): ", failed_load(broken))


def test_without_variables_directory_it_loads_and_fails_at_run(broken: Path) -> None:
    shutil.rmtree(broken / "1" / "variables")
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 1.0]]))
    with running(broken) as (client, _):
        code, message = client.failure("Predict", request)
    assert code == "FAILED_PRECONDITION"
    assert "Could not find variable" in message


def test_variables_damaged(broken: Path) -> None:
    (file,) = (broken / "1" / "variables").glob("*.index")
    file.write_bytes(b"x" * 200)
    assert failed_load(broken).startswith("DATA_LOSS: ")


@pytest.mark.parametrize("in_function", [False, True])
def test_unknown_op(broken: Path, in_function: bool) -> None:
    file = broken / "1" / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    graph = model.meta_graphs[0].graph_def
    nodes = (
        [node for f in graph.library.function for node in f.node_def if node.op == "MatMul"]
        if in_function
        else [node for node in graph.node if node.op == "VarHandleOp"]
    )
    nodes[0].op = "NoSuchOp"
    file.write_bytes(model.SerializeToString())
    assert "Op type not registered 'NoSuchOp' in binary running on" in failed_load(broken)


def test_retries(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    code, _, err = run_to_end(
        "--port=0", f"--grpc_socket_path={tmp_path}/s", "--model_name=m",
        f"--model_base_path={tmp_path}", "--max_num_load_retries=2",
        "--load_retry_interval_micros=1000",
    )  # fmt: skip
    assert code == 255
    load = "Loading servable: {name: m version: 1}"
    wanted = [f"{load} failed", f"of {load} retry: 1", f"{load} failed", f"of {load} retry: 2"]
    wanted += [f"{load} failed", f"of {load} exhausted max_num_retries: 2"]
    lines = [line for line in err.splitlines() if f"{load} failed" in line or "Retrying" in line]
    assert len(lines) == len(wanted)
    assert all(text in line for text, line in zip(wanted, lines, strict=True)), lines


def test_a_model_that_mends_is_served(matrix: Path, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    flags = ("--max_num_load_retries=1000", "--load_retry_interval_micros=100000")
    with short_directory() as directory:
        server = ServerProcess(
            ["--port=0", f"--grpc_socket_path={directory}/s", "--model_name=m",
             f"--model_base_path={tmp_path}", *flags]
        )  # fmt: skip
        try:
            server.wait_for("failed: NOT_FOUND")
            assert not (directory / "s").exists()
            good = tmp_path / "good"
            shutil.copytree(matrix / "1", good)
            (tmp_path / "1").rmdir()
            good.rename(tmp_path / "1")
            server.wait_for(READY)
        finally:
            server.stop()


@pytest.mark.parametrize(
    ("exists", "line"),
    [
        (
            False,
            "FileSystemStoragePathSource encountered a filesystem access error: Could not find "
            "base path {base} for servable m with error NOT_FOUND: {base} not found",
        ),
        (
            True,
            "No versions of servable m found under base path {base}. Did you forget to name your "
            "leaf directory as a number (eg. '/1/')?",
        ),
    ],
)
def test_waits_for_a_first_version(matrix: Path, tmp_path: Path, exists: bool, line: str) -> None:
    base = tmp_path / "base"
    if exists:
        (base / "not-a-version").mkdir(parents=True)
    with short_directory() as directory:
        server = ServerProcess(
            ["--port=0", f"--grpc_socket_path={directory}/s", "--model_name=m",
             f"--model_base_path={base}", *ONCE]
        )  # fmt: skip
        try:
            for _ in range(2):
                server.wait_for(line.format(base=base))
            assert not (directory / "s").exists()
            staged = tmp_path / "staged"
            (staged).mkdir()
            shutil.copytree(matrix / "1", staged / "1")
            if exists:
                shutil.rmtree(base)
            staged.rename(base)
            server.wait_for(READY)
        finally:
            server.stop()


def test_sigterm_ends_one_that_waits(tmp_path: Path) -> None:
    server = ServerProcess(
        ["--port=0", f"--grpc_socket_path={tmp_path}/s", f"--model_base_path={tmp_path}/no"]
    )
    server.wait_for("Could not find base path")
    server.stop()
    assert server.process.returncode == -signal.SIGTERM


def test_latest_version_of_links(tmp_path: Path) -> None:
    elsewhere = saved_models.save_matrix(tmp_path / "elsewhere")
    base = tmp_path / "base"
    base.mkdir()
    for name in ("2", "10", "9"):
        (base / name).symlink_to(elsewhere / "1")
    (base / "temporary").mkdir()
    with running(base) as (client, _):
        assert states(client) == {10: 30}
        assert ask(client) == [5.0]
        assert ask(client, version=10) == [5.0]


def model_config(tmp_path: Path, text: str) -> str:
    file = tmp_path / "models.config"
    file.write_text(text)
    return f"--model_config_file={file}"


def test_model_config_file(matrix: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for version in ("2", "3", "4"):
        (base / version).symlink_to(matrix / "1")
    (base / "1").mkdir()
    config = model_config(
        tmp_path,
        f"""model_config_list {{ config {{
            name: "m" base_path: "{base}" model_platform: "tensorflow"
            model_version_policy {{ specific {{ versions: 1 versions: 3 versions: 4 }} }}
            version_labels {{ key: "stable" value: 3 }}
            version_labels {{ key: "missing" value: 2 }}
        }} }}""",
    )
    flags = (config, "--allow_version_labels_for_unavailable_models")
    with running(None, *flags, name="unused") as (client, _):
        assert states(client) == {1: 50, 3: 30, 4: 30}
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m"
        request.model_spec.version.value = 1
        (entry,) = client.call("GetModelStatus", request).model_version_status
        assert entry.status.error_code == 5
        assert entry.status.error_message.startswith("Specified file path does not appear to")
        assert ask(client) == ask(client, version=4) == ask(client, label="stable") == [5.0]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.model_spec.version_label = "missing"
        assert client.failure("Predict", request) == (
            "NOT_FOUND",
            "Servable not found for request: Specific(m, 2)",
        )


def test_a_version_that_fails_before_another_is_available_ends_the_start(
    matrix: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "1").symlink_to(matrix / "1")
    (base / "2").mkdir()
    config = model_config(
        tmp_path,
        f"""model_config_list {{ config {{ name: "m" base_path: "{base}"
        model_platform: "tensorflow" model_version_policy {{ all {{}} }} }} }}""",
    )
    code, out, _ = run_to_end("--port=0", f"--grpc_socket_path={tmp_path}/s", config, *ONCE)
    assert code == 255
    assert out == (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        "{{{name: m version: 2} due to error: NOT_FOUND: Specified file path does not appear to "
        "contain a SavedModel bundle (should have a file called `saved_model.pb`)\n"
        f"Specified file path: {base}/2}}, }}\n"
    )


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", ("UNAVAILABLE", "Model labels does not init yet.stable")),
        (
            "model_config_list {}",
            ("INVALID_ARGUMENT", "Unrecognized servable version label: stable"),
        ),
    ],
)
def test_labels_without_models(tmp_path: Path, text: str, status: tuple[str, str]) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.version_label = "stable"
    with running(None, model_config(tmp_path, text)) as (client, server):
        assert client.failure("Predict", request) == status
    assert ("Taking no action for empty config." in server.log) == (not text)


def entry(**fields: str) -> str:
    lines = " ".join(f"{name}: {value}" for name, value in fields.items())
    return f"config {{ {lines} }}"


TENSORFLOW = '"tensorflow"'
BAD_CONFIGS = {
    "Invalid protobuf file: '{file}'": "model_config_list {",
    "Illegal to list model a multiple times in config list": entry(
        name='"a"', base_path='"/x"', model_platform=TENSORFLOW
    )
    * 2,
    "Expected model a to have an absolute path or URI; got base_path()=x": entry(
        name='"a"', base_path='"x"', model_platform=TENSORFLOW
    ),
    "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
    "ModelServerConfig::model_platform.": entry(name='"a"', base_path='"/x"'),
    "Illegal setting both ModelServerConfig::model_type (deprecated) and "
    "ModelServerConfig::model_platform.": entry(
        name='"a"', base_path='"/x"', model_platform=TENSORFLOW, model_type="TENSORFLOW"
    ),
    "ModelServerConfig::model_type choice 2 not supported.": entry(
        name='"a"', base_path='"/x"', model_type="OTHER"
    ),
    "Model a requests unsupported platform onnx": entry(
        name='"a"', base_path='"/x"', model_platform='"onnx"'
    ),
    "UNIMPLEMENTED: the embedded server serves one model, and the configuration lists 2": entry(
        name='"a"', base_path='"/x"', model_platform=TENSORFLOW
    )
    + entry(name='"b"', base_path='"/x"', model_platform=TENSORFLOW),
    "FAILED_PRECONDITION: Request to assign label to version 1 of model a, which is not "
    "currently available for inference": entry(
        name='"a"',
        base_path='"/x"',
        model_platform=TENSORFLOW,
        version_labels='{ key: "l" value: 1 }',
    ),
}


@pytest.mark.parametrize("message", BAD_CONFIGS)
def test_bad_model_config(tmp_path: Path, message: str) -> None:
    text = BAD_CONFIGS[message].replace("version_labels: {", "version_labels {")
    whole = text if text.startswith("model_config_list") else f"model_config_list {{ {text} }}"
    flag = model_config(tmp_path, whole)
    code, out, err = run_to_end("--port=0", f"--grpc_socket_path={tmp_path}/s", flag)
    assert code == 255
    message = message.format(file=tmp_path / "models.config") if "{" in message else message
    status = message if re.match("[A-Z_]+: ", message) else f"INVALID_ARGUMENT: {message}"
    assert out == f"Failed to start server. Error: {status}\n"
    assert "Traceback" not in err


BAD_FLAGS = [
    (
        ["--model_base_path=relative", "--model_name=m"],
        "INVALID_ARGUMENT: Expected model m to have an absolute path or URI; "
        "got base_path()=relative",
    ),
    (
        [],
        "INVALID_ARGUMENT: Both server_options.model_base_path and "
        "server_options.model_config_file are empty!",
    ),
    (
        ["--model_base_path=/x", "--batching_parameters_file=/x"],
        "INVALID_ARGUMENT: server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true.",
    ),
    (["--model_config_file=/no/file"], "NOT_FOUND: /no/file; No such file or directory"),
    (
        ["--model_base_path=/x", "--grpc_channel_arguments=nonsense"],
        "INVALID_ARGUMENT: grpc_channel_arguments needs key=value; got nonsense",
    ),
    (
        [
            "--model_base_path=/x",
            "--tensorflow_session_parallelism=1",
            "--tensorflow_intra_op_parallelism=1",
            "--tensorflow_inter_op_parallelism=1",
        ],
        "INVALID_ARGUMENT: Either configure server_options.tensorflow_session_parallelism or "
        "(server_options.tensorflow_intra_op_parallelism, "
        "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all.",
    ),
]


@pytest.mark.parametrize(("flags", "status"), BAD_FLAGS, ids=lambda value: str(value)[:60])
def test_flags_that_cannot_work(flags: list[str], status: str) -> None:
    code, out, err = run_to_end("--port=0", "--grpc_socket_path=/nowhere/s", *flags)
    assert (code, out) == (255, f"Failed to start server. Error: {status}\n")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            "last entry was 4; expected 8",
        ),
        ("max_batch_size { value: 0 }", "input_batch_size_limit must be positive; was 0"),
        ("batch_timeout_micros { value: -5 }", "batch_timeout_micros must be non-negative; was -5"),
        (
            "max_enqueued_batches { value: 0 } enable_large_batch_splitting { value: true }",
            "max_enqueued_batches must be positive; was 0",
        ),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        (
            "max_batch_size { value: 4 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 8 }",
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater "
            "than or equal to max_execution_batch_size.148",
        ),
    ],
)
@pytest.mark.parametrize("per_model", [False, True])
def test_bad_batching_parameters_fail_the_load(
    broken: Path, text: str, message: str, per_model: bool
) -> None:
    file = broken / ("1/batching_params.pbtxt" if per_model else "batching")
    file.write_text(text)
    own = "--enable_per_model_batching_parameters"
    code, out, err = run_to_end(
        "--port=0", f"--grpc_socket_path={broken}/s", "--model_name=m",
        f"--model_base_path={broken}", "--enable_batching",
        own if per_model else f"--batching_parameters_file={file}",
        "--max_num_load_retries=1", "--load_retry_interval_micros=0",
    )  # fmt: skip
    assert code == 255
    load = "Loading servable: {name: m version: 1}"
    assert err.count(f"{load} failed: INVALID_ARGUMENT: {message}\n") == 2
    assert f"Retrying of {load} retry: 1\n" in err
    assert out == (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        f"{{{{{{name: m version: 1}} due to error: INVALID_ARGUMENT: {message}}}, }}\n"
    )


def test_without_splitting_no_enqueued_batches_count_as_one(matrix: Path, tmp_path: Path) -> None:
    file = tmp_path / "batching"
    file.write_text("max_enqueued_batches { value: 0 }")
    flags = ("--enable_batching", f"--batching_parameters_file={file}")
    with running(matrix, *flags) as (client, _):
        assert ask(client) == [5.0]


@pytest.mark.parametrize(
    "flags",
    [
        ["--enable_batching", "--batching_parameters_file={file}"],
        ["--tensorflow_session_config_file={file}"],
    ],
)
def test_configuration_file_that_is_no_proto(tmp_path: Path, flags: list[str]) -> None:
    file = tmp_path / "parameters"
    file.write_text("no_such_field: 1")
    code, out, _ = run_to_end("--model_base_path=/x", *(flag.format(file=file) for flag in flags))
    status = f"INVALID_ARGUMENT: Invalid protobuf file: '{file}'"
    assert (code, out) == (255, f"Failed to start server. Error: {status}\n")


@pytest.mark.parametrize(
    ("flag", "status"),
    [
        (
            "--tensorflow_intra_op_parallelism=9999999999",
            "INVALID_ARGUMENT: tensorflow_intra_op_parallelism does not fit in 32 bits; got "
            "9999999999",
        ),
        (
            b"--model_base_path=/\xff",
            "INVALID_ARGUMENT: the embedded server takes UTF-8 only: --model_base_path=/\ufffd",
        ),
        (
            b"--model_name=\xff",
            "INVALID_ARGUMENT: the embedded server takes UTF-8 only: --model_name=\ufffd",
        ),
        (
            b"--saved_model_tags=\xff",
            "INVALID_ARGUMENT: the embedded server takes UTF-8 only: --saved_model_tags=\ufffd",
        ),
    ],
)
def test_values_that_cannot_be_used(matrix: Path, flag: str | bytes, status: str) -> None:
    code, out, err = run_to_end(
        "--port=0", "--grpc_socket_path=/nowhere/s", f"--model_base_path={matrix}", flag
    )
    assert (code, out) == (255, f"Failed to start server. Error: {status}\n")
    assert "Traceback" not in err


def test_values_out_of_range_of_their_users(matrix: Path) -> None:
    """As in C++: what is no 32-bit number goes to gRPC as a string, and is ignored there."""
    flags = (
        "--grpc_channel_arguments=grpc.max_receive_message_length=99999999999",
        "--load_retry_interval_micros=9223372036854775807",
    )
    with running(matrix, *flags) as (client, _):
        assert ask(client) == [5.0]


def test_a_retry_in_300000_years_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    server = ServerProcess(
        ["--port=0", f"--grpc_socket_path={tmp_path}/s", "--model_name=m",
         f"--model_base_path={tmp_path}", "--load_retry_interval_micros=9223372036854775807"]
    )  # fmt: skip
    try:
        server.wait_for("failed: NOT_FOUND")
        time.sleep(0.5)
        assert server.process.poll() is None
    finally:
        server.stop()
    assert "Traceback" not in server.log


@pytest.mark.skipif(bool(_UNPRIVILEGED) and shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("closed", ["1", "1/assets.extra"])
def test_what_the_server_may_not_read(matrix: Path, closed: str) -> None:
    with short_directory() as base:
        shutil.copytree(matrix / "1", base / "1")
        (base / "1" / "assets.extra").mkdir()
        (base / closed).chmod(0)
        code, out, err = run_to_end(
            "--port=0", f"--grpc_socket_path={base}/s", "--model_name=m",
            f"--model_base_path={base}", *ONCE, wrapper=_UNPRIVILEGED,
        )  # fmt: skip
        (base / closed).chmod(0o755)
    assert code == 255
    status = rf"PERMISSION_DENIED: {re.escape(str(base / closed))}/\S+; Permission denied"
    assert re.search(rf"\{{name: m version: 1\}} failed: {status}\n", err), err
    assert re.fullmatch(
        r"Failed to start server\. Error: UNKNOWN: 1 servable\(s\) did not become available: "
        rf"\{{\{{\{{name: m version: 1\}} due to error: {status}\}}, \}}\n",
        out,
    ), out
    assert "Traceback" not in err


@pytest.mark.parametrize("redirection", [">&- 2>&-", "<&-", ">/dev/full 2>/dev/full"])
def test_streams_that_are_closed_or_full(matrix: Path, redirection: str) -> None:
    with short_directory() as directory:
        flags = [f"--grpc_socket_path={directory}/s", f"--model_base_path={matrix}", *ONCE]
        arguments = shlex.join(command("--port=0", "--model_name=m", *flags))
        with subprocess.Popen(
            ["sh", "-c", f"exec {arguments} {redirection}"],
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                client = Client(f"unix:{directory}/s")
                grpc.channel_ready_future(client.channel).result(START_SECONDS)
                assert ask(client) == [5.0]
                client.channel.close()
            finally:
                process.terminate()
    failing = shlex.join(command("--port=0"))
    done = subprocess.run(
        ["sh", "-c", f"{failing} {redirection}"],
        env=environment(),
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 255
    assert b"Traceback" not in done.stderr


def test_usage_after_other_flags_and_into_a_pipe_that_closes() -> None:
    code, out, err = run_to_end("--port=8500", "--model_name=m", "--help")
    assert code == 255
    assert out.startswith("usage: ")
    assert not err
    text = f"{shlex.join(command('--port=1', '--help'))} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", text],
        env=environment(),
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (255, b"")


def test_modules_in_the_working_directory_are_not_taken(tmp_path: Path) -> None:
    for name in ("signal", "grpc", "ctypes", "tensorflow"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('taken')")
    done = subprocess.run(
        command("--version"),
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


def test_sigint_while_it_imports() -> None:
    with subprocess.Popen(
        [sys.executable, "-v", *command()[1:], "--version"],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"import 'infra_validator.model_server.bare_tensorflow'" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert b"Traceback" not in rest


@pytest.mark.parametrize(
    "flag", ["--port=none", "--enable_batching=1", "--enable_batchingx", "--enable_batchingtrue"]
)
def test_bad_value_of_a_known_flag(flag: str) -> None:
    code, out, err = run_to_end(flag, "--model_base_path=/x")
    assert code == 255
    assert out.startswith("usage: ")
    assert "Couldn't interpret value" in err


def test_version() -> None:
    code, out, _ = run_to_end("--version")
    assert code == 0
    assert re.fullmatch(
        rf"TensorFlow ModelServer: .+\nTensorFlow Library: {re.escape(tf.__version__)}\n", out
    )


def test_unknown_and_ignored_flags(matrix: Path) -> None:
    flags = (
        "--from_the_future=1", "--rest_api_port=0", "--num_load_threads=2",
        "--file_system_poll_wait_seconds=2", "--grpc_channel_arguments=grpc.so_reuseport=1",
    )  # fmt: skip
    with running(matrix, *flags, "--use_alts_credentials") as (client, server):
        assert ask(client) == [5.0]
        assert "unknown argument: --from_the_future=1" in server.lines
        ignored = [line for line in server.lines if "the embedded server ignores" in line]
    assert [line.partition("ignores ")[2] for line in ignored] == [
        "--num_load_threads",
        "--file_system_poll_wait_seconds",
        "--use_alts_credentials",
        "--grpc_channel_arguments' grpc.so_reuseport",
    ]


def test_tcp_port_taken_is_never_shared(matrix: Path) -> None:
    port = free_port()
    flags = [f"--port={port}", "--model_name=m", f"--model_base_path={matrix}", *ONCE]
    server = ServerProcess(flags)
    try:
        server.wait_for(f"{READY} 0.0.0.0:{port} ...")
        client = Client(f"127.0.0.1:{port}")
        assert ask(client) == [5.0]
        client.channel.close()
        code, out, err = run_to_end(*flags)
        assert code == 255
        assert out == (
            "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC "
            f"server: port {port}: Address already in use\n"
        )
        assert "Traceback" not in err
    finally:
        server.stop()


def test_socket_taken_left_behind_or_no_socket(matrix: Path) -> None:
    with short_directory() as directory:
        path = directory / "s"
        flags = ["--port=0", f"--grpc_socket_path={path}", "--model_name=m"]
        flags += [f"--model_base_path={matrix}", *ONCE]
        server = ServerProcess(flags)
        try:
            server.wait_for(READY)
            code, out, _ = run_to_end(*flags)
            assert code == 255
            assert out.endswith(f"UNIX socket {path}: Address already in use\n")
            client = Client(f"unix:{path}")
            assert ask(client) == [5.0]
            client.channel.close()
            server.process.kill()
            assert server.wait() == -signal.SIGKILL
            assert path.exists()
            again = ServerProcess(flags)
            again.wait_for(READY)
            again.stop()
            assert not path.exists()
        finally:
            server.stop()
        path.write_text("mine")
        code, out, _ = run_to_end(*flags)
        assert code == 255
        assert out.endswith(f"UNIX socket {path}: there is a file that is no socket\n")
        assert path.read_text() == "mine"


def test_directory_of_the_socket_is_missing(matrix: Path) -> None:
    code, out, err = run_to_end(
        "--port=0", "--grpc_socket_path=/nowhere/s", f"--model_base_path={matrix}", *ONCE
    )
    assert code == 255
    assert out.endswith("UNIX socket /nowhere/s: No such file or directory\n")
    assert "Traceback" not in err


def test_sigterm_ends_a_server_at_once_even_while_it_runs_a_request(zoo: Path) -> None:
    with running(zoo) as (client, server):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.model_spec.signature_name = "endless"
        request.inputs["i"].CopyFrom(tf.make_tensor_proto(1, tf.int32))
        call = client.future("Predict", request)
        assert states(client) == {3: 30}
        server.stop()
        assert server.process.returncode == -signal.SIGTERM
        assert call.exception().code().name == "UNAVAILABLE"


def test_starts_without_importing_tensorflow(matrix: Path) -> None:
    with short_directory() as directory:
        process = subprocess.run(
            [*command()[:1], "-X", "importtime", *command()[1:], "--version"],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            env=environment(),
            cwd=directory,
            check=True,
        )
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "infra_validator.model_server.server" in imported
    assert not imported & {"tensorflow.python", "numpy", "tfx", "keras", "infra_validator.config"}
