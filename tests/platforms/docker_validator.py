"""A validator in a process of its own: python -m tests.platforms.docker_validator JSON.

Ends upon SIGTERM as the executor does. Keys of the JSON object:

    model, split, image_name, images, env, signatures   as for tests.engine.helpers.run
    local_docker, limits                   the messages, in JSON form
    phases                                 a file, to which the name of each phase that begins is
                                           added
    uid, gid, groups                       who to be; from then on without root's rights
    instead                                [folder, source]: before, in a mount namespace of its
                                           own, an empty folder is laid over this one and the
                                           source copied into it
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.validation.progress import Event, PhaseBegan
from infra_validator.waiting import Cancellation
from tests.engine.helpers import run

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Validates once and prints the report."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    if given.get("instead") or given.get("uid"):
        _check(_LIBC.unshare(_CLONE_NEWNS))
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    if given.get("instead"):
        folder, source = given["instead"]
        held = os.open(source, os.O_PATH)
        _mount("tmpfs", folder, "tmpfs", 0)
        shutil.copytree(f"/proc/self/fd/{held}", folder, dirs_exist_ok=True)
    if given.get("uid"):
        _become(given["uid"], given["gid"], given["groups"])
    cancellation = Cancellation()
    signal.signal(signal.SIGTERM, lambda *_: cancellation.cancel("SIGTERM"))
    phases = Path(given.get("phases", os.devnull))

    def note(event: Event) -> None:
        if isinstance(event, PhaseBegan):
            with phases.open("a") as file:
                file.write(f"{event.phase.value}\n")

    report = run(
        given["model"],
        split=Path(given["split"]) if given.get("split") else None,
        image_name=given["image_name"],
        images=tuple(given["images"]),
        env=given.get("env"),
        limits=json_format.ParseDict(given.get("limits", {}), pb.ValidationSpec()),
        local_docker=json_format.ParseDict(given.get("local_docker", {}), pb.LocalDockerConfig()),
        cancellation=cancellation,
        observer=note,
    )
    print(report.to_json())


def _become(uid: int, gid: int, groups: list[int]) -> None:
    """Takes on another user, who must still find Python and this code, wherever they lie."""
    for needed in {sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])}:
        _open_way(Path(needed))
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)


def _open_way(needed: Path) -> None:
    """Lays a folder that all may enter over one above `needed` that only root may."""
    closed = next((path for path in reversed(needed.parents) if not path.stat().st_mode & 1), None)
    if closed is None:
        return
    held = os.open(needed, os.O_PATH)
    _mount("tmpfs", str(closed), "tmpfs", 0, "mode=755")
    needed.mkdir(parents=True)
    _mount(f"/proc/self/fd/{held}", str(needed), None, _MS_BIND | _MS_REC)
    _open_way(needed)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind)]
    _check(_LIBC.mount(*encoded, ctypes.c_ulong(flags), data.encode()))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main()
