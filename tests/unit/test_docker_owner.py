"""Whose a container is: labels there and back, and real processes, living and dead."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from infra_validator.runners.docker_owner import MANAGED_LABEL, Owner

HOUR = 3600.0
NOW = 1_900_000_000.0

TELL = """
import json, sys
from infra_validator.runners.docker_owner import Owner
print(json.dumps(Owner.this_process().labels(float(sys.argv[1]))), flush=True)
sys.stdin.read()
"""


class Process:
    """A process that has told the labels of its containers, and lives until it is ended."""

    def __init__(self, expires: float = NOW) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", TELL, str(expires)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.labels: dict[str, str] = json.loads(self._process.stdout.readline())

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.end()


@pytest.fixture
def here() -> Owner:
    return Owner.this_process()


def labels(owner: Owner, expires: float = NOW) -> dict[str, str]:
    return owner.labels(expires)


def test_labels_are_texts_and_tell_everything(here: Owner) -> None:
    found = here.labels(1234.5)
    assert found == {
        MANAGED_LABEL: "true",
        "infra-validator.host": here.host,
        "infra-validator.boot": here.boot,
        "infra-validator.namespace": here.namespace,
        "infra-validator.pid": str(os.getpid()),
        "infra-validator.started": str(here.started),
        "infra-validator.expires": "1234",
    }
    assert here.started > 0
    assert Owner.this_process() == here


@pytest.mark.parametrize("engine_is_local", [True, False])
def test_its_own_containers_are_kept(here: Owner, engine_is_local: bool) -> None:
    for now in (NOW, NOW + 1000 * HOUR):
        assert not here.may_remove(labels(here), engine_is_local=engine_is_local, now=now)


@pytest.mark.parametrize("engine_is_local", [True, False])
def test_containers_of_a_living_process_are_kept_whatever_the_time(
    here: Owner, process: Process, engine_is_local: bool
) -> None:
    for now in (NOW - HOUR, NOW + 1000 * HOUR):
        assert not here.may_remove(process.labels, engine_is_local=engine_is_local, now=now)


@pytest.mark.parametrize("engine_is_local", [True, False])
def test_containers_of_a_dead_process_are_removed_before_their_time(
    here: Owner, process: Process, engine_is_local: bool
) -> None:
    process.end()
    assert here.may_remove(process.labels, engine_is_local=engine_is_local, now=NOW - HOUR)


def test_a_zombie_holds_its_containers_until_it_is_reaped(here: Owner) -> None:
    """It has ended, but its number is not free; either answer harms nobody, none may raise."""
    child = subprocess.Popen(
        [sys.executable, "-c", TELL, str(NOW)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    found = json.loads(child.stdout.readline())
    child.stdout.read()
    here.may_remove(found, engine_is_local=True, now=NOW)
    child.wait()
    assert here.may_remove(found, engine_is_local=True, now=NOW)


def test_a_number_that_another_process_has_by_now_does_not_protect(
    here: Owner, process: Process
) -> None:
    reused = {**process.labels, "infra-validator.started": "1"}
    assert here.may_remove(reused, engine_is_local=True, now=NOW)


def of_another(here: Owner, **fields: str) -> dict[str, str]:
    return labels(dataclasses.replace(here, pid=1, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "engine_is_local", "at_once"),
    [
        # This machine, before it was started anew: all processes of then are gone.
        ({"boot": "another"}, True, True),
        # The engine is somewhere else, and so is perhaps the owner.
        ({"boot": "another"}, False, False),
        ({"boot": "another", "host": "another"}, False, False),
        # A socket may be forwarded from another machine, whose validators live on.
        ({"boot": "another", "host": "another"}, True, False),
        # A container on this machine: its process numbers are not those seen here.
        ({"namespace": "pid:[1]"}, True, False),
        ({"namespace": "pid:[1]", "host": "another"}, True, False),
        ({"namespace": "pid:[1]"}, False, False),
    ],
)
def test_what_cannot_be_seen_from_here_is_removed_past_its_expiry_only(
    here: Owner, change: dict[str, str], engine_is_local: bool, at_once: bool
) -> None:
    found = of_another(here, **change)

    def may_remove(now: float) -> bool:
        return here.may_remove(found, engine_is_local=engine_is_local, now=now)

    assert may_remove(NOW - 1) is at_once
    assert may_remove(NOW + HOUR - 1) is at_once
    assert may_remove(NOW + HOUR + 1)


@pytest.mark.parametrize("engine_is_local", [True, False])
@pytest.mark.parametrize("which", ["the one who asks", "the owner", "both"])
def test_without_a_proc_only_the_expiry_tells(
    here: Owner, process: Process, engine_is_local: bool, which: str
) -> None:
    """As on macOS: two processes there are not told apart by what is not known of them."""
    process.end()
    unknown = {"boot": "", "namespace": "", "started": 0}
    owner = here if which == "the owner" else dataclasses.replace(here, **unknown)  # type: ignore[arg-type]
    found = {**process.labels}
    if which != "the one who asks":
        found |= {f"infra-validator.{key}": str(value) for key, value in unknown.items()}
    for now, expected in ((NOW - 1, False), (NOW + HOUR - 1, False), (NOW + HOUR + 1, True)):
        assert owner.may_remove(found, engine_is_local=engine_is_local, now=now) is expected


def test_a_system_without_proc_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    owner = Owner.this_process()
    assert (owner.boot, owner.namespace, owner.pid) == ("", "", os.getpid())


def test_the_clock_is_the_walls(here: Owner) -> None:
    past = labels(dataclasses.replace(here, namespace="pid:[1]"), time.time() - 2 * HOUR)
    future = labels(dataclasses.replace(here, namespace="pid:[1]"), time.time() + 2 * HOUR)
    assert here.may_remove(past, engine_is_local=True)
    assert not here.may_remove(future, engine_is_local=True)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {MANAGED_LABEL: "false"},
        {"maintainer": "somebody", "infra-validator.expires": "1"},
        {"infra-validator.managed.too": "true"},
        # A Pod of ours on a Kubernetes node that runs on the same engine; its owner's labels are
        # annotations there, and it is for the cluster to remove.
        {
            MANAGED_LABEL: "true",
            "annotation.infra-validator.expires": "1",
            "annotation.infra-validator.pid": "1",
            "io.kubernetes.pod.name": "infra-validator-1",
        },
    ],
)
def test_foreign_containers_are_never_touched(here: Owner, found: dict[str, str]) -> None:
    for engine_is_local in (True, False):
        assert not here.may_remove(found, engine_is_local=engine_is_local, now=NOW * 2)


@pytest.mark.parametrize("expires", ["", "soon", "-5", "nan", "inf"])
def test_a_label_that_makes_no_sense_keeps_the_container(here: Owner, expires: str) -> None:
    found = {**of_another(here, namespace="pid:[1]"), "infra-validator.expires": expires}
    assert not here.may_remove(found, engine_is_local=True, now=NOW * 2)


@pytest.mark.parametrize("pid", ["", "self", "1/../self", "-1"])
def test_a_number_that_is_none_is_no_process(here: Owner, pid: str) -> None:
    found = {**labels(here), "infra-validator.pid": pid}
    assert not here.may_remove(found, engine_is_local=True, now=NOW - HOUR)
    assert here.may_remove(found, engine_is_local=True, now=NOW + 2 * HOUR)


HIDDEN = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18
if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None):
    sys.exit(77)
if libc.mount(b"proc", b"/proc", b"proc", 0, f"hidepid={sys.argv[1]}".encode()):
    sys.exit(77)
import json
from infra_validator.runners.docker_owner import Owner
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(Owner.this_process().may_remove(
    json.loads(sys.argv[2]), engine_is_local=True, now=float(sys.argv[3])))
"""


@pytest.mark.parametrize("hidepid", ["1", "2"])
def test_a_living_process_of_another_user_that_proc_hides_is_living(
    process: Process, hidepid: str
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can mount a /proc that hides processes")
    found = subprocess.run(
        [sys.executable, "-c", HIDDEN, hidepid, json.dumps(process.labels), str(NOW - HOUR)],
        capture_output=True,
        text=True,
    )
    if found.returncode == 77:
        pytest.skip("this system lets nobody mount a /proc that hides processes")
    assert found.stdout.strip() == "False", found.stderr
