"""The pure decisions: flags, versions, statuses, batching."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from embedded_server_process import REPOSITORY

from infra_validator.model_server import batching, config, flags, listener, protos, status, storage
from infra_validator.model_server.flags import FLAGS, Options
from infra_validator.model_server.services import timeout_ms
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
    assert [flag.name for flag in FLAGS if flag.name not in page] == []


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


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_out_of_range(port: int) -> None:
    with pytest.raises(StatusError, match="INVALID_ARGUMENT"):
        listener.check_port(port)


def test_socket_path_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(StatusError, match="107"):
        listener.check_socket_path(str(path))
