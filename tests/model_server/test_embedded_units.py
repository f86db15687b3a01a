"""The pure decisions: flags, versions, statuses, batching."""

import dataclasses
import errno
import gc
import re
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from embedded_server_process import REPOSITORY

from infra_validator.model_server import (
    batching,
    capi,
    config,
    flags,
    listener,
    loading,
    protos,
    server,
    services,
    status,
    storage,
    tensors,
)
from infra_validator.model_server.flags import FLAGS, Options
from infra_validator.model_server.services import timeout_ms
from infra_validator.model_server.signatures import Signature
from infra_validator.model_server.status import Code, StatusError


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ([], "port", 8500),
        ([], "max_num_load_retries", 5),
        ([], "load_retry_interval_micros", 60_000_000),
        ([], "model_name", "default"),
        (["--port=1", "--port=2"], "port", 2),
        (["--port= +7"], "port", 7),
        (["--enable_batching"], "enable_batching", True),
        (["--enable_batching=true"], "enable_batching", True),
        (["--enable_batching=true", "--enable_batching=false"], "enable_batching", False),
        (["--model_name="], "model_name", ""),
        (["--model_name=a=b c"], "model_name", "a=b c"),
        (["--per_process_gpu_memory_fraction=.5"], "per_process_gpu_memory_fraction", 0.5),
        (["--load_retry_interval_micros=5000000000"], "load_retry_interval_micros", 5_000_000_000),
    ],
)
def test_flag_values(arguments: Sequence[str], name: str, value: object) -> None:
    parsed = flags.parse(arguments)
    assert not parsed.errors
    assert not parsed.unknown
    assert getattr(parsed.options, name) == value


@pytest.mark.parametrize(
    "argument",
    [
        "--port=",
        "--port=1x",
        "--port=2147483648",
        "--port=1.0",
        "--enable_batching=True",
        "--enable_batching_of_models",
        "--enable_batchingtrue",
        "--enable_batchingfalse",
        "--per_process_gpu_memory_fraction=half",
        "--load_retry_interval_micros=9223372036854775808",
    ],
)
def test_bad_values(argument: str) -> None:
    (error,) = flags.parse([argument]).errors
    assert re.fullmatch(r"Couldn't interpret value .* for flag \w+\.", error)


@pytest.mark.parametrize(
    ("arguments", "unknown"),
    [
        (["port=1"], ("port=1",)),
        (["-port=1"], ("-port=1",)),
        (["--port", "1"], ("--port", "1")),
        (["--Port=1"], ("--Port=1",)),
        (["--", "--port=1"], ("--", "--port=1")),
    ],
)
def test_unknown_arguments_are_passed_over(
    arguments: Sequence[str], unknown: tuple[str, ...]
) -> None:
    parsed = flags.parse(arguments)
    assert parsed.unknown == unknown
    assert parsed.options == flags.parse([]).options


def test_only_a_changed_flag_counts_as_ignored() -> None:
    assert flags.parse(["--rest_api_port=0", "--enable_profiler=true"]).ignored == ()
    assert flags.parse(["--rest_api_port=8501", "--rest_api_port=0"]).ignored == ()
    assert flags.parse(["--rest_api_port=8501"]).ignored == ("rest_api_port",)


def test_every_flag_either_works_or_is_named_as_ignored() -> None:
    effective = {flag.name for flag in FLAGS if not flag.ignored}
    assert effective == {field.name for field in dataclasses.fields(Options)}
    sources = [
        path.read_text()
        for path in (REPOSITORY / "infra_validator" / "model_server").glob("*.py")
        if path.name != "flags.py"
    ]
    assert [n for n in effective if not any(f"options.{n}" in text for text in sources)] == []


def test_reference_names_every_flag() -> None:
    page = (REPOSITORY / "docs" / "embedded-model-server.md").read_text()
    assert [flag.name for flag in FLAGS if f"`{flag.name}`" not in page] == []


@pytest.mark.parametrize(
    ("name", "number"),
    [("1", 1), ("007", 7), (" 5", 5), ("-3", -3), ("1a", None), ("", None), ("1.0", None),
     ("9223372036854775808", None), ("٣", None), ("temp-1", None)],
)  # fmt: skip
def test_version_number(name: str, number: int | None) -> None:
    assert storage.version_number(name) == number


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (storage.VersionPolicy(), [12]),
        (storage.VersionPolicy(latest=2), [9, 12]),
        (storage.VersionPolicy(latest=0, all=True), [2, 9, 12]),
        (storage.VersionPolicy(latest=0, specific=frozenset({2, 5})), [2]),
    ],
)
def test_version_policies(policy: storage.VersionPolicy, versions: list[int]) -> None:
    selected = storage.select_versions(["9", "12", "2", "x", "02"], policy)
    assert list(selected) == versions


def test_version_policy_from_proto() -> None:
    text = protos.ModelServerConfig().model_config_list.config.add().model_version_policy
    assert storage.VersionPolicy.from_proto(text) == storage.VersionPolicy()
    text.latest.num_versions = 3
    assert storage.VersionPolicy.from_proto(text).latest == 3
    text.all.SetInParent()
    assert storage.VersionPolicy.from_proto(text).all
    text.specific.versions.append(4)
    assert storage.VersionPolicy.from_proto(text).specific == {4}


@pytest.mark.parametrize(("base", "path"), [("/a", "/a/1"), ("/a/", "/a/1"), ("/", "/1")])
def test_join_path(base: str, path: str) -> None:
    assert storage.join_path(base, "1") == path


def test_message_limit_counts_bytes() -> None:
    assert status.wire_message(b"x" * 1024) == b"x" * 1024
    assert status.wire_message(b"x" * 1025) == b"x" * 1024 + b"...TRUNCATED"


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(None, 0), (1.5, 1500), (0.0001, 1), (1e12, (1 << 31) - 1), (float("inf"), (1 << 31) - 1)],
)
def test_timeout(seconds: float | None, milliseconds: int) -> None:
    assert timeout_ms(seconds) == milliseconds


def test_no_time_left() -> None:
    with pytest.raises(StatusError) as caught:
        timeout_ms(0.0)
    assert caught.value.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("size", "rounded"), [(0, 2), (1, 2), (2, 2), (3, 8), (8, 8), (9, 9)])
def test_round_up(size: int, rounded: int) -> None:
    assert batching.round_up([2, 8], size) == rounded
    assert batching.round_up([], size) == size


def test_grpc_arguments() -> None:
    assert config.grpc_arguments("a=1,b=x=y,,") == [("a", 1), ("b", "x=y")]
    assert config.grpc_arguments("a=2147483648,b=-2147483648,c=1_0") == [
        ("a", "2147483648"),
        ("b", -2147483648),
        ("c", "1_0"),
    ]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--help"], True),
        (["--port=1", "--enable_batching", "--help"], True),
        (["--what", "--help"], False),
        (["--", "--help"], False),
        ([], False),
    ],
)
def test_help(arguments: Sequence[str], asked: bool) -> None:
    assert flags.parse(arguments).help is asked


class FakeTensor:
    def __init__(self, shape: tuple[int, ...], dtype: int = 1, data: bytes = b"") -> None:
        self.shape, self.dtype, self._data = shape, dtype, data

    def data(self) -> memoryview:
        return memoryview(self._data)


def test_deadline_of_a_batch_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """One deadline for all parts; when it is past, the rest does not run."""
    bounds: list[int] = []
    now = 1000.0

    class SlowSession:
        library = None

        def run(self, feeds: Any, fetches: Any, timeout_ms: int) -> list[Any]:
            nonlocal now
            bounds.append(timeout_ms)
            now += 0.1
            return [FakeTensor(feeds[0][1].shape)]

    def rows(_self: Any, _tensor: Any, start: int, stop: int, padding: int) -> FakeTensor:
        return FakeTensor((stop - start + padding,))

    monkeypatch.setattr(batching.BatchingSession, "_rows", rows)
    monkeypatch.setattr(batching, "time", types.SimpleNamespace(monotonic=lambda: now))
    parameters = protos.BatchingParameters()
    parameters.max_batch_size.value = 10
    parameters.enable_large_batch_splitting.value = True
    parameters.max_execution_batch_size.value = 1
    signature = Signature("", {"x": "x:0"}, {"y": "y:0"}, {}, None)
    slow: Any = SlowSession()
    session = batching.BatchingSession(slow, parameters, [signature])
    tensor: Any = FakeTensor((10,))
    with pytest.raises(StatusError) as caught:
        session.run([("x:0", tensor)], ["y:0"], 250)
    assert str(caught.value) == (
        "RESOURCE_EXHAUSTED: Run() timeout exceeded while waiting in batching queue"
    )
    assert bounds == [pytest.approx(bound, abs=1) for bound in (250, 150, 50)]


@pytest.mark.parametrize("dtype", [20, 21])
def test_rows_of_addresses_are_not_copied(dtype: int) -> None:
    session = batching.BatchingSession.__new__(batching.BatchingSession)
    tensor: Any = FakeTensor((2,), dtype)
    with pytest.raises(StatusError, match="UNIMPLEMENTED"):
        session._rows(tensor, 0, 1, 0)


def fake_library(**calls: Any) -> Any:
    deleted: list[int] = []
    defaults = {
        "TF_DataTypeSize": lambda dtype: 4,
        "TF_DeleteTensor": deleted.append,
        "TF_NewStatus": lambda: 1,
        "TF_DeleteStatus": lambda status: None,
        "TF_GetCode": lambda status: 13,
        "TF_Message": lambda status: b"half way",
    }
    library = types.SimpleNamespace(calls=types.SimpleNamespace(**{**defaults, **calls}))
    return library, deleted


def test_no_memory_for_a_tensor() -> None:
    library, _ = fake_library(TF_AllocateTensor=lambda *_: None)
    with pytest.raises(StatusError, match="RESOURCE_EXHAUSTED"):
        capi.Tensor.from_bytes(library, 1, [1], b"1234")
    with pytest.raises(StatusError, match="RESOURCE_EXHAUSTED"):
        capi.Tensor.from_proto(library, b"")


@pytest.mark.parametrize(("shape", "data"), [([2], b"1234"), ([0], b"1234"), ([1], b"")])
def test_data_that_does_not_fit_the_shape(shape: list[int], data: bytes) -> None:
    library, _ = fake_library(TF_AllocateTensor=lambda *_: None)
    with pytest.raises(StatusError, match="INTERNAL"):
        capi.Tensor.from_bytes(library, 1, shape, data)


def test_a_run_that_fails_half_way_frees_what_it_has() -> None:
    def run(*arguments: Any) -> None:
        arguments[6][0] = 77

    library, deleted = fake_library(TF_SessionRun=run, TF_GraphOperationByName=lambda *_: 5)
    session = capi.Session(library, 1, 2)
    with pytest.raises(StatusError, match="half way"):
        session.run([], ["a:0", "b:0"], 0)
    gc.collect()
    assert deleted == [77]


@pytest.mark.parametrize(
    ("dtype", "values"), [(29, [-1, -8, 7, 0, -1]), (30, [15, 8, 7, 0, 15])], ids=["int4", "uint4"]
)
def test_four_bits(dtype: int, values: list[int]) -> None:
    tensor: Any = FakeTensor((5,), dtype, b"\x0f\x08\x07\xf0\xff")
    proto = protos.TensorProto()
    tensors.fill_proto(tensor, proto)
    assert list(proto.int_val) == values


@pytest.mark.parametrize("dtype", [20, 21])
def test_outputs_that_cannot_be_returned(dtype: int) -> None:
    tensor: Any = FakeTensor((), dtype, b"12345678")
    with pytest.raises(StatusError, match="UNIMPLEMENTED"):
        tensors.fill_proto(tensor, protos.TensorProto())


def test_an_unforeseen_fault_of_a_handler_is_internal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Context:
        def time_remaining(self) -> None:
            return None

        def abort(self, code: Any, details: Any) -> None:
            raise RuntimeError(f"{code.name}: {details.decode()}")

    def handler(_request: Any, _timeout_ms: int) -> Any:
        raise KeyError("x" * 1000)

    method = services._method(protos.PredictRequest, handler)
    context: Any = Context()
    with pytest.raises(RuntimeError) as caught:
        method.unary_unary(b"", context)
    assert str(caught.value).startswith("INTERNAL: the embedded server failed: KeyError: 'xxx")
    assert len(str(caught.value)) < 300
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/m/1/saved_model.pb"),
            "PERMISSION_DENIED: /m/1/saved_model.pb; Permission denied",
        ),
        (OSError("odd"), "INTERNAL: the embedded server failed: OSError: odd"),
        (ValueError("odd"), "INTERNAL: the embedded server failed: ValueError: odd"),
    ],
)
def test_every_fault_of_a_load_is_a_load_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Exception,
    status: str,
) -> None:
    def check(_path: str) -> None:
        raise fault

    monkeypatch.setattr(loading, "_check_saved_model", check)
    model = config.ModelConfig("m", "/m", storage.VersionPolicy(), {})
    load: Any = types.SimpleNamespace(max_retries=1, retry_interval_seconds=0.0)
    library: Any = None
    with pytest.raises(StatusError) as caught:
        loading.load_servables(library, model, {1: "/m/1"}, load)
    assert str(caught.value) == (
        "UNKNOWN: 1 servable(s) did not become available: "
        f"{{{{{{name: m version: 1}} due to error: {status}}}, }}"
    )
    log = capsys.readouterr().err
    assert log.count(f"Loading servable: {{name: m version: 1}} failed: {status}\n") == 2


def test_a_switch_of_xla_that_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    library: Any = types.SimpleNamespace(disable_xla=lambda: False)
    server._disable_xla(library)
    assert "the embedded server ignores --xla_cpu_compilation_enabled=false" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_out_of_range(port: int) -> None:
    with pytest.raises(StatusError, match="INVALID_ARGUMENT"):
        listener.check_port(port)


def test_socket_path_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(StatusError, match="107"):
        listener.check_socket_path(str(path))
