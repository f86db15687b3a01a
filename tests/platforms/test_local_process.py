"""The local process platform: conformance, and what is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra_validator.faults import Blame, Phase
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Verdict
from infra_validator.runners.base import Platform
from infra_validator.runners.local_process import LocalProcessPlatform
from tests.engine.helpers import run
from tests.platforms.conformance import PlatformConformance

pytestmark = pytest.mark.usefixtures("leaves_nothing")

_GONE_SECONDS = 10.0


def script(folder: Path, text: str) -> str:
    """An executable shell script that stands for a server, and has no version to tell."""
    path = folder / "server"
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\n{text}\n')
    path.chmod(0o755)
    return str(path)


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids: list[int]) -> None:
    """The kernel tells of the end of a process that is not our child only if asked."""
    limit = time.monotonic() + _GONE_SECONDS
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < limit, f"still running: {pids}"
        time.sleep(0.01)


class TestConformance(PlatformConformance):
    @pytest.fixture
    def platform(self) -> Platform:
        """With the embedded server."""
        return LocalProcessPlatform({})

    @pytest.fixture
    def exiting_platform(self, tmp_path: Path) -> Platform:
        return LocalProcessPlatform({"executable": script(tmp_path, "echo goodbye; exit 3")})

    def count_servers(self, workdir: Path) -> int:
        count = 0
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            is_supervisor = any(argument.endswith(b"supervisor.py") for argument in arguments)
            if not is_supervisor and any(os.fsencode(workdir) in item for item in arguments):
                count += 1
        return count


def test_the_program_on_path_comes_before_the_embedded_server(
    saved_model: Path, stand_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(stand_in).parent), prepend=os.pathsep)
    server = run(saved_model).binaries[0].attempts[0].server
    assert server["server"] == stand_in
    assert server["command"][0] == stand_in
    assert server["versions"] == {"ModelServer": "0.0-stand-in", "Library": "0.0"}


def test_without_a_program_on_path_the_embedded_server_is_used_and_named(
    saved_model: Path, split: Path
) -> None:
    report = run(saved_model, split=split)
    assert report.verdict == Verdict.BLESSED
    server = report.binaries[0].attempts[0].server
    assert server["server"] == "embedded model server"
    assert set(server["versions"]) == {"infra-validator", "tensorflow"}


# The second has to be long enough for the server to say that it loads.
LOADING_SECONDS = {"never_ready": 2, "never_ready_after_loading_began": 10}


@pytest.mark.parametrize(
    ("fault", "category", "blame", "phase", "exit_code"),
    [
        ("exit_at_start", "server_exited", Blame.INFRASTRUCTURE, Phase.START, 3),
        ("exit_while_loading", "op_missing", Blame.MODEL, Phase.LOAD, 255),
        ("killed_while_loading", "server_killed", Blame.INFRASTRUCTURE, Phase.LOAD, 137),
        ("never_ready", "server_not_ready", Blame.INFRASTRUCTURE, Phase.LOAD, None),
        ("never_ready_after_loading_began", "load_timeout", Blame.MODEL, Phase.LOAD, None),
        ("other_service", "server_incompatible", Blame.INFRASTRUCTURE, Phase.LOAD, None),
        ("end_state", "model_load_failed", Blame.MODEL, Phase.LOAD, None),
        ("exit_on_request", "server_crashed", Blame.MODEL, Phase.QUERY, 134),
        ("killed_on_request", "server_killed", Blame.INFRASTRUCTURE, Phase.QUERY, 137),
        ("hang_on_request", "request_timeout", Blame.MODEL, Phase.QUERY, None),
        ("refuse_request", "request_failed", Blame.MODEL, Phase.QUERY, None),
    ],
)
def test_what_a_server_does_wrong_is_told(
    saved_model: Path,
    split: Path,
    stand_in: str,
    fault: str,
    category: str,
    blame: Blame,
    phase: Phase,
    exit_code: int | None,
) -> None:
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_FAULT": fault},
        limits=pb.ValidationSpec(
            num_tries=1,
            max_loading_time_seconds=LOADING_SECONDS.get(fault, 60),
            request_timeout_seconds=2 if fault == "hang_on_request" else 60,
        ),
    )
    assert report.fault is not None
    assert (report.fault.category, report.fault.blame, report.fault.phase) == (
        category,
        blame,
        phase,
    )
    assert report.fault.evidence.exit_code == exit_code
    assert report.reason == report.fault.summary
    assert "\n" not in report.reason
    expected = Verdict.NOT_BLESSED if blame == Blame.MODEL else Verdict.UNDETERMINED
    assert report.verdict == expected


@pytest.mark.parametrize(
    ("executable", "problem"),
    [
        ("/no/such/server", "does not exist"),
        ("no-such-server", "is not on PATH"),
        ("/etc/passwd", "is not an executable file"),
        ("/tmp", "is not an executable file"),  # noqa: S108
    ],
)
def test_an_executable_that_cannot_be_run_is_refused_by_its_field(
    saved_model: Path, executable: str, problem: str
) -> None:
    report = run(saved_model, executable=executable)
    assert report.fault is not None
    assert report.fault.blame == Blame.CONFIGURATION
    assert report.reason.startswith("ServingSpec.local_process.executable: ")
    assert problem in report.reason
    assert report.binaries == ()


def test_a_file_that_the_system_cannot_run_is_told(saved_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "server"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    report = run(saved_model, executable=str(path))
    assert report.fault is not None
    assert report.fault.category == "executable_unusable"
    assert "Exec format error" in report.reason


def test_the_server_gets_a_minimal_environment_and_what_the_spec_says(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("http_proxy", "http://nowhere.invalid:1")
    seen = tmp_path / "environment"
    run(
        saved_model,
        executable=script(tmp_path, f'env > "{seen}"; exit 1'),
        env={"OMP_NUM_THREADS": "3"},
    )
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert "OMP_NUM_THREADS=3" in seen.read_text().splitlines()
    assert names <= {
        *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR"),
        *("OMP_NUM_THREADS", "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"),
    }


def test_nonsense_in_http_proxy_does_not_matter(
    saved_model: Path, split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://nowhere.invalid:1")
        monkeypatch.setenv(variable.upper(), "nonsense")
    assert run(saved_model, split=split).verdict == Verdict.BLESSED


def test_the_model_is_used_in_place(saved_model: Path, tmp_path: Path) -> None:
    seen = tmp_path / "link"
    run(
        saved_model,
        executable=script(tmp_path, f'readlink models/*/1 > "{seen}"; ls models/* >> "{seen}"'),
    )
    assert seen.read_text().split() == [str(saved_model), "1"]


def test_config_files_reach_the_server_by_their_flags(saved_model: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "monitoring.txt"
    elsewhere.write_text("from a file\n")
    seen = tmp_path / "seen"
    run(
        saved_model,
        executable=script(
            tmp_path,
            f'for a in "$@"; do case "$a" in *_config_file=*|*_parameters_file=*) '
            f'echo "${{a%%=*}}" >> "{seen}"; cat "${{a#*=}}" >> "{seen}";; esac; done',
        ),
        config_files={
            "batching_parameters_file": pb.ConfigFile(text="max_batch_size { value: 4 }\n"),
            "monitoring_config_file": pb.ConfigFile(uri=str(elsewhere)),
        },
    )
    assert seen.read_text().splitlines() == [
        "--batching_parameters_file",
        "max_batch_size { value: 4 }",
        "--monitoring_config_file",
        "from a file",
    ]


def test_a_config_file_that_cannot_be_read_is_refused_by_its_field(saved_model: Path) -> None:
    report = run(
        saved_model,
        config_files={"monitoring_config_file": pb.ConfigFile(uri="/no/such/file")},
    )
    assert report.reason.startswith(
        "ServingSpec.tensorflow_serving.config_files['monitoring_config_file']: /no/such/file"
    )


def test_the_users_own_flag_comes_after_ours(saved_model: Path, tmp_path: Path) -> None:
    seen = tmp_path / "arguments"
    run(
        saved_model,
        executable=script(tmp_path, f'for a in "$@"; do echo "$a"; done > "{seen}"'),
        args=("--max_num_load_retries=7",),
    )
    arguments = seen.read_text().splitlines()
    assert arguments[-1] == "--max_num_load_retries=7"
    assert "--max_num_load_retries=0" in arguments[:-1]


def test_a_chatty_server_neither_blocks_nor_fills_the_memory(
    saved_model: Path, tmp_path: Path
) -> None:
    report = run(
        saved_model,
        executable=script(
            tmp_path, "head -c 30000000 /dev/zero | tr '\\0' 'x'; echo; echo end; exit 3"
        ),
    )
    assert report.fault is not None
    assert report.fault.evidence.exit_code == 3
    assert report.binaries[0].attempts[0].log_tail[-1] == "end"


def test_look_alike_lines_and_endless_ones_decide_nothing(
    saved_model: Path, split: Path, stand_in: str
) -> None:
    lines = (
        "user op says: No versions of servable x found under base path y",
        "No versions of servable " * 20000,
        "Loading servable: {name: " * 20000,
    )
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_LOG": "\n".join(lines)[:120000]},
    )
    assert report.verdict == Verdict.BLESSED


@pytest.mark.parametrize("name", ["a#b", "a?b", "a,b", "a%41", "a b", "a:b", "ä"])
def test_a_temporary_folder_may_have_any_name(
    saved_model: Path, split: Path, stand_in: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import tempfile

    odd = Path(tempfile.gettempdir()) / name
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    report = run(saved_model, split=split, executable=stand_in)
    odd.rmdir()
    assert report.verdict == Verdict.BLESSED


def test_a_process_is_gone_if_its_threads_cannot_be_started(
    saved_model: Path, stand_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra_validator.runners import supervised_process

    def no_more(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(supervised_process, "_start_thread", no_more)
    report = run(saved_model, executable=stand_in)
    assert report.fault is not None
    assert report.fault.category == "platform_failed"
    assert "can't start new thread" in report.reason


@pytest.mark.parametrize("executable", ["~nosuchuser/server", "/" + "a" * 300])
def test_an_executable_that_cannot_be_looked_up_is_refused_by_its_field(
    saved_model: Path, executable: str
) -> None:
    report = run(saved_model, executable=executable)
    assert report.reason.startswith("ServingSpec.local_process.executable: ")


def test_children_of_the_server_end_with_it(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    trace = tmp_path / "pids"
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_FAULT": "grandchildren", "STAND_IN_TRACE": str(trace)},
    )
    assert report.verdict == Verdict.BLESSED
    pids = [int(pid) for pid in trace.read_text().split()]
    assert len(pids) == 3
    assert not any(is_running(pid) for pid in pids)


VALIDATE = textwrap.dedent(
    """
    import sys, threading
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from infra_validator.proto import infra_validator_pb2 as pb
    from tests.engine.helpers import run

    def validate():
        run(sys.argv[2], executable=sys.argv[3],
            env={"STAND_IN_FAULT": "grandchildren", "STAND_IN_TRACE": sys.argv[4],
                 "STAND_IN_LOAD_SECONDS": "300"},
            limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=300))

    if sys.argv[5] == "in a thread":
        thread = threading.Thread(target=validate)
        thread.start()
        thread.join()
    else:
        validate()
    """
)


@pytest.mark.parametrize("place", ["in the main thread", "in a thread"])
def test_nothing_outlives_a_validator_that_is_killed(
    saved_model: Path,
    stand_in: str,
    tmp_path: Path,
    place: str,
    leaves_nothing: Callable[[], set[str]],
) -> None:
    trace = tmp_path / "pids"
    trace.touch()
    validator = subprocess.Popen(
        [
            *(sys.executable, "-c", VALIDATE, str(Path(__file__).parents[2])),
            *(str(saved_model), stand_in, str(trace), place),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        while len(trace.read_text().split()) < 3:
            assert validator.poll() is None
            time.sleep(0.02)
        pids = [int(pid) for pid in trace.read_text().split()]
        assert all(is_running(pid) for pid in pids)
        assert leaves_nothing()
    finally:
        validator.send_signal(signal.SIGKILL)
        validator.wait()
    wait_until_gone(pids)
    limit = time.monotonic() + _GONE_SECONDS
    while leaves_nothing():
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_a_server_outlives_the_thread_that_started_it(
    saved_model: Path, stand_in: str, tmp_path: Path
) -> None:
    """A parent-death signal set from a thread would kill the server when the thread ends."""
    import threading

    from infra_validator.runners.supervised_process import SupervisedProcess

    started: list[SupervisedProcess] = []

    def start() -> None:
        started.append(
            SupervisedProcess(
                [sys.executable, "-S", "-c", "print('alive', flush=True); input()"],
                env={},
                workdir=tmp_path,
                workspace=tmp_path / "workspace",
                wake=lambda: None,
            )
        )

    # The command reads /dev/null, so it ends by itself with EOFError.
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert started[0].wait(30) == 1
    assert started[0].output().startswith("alive")
    assert "EOFError" in started[0].output()


def test_of_a_quoted_text_longer_than_what_is_kept_nothing_is_shown(
    saved_model: Path, tmp_path: Path
) -> None:
    report = run(
        saved_model,
        executable=script(
            tmp_path,
            'echo "2026-01-02 03:04:05.6: W x.cc:1] Could not parse example input, value: \'a"\n'
            "yes hunter2 | head -c 3000000\n"
            "echo; echo '2026-01-02 03:04:06.7: E x.cc:1] end'; exit 3",
        ),
    )
    [attempt] = report.binaries[0].attempts
    assert "hunter2" not in report.to_json()
    assert attempt.log_tail == ("2026-01-02 03:04:06.7: E x.cc:1] end",)
