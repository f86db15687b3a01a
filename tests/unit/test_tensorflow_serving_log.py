import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.servers import tensorflow_serving_log as serving_log
from infra_validator.servers.tensorflow_serving_log import LoadError

AT = "2026-07-01 10:00:00.000001: "
LOADING = (
    f"{AT}I tensorflow_serving/core/loader_harness.cc:71] "
    "Loading servable version {name: m version: 1}\n"
)
MISSING_OP = (
    "Op type not registered 'Custom>Op' in binary running on host. Make sure the Op and Kernel "
    "are registered in the binary running in this process."
)
NO_TAGS = (
    "Could not find meta graph def matching supplied tags: { serve }. To inspect available "
    "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`"
)
NO_MODEL = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file "
    "called `saved_model.pb`)\nSpecified file path: /models/m/1"
)


def start_failed(code: str, message: str, name: str = "m") -> str:
    return (
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: "
        f"{{{{{{name: {name} version: 1}} due to error: {code}: {message}}}, }}\n"
    )


def harness(code: str, message: str) -> str:
    return (
        f"{AT}E tensorflow_serving/core/loader_harness.cc:123] "
        f"Loading servable: {{name: m version: 1}} failed: {code}: {message}\n"
    )


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("", None),
        (LOADING, None),
        (start_failed("NOT_FOUND", MISSING_OP), LoadError("NOT_FOUND", MISSING_OP)),
        (start_failed("NOT_FOUND", NO_TAGS), LoadError("NOT_FOUND", NO_TAGS)),
        (start_failed("NOT_FOUND", NO_MODEL), LoadError("NOT_FOUND", NO_MODEL)),
        (start_failed("DATA_LOSS", ""), LoadError("DATA_LOSS", "")),
        (
            LOADING + harness("NOT_FOUND", "first") + start_failed("DATA_LOSS", "the last"),
            LoadError("DATA_LOSS", "the last"),
        ),
        (
            start_failed("NOT_FOUND", "the first") + start_failed("DATA_LOSS", "the last"),
            LoadError("DATA_LOSS", "the last"),
        ),
        (
            start_failed("NOT_FOUND", "said") + "and a word more}, }\n",
            LoadError("NOT_FOUND", "said"),
        ),
        (
            start_failed("INVALID_ARGUMENT", "a \t [[{{node MatMul}}]]"),
            LoadError("INVALID_ARGUMENT", "a \t [[{{node MatMul}}]]"),
        ),
        (
            "Failed to start server. Error: INVALID_ARGUMENT: Expected model m to have an "
            "absolute path or URI; got base_path()=p\nusage: x\n",
            LoadError(
                "INVALID_ARGUMENT",
                "Expected model m to have an absolute path or URI; got base_path()=p",
            ),
        ),
        (
            "Failed to start server. Error: INVALID_ARGUMENT: server_options."
            "batching_parameters_file is set without setting server_options.enable_batching "
            "to true.\n",
            LoadError(
                "INVALID_ARGUMENT",
                "server_options.batching_parameters_file is set without setting "
                "server_options.enable_batching to true.",
            ),
        ),
        ("Failed to start server. Error: ", LoadError("", "")),
        (
            harness("NOT_FOUND", "first") + harness("DATA_LOSS", "second"),
            LoadError("DATA_LOSS", "second"),
        ),
        (
            harness("RESOURCE_EXHAUSTED", "Insufficient resources") + AT + "I more to come\n",
            LoadError("RESOURCE_EXHAUSTED", "Insufficient resources"),
        ),
    ],
)
def test_finds_the_load_error(log: str, error: LoadError | None) -> None:
    assert serving_log.find_load_error(log) == error


@pytest.mark.parametrize(
    ("old", "code"),
    [
        ("Not found", "NOT_FOUND"),
        ("Resource exhausted", "RESOURCE_EXHAUSTED"),
        ("Data loss", "DATA_LOSS"),
        ("Invalid argument", "INVALID_ARGUMENT"),
    ],
)
@pytest.mark.parametrize("form", [start_failed, harness])
def test_finds_the_load_error_of_older_servers(form: object, old: str, code: str) -> None:
    """As of TensorFlow Serving 2.1, which spells status codes in words."""
    log = form(old, "what happened").replace("UNKNOWN", "Unknown")  # type: ignore[operator]
    assert serving_log.find_load_error(log) == LoadError(code, "what happened")


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", False),
        ("unrelated\n", False),
        ("usage: tensorflow_model_server\nFlags:\n", True),
        ("  usage: not at the start of the line\n", False),
        ("Couldn't interpret value x for flag port.\n", True),
        (f"{AT}E Invalid protobuf file: '/x/batching.conf'\n", True),
    ],
)
def test_finds_a_flag_that_cannot_be_used(log: str, found: bool) -> None:
    assert (serving_log.find_bad_flag(log) is not None) == found


def test_a_bad_value_is_told_rather_than_the_usage() -> None:
    log = "Couldn't interpret value x for flag port.\nusage: tensorflow_model_server\n"
    assert serving_log.find_bad_flag(log) == "Couldn't interpret value x for flag port."


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "FileSystemStoragePathSource encountered a filesystem access error: Could not find "
            "base path /models/m for servable m with error NOT_FOUND: /models/m not found",
            True,
        ),
        (
            "No versions of servable m found under base path /models/m. Did you forget to name "
            "your leaf directory as a number (eg. '/1/')?",
            True,
        ),
        ("Loading servable version {name: m version: 1}", False),
        ("", False),
    ],
)
def test_finds_that_the_server_waits_for_a_model(line: str, found: bool) -> None:
    said = serving_log.find_model_not_found(f"{AT}I before\n{AT}E {line}\n{AT}I after\n", "m")
    assert (said is not None) == found
    if said is not None:
        assert line.endswith(said)
        assert "/models/m" in said


@pytest.mark.parametrize(
    ("log", "begun"),
    [
        ("", False),
        (AT + "I Building single TensorFlow model file config:  model_name: m\n", False),
        (AT + "I (Re-)adding model: m\n", False),
        (LOADING, True),
        (AT + "I external/x/reader.cc:83] Reading SavedModel from: /models/m/1\n", True),
        (harness("NOT_FOUND", "x"), True),
    ],
)
def test_knows_whether_loading_has_begun(log: str, begun: bool) -> None:
    assert serving_log.has_begun_loading(log) is begun


@pytest.mark.parametrize(
    ("log", "found"),
    [
        ("", None),
        (f"{AT}I No warmup data file found at /m/1/assets.extra/x\n", None),
        (f"{AT}I Starting to read warmup data for model at /m/1 with x\n", None),
        (
            f"{AT}I Finished reading warmup data for model at /m/1. Number of warmup records "
            "read: 3. Elapsed time (microseconds): 2500000.\n",
            (3, 2.5),
        ),
        (
            "Finished reading warmup data for model at /m/1. Number of warmup records "
            "read: 0. Elapsed time (microseconds): 7.",
            (0, 7e-6),
        ),
    ],
)
def test_finds_the_warm_up(log: str, found: tuple[int, float] | None) -> None:
    assert serving_log.find_warm_up(log) == found


def test_knows_a_model_without_warm_up() -> None:
    said = f"{AT}I servables/x.cc:1] No warmup data file found at /m/1/assets.extra/y\n"
    assert serving_log.has_no_warm_up(said)
    assert not serving_log.has_no_warm_up(f"{AT}I Starting to read warmup data for model at /m\n")


def test_finds_notes_about_flags_each_once() -> None:
    log = (
        "unknown argument: --no_such_flag=1\n"
        f"{AT}I something else\n"
        "unknown argument: --no_such_flag=1\n"
        f"{AT}W the embedded server ignores --grpc_max_threads\n"
        "unknown argument: --other\n"
    )
    assert serving_log.find_notes(log) == (
        "unknown argument: --no_such_flag=1",
        "the embedded server ignores --grpc_max_threads",
        "unknown argument: --other",
    )
    assert serving_log.find_notes(LOADING) == ()


@pytest.mark.parametrize(
    ("output", "versions"),
    [
        ("", {}),
        ("something else: 1\n", {}),
        (
            "TensorFlow ModelServer: 2.16.1-rc0+dev.sha.no_git\nTensorFlow Library: 2.16.1\n",
            {"ModelServer": "2.16.1-rc0+dev.sha.no_git", "Library": "2.16.1"},
        ),
        ("TensorFlow ModelServer: 2.8.2 \r\n", {"ModelServer": "2.8.2"}),
    ],
)
def test_finds_versions(output: str, versions: dict[str, str]) -> None:
    assert serving_log.find_versions(output) == versions


@pytest.mark.parametrize(
    ("log", "line"),
    [("", ""), ("\n \n", ""), ("a\nb\n", "b"), ("a\n  b \n\n \n", "b"), ("only", "only")],
)
def test_last_line(log: str, line: str) -> None:
    assert serving_log.last_line(log) == line


@given(st.text())
def test_reads_any_text(log: str) -> None:
    serving_log.find_load_error(log)
    serving_log.find_bad_flag(log)
    serving_log.find_model_not_found(log, "m")
    serving_log.find_notes(log)
    assert "\n" not in serving_log.last_line(log)


@given(st.text().filter(lambda text: "}, }" not in text + "}, }"[:-1]))
def test_finds_any_message(message: str) -> None:
    log = LOADING + start_failed("INTERNAL", message)
    assert serving_log.find_load_error(log) == LoadError("INTERNAL", message.strip())
