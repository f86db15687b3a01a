"""Whose a container is, as labels on it, and whether that owner is gone."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_PREFIX = "infra-validator."
MANAGED_LABEL = f"{_PREFIX}managed"

# A container of somebody else is left alone for so long beyond what it could still be needed for.
_GRACE_SECONDS = 3600.0

# What we write, of numbers of processes and of seconds; others could write anything there.
_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII).fullmatch


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process, told apart from all others that ever were.

    Only Linux tells all of it. Of a process elsewhere, boot and namespace stay
    empty, and whether it is gone is told by the expiry alone.

    Attributes:
        host: name of its host, for people.
        boot: identity of that host's boot.
        namespace: its namespace of process numbers.
        pid: its number there.
        started: when it started, in the kernel's ticks since boot.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: int

    @classmethod
    def this_process(cls) -> Owner:
        """The process that asks."""
        boot, namespace = "", ""
        if sys.platform == "linux":
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - no file is named so
        return cls(
            host=platform.node(),
            boot=boot,
            namespace=namespace,
            pid=os.getpid(),
            started=_started("self") or 0,
        )

    def labels(self, expires: float) -> dict[str, str]:
        """Labels for a container.

        Args:
            expires: wall-clock time after which nobody can need it any more.
        """
        return {
            MANAGED_LABEL: "true",
            **{f"{_PREFIX}{key}": str(value) for key, value in dataclasses.asdict(self).items()},
            f"{_PREFIX}expires": f"{expires:.0f}",
        }

    def may_remove(
        self, labels: Mapping[str, str], *, engine_is_local: bool, now: float | None = None
    ) -> bool:
        """Whether a container with these labels is left over.

        Its owner is gone for sure if it is no more among the processes seen from
        here, or if it was on this machine in an earlier boot. Of any other owner
        only the expiry tells.

        Args:
            labels: the container's.
            engine_is_local: whether all who use the engine run on this machine.
            now: wall-clock time.
        """
        if labels.get(MANAGED_LABEL) != "true":
            return False
        boot = labels.get(f"{_PREFIX}boot")
        both_known = bool(boot and self.boot)
        same_boot = both_known and boot == self.boot
        # A socket may lead to an engine elsewhere, so the host's name has its say too.
        same_host = engine_is_local and labels.get(f"{_PREFIX}host") == self.host
        if both_known and not same_boot and same_host:
            return True
        pid = labels.get(f"{_PREFIX}pid", "")
        if same_boot and labels.get(f"{_PREFIX}namespace") == self.namespace and _NUMBER(pid):
            if not _exists(int(pid)):
                return True
            started = _started(pid)
            if started is not None:
                return str(started) != labels.get(f"{_PREFIX}started")
        expires = labels.get(f"{_PREFIX}expires", "")
        now = time.time() if now is None else now
        return bool(_NUMBER(expires)) and now > float(expires) + _GRACE_SECONDS


def _started(pid: str) -> int | None:
    """When a process started (proc(5), field 22 of stat), or None if that is not to be seen."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _exists(pid: int) -> bool:
    """Whether there is such a process; tells it of other users' too, which /proc may hide."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
