"""Runs a command and sees to it that it never outlives the process that wanted it.

A program of its own, single-threaded, started as

    python -I -S supervisor.py PARENT_PID WORKSPACE COMMAND [ARGUMENT ...]

with the command's environment on its standard input (see `pack_environment`).
It ends the command and all of its descendants when the command itself ends,
when another byte comes on its standard input, or when the parent dies; in the
last case it removes the workspace too. Then it ends with the command's exit code,
128 + N where signal N ended it.

Why a program: the kernel's parent-death signal follows the *thread* that
forked, so a threaded parent cannot use it on the command directly
(prctl(2), PR_SET_PDEATHSIG); a closed pipe alone does not tell a parent's death,
since a forked copy of the parent may hold its other end.
"""

import ctypes
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

# prctl(2), linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# As a shell does where it cannot run a command. Since the command itself may end so too, the
# line that comes with it tells.
EXIT_CANNOT_RUN = 126
CANNOT_RUN = "infra-validator: cannot run "


def prctl(option: int, argument: int) -> None:
    """Calls prctl(2).

    Raises:
        OSError: if the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def pack_environment(environment: "Mapping[str, str]") -> bytes:
    """An environment as bytes: their length in 8 bytes, then NAME=VALUE entries ended by zeros."""
    entries = b"".join(
        os.fsencode(name) + b"=" + os.fsencode(value) + b"\0" for name, value in environment.items()
    )
    return len(entries).to_bytes(8, "big") + entries


def read_environment(descriptor: int) -> dict[bytes, bytes]:
    """Reads what `pack_environment` made; no byte more.

    Raises:
        EOFError: if the writer died half way.
    """
    entries = read_exactly(descriptor, int.from_bytes(read_exactly(descriptor, 8), "big"))
    pairs = (entry.partition(b"=") for entry in entries.split(b"\0")[:-1])
    return {name: value for name, _, value in pairs}


def read_exactly(descriptor: int, size: int) -> bytes:
    """Reads so many bytes.

    Raises:
        EOFError: if there are fewer.
    """
    data = b""
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def spawn(command: list[str], environment: dict[bytes, bytes]) -> int:
    """Starts the command in a process group of its own, bound to this process's life."""
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        run(command, environment, supervisor)
    return child


def run(command: list[str], environment: dict[bytes, bytes], supervisor: int) -> NoReturn:
    """Becomes the command. Ends the process, whatever happens."""
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == supervisor:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            with open(os.devnull, "rb") as nothing:
                os.dup2(nothing.fileno(), 0)
            os.execve(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{CANNOT_RUN}{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(EXIT_CANNOT_RUN)


def end(child: int) -> int:
    """Kills the command and all its descendants; returns its wait status."""
    # Not reaped yet, so the group's number cannot have been given to another.
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # not yet the leader of its group, or all its members are ended
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    _, status = os.waitpid(child, 0)
    # Descendants that left the group become children of this process, the subreaper.
    while True:
        for orphan in children():
            try:
                os.kill(orphan, signal.SIGKILL)
            except PermissionError:
                pass  # it changed its user; only its own end frees us
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return status


def children() -> list[int]:
    """The processes whose parent this process is."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def remove(workspace: str) -> None:
    """Removes a folder of a parent that is dead."""
    import shutil

    shutil.rmtree(workspace, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Runs the command; returns the exit code to end with."""
    parent, workspace, command = int(arguments[0]), arguments[1], arguments[2:]
    try:
        parent_fd = os.pidfd_open(parent)
        environment = read_environment(0)
        orphaned = os.getppid() != parent
    except (ProcessLookupError, EOFError):
        orphaned = True
    if orphaned:
        remove(workspace)
        return 0
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = spawn(command, environment)
    child_fd = os.pidfd_open(child)

    poll = select.poll()
    for descriptor in (0, parent_fd, child_fd):
        poll.register(descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll()}
    exited = child_fd in ready
    stopped = 0 in ready and os.read(0, 1) != b""

    status = end(child)
    if not exited and not stopped:
        # The input ended without a word: the parent is dying, or dead.
        select.select([parent_fd], [], [])
        remove(workspace)
    if not exited:
        return 128 + signal.SIGKILL
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
