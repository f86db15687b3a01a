"""Which words of a server or an engine are blamed on what the configuration allows."""

from __future__ import annotations

import pytest

from infra_validator import docker_config
from infra_validator.faults import CATEGORIES, Blame, Evidence, Phase, fault
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.docker_causes import find_cause

THREADS = [
    # Recorded in a container with too low a limit: tini, bash, gRPC, TensorFlow, Python, the C++
    # library.
    "[FATAL tini (1)] fork failed: Resource temporarily unavailable",
    "/usr/bin/tf_serving_entrypoint.sh: fork: retry: Resource temporarily unavailable",
    "/usr/bin/tf_serving_entrypoint.sh: fork: Resource temporarily unavailable",
    "E1123 01:27:28.993593       7 thd.cc:157] pthread_create failed: Resource temporarily "
    "unavailable",
    "F0000 00:00:1795397351.990263 7 env.cc:87] Check failed: ret == 0 (11 vs. 0)Thread tf_Compute "
    "creation via pthread_create() failed.",
    "RuntimeError: can't start new thread",
    "  what():  Resource temporarily unavailable",
    # Go's runtime/os_linux.go, in runc
    "runtime: failed to create new OS thread (have 2 already; errno=11)",
]
FILES = [
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
    "container process: error closing exec fds: open /proc/self/fd: too many open files: unknown",
    "/usr/bin/tensorflow_model_server: line 2: /dev/null: Too many open files",
    "RESOURCE_EXHAUSTED: /model/m/1/variables/variables.index; Too many open files",
]
NOFILE = pb.Ulimit(name="nofile", soft=8)
NPROC = pb.Ulimit(name="nproc", soft=8)
CRASHED = fault(
    "server_crashed", Phase.QUERY, "The server crashed.", evidence=Evidence(exit_code=134)
)


def settings(**fields: object) -> docker_config.DockerSettings:
    return docker_config.parse(pb.LocalDockerConfig(**fields))


@pytest.mark.parametrize(
    ("line", "fields", "named"),
    [
        *((line, {"pids_limit": 4}, "pids_limit") for line in THREADS),
        *((line, {"ulimits": [NOFILE, NPROC]}, "ulimits[1]") for line in THREADS),
        (THREADS[0], {"pids_limit": 4, "ulimits": [NPROC]}, "pids_limit or ulimits[0]"),
        *((line, {"ulimits": [NPROC, NOFILE]}, "ulimits[1]") for line in FILES),
    ],
)
def test_the_field_that_limits_is_named(line: str, fields: dict[str, object], named: str) -> None:
    found = find_cause(CRASHED, settings(**fields), f"before\n{line}\nafter\n", "mount")
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert found.phase == Phase.QUERY
    assert not found.transient
    assert found.summary.startswith(f"ServingSpec.local_docker.{named}: the server could ")
    assert "after" not in found.summary
    assert found.evidence.exit_code == 134
    assert found.evidence.log_line == line.strip()


@pytest.mark.parametrize("line", [*THREADS, *FILES])
def test_without_such_a_field_it_is_the_platforms(line: str) -> None:
    others = {"ulimits": [NOFILE]} if line in THREADS else {"pids_limit": 4, "ulimits": [NPROC]}
    for given in ({}, others):
        found = find_cause(CRASHED, settings(**given), line, "mount")
        assert (found.category, found.blame) == ("platform_failed", Blame.INFRASTRUCTURE)
        assert "ServingSpec.local_docker." in found.hint


def test_the_engines_own_words_count_too() -> None:
    refused = fault("platform_failed", Phase.START, "The engine refuses.", detail=FILES[0])
    assert find_cause(refused, settings(), "", None) is refused
    found = find_cause(refused, settings(ulimits=[NOFILE]), "", None)
    assert (found.category, found.phase) == ("configuration_invalid", Phase.START)


def test_a_request_that_the_server_refuses_says_itself_why() -> None:
    refused = fault("request_failed", Phase.QUERY, "It fails.", detail="INVALID_ARGUMENT: shapes")
    limited = settings(pids_limit=4)
    assert find_cause(refused, limited, THREADS[3], "mount") is refused
    said = fault("request_failed", Phase.QUERY, "It fails.", detail=f"INTERNAL: {THREADS[5]}")
    assert find_cause(said, limited, "", "mount").category == "configuration_invalid"


@pytest.mark.parametrize(
    "category",
    [
        "engine_lost",
        "memory_limit_exceeded",
        "op_missing",
        "server_flags_refused",
        "server_killed",
        "variables_unreadable",
    ],
)
def test_a_fault_with_a_cause_of_its_own_keeps_it(category: str) -> None:
    assert category in CATEGORIES
    known = fault(category, Phase.LOAD, "It is known.")
    limited = settings(pids_limit=4, ulimits=[NOFILE], user="5:5")
    assert find_cause(known, limited, "\n".join(THREADS + FILES), "mount") is known


@pytest.mark.parametrize(
    "line",
    [
        "recv failed: Resource temporarily unavailable",  # of a socket that does not block
        "the limit of open files is 1024",
    ],
)
def test_other_words_are_no_evidence(line: str) -> None:
    assert find_cause(CRASHED, settings(pids_limit=4, ulimits=[NOFILE]), line, "mount") is CRASHED


@pytest.mark.parametrize("category", ["model_missing", "model_not_delivered"])
@pytest.mark.parametrize(
    ("user", "delivery", "expected"),
    [
        ("5:5", "mount", "configuration_invalid"),
        ("5:5", "copy", "configuration_invalid"),
        ("", "mount", "mount_denied"),
        ("", "copy", None),
        ("", None, None),
    ],
)
def test_a_model_that_was_there_before(
    category: str, user: str, delivery: str | None, expected: str | None
) -> None:
    missing = fault(category, Phase.LOAD, "It is not there.", detail="NOT_FOUND: nothing there")
    found = find_cause(missing, settings(user=user), "", delivery)
    if expected is None:
        assert found is missing
        return
    assert found.category == expected
    assert not found.transient
    assert "NOT_FOUND: nothing there" in found.summary
    if user:
        assert found.summary.startswith("ServingSpec.local_docker.user: 5:5 cannot read ")


def test_a_replay_that_saw_another_model_is_no_matter_of_rights() -> None:
    replayed = fault("model_not_delivered", Phase.WARM_UP, "It replayed others.")
    assert find_cause(replayed, settings(user="5:5"), "", "mount") is replayed
