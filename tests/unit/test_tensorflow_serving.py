from pathlib import Path

import pytest

from infra_validator import config
from infra_validator.faults import Blame, Fault, Phase
from infra_validator.servers.tensorflow_serving import TensorFlowServing

LOADING = "Loading servable version {name: m version: 1}\n"


def refused(code: str, message: str, name: str = "m") -> str:
    """The log of a server that could not load the model."""
    return (
        f"{LOADING}Loading servable: {{name: {name} version: 1}} failed: {code}: {message}\n"
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        f"{{{{{{name: {name} version: 1}} due to error: {code}: {message}}}, }}\n"
    )


def arguments(
    binary: TensorFlowServing, config_files: dict[str, Path] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The arguments, and what they amount to: of a flag given twice the last one counts."""
    given = binary.process_arguments(
        base=Path("/base"), socket=Path("/sockets/s"), config_files=config_files or {}
    )
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in given)
    return given, flags


def test_serves_the_model_on_a_unix_socket_only_and_fails_at_the_first_error() -> None:
    given, flags = arguments(TensorFlowServing("ranker"))
    assert flags == {
        "port": "0",
        "rest_api_port": "0",
        "grpc_socket_path": "/sockets/s",
        "model_name": "ranker",
        "model_base_path": "/base/ranker",
        "max_num_load_retries": "0",
        "load_retry_interval_micros": "0",
    }
    assert len(given) == len(flags)


def test_the_model_lies_where_the_arguments_say() -> None:
    binary = TensorFlowServing("my ranker")
    _, flags = arguments(binary)
    folder = Path("/base") / binary.model_layout()
    assert str(folder.parent) == flags["model_base_path"]
    assert folder.name.isdigit()


@pytest.mark.parametrize(
    ("argument", "flag", "value"),
    [
        ("--max_num_load_retries=3", "max_num_load_retries", "3"),
        ("--load_retry_interval_micros=9", "load_retry_interval_micros", "9"),
        ("--enable_batching=true", "enable_batching", "true"),
    ],
)
def test_the_users_flags_win(argument: str, flag: str, value: str) -> None:
    given, flags = arguments(
        TensorFlowServing("m", args=("--a=1", argument)), {"f": Path("/f.conf")}
    )
    assert given[-2:] == ["--a=1", argument]
    assert flags[flag] == value


def test_config_files_become_flags() -> None:
    files = {
        "batching_parameters_file": Path("/work/batching.conf"),
        "monitoring_config_file": Path("/work/monitoring.conf"),
    }
    binary = TensorFlowServing("m", config_files=dict.fromkeys(files, b"content"))
    _, flags = arguments(binary, files)
    assert {flag: flags[flag] for flag in files} == {
        "batching_parameters_file": "/work/batching.conf",
        "monitoring_config_file": "/work/monitoring.conf",
    }
    assert binary.config_files == dict.fromkeys(files, b"content")


def test_what_says_where_to_listen_and_what_to_serve_cannot_be_overridden() -> None:
    _, flags = arguments(TensorFlowServing("m"))
    assert set(flags) & config.RESERVED_FLAGS == {
        "port",
        "rest_api_port",
        "grpc_socket_path",
        "model_name",
        "model_base_path",
    }


@pytest.mark.parametrize(
    ("image", "name"),
    [(None, "TensorFlow Serving"), ("mine:2.16.1", "mine:2.16.1"), ("m@sha256:0",) * 2],
)
def test_is_called_by_its_image_or_program(image: str | None, name: str) -> None:
    assert TensorFlowServing("m", image=image).name == name


def test_reads_its_version() -> None:
    output = "TensorFlow ModelServer: 2.16.1\nTensorFlow Library: 2.16.1\n"
    versions = TensorFlowServing("m").read_version(output)
    assert versions == {"ModelServer": "2.16.1", "Library": "2.16.1"}


@pytest.mark.parametrize("log", ["", LOADING])
@pytest.mark.parametrize(
    ("code", "category", "blame", "transient"),
    [
        (132, "illegal_instruction", Blame.INFRASTRUCTURE, False),
        (134, "server_crashed", Blame.MODEL, False),
        (135, "server_crashed", Blame.MODEL, False),
        (136, "server_crashed", Blame.MODEL, False),
        (137, "server_killed", Blame.INFRASTRUCTURE, True),
        (139, "server_crashed", Blame.MODEL, False),
        (143, "server_killed", Blame.INFRASTRUCTURE, True),
    ],
)
def test_an_end_by_a_signal(
    code: int, category: str, blame: Blame, transient: bool, log: str
) -> None:
    binary = TensorFlowServing("m")
    at_load = binary.diagnose_exit(code, "signal X", log)
    at_query = binary.diagnose_crash(code, "signal X", log, "request 3")
    for fault, phase in ((at_load, Phase.LOAD), (at_query, Phase.QUERY)):
        assert (fault.category, fault.blame, fault.transient) == (category, blame, transient)
        assert fault.phase == phase
        assert fault.evidence.exit_code == code
        assert fault.hint
    assert "request 3" in at_query.summary


@pytest.mark.parametrize(
    ("code", "message", "category"),
    [
        ("NOT_FOUND", "Op type not registered 'Zip' in binary running on h.", "op_missing"),
        (
            "NOT_FOUND",
            "Could not find meta graph def matching supplied tags: { serve }. To inspect ...",
            "tags_missing",
        ),
        (
            "NOT_FOUND",
            "Specified file path does not appear to contain a SavedModel bundle (should have a "
            "file called `saved_model.pb`)\nSpecified file path: /m/1",
            "model_missing",
        ),
        ("DATA_LOSS", "Can't parse /m/1/saved_model.pb as binary proto", "model_unreadable"),
        (
            "INVALID_ARGUMENT",
            "GraphDef min consumer version 9999 above current version 1645 for TensorFlow 2.16.1. "
            " Please upgrade TensorFlow.",
            "graph_version_mismatch",
        ),
        (
            "INVALID_ARGUMENT",
            "GraphDef producer version 20 below min producer 21 supported by TensorFlow 2.16.1.  "
            "Please regenerate your graph.",
            "graph_version_mismatch",
        ),
        (
            "INVALID_ARGUMENT",
            "NodeDef mentions attr 'grad_x' not in Op<name=MatMul; ...>; NodeDef: {{node MatMul}}."
            " (Check whether your GraphDef-interpreting binary is up to date with your "
            "GraphDef-generating binary.).",
            "graph_version_mismatch",
        ),
        (
            "NOT_FOUND",
            "/m/1/assets/words.txt; No such file or directory\n\t [[{{node "
            "key_value_init/InitializeTableFromTextFileV2}}]]",
            "asset_unreadable",
        ),
        ("UNIMPLEMENTED", "DNN library is not found.\n\t [[{{node conv}}]]", "gpu_unusable"),
        (
            "INTERNAL",
            "cudaGetDevice() failed. Status: CUDA driver version is insufficient for CUDA runtime "
            "version",
            "gpu_unusable",
        ),
        (
            "INTERNAL",
            "failed to allocate memory: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
            "out_of_memory",
        ),
        ("PERMISSION_DENIED", "/m/1/saved_model.pb; Permission denied", "model_not_delivered"),
        ("UNKNOWN", "Failed to bind to address [::]:8500", "platform_failed"),
        (
            "NOT_FOUND",
            "Unsuccessful TensorSliceReader constructor: Failed to find any matching files for "
            "/m/1/variables/variables\n\t [[{{node RestoreV2}}]]",
            "variables_unreadable",
        ),
        (
            "DATA_LOSS",
            "Checksum does not match: stored 1 vs. calculated on the restored bytes 2 (checkpoint)",
            "variables_unreadable",
        ),
        ("DATA_LOSS", "not an sstable (bad magic number)", "variables_unreadable"),
        (
            "RESOURCE_EXHAUSTED",
            "Insufficient resources to load servable {name: m version: 1}",
            "out_of_memory",
        ),
        (
            "INVALID_ARGUMENT",
            "Number of warmup records exceeds the maximum (1000) at /m/1/assets.extra/"
            "tf_serving_warmup_requests",
            "warm_up_failed",
        ),
        (
            "INVALID_ARGUMENT",
            "Failed to parse warmup record: x from /m/1/assets.extra/tf_serving_warmup_requests",
            "warm_up_failed",
        ),
        (
            "DATA_LOSS",
            "not a record. Please verify your warmup data is in TFRecord format.",
            "warm_up_failed",
        ),
        ("UNIMPLEMENTED", "Unsupported log_type for warmup: 6", "warm_up_failed"),
        (
            "INVALID_ARGUMENT",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; "
            "expected 8",
            "server_flags_refused",
        ),
        ("INTERNAL", "anything else", "model_load_failed"),
    ],
)
def test_a_load_error(code: str, message: str, category: str) -> None:
    fault = TensorFlowServing("m").diagnose_exit(255, "exit code 255", refused(code, message))
    assert (fault.category, fault.phase) == (category, Phase.LOAD)
    assert fault.detail == f"{code}: {message}"
    assert fault.evidence.exit_code == 255
    assert fault.evidence.log_line is not None
    assert fault.evidence.log_line.startswith(f"{code}: ")
    assert "\n" not in fault.summary
    assert "\n" not in fault.evidence.log_line


def test_names_the_op_that_is_missing() -> None:
    log = refused("NOT_FOUND", "Op type not registered 'Zip>Op' in binary running on h.")
    assert "'Zip>Op'" in TensorFlowServing("m").diagnose_exit(255, "exit code 255", log).summary


MISSING_VARIABLES = "Could not find {base}/1/variables/variables.index"
NO_MODEL = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file "
    "called `saved_model.pb`)\nSpecified file path: {base}/1"
)


@pytest.mark.parametrize(
    "name", ["batching_ranker", "warmup", "my-warm-up", "bind", "checkpoint_model"]
)
@pytest.mark.parametrize(
    ("message", "category"),
    [(MISSING_VARIABLES, "variables_unreadable"), (NO_MODEL, "model_missing")],
)
def test_the_models_name_in_a_path_does_not_decide(name: str, message: str, category: str) -> None:
    log = refused("NOT_FOUND", message.replace("{base}", f"/work/models/{name}"), name)
    fault = TensorFlowServing(name).diagnose_exit(255, "exit code 255", log)
    assert (fault.category, fault.blame) == (category, Blame.MODEL)


@pytest.mark.parametrize(
    ("code", "log", "category", "phase"),
    [
        (
            255,
            "Couldn't interpret value x for flag y.\nusage: s\n",
            "server_flags_refused",
            "start",
        ),
        (255, "Invalid protobuf file: '/x'\n", "server_flags_refused", "start"),
        (255, "usage: tensorflow_model_server\n", "server_flags_refused", "start"),
        (1, "usage: another_program\n", "server_exited", "start"),
        (0, "", "server_exited", "start"),
        (255, "", "server_exited", "start"),
        (1, "Traceback\nImportError: no module\n", "server_exited", "start"),
        (1, LOADING + "gone\n", "model_load_failed", "load"),
        (0, LOADING, "model_load_failed", "load"),
    ],
)
def test_an_end_without_a_load_error(code: int, log: str, category: str, phase: str) -> None:
    fault = TensorFlowServing("m").diagnose_exit(code, f"exit code {code}", log)
    assert (fault.category, fault.phase.value) == (category, phase)
    assert fault.evidence.exit_code == code
    assert "\n" not in fault.summary


def test_the_last_words_are_told() -> None:
    fault = TensorFlowServing("m").diagnose_exit(7, "exit code 7", "first\nlast words\n\n")
    assert "exit code 7" in fault.summary
    assert "last words" in fault.summary
    assert fault.evidence.log_line == "last words"
    silent = TensorFlowServing("m").diagnose_exit(7, "exit code 7", "")
    assert silent.evidence.log_line is None


CUDNN = "libcudnn.so.9: cannot open shared object file: No such file or directory"


def test_a_gpu_library_without_which_the_server_does_not_start() -> None:
    log = f"tensorflow_model_server: error while loading shared libraries: {CUDNN}\n"
    fault = TensorFlowServing("m").diagnose_exit(127, "exit code 127", log)
    assert (fault.category, fault.blame) == ("gpu_unusable", Blame.INFRASTRUCTURE)
    assert "libcudnn.so.9" in fault.summary


@pytest.mark.parametrize(
    "line",
    [
        "Could not load dynamic library 'libcudnn.so.8'; dlerror: libcudnn.so.8: cannot open",
        "Cannot dlopen some GPU libraries. Please make sure the missing libraries are installed",
        "failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected",
    ],
)
@pytest.mark.parametrize(
    ("image", "noted"),
    [
        ("tensorflow/serving:2.16.1-gpu", True),
        ("tensorflow/serving:latest-devel-gpu", True),
        ("gpu.example:5000/serving:2.16.1", False),
        (None, False),
    ],
)
def test_a_gpu_that_is_not_there_is_noted_where_the_image_is_made_for_one(
    line: str, image: str | None, noted: bool
) -> None:
    log = f"2026-07-01 10:00:00.000001: W external/x/y.cc:64] {line}\n{LOADING}"
    facts = TensorFlowServing("m", image=image).read_log(log)
    assert facts.fatal is None
    assert [line in note for note in facts.notes] == [True] * noted


def test_a_server_that_is_given_no_memory_is_not_crashed_by_its_model() -> None:
    log = f"{LOADING}terminate called after throwing an instance of 'std::bad_alloc'\n"
    binary = TensorFlowServing("m")
    for fault in (
        binary.diagnose_exit(134, "SIGABRT", log),
        binary.diagnose_crash(134, "SIGABRT", log, "request 3"),
    ):
        assert (fault.category, fault.blame) == ("out_of_memory", Blame.INFRASTRUCTURE)


@pytest.mark.parametrize("code", [0, 1, 255])
def test_an_end_while_answering_is_the_models_fault(code: int) -> None:
    fault = TensorFlowServing("m").diagnose_crash(code, f"exit code {code}", "bye\n", "request 2")
    assert (fault.category, fault.blame, fault.phase) == (
        "server_crashed",
        Blame.MODEL,
        Phase.QUERY,
    )
    assert "request 2" in fault.summary
    assert f"exit code {code}" in fault.summary
    assert fault.evidence.log_line == "bye"


@pytest.mark.parametrize(
    ("log", "category", "blame"),
    [
        ("", "server_not_ready", Blame.INFRASTRUCTURE),
        ("something else\n", "server_not_ready", Blame.INFRASTRUCTURE),
        (LOADING, "load_timeout", Blame.MODEL),
        # Nobody reached it, though it serves: the network's fault.
        (
            f"{LOADING}I Running gRPC ModelServer at 0.0.0.0:8500 ...\n",
            "server_not_ready",
            Blame.INFRASTRUCTURE,
        ),
    ],
)
def test_a_timeout_is_the_models_fault_only_once_it_was_being_loaded(
    log: str, category: str, blame: Blame
) -> None:
    fault = TensorFlowServing("m").diagnose_timeout(12.5, log)
    assert (fault.category, fault.blame, fault.phase) == (category, blame, Phase.LOAD)
    assert "12.5 s" in fault.summary


NOT_THERE = "Could not find base path /models/m for servable m with error NOT_FOUND"


def test_a_server_that_waits_for_the_model_will_never_be_ready() -> None:
    facts = TensorFlowServing("m").read_log(f"I before\nE {NOT_THERE}\nI after\n")
    assert isinstance(facts.fatal, Fault)
    assert (facts.fatal.category, facts.fatal.blame) == (
        "model_not_delivered",
        Blame.INFRASTRUCTURE,
    )
    assert facts.fatal.evidence.log_line == NOT_THERE


def test_reads_facts_from_the_log() -> None:
    facts = TensorFlowServing("m").read_log(
        "unknown argument: --x=1\n"
        f"{LOADING}"
        "Finished reading warmup data for model at /m/1. Number of warmup records read: 3. "
        "Elapsed time (microseconds): 1500.\n"
    )
    assert facts.fatal is None
    assert (facts.warm_up_records, facts.warm_up_seconds) == (3, 0.0015)
    assert facts.notes == ("unknown argument: --x=1",)
    nothing = TensorFlowServing("m").read_log("")
    assert (nothing.warm_up_records, nothing.warm_up_seconds, nothing.notes) == (None, None, ())
