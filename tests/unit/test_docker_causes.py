"""Which words of a server or an engine are blamed on what the configuration allows."""

from __future__ import annotations

import dataclasses
import signal
import time

import pytest

from infra_validator import docker_config
from infra_validator.faults import CATEGORIES, Blame, Evidence, Fault, Phase, fault
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.docker_causes import find_cause, find_unseen_variables

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
BOTH = {"pids_limit": 4, "ulimits": [NPROC, NOFILE]}
LINES = "fluff\n" * 1000
CRASHED = fault(
    "server_crashed", Phase.QUERY, "The server crashed.", evidence=Evidence(exit_code=134)
)


def settings(**fields: object) -> docker_config.DockerSettings:
    return docker_config.parse(pb.LocalDockerConfig(**fields))


@pytest.mark.parametrize(
    ("line", "fields", "named"),
    [
        *((line, {"pids_limit": 4}, ["pids_limit"]) for line in THREADS),
        *((line, {"ulimits": [NOFILE, NPROC]}, ["ulimits"]) for line in THREADS),
        (THREADS[0], {"pids_limit": 4, "ulimits": [NPROC]}, ["pids_limit", "ulimits"]),
        *((line, {"ulimits": [NPROC, NOFILE]}, ["ulimits"]) for line in FILES),
    ],
)
def test_the_field_that_limits_is_named(
    line: str, fields: dict[str, object], named: list[str]
) -> None:
    found = find_cause(CRASHED, settings(**fields), f"before\n{line}\nafter\n", "mount")
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert found.phase == Phase.QUERY
    assert not found.transient
    full = " or ".join(f"ServingSpec.local_docker.{field}" for field in named)
    assert found.summary.startswith(f"{full}: the server could ")
    assert "after" not in found.summary
    assert found.evidence.exit_code == 134
    assert found.evidence.log_line == line.strip()


@pytest.mark.parametrize("line", [*THREADS, *FILES])
@pytest.mark.parametrize("category", ["server_crashed", "load_timeout", "server_exited"])
def test_without_such_a_field_the_fault_stays_whose_it_was(line: str, category: str) -> None:
    others = {"ulimits": [NOFILE]} if line in THREADS else {"pids_limit": 4, "ulimits": [NPROC]}
    before = fault(category, Phase.LOAD, "It is.")
    for given in ({}, others):
        found = find_cause(before, settings(**given), line, "mount")
        assert dataclasses.replace(found, hint=before.hint) == before
        assert found.hint.startswith(before.hint)
        assert "ServingSpec.local_docker." in found.hint


@pytest.mark.parametrize("line", [*THREADS, *FILES])
@pytest.mark.parametrize(
    "number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGKILL]
)
def test_what_a_server_said_before_it_crashed_excuses_no_crash(
    line: str, number: signal.Signals
) -> None:
    evidence = Evidence(exit_code=128 + number, log_line=line)
    for category in ("server_crashed", "server_exited"):
        crashed = fault(category, Phase.LOAD, "It crashed.", detail=line, evidence=evidence)
        assert find_cause(crashed, settings(**BOTH), line, "mount") is crashed


@pytest.mark.parametrize("line", [*THREADS, *FILES])
def test_only_the_last_words_of_a_server_that_loaded_count(line: str) -> None:
    for category in ("server_crashed", "model_load_failed", "load_timeout"):
        found = fault(category, Phase.LOAD, "It is.")
        assert find_cause(found, settings(**BOTH), f"{line}\n{LINES}", "mount") is found
    early = fault("server_exited", Phase.START, "It exited.", evidence=Evidence(exit_code=1))
    found = find_cause(early, settings(**BOTH), f"{line}\n{LINES}", "mount")
    assert found.category == "configuration_invalid"


def test_a_stack_trace_is_not_among_the_last_words() -> None:
    stack = "*** Check failure stack trace: ***\n" + "    @   0x7f61  tsl::PThread()\n" * 64
    log = f"{THREADS[4]}\n{stack}entrypoint.sh: line 4:     8 Aborted\n"
    found = find_cause(CRASHED, settings(pids_limit=4), log, "mount")
    assert found.category == "configuration_invalid"
    assert found.evidence.log_line == THREADS[4]


def test_a_load_error_says_itself_why() -> None:
    failed = fault(
        "model_load_failed",
        Phase.LOAD,
        "It fails.",
        detail=f"INTERNAL: {THREADS[5]}",
        evidence=Evidence(exit_code=255),
    )
    found = find_cause(failed, settings(pids_limit=4), LINES, "mount")
    assert found.category == "configuration_invalid"


@pytest.mark.parametrize(
    "start", ["clone", "fork", "fork/exec ", "starting x process", "pthread_create"]
)
def test_a_long_line_is_read_quickly(start: str) -> None:
    log = start * (1024 * 1024 // len(start))
    began = time.monotonic()
    for category in ("server_crashed", "server_exited"):
        known = fault(category, Phase.LOAD, "It is.", detail=log)
        assert find_cause(known, settings(**BOTH), log, "mount") is known
    lines = "\n".join([start * (8000 // len(start))] * 128)
    early = fault("server_exited", Phase.START, "It exited.")
    assert find_cause(early, settings(**BOTH), lines, "mount") is early
    assert time.monotonic() - began < 5  # seconds; of quadratic patterns it would be minutes


def test_the_engines_own_words_count_too() -> None:
    refused = fault("platform_failed", Phase.START, "The engine refuses.", detail=FILES[0])
    assert find_cause(refused, settings(), "", None).category == "platform_failed"
    found = find_cause(refused, settings(ulimits=[NOFILE]), "", None)
    assert (found.category, found.phase) == ("configuration_invalid", Phase.START)
    assert not found.transient


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
        "pthread_create failed: Invalid argument",
        "pthread_create failed",
        "Check failed: ret == 0 (22 vs. 0)Thread creation via pthread_create() failed.",
        "the limit of open files is 1024",
    ],
)
def test_other_words_are_no_evidence(line: str) -> None:
    assert find_cause(CRASHED, settings(pids_limit=4, ulimits=[NOFILE]), line, "mount") is CRASHED


LOADING = "I loader_harness.cc:71] Approving load for\nLoading servable version {name: m}\n"
HERE = "PERMISSION_DENIED: /model/a model/1/saved_model.pb; Permission denied"


def unread(category: str, said: str) -> Fault:
    return fault(category, Phase.LOAD, "It cannot be read.", detail=said)


@pytest.mark.parametrize("category", ["model_missing", "model_not_delivered"])
@pytest.mark.parametrize(
    "said",
    [
        HERE,
        "Could not find base path /model/m for servable m with error NOT_FOUND: /model/m not found",
        "No versions of servable m found under base path /model/m. Did you forget to name it?",
    ],
)
@pytest.mark.parametrize(
    ("user", "delivery", "expected"),
    [
        ("5:5", "mount", "configuration_invalid"),
        ("5:5", "copy", None),  # everybody may read it
        ("", "mount", "mount_denied"),
        ("", "copy", None),
        ("", None, None),
    ],
)
def test_a_model_that_was_there_before(
    category: str, said: str, user: str, delivery: str | None, expected: str | None
) -> None:
    missing = unread(category, said)
    found = find_cause(missing, settings(user=user), "", delivery)
    if expected is None:
        assert found is missing
        return
    assert found.category == expected
    assert not found.transient
    assert said in found.summary
    if user:
        assert found.summary.startswith("ServingSpec.local_docker.user: 5:5 cannot read ")


@pytest.mark.parametrize(
    "said",
    [
        "PERMISSION_DENIED: /root/vocab.txt; Permission denied\n\t [[{{node table_init}}]]",
        "PERMISSION_DENIED: /models/other/vocab.txt; Permission denied",
    ],
)
@pytest.mark.parametrize("user", ["5:5", ""])
@pytest.mark.parametrize("delivery", ["mount", "copy"])
def test_a_file_elsewhere_that_the_model_reads_is_the_models(
    said: str, user: str, delivery: str
) -> None:
    unreadable = unread("model_not_delivered", said)
    assert find_cause(unreadable, settings(user=user), "", delivery) is unreadable  # of a flag
    found = find_cause(unreadable, settings(user=user), LOADING, delivery)
    assert (found.category, found.blame) == ("asset_unreadable", Blame.MODEL)
    assert not found.transient
    missing = unread("model_missing", said)
    assert find_cause(missing, settings(user=user), LOADING, delivery) is missing


@pytest.mark.parametrize("place", ["gs://bucket/model/vocab.txt", "/secrets", "/secrets/key.json"])
def test_a_file_that_is_not_the_models_to_bring_is_not_the_models(place: str) -> None:
    found = unread("model_not_delivered", f"PERMISSION_DENIED: {place}; Permission denied")
    given = settings(mounts=[pb.Mount(source="/host", target="/secrets")])
    assert find_cause(found, given, LOADING, "mount") is found


MERGED = f"/var/lib/docker/overlay2/{'0a' * 32}/merged"
FILE_OVER_FOLDER = f"mount /host/file:{MERGED}/usr, flags: 0x5001: not a directory"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        # Recorded from an engine 20.10 with runc 1.1.
        ("/usr", FILE_OVER_FOLDER),
        ("/model/m/1/x", f"open {MERGED}/model/m/1/x: read-only file system"),
        (
            "/proc/x",
            'error mounting "/host/file" to rootfs at "/proc/x": '
            f'"{MERGED}/proc/x" cannot be mounted because it is inside /proc: unknown',
        ),
        (
            "/sys/x",
            'error mounting "/host/file" to rootfs at "/sys/x": '
            f"mkdir {MERGED}/sys/x: read-only file system: unknown",
        ),
    ],
)
def test_a_mount_at_a_place_that_takes_none_is_named(target: str, said: str) -> None:
    refused = fault("platform_failed", Phase.START, "It refuses.", detail=said)
    mounts = [
        pb.Mount(source="/host", target=target[:-1]),
        pb.Mount(source="/host/file", target=target),
    ]
    found = find_cause(refused, settings(mounts=mounts), "", None)
    assert (found.category, found.phase) == ("configuration_invalid", Phase.START)
    assert found.summary.startswith("ServingSpec.local_docker.mounts[1]: /host/file cannot be ")
    assert target in found.summary
    assert not found.transient


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/other", FILE_OVER_FOLDER),
        ("/file", FILE_OVER_FOLDER),  # that is on the host
        ("/usr", FILE_OVER_FOLDER.replace("not a directory", "stale file handle")),
    ],
)
def test_what_is_no_mount_of_the_configuration_is_the_engines(target: str, said: str) -> None:
    refused = fault("platform_failed", Phase.START, "It refuses.", detail=said)
    mounts = [pb.Mount(source="/host/file", target=target)]
    assert find_cause(refused, settings(mounts=mounts), "", None) is refused


def test_without_a_place_nobody_else_is_blamed() -> None:
    found = unread("model_not_delivered", "PERMISSION_DENIED: not for you")
    assert find_cause(found, settings(user="5:5"), LOADING, "mount") is found


def test_a_replay_that_saw_another_model_is_no_matter_of_rights() -> None:
    replayed = fault("model_not_delivered", Phase.WARM_UP, "It replayed others.")
    assert find_cause(replayed, settings(user="5:5"), "", "mount") is replayed


@pytest.mark.parametrize(
    ("user", "category"), [("5:5", "configuration_invalid"), (None, "mount_denied")]
)
def test_variables_that_the_server_does_not_see(user: str | None, category: str) -> None:
    said = (
        "loader.cc:249] The specified SavedModel has no variables; no checkpoints were restored. "
        "File does not exist: /model/a model/1/variables/variables.index\n"
    )
    found = find_unseen_variables("/model/a model/1", user, f"before\n{said}after\n")
    assert found is not None
    assert (found.category, found.phase) == (category, Phase.LOAD)
    assert not found.transient
    assert find_unseen_variables("/model/a", user, said) is None  # of a model within the model
    assert find_unseen_variables("/model/a model/1", user, "") is None
