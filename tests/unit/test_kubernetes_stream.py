"""What is streamed into a Pod, and what is made of the answer."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from infra_validator.faults import FaultError
from infra_validator.runners.kubernetes import stream
from infra_validator.runners.kubernetes.api import ApiError, ConnectionFailed, Interrupted
from infra_validator.runners.kubernetes.channels import ERROR, STDERR, STDOUT
from infra_validator.runners.tar_stream import Archive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "variables").mkdir(parents=True)
    (model / "empty").mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "variables" / "data").write_bytes(bytes(range(256)) * 4099)
    (model / "nothing").touch()
    (model / ("ü" * 120)).write_bytes(b"long")
    (model / "saved_model.pb").chmod(0o600)
    (model / "link").symlink_to(model / "saved_model.pb")
    return model


def test_the_archive_is_as_long_as_it_says_and_readable_to_everybody(folder: Path) -> None:
    archive = Archive({"model/a name/1": folder}, {"config/flag": b"text"})
    content = b"".join(archive.chunks())
    assert len(content) == archive.length
    with tarfile.open(fileobj=io.BytesIO(content)) as unpacked:
        found = {member.name: member for member in unpacked.getmembers()}
        data = unpacked.extractfile(found["model/a name/1/variables/data"])
        linked = unpacked.extractfile(found["model/a name/1/link"])
        assert data is not None
        assert linked is not None
        assert data.read() == (folder / "variables" / "data").read_bytes()
        assert linked.read() == b"graph"
    assert set(found) == {
        "model",
        "model/a name",
        "model/a name/1",
        "model/a name/1/empty",
        "model/a name/1/link",
        "model/a name/1/nothing",
        "model/a name/1/saved_model.pb",
        "model/a name/1/variables",
        "model/a name/1/variables/data",
        f"model/a name/1/{'ü' * 120}",
        "config",
        "config/flag",
    }
    assert {member.mode for member in found.values() if member.isdir()} == {0o755}
    assert {member.mode for member in found.values() if member.isfile()} == {0o644}
    assert {(member.uid, member.gid) for member in found.values()} == {(0, 0)}


def test_config_files_alone(tmp_path: Path) -> None:
    archive = Archive({}, {"config/a": b"1", "config/b": b""})
    content = b"".join(archive.chunks())
    assert len(content) == archive.length
    with tarfile.open(fileobj=io.BytesIO(content)) as unpacked:
        assert unpacked.getnames() == ["config", "config/a", "config/b"]


def test_a_file_that_shrinks_is_noticed(folder: Path) -> None:
    archive = Archive({"model": folder}, {})
    (folder / "variables" / "data").write_bytes(b"short")
    with pytest.raises(OSError, match="became shorter"):
        list(archive.chunks())


def test_a_file_that_grows_is_sent_as_it_was(folder: Path) -> None:
    archive = Archive({"model": folder}, {})
    with (folder / "variables" / "data").open("ab") as file:
        file.write(b"more")
    assert len(b"".join(archive.chunks())) == archive.length


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="pipe is neither a file nor a folder"):
        Archive({"model": folder}, {})


@pytest.mark.parametrize(
    ("harm", "code"),
    [("none", 0), ("cut", 4), ("changed", 5), ("no checksum", 5), ("no archive", 4)],
)
def test_the_receiving_script_takes_only_what_is_whole(
    folder: Path, tmp_path: Path, harm: str, code: int
) -> None:
    """The script itself, in a real shell, with the pipe on which the init container waits."""
    place = tmp_path / "received"
    place.mkdir()
    subprocess.run(["mkfifo", str(place / "done")], check=True)
    archive = Archive({"model/m/1": folder}, {})
    content = b"".join(archive.chunks())
    line = f"{hashlib.sha256(content).hexdigest()}\n".encode()
    sent = {
        "none": content + line,
        "cut": content[: len(content) // 2],
        "changed": content.replace(b"graph", b"grapH") + line,
        "no checksum": content,
        "no archive": bytes(range(256)) * (len(content) // 256) + line,
    }[harm]
    with subprocess.Popen(["timeout", "20", "cat", str(place / "done")], stdout=-1) as waiting:
        done = subprocess.run(
            ["/bin/sh", "-c", stream._RECEIVE, "sh", str(place), str(len(content)), "part-x"],
            input=sent,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if harm != "none":
            waiting.terminate()
        told, _ = waiting.communicate()
    assert done.returncode == code, done.stderr
    if harm == "none":
        assert told == b"0\n"
        assert done.stdout == b"whole\n"
        data = (place / "model" / "m" / "1" / "variables" / "data").read_bytes()
        assert data == (folder / "variables" / "data").read_bytes()
        assert {path.name for path in place.iterdir()} == {"done", "model"}
    else:
        assert told == b""
        assert not (place / "model").exists()


def status(code: int) -> bytes:
    """What the API says on the error channel, as recorded from Kubernetes 1.20."""
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    ).encode()


def test_an_answer_that_says_whole_needs_no_end() -> None:
    answer = stream._Answer()
    answer.take((STDOUT, b""))
    assert not answer.complete
    answer.take((STDOUT, b"whole\n"))
    assert answer.complete
    answer.check()


def test_a_success_is_one() -> None:
    answer = stream._Answer()
    answer.take((ERROR, b'{"metadata":{},"status":"Success"}'))
    answer.check()


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (5, b"", "checksums differ"),
        (4, b"tar: x: Cannot write: No space left on device\n", "No space left on device"),
        (3, b"the image has no tar\n", "the image has no tar"),
        (137, b"", "exit 137"),
    ],
)
def test_a_failure_is_told(code: int, said: bytes, expected: str) -> None:
    answer = stream._Answer()
    answer.take((STDERR, said))
    answer.take((ERROR, status(code)))
    assert answer.complete
    with pytest.raises(FaultError) as caught:
        answer.check()
    assert caught.value.fault.category == "delivery_failed"
    assert expected in caught.value.fault.summary


def test_a_connection_that_ends_before_the_answer_is_no_answer() -> None:
    with pytest.raises(ConnectionFailed):
        stream._Answer().take(None)


class Receiver:
    """A WebSocket to a container that takes everything, and says so."""

    def __init__(self, sent: list[bytes], said: bytes) -> None:
        self._sent = sent
        self._said = said
        self.sock, self._far = socket.socketpair()  # nothing comes before it is asked for

    def send_binary(self, data: bytes) -> None:
        self._sent.append(data[1:])

    def recv_data_frame(self, control_frame: bool) -> tuple[int, Any]:
        return 2, types.SimpleNamespace(data=self._said)

    def shutdown(self) -> None:
        self.sock.close()
        self._far.close()


class StandIn:
    """The API: refuses, breaks, or opens connections in turn."""

    def __init__(self, *turns: Exception | bytes) -> None:
        self.turns = list(turns)
        self.sent: list[list[bytes]] = []

    def websocket(self, path: str, query: Any, timeout: float) -> Receiver:
        assert path == "/pod/exec"
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        self.sent.append([])
        return Receiver(self.sent[-1], turn)


WHOLE = bytes([STDOUT]) + b"whole\n"
NOT_YET = ApiError(500, "container not found", "create", "pods/exec")


def send(api: StandIn, *, running: bool, arrived: bool = False, stopped: bool = False) -> Archive:
    archive = Archive({}, {"config/a": b"text"})
    events = threading.Event(), threading.Event()
    for event, happened in zip(events, (stopped, running), strict=True):
        if happened:
            event.set()
    opened: list[Any] = []
    stream.send(api, "/pod", archive, events[0], opened.append, events[1], lambda: arrived)  # type: ignore[arg-type]
    assert len(opened) == len(api.sent)
    return archive


def test_how_much_has_been_sent_is_told_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "variables").write_bytes(bytes(3 << 20))
    archive = Archive({"model": tmp_path}, {})
    running = threading.Event()
    told: list[int] = []
    running.set()
    stream.send(
        StandIn(WHOLE),  # type: ignore[arg-type]
        "/pod",
        archive,
        threading.Event(),
        lambda channels: None,
        running,
        lambda: False,
        told.append,
    )
    assert told == sorted(told)
    assert len(told) > 5
    assert 3 << 20 <= told[-1] <= archive.length


def test_what_is_refused_early_is_sent_again() -> None:
    api = StandIn(NOT_YET, NOT_YET, WHOLE)
    archive = send(api, running=False)
    assert api.turns == []
    [parts] = api.sent
    content = b"".join(archive.chunks())
    assert b"".join(parts) == content + f"{hashlib.sha256(content).hexdigest()}\n".encode()


def test_what_a_running_container_refuses_is_told() -> None:
    refused = ApiError(403, "no", "create", "pods/exec")
    with pytest.raises(ApiError) as caught:
        send(StandIn(refused), running=True)
    assert caught.value is refused


def test_a_connection_that_breaks_is_tried_again_but_not_for_ever() -> None:
    broken = [ConnectionFailed("gone")] * 3
    api = StandIn(*broken[:2], WHOLE)
    send(api, running=True)
    assert len(api.sent) == 1
    with pytest.raises(FaultError, match="3 times"):
        send(StandIn(*broken), running=True)


def test_what_has_arrived_though_the_connection_broke_is_not_sent_again() -> None:
    send(StandIn(), running=True, arrived=True)


def test_nothing_is_sent_once_stopped() -> None:
    api = StandIn(WHOLE)
    with pytest.raises(Interrupted):
        send(api, running=True, stopped=True)
    assert api.sent == []
