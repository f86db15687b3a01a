"""LocalDockerConfig: every default, every refusal by its field's name."""

from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from infra_validator import config, docker_config
from infra_validator.docker_config import (
    Delivery,
    DeviceRequest,
    DockerSettings,
    Mount,
    PullPolicy,
    Ulimit,
)
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import SpecError

DOCKER = "ServingSpec.local_docker"
SERVING = "ServingSpec.tensorflow_serving"
HEX = "0123456789abcdef" * 4


def parse(**fields: Any) -> DockerSettings:
    return docker_config.parse(json_format.ParseDict(fields, pb.LocalDockerConfig()))


def refusal(**fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(**fields)
    return str(caught.value)


def test_defaults() -> None:
    assert parse() == DockerSettings(
        base_url=None,
        api_version=None,
        timeout_seconds=60,
        host_ip_address=None,
        cpus=0,
        memory=0,
        shared_memory=0,
        ulimits=(),
        device_requests=(),
        platform=None,
        network=None,
        mounts=(),
        pull_policy=PullPolicy.IF_NOT_PRESENT,
        pull_timeout_seconds=1200,
        delivery=Delivery.AUTO,
        user=None,
        capabilities=(),
        allow_new_privileges=False,
        writable_root=False,
        pids_limit=0,
    )


@pytest.mark.parametrize(
    ("field", "value", "attribute", "parsed"),
    [
        ("client_base_url", "tcp://engine.example.com:2376", "base_url", None),
        ("client_api_version", "1.41", "api_version", None),
        ("client_api_version", "auto", "api_version", None),
        ("client_timeout_seconds", 7, "timeout_seconds", None),
        ("host_ip_address", "192.0.2.1", "host_ip_address", None),
        ("cpus", 1.5, "cpus", None),
        ("memory", "4g", "memory", 4 * 1024**3),
        ("shared_memory", "1m", "shared_memory", 1024**2),
        (
            "ulimits",
            [{"name": "nofile", "soft": 5, "hard": 9}, {"name": "core"}],
            "ulimits",
            (Ulimit("nofile", 5, 9), Ulimit("core", 0, 0)),
        ),
        (
            "device_requests",
            [{"count": -1}, {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["tpu"]}],
            "device_requests",
            (
                DeviceRequest("", -1, (), ("gpu",)),
                DeviceRequest("nvidia", 0, ("0",), ("tpu",)),
            ),
        ),
        ("platform", "linux/arm64/v8", "platform", None),
        ("network", "backend", "network", None),
        (
            "mounts",
            [
                {"source": "/data", "target": "/x"},
                {"source": "a_volume", "target": "/y", "writable": True},
            ],
            "mounts",
            (Mount("/data", "/x", writable=False), Mount("a_volume", "/y", writable=True)),
        ),
        ("pull_policy", "IF_NOT_PRESENT", "pull_policy", PullPolicy.IF_NOT_PRESENT),
        ("pull_policy", "ALWAYS", "pull_policy", PullPolicy.ALWAYS),
        ("pull_policy", "NEVER", "pull_policy", PullPolicy.NEVER),
        ("pull_timeout_seconds", 5, "pull_timeout_seconds", None),
        ("model_delivery", "AUTO", "delivery", Delivery.AUTO),
        ("model_delivery", "MOUNT", "delivery", Delivery.MOUNT),
        ("model_delivery", "COPY", "delivery", Delivery.COPY),
        ("user", "1000:1000", "user", None),
        ("user", "root", "user", None),
        ("capabilities", ["SYS_NICE", "IPC_LOCK"], "capabilities", ("SYS_NICE", "IPC_LOCK")),
        ("allow_new_privileges", True, "allow_new_privileges", None),
        ("writable_root", True, "writable_root", None),
        ("pids_limit", 9, "pids_limit", None),
    ],
)
def test_what_is_set_is_taken_and_nothing_else_changes(
    field: str, value: Any, attribute: str, parsed: Any
) -> None:
    expected = {**vars(parse()), attribute: value if parsed is None else parsed}
    assert vars(parse(**{field: value})) == expected


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("localhost", "localhost"),
        ("engine_1.example.com.", "engine_1.example.com."),
        ("e", "e"),
    ],
)
def test_a_host_is_a_name_or_an_address(text: str, host: str) -> None:
    assert parse(host_ip_address=text).host_ip_address == host


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1", "127.0.0.1:8500", "[::1]:1", "[]", "a b", " ", "-x", "a/b", ":"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    assert refusal(host_ip_address=text).startswith(f"{DOCKER}.host_ip_address: {text!r} is ")


def test_slashes_do_not_hide_a_place() -> None:
    assert parse(mounts=[{"source": "/x", "target": "//y"}]).mounts[0].target == "/y"
    taken = refusal(mounts=[{"source": "/x", "target": "//model//"}])
    assert taken == f"{DOCKER}.mounts[0].target: '//model//' is taken already."


def test_more_processes_than_linux_counts_are_refused() -> None:
    assert parse(pids_limit=4194304).pids_limit == 4194304
    assert refusal(pids_limit=4194305).startswith(f"{DOCKER}.pids_limit: 4194305 is more than ")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 0),
        ("10000000", 10_000_000),
        ("10000000b", 10_000_000),
        ("6144k", 6 * 1024**2),
        ("512m", 512 * 1024**2),
        ("512M", 512 * 1024**2),
        ("512mb", 512 * 1024**2),
        (" 2g ", 2 * 1024**3),
        ("1.5g", 3 * 512 * 1024**2),
        ("6m", 6 * 1024**2),
    ],
)
def test_sizes_have_the_units_of_docker(text: str, size: int) -> None:
    assert parse(memory=text).memory == size


@given(st.integers(1, 1023), st.sampled_from([("k", 1), ("m", 2), ("g", 3)]))
def test_every_size_is_exact(number: int, unit: tuple[str, int]) -> None:
    assert parse(shared_memory=f"{number}{unit[0]}").shared_memory == number * 1024 ** unit[1]


@given(st.text(max_size=400))
def test_any_text_is_a_size_or_refused_by_name(text: str) -> None:
    refused = ""
    try:
        parse(shared_memory=text)
    except SpecError as error:
        refused = str(error)
    assert refused == "" or refused.startswith(f"{DOCKER}.shared_memory: ")


def test_a_size_beyond_all_measure_is_refused() -> None:
    assert refusal(memory="9" * 400 + "g").startswith(f"{DOCKER}.memory: ")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"client_timeout_seconds": -1}, "client_timeout_seconds"),
        ({"client_api_version": "new"}, "client_api_version"),
        ({"client_api_version": "1.41.1"}, "client_api_version"),
        ({"cpus": -0.5}, "cpus"),
        ({"cpus": 0.001}, "cpus"),  # the engine's own least is 0.01
        ({"cpus": "NaN"}, "cpus"),
        ({"cpus": "Infinity"}, "cpus"),
        ({"memory": "-1g"}, "memory"),
        ({"memory": "0"}, "memory"),
        ({"memory": "5m"}, "memory"),  # the engine's own least is 6 MiB
        ({"memory": "4 gigabytes"}, "memory"),
        ({"memory": "4gib"}, "memory"),
        ({"memory": "4t"}, "memory"),
        ({"memory": "0.1b"}, "memory"),
        ({"shared_memory": "-64m"}, "shared_memory"),
        ({"shared_memory": "m"}, "shared_memory"),
        ({"ulimits": [{"soft": 1}]}, "ulimits[0].name"),
        ({"ulimits": [{"name": "nofile"}, {"name": "RLIMIT_CPU"}]}, "ulimits[1].name"),
        ({"ulimits": [{"name": "nofile", "soft": 9, "hard": 5}]}, "ulimits[0]"),
        ({"ulimits": [{"name": "nofile", "soft": -1, "hard": 5}]}, "ulimits[0]"),
        ({"ulimits": [{"name": "nofile", "soft": -2}]}, "ulimits[0]"),
        ({"ulimits": [{"name": "nofile", "soft": 1, "hard": -2}]}, "ulimits[0]"),
        ({"device_requests": [{"count": -2}]}, "device_requests[0].count"),
        ({"device_requests": [{}]}, "device_requests[0]"),
        ({"device_requests": [{"count": 1}, {"driver": "nvidia"}]}, "device_requests[1]"),
        ({"device_requests": [{"count": 1, "device_ids": ["0"]}]}, "device_requests[0]"),
        ({"platform": "Linux on ARM"}, "platform"),
        ({"platform": "linux/arm64/v8/more"}, "platform"),
        ({"mounts": [{"target": "/x"}]}, "mounts[0].source"),
        ({"mounts": [{"source": "data/here", "target": "/x"}]}, "mounts[0].source"),
        ({"mounts": [{"source": "./data", "target": "/x"}]}, "mounts[0].source"),
        ({"mounts": [{"source": "/data"}]}, "mounts[0].target"),
        ({"mounts": [{"source": "/data", "target": "x"}]}, "mounts[0].target"),
        ({"mounts": [{"source": "/data", "target": "/"}]}, "mounts[0].target"),
        ({"mounts": [{"source": "/data", "target": "//"}]}, "mounts[0].target"),
        ({"mounts": [{"source": "/data", "target": "/x/.."}]}, "mounts[0].target"),
        # These places are taken; the engine would say "Duplicate mount point".
        ({"mounts": [{"source": "/data", "target": "/model"}]}, "mounts[0].target"),
        ({"mounts": [{"source": "/data", "target": "/infra-validator"}]}, "mounts[0].target"),
        (
            {"mounts": [{"source": "/a", "target": "/x"}, {"source": "/b", "target": "/x/"}]},
            "mounts[1].target",
        ),
        ({"pull_policy": 9}, "pull_policy"),
        ({"pull_timeout_seconds": -1}, "pull_timeout_seconds"),
        ({"model_delivery": 9}, "model_delivery"),
        ({"user": "somebody else"}, "user"),
        ({"user": "1000:"}, "user"),
        ({"user": ":1000"}, "user"),
        ({"capabilities": ["SYS_NICE", "sys_nice"]}, "capabilities[1]"),
        ({"capabilities": [""]}, "capabilities[0]"),
        ({"pids_limit": -1}, "pids_limit"),
    ],
)
def test_what_can_never_work_is_refused_by_the_fields_name(
    fields: dict[str, Any], named: str
) -> None:
    text = refusal(**fields)
    assert text.startswith(f"{DOCKER}.{named}: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    "image_name",
    [
        "",
        "tensorflow/serving",
        "serving",
        "registry.example.com/team/serving",
        "registry.example.com:5000/serving",
        "localhost/a/b__c/d-e.f",
        "Registry.Example.com/serving",
    ],
)
def test_the_name_of_an_image_is_taken(image_name: str) -> None:
    docker_config.check_image(image_name, ["2.16.1", "latest-gpu", "_x"], [f"sha256:{HEX}"])


@pytest.mark.parametrize(
    ("image_name", "tags", "digests", "named"),
    [
        ("tensorflow/serving:2.16.1", [], [], "image_name"),
        (f"tensorflow/serving@sha256:{HEX}", [], [], "image_name"),
        ("tensorflow/Serving", [], [], "image_name"),
        ("tensorflow serving", [], [], "image_name"),
        ("/serving", [], [], "image_name"),
        ("serving/", [], [], "image_name"),
        ("https://registry.example.com/serving", [], [], "image_name"),
        ("a\n", [], [], "image_name"),
        ("", ["ok", "not a tag"], [], "tags[1]"),
        ("", ["-x"], [], "tags[0]"),
        ("", ["x" * 129], [], "tags[0]"),
        ("", ["sha256:" + HEX], [], "tags[0]"),
        ("", [], [HEX], "digests[0]"),
        ("", [], [f"sha256:{HEX}", "sha256:0"], "digests[1]"),
        ("", [], [f"sha256:{HEX.upper()}"], "digests[0]"),
        ("", [], [f"sha256:{HEX}0"], "digests[0]"),
    ],
)
def test_a_malformed_reference_is_refused_by_the_fields_name(
    image_name: str, tags: list[str], digests: list[str], named: str
) -> None:
    with pytest.raises(SpecError) as caught:
        docker_config.check_image(image_name, tags, digests)
    assert str(caught.value).startswith(f"{SERVING}.{named}: ")


def parse_spec(**fields: Any) -> config.ValidationConfig:
    return config.parse(json_format.ParseDict(fields, pb.ServingSpec()), query=False)


def test_images_are_tags_then_digests_each_once() -> None:
    parsed = parse_spec(
        tensorflow_serving={
            "image_name": "mine",
            "tags": ["b", "a", "b"],
            "digests": [f"sha256:{HEX}"],
        },
        local_docker={"memory": "1g"},
    )
    assert parsed.serving.images == ("mine:b", "mine:a", f"mine@sha256:{HEX}")
    assert parsed.platform.name == "local_docker"
    assert parsed.platform.settings == parse(memory="1g")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tensorflow_serving": {}}, SERVING),
        ({"tensorflow_serving": {"tags": [""]}}, f"{SERVING}.tags"),
        ({"tensorflow_serving": {"digests": [""]}}, f"{SERVING}.digests"),
        ({"tensorflow_serving": {"tags": ["a b"]}}, f"{SERVING}.tags[0]"),
    ],
)
def test_without_a_usable_image_the_spec_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(**fields, local_docker={})
    assert str(caught.value).startswith(f"{named}: ")
