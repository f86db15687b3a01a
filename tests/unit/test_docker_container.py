"""The body of the engine's POST /containers/create, to the last key."""

from __future__ import annotations

import dataclasses
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator import docker_config
from infra_validator.docker_config import DeviceRequest, DockerSettings, Mount, Ulimit
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.docker_container import (
    NOBODY,
    FileMode,
    choose_reader,
    container_config,
    find_own_id,
    own_endpoint,
    publish_at,
    published_endpoint,
    published_ports,
    surely_cannot_read,
)
from infra_validator.servers.tensorflow_serving import TensorFlowServing

DEFAULTS = docker_config.parse(pb.LocalDockerConfig())
BINARY = TensorFlowServing("ranker", image="mine:1", args=("--a=1",), env={"B": "2 3"})


def configure(
    settings: DockerSettings = DEFAULTS, binary: TensorFlowServing = BINARY, **given: Any
) -> dict[str, Any]:
    return container_config(
        settings,
        binary,
        **{
            "model": "/data/model",
            "user": "7:8",
            "labels": {"who": "me"},
            "processors": 2,
            "publish_at": "127.0.0.1",
            "init": True,
            **given,
        },
    )


def with_settings(**fields: Any) -> DockerSettings:
    return dataclasses.replace(DEFAULTS, **fields)


AS_DEFAULT = {
    "Image": "mine:1",
    "Cmd": ["--max_num_load_retries=0", "--load_retry_interval_micros=0", "--a=1"],
    "Env": ["B=2 3", "MODEL_NAME=ranker", "MODEL_BASE_PATH=/model"],
    "User": "7:8",
    "Labels": {"who": "me"},
    "ExposedPorts": {"8500/tcp": {}},
    "HostConfig": {
        "AutoRemove": False,
        "Init": True,
        "PortBindings": {"8500/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "Mounts": [
            {
                "Type": "bind",
                "Source": "/data/model",
                "Target": "/model/ranker/1",
                "ReadOnly": True,
            }
        ],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": ""},  # noqa: S108
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": 640,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "64m"}},
    },
}


def test_by_default_the_least_of_rights_and_nothing_else() -> None:
    assert configure() == AS_DEFAULT


def test_every_field_changes_what_it_says_and_nothing_else() -> None:
    settings = with_settings(
        cpus=1.5,
        memory=512 * 1024**2,
        shared_memory=1024,
        ulimits=(Ulimit("nofile", 5, 9), Ulimit("memlock", -1, -1)),
        device_requests=(DeviceRequest("nvidia", 0, ("0", "1"), ("gpu", "compute")),),
        network="backend",
        mounts=(Mount("/data", "/x", writable=True), Mount("a_volume", "/y", writable=False)),
        user="root",
        capabilities=("SYS_NICE",),
        allow_new_privileges=True,
        writable_root=True,
        pids_limit=11,
    )
    expected = {**AS_DEFAULT, "User": "root"}
    expected["HostConfig"] = {
        **AS_DEFAULT["HostConfig"],  # type: ignore[dict-item]
        "NanoCpus": 1_500_000_000,
        "Memory": 512 * 1024**2,
        "MemorySwap": 512 * 1024**2,
        "ShmSize": 1024,
        "Ulimits": [
            {"Name": "nofile", "Soft": 5, "Hard": 9},
            {"Name": "memlock", "Soft": -1, "Hard": -1},
        ],
        "DeviceRequests": [
            {
                "Driver": "nvidia",
                "Count": 0,
                "DeviceIDs": ["0", "1"],
                "Capabilities": [["gpu", "compute"]],
            }
        ],
        "NetworkMode": "backend",
        "Mounts": [
            *AS_DEFAULT["HostConfig"]["Mounts"],  # type: ignore[index]
            {"Type": "bind", "Source": "/data", "Target": "/x", "ReadOnly": False},
            {"Type": "volume", "Source": "a_volume", "Target": "/y", "ReadOnly": True},
        ],
        "CapAdd": ["SYS_NICE"],
        "SecurityOpt": [],
        "ReadonlyRootfs": False,
        "PidsLimit": 11,
    }
    assert configure(settings) == expected


def test_what_is_copied_lies_in_volumes_that_go_with_the_container() -> None:
    binary = dataclasses.replace(BINARY, config_files={"b_file": b"x", "a_file": b"y"})
    found = configure(binary=binary, model=None)
    assert found["HostConfig"]["Mounts"] == [
        {"Type": "volume", "Target": "/infra-validator"},
        {"Type": "volume", "Target": "/model"},
    ]
    assert found["Cmd"][2:] == [
        "--b_file=/infra-validator/b_file",
        "--a_file=/infra-validator/a_file",
        "--a=1",
    ]


@pytest.mark.parametrize(("processors", "limit"), [(1, 576), (2, 640), (64, 4608), (256, 16896)])
def test_many_processors_need_many_threads(processors: int, limit: int) -> None:
    assert configure(processors=processors)["HostConfig"]["PidsLimit"] == limit


def test_the_port_is_published_where_it_is_told() -> None:
    bindings = configure(publish_at="")["HostConfig"]["PortBindings"]
    assert bindings == {"8500/tcp": [{"HostIp": "", "HostPort": ""}]}


def test_an_engine_without_an_init_is_not_asked_for_one() -> None:
    assert configure(init=False)["HostConfig"]["Init"] is False


@pytest.mark.parametrize(
    ("target", "tmpfs"),
    [("/tmp", {}), ("/tmp/below", {"/tmp": ""}), ("/data", {"/tmp": ""})],  # noqa: S108
)
def test_a_mount_of_the_users_at_the_temporary_folder_takes_the_place_of_ours(
    target: str, tmpfs: dict[str, str]
) -> None:
    settings = with_settings(mounts=(Mount("/data", target, writable=True),))
    assert configure(settings)["HostConfig"]["Tmpfs"] == tmpfs


ADDRESS = {"bridge": {"IPAddress": "172.17.0.2"}}


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (ADDRESS, "172.17.0.2:8500"),
        ({"none": {"IPAddress": ""}, **ADDRESS}, "172.17.0.2:8500"),
        # What an engine says of a container that has just ended.
        ({"bridge": {"IPAddress": ""}}, None),
        ({}, None),
    ],
)
def test_where_a_server_is_in_its_own_network(
    networks: dict[str, Any], expected: str | None
) -> None:
    assert own_endpoint({"Networks": networks}, 8500) == expected


ID, OTHER = "a" * 64, "b" * 64


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        (f"/var/lib/docker/containers/{ID}/hostname /etc/hostname", ID),
        (f"/containers/{ID}/resolv.conf /etc/resolv.conf", ID),  # its folder is a disk of its own
        (f"/overlay-containers/{ID}/userdata/hosts /etc/hosts", ID),  # Podman
        (f"/ /var/lib/docker/containers/{OTHER}/mounts/shm", None),  # on the engine's host
        (f"/pods/{ID}/etc-hosts /etc/hosts", None),  # Kubernetes
    ],
)
def test_in_which_container_a_process_is(mount: str, expected: str | None) -> None:
    mountinfo = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 8:1 {mount} rw - ext4 /dev/sda1 rw\n"
    assert find_own_id(mountinfo) == expected


@pytest.mark.parametrize("ports", [None, {}, {"8500/tcp": None}, {"8500/tcp": []}])
def test_a_network_that_publishes_nothing(ports: dict[str, Any] | None) -> None:
    """Such as a macvlan network."""
    assert published_ports({"Ports": ports}, 8500) == {}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "::1"),
        ("192.0.2.1", ""),  # as the engine has it
        ("2001:db8::1", ""),
        ("engine.example.com", ""),
    ],
)
def test_a_port_is_published_no_further_than_it_is_reached(host: str, expected: str) -> None:
    assert publish_at(host) == expected


BOTH = [("0.0.0.0", "1"), ("::", "2")]  # noqa: S104


@pytest.mark.parametrize(
    ("addresses", "bound", "expected"),
    [
        (["192.0.2.1"], BOTH, "192.0.2.1:1"),
        (["192.0.2.1"], BOTH[::-1], "192.0.2.1:1"),
        (["192.0.2.1"], [("127.0.0.1", "3"), *BOTH], "192.0.2.1:3"),
        (["2001:db8::1"], BOTH, "[2001:db8::1]:2"),
        (["::1"], [("::1", "2")], "[::1]:2"),
        (["::1"], BOTH[:1], "[::1]:1"),  # it may lead on to that
        (["2001:db8::1", "192.0.2.1"], BOTH, "[2001:db8::1]:2"),
        (["2001:db8::1", "192.0.2.1"], BOTH[:1], "192.0.2.1:1"),
    ],
)
def test_a_port_that_is_published_for_both_families(
    addresses: list[str], bound: list[tuple[str, str]], expected: str
) -> None:
    """With 20.10 and later the ports may differ (moby issue 42442)."""
    entries = [{"HostIp": address, "HostPort": port} for address, port in bound]
    ports = published_ports({"Ports": {"8500/tcp": entries}}, 8500)
    assert published_endpoint(ports, addresses) == expected


def test_the_users_variable_does_not_hide_where_the_model_is() -> None:
    binary = dataclasses.replace(BINARY, env={"MODEL_NAME": "other"})
    assert "MODEL_NAME=ranker" in configure(binary=binary)["Env"]
    assert "MODEL_NAME=other" not in configure(binary=binary)["Env"]


def folder(mode: int, uid: int = 0, gid: int = 0) -> FileMode:
    return FileMode(uid, gid, stat.S_IFDIR | mode)


def file(mode: int, uid: int = 0, gid: int = 0) -> FileMode:
    return FileMode(uid, gid, stat.S_IFREG | mode)


@pytest.mark.parametrize(
    ("modes", "user"),
    [
        ([], NOBODY),
        ([folder(0o755), file(0o644)], NOBODY),
        ([folder(0o755, 5, 6), file(0o444, 7, 8)], NOBODY),
        ([folder(0o700, 5, 6), file(0o600, 5, 6)], "5:6"),  # umask 077
        ([folder(0o750, 5, 6), file(0o640, 5, 6)], "5:6"),  # umask 027
        ([folder(0o755, 5, 6), file(0o600, 5, 6)], "5:6"),
        ([folder(0o754, 5, 6), file(0o644, 5, 6)], "5:6"),  # no one else may search it
        ([folder(0o751, 5, 6), file(0o644, 5, 6)], "5:6"),  # no one else may list it
        ([folder(0o700), file(0o600)], "0:0"),
        ([folder(0o700, 5, 6), file(0o600, 7, 8)], None),
        ([folder(0o750, 5, 6), file(0o640, 7, 6)], "5:6"),  # by the group
        ([folder(0o755, 5, 6), file(0o600, 7, 8)], "7:8"),
        ([folder(0o300, 5, 6)], None),
        ([folder(0o500, 5, 6), file(0o200, 5, 6)], None),
        # The class that fits first decides, even where a later one would allow it.
        ([folder(0o755, 5, 6), file(0o044, 5, 6), file(0o600, 5, 6)], None),
    ],
)
def test_the_server_runs_as_somebody_who_may_read_the_model(
    modes: list[FileMode], user: str | None
) -> None:
    assert choose_reader(modes) == user


@pytest.mark.parametrize(
    "modes",
    [
        [folder(0o755), file(0o604, 0, 65534)],  # its group may not
        [folder(0o755), file(0o044, 65534, 65534)],  # it may not itself
    ],
)
def test_nobody_is_not_chosen_where_a_class_of_its_own_may_not(modes: list[FileMode]) -> None:
    assert choose_reader(modes) != NOBODY


def may_read(user: str, mode: FileMode) -> bool:
    """What the kernel decides (path_resolution(7)) for a user without capabilities."""
    uid, gid = (int(part) for part in user.split(":"))
    shift = 6 if uid == mode.uid else 3 if gid == mode.gid else 0
    needed = 0o5 if stat.S_ISDIR(mode.mode) else 0o4
    return (mode.mode >> shift) & needed == needed


MODES = st.lists(
    st.builds(
        lambda uid, gid, mode, kind: FileMode(uid, gid, kind | mode),
        st.sampled_from([0, 5, 7, 65534]),
        st.sampled_from([0, 6, 8, 65534]),
        st.sampled_from([0o777, 0o755, 0o750, 0o700, 0o644, 0o640, 0o604, 0o600, 0o044, 0]),
        st.sampled_from([stat.S_IFDIR, stat.S_IFREG]),
    ),
    max_size=5,
)


@given(MODES)
def test_whoever_is_chosen_may_read_all_of_it(modes: list[FileMode]) -> None:
    user = choose_reader(modes)
    if user is not None:
        assert all(may_read(user, mode) for mode in modes)


@given(MODES)
def test_no_one_is_chosen_only_where_no_owner_may_read_all_of_it(modes: list[FileMode]) -> None:
    modes = [dataclasses.replace(mode, gid=mode.uid) for mode in modes]
    if choose_reader(modes) is None:
        for owner in {f"{mode.uid}:{mode.gid}" for mode in modes}:
            assert not all(may_read(owner, mode) for mode in modes)


FOLDER, FILE = stat.S_IFDIR, stat.S_IFREG


@pytest.mark.parametrize(
    ("user", "capabilities", "modes", "expected"),
    [
        ("5:6", (), [(5, 9, FOLDER | 0o700), (5, 9, FILE | 0o600)], False),
        ("5:6", (), [(7, 6, FOLDER | 0o750), (7, 6, FILE | 0o640)], False),
        ("5:6", (), [(7, 9, FOLDER | 0o755), (7, 9, FILE | 0o644)], False),
        ("5:6", (), [(7, 9, FOLDER | 0o755), (7, 9, FILE | 0o640)], True),
        ("5:6", (), [(7, 9, FOLDER | 0o754), (7, 9, FILE | 0o644)], True),
        ("5:6", (), [(5, 9, FILE | 0o044)], True),  # the owner's own bits count
        ("5:6", (), [(7, 6, FILE | 0o604)], True),  # and so do the group's
        # The image may have this user in that group.
        ("5", (), [(7, 6, FILE | 0o640)], False),
        ("5", (), [(7, 6, FILE | 0o604)], False),
        ("5", (), [(7, 6, FILE | 0o600)], True),
        # Root without capabilities is like others.
        ("0:0", (), [(7, 9, FILE | 0o600)], True),
        ("0", (), [(7, 9, FILE | 0o600)], True),
        ("0:0", ("SYS_NICE",), [(7, 9, FILE | 0o600)], True),
        ("0:0", ("DAC_OVERRIDE",), [(7, 9, FILE | 0o600)], False),
        ("0:0", ("DAC_READ_SEARCH",), [(7, 9, FILE | 0o600)], False),
        ("5:6", ("DAC_OVERRIDE",), [(7, 9, FILE | 0o600)], True),
        # Whose number that is, only the image knows.
        ("games", (), [(7, 9, FILE | 0o600)], False),
        ("5:games", (), [(7, 9, FILE | 0o600)], False),
        ("games:5", (), [(7, 9, FILE | 0o600)], False),
    ],
)
def test_who_surely_cannot_read_the_model(
    user: str, capabilities: tuple[str, ...], modes: list[tuple[int, int, int]], expected: bool
) -> None:
    files = [FileMode(*mode) for mode in modes]
    assert surely_cannot_read(user, capabilities, files) is expected
