import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra_validator import workspace
from infra_validator.workspace import open_workspace

OPENS_ONE = """
import sys
from infra_validator.workspace import open_workspace

with open_workspace() as path:
    (path / "attempt").mkdir()
    (path / "attempt" / "file").write_text("x")
    print(path, flush=True)
    sys.stdin.read()
    {ending}
"""

Opener = Callable[[str], tuple["subprocess.Popen[str]", Path]]


@pytest.fixture
def another_process(temporary_root: Path) -> Iterator[Opener]:
    """Starts processes that open a workspace, and end as told once their input is closed."""
    started = []

    def start(ending: str = "pass") -> tuple["subprocess.Popen[str]", Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", OPENS_ONE.format(ending=ending)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_is_a_private_folder_and_gone_afterwards(temporary_root: Path) -> None:
    with open_workspace() as path:
        assert path.parent == temporary_root
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert path.stat().st_uid == os.getuid()
        (path / "attempt").mkdir()
        (path / "attempt" / "file").write_text("x")
    assert list(temporary_root.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_is_gone_after_an_error(temporary_root: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), open_workspace():
        raise error
    assert list(temporary_root.iterdir()) == []


def test_may_be_gone_already(temporary_root: Path) -> None:
    with open_workspace() as path:
        (path / "lock").unlink()
        path.rmdir()
    assert list(temporary_root.iterdir()) == []


def test_what_links_point_to_stays(temporary_root: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_text("x")
    with open_workspace() as path:
        (path / "models").mkdir()
        (path / "models" / "1").symlink_to(tmp_path / "model", target_is_directory=True)
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "x"
    assert list(temporary_root.iterdir()) == []


def test_two_at_once_leave_each_other_alone(temporary_root: Path) -> None:
    with open_workspace() as one:
        with open_workspace() as other:
            assert one != other
            assert one.is_dir()
        assert one.is_dir()
        assert not other.exists()


@pytest.mark.parametrize(
    ("ending", "code"), [("pass", 0), ("raise ValueError", 1), ("sys.exit(3)", 3)]
)
def test_is_gone_however_its_process_ends(
    another_process: Opener, temporary_root: Path, ending: str, code: int
) -> None:
    process, path = another_process(ending)
    assert path.is_dir()
    process.communicate("")
    assert process.returncode == code
    assert list(temporary_root.iterdir()) == []


def test_is_gone_after_an_interrupt_from_the_keyboard(
    another_process: Opener, temporary_root: Path
) -> None:
    process, path = another_process("pass")
    assert path.is_dir()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert list(temporary_root.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_left_is_swept_but_not_what_a_living_one_has(
    another_process: Opener, temporary_root: Path, number: signal.Signals
) -> None:
    killed, left = another_process("pass")
    living, used = another_process("pass")
    killed.send_signal(number)
    killed.wait()
    assert left.is_dir()
    with open_workspace() as path:
        assert not left.exists()
        assert (used / "attempt" / "file").read_text() == "x"
        assert set(temporary_root.iterdir()) == {path, used}
    assert (used / "attempt" / "file").read_text() == "x"
    assert living.poll() is None


def test_what_a_killed_process_left_is_swept_though_its_child_lives(temporary_root: Path) -> None:
    """A child that was started by exec does not hold the folder."""
    script = (
        "import subprocess, sys\n"
        "from infra_validator.workspace import open_workspace\n"
        "with open_workspace() as path:\n"
        "    child = subprocess.Popen(['cat'])\n"
        "    print(path, flush=True)\n"
        "    child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        path = Path(parent.stdout.readline().strip())
        parent.kill()
        parent.wait()
        with open_workspace():
            assert not path.exists()
        parent.stdin.close()


def test_one_that_is_just_being_opened_is_not_swept(
    temporary_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another validator sweeps between the making of the lock's file and its locking."""
    real = fcntl.flock
    interrupted = []

    def flock(file: object, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not interrupted:
            interrupted.append(True)
            workspace._sweep(temporary_root)
        real(file, operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", flock)
    with open_workspace() as path:
        assert interrupted
        assert path.is_dir()
        (path / "attempt").mkdir()
    assert list(temporary_root.iterdir()) == []


def test_what_is_not_a_workspace_stays(temporary_root: Path, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (temporary_root / "other").mkdir()
    (temporary_root / "other" / "lock").touch()
    (temporary_root / "infra-validator-file").touch()
    (temporary_root / "infra-validator-just-made").mkdir()
    (temporary_root / "infra-validator-link").symlink_to(tmp_path)
    before = set(temporary_root.iterdir())
    with open_workspace():
        pass
    assert set(temporary_root.iterdir()) == before
    assert (tmp_path / "lock").exists()


def test_has_a_path_that_is_short_enough_for_unix_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long-" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with open_workspace() as path:
        assert len(os.fsencode(path / "12-34" / "server.sock")) < 108
    assert not path.exists()


def test_no_folder_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with pytest.raises(OSError, match="/no/such/folder"), open_workspace():
        pass
