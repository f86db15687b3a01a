"""Files streamed into a Pod, by a command run in its waiting init container.

Nothing is needed there but the shell, coreutils and tar of the server's image.
The sender says beforehand how many bytes will come, since the connection knows no
half-close, and at last their checksum; only if the receiver has computed the same
does it let the init container end, and so the server start.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import tenacity

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.files import storage_fault
from infra_validator.kubernetes_config import RECEIVER
from infra_validator.runners.kubernetes.api import Api, ApiError, ConnectionFailed, Interrupted
from infra_validator.runners.kubernetes.channels import ERROR, STDERR, STDIN, STDOUT, Channels
from infra_validator.runners.kubernetes.manifest import RECEIVED
from infra_validator.runners.tar_stream import Archive
from infra_validator.text import first_line
from infra_validator.waiting import Deadline

_logger = logging.getLogger(__name__)

_MESSAGE_BYTES = 256 * 1024
_TRIES = 3
_IDLE_SECONDS = 60.0
_PROGRESS_SECONDS = 5.0
_EARLY_SECONDS = 10.0
_EARLY_PAUSE_SECONDS = 0.1

# Positional parameters: the folder, how many bytes come, a name of our own. What is unpacked gets
# its place only once it is whole, so that a try that broke is in nobody's way.
_RECEIVE = """\
cd "$1" || exit 3
for tool in head tar tee sha256sum mkfifo mv rm; do
  command -v "$tool" >/dev/null || { echo "the image has no $tool" >&2; exit 3; }
done
until [ -p done ]; do sleep 0.02; done
rm -rf part-*
mkdir "$3" && mkfifo -m 600 "$3.tar" || exit 3
tar -C "$3" --no-same-owner -xpf "$3.tar" &
unpacking=$!
sum=$(head -c "$2" | tee "$3.tar" | sha256sum)
wait "$unpacking" || exit 4
read -r expected
[ "${sum%% *}" = "$expected" ] || exit 5
rm -rf model config && mv "$3"/* . && rm -rf "$3" "$3.tar" || exit 3
echo whole && echo 0 >done
"""
_WHOLE = b"whole\n"
_MISMATCH_EXIT = 5


def send(
    api: Api,
    pod_path: str,
    archive: Archive,
    stopped: threading.Event,
    opened: Callable[[Channels], None],
    running: threading.Event,
    arrived: Callable[[], bool],
    sent: Callable[[int], None] = lambda size: None,
) -> None:
    """Sends an archive into the Pod's receiving container, as soon as that lets us in.

    The kubelet tells of a container up to a second after it began, and starts the next
    one only when it looks again; so what is sent before it first looks costs no look.

    Args:
        api: the cluster's.
        pod_path: the Pod's path in the API.
        archive: what to send.
        stopped: ends it.
        opened: is told each connection, so that it can be interrupted.
        running: set once the container is known to run, or `stopped` is set.
        arrived: whether the container is known to have ended well.
        sent: is told how many bytes of this try have been sent.

    Raises:
        FaultError: if it does not arrive.
        ApiError: if the API refuses it.
        Interrupted: once `stopped` is set.
    """

    def pause(seconds: float) -> None:
        if stopped.wait(seconds):
            raise Interrupted

    def send_early() -> None:
        limit = Deadline.after(_EARLY_SECONDS)
        while not running.is_set():
            try:
                _send_once(api, pod_path, archive, stopped, opened, sent)
            except (ApiError, FaultError) as error:  # mostly that it does not run yet
                _logger.debug("Too early to send: %s", error)
            else:
                return
            running.wait(None if limit.expired() else _EARLY_PAUSE_SECONDS)
        if stopped.is_set():
            raise Interrupted
        if not arrived():
            _send_once(api, pod_path, archive, stopped, opened, sent)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: (
                isinstance(error, ConnectionFailed)
                or (isinstance(error, ApiError) and error.passing)
            )
        ),
        wait=tenacity.wait_exponential_jitter(initial=0.5, max=10),
        stop=tenacity.stop_after_attempt(_TRIES),
        sleep=pause,
        reraise=True,
    )
    try:
        retrying(send_early)
    except (ApiError, ConnectionFailed) as error:
        if stopped.is_set():
            raise Interrupted from error
        if arrived():
            return
        if isinstance(error, ApiError):
            raise
        raise FaultError(
            fault(
                "delivery_failed",
                Phase.STAGE,
                f"The connection broke {_TRIES} times while the model was sent into the Pod: "
                f"{first_line(str(error))}",
                detail=str(error),
            )
        ) from error


def _send_once(
    api: Api,
    pod_path: str,
    archive: Archive,
    stopped: threading.Event,
    opened: Callable[[Channels], None],
    sent: Callable[[int], None],
) -> None:
    length = archive.length
    command = ["/bin/sh", "-c", _RECEIVE, "sh", RECEIVED, str(length), f"part-{uuid.uuid4().hex}"]
    query = [
        *(("command", word) for word in command),
        ("container", RECEIVER),
        ("stdin", "true"),
        ("stdout", "true"),
        ("stderr", "true"),
        ("tty", "false"),
    ]
    began = time.monotonic()
    with Channels(api.websocket(f"{pod_path}/exec", query, _IDLE_SECONDS)) as channels:
        opened(channels)
        answer = _Answer()
        try:
            for part in _with_checksum(archive, _Progress(length, sent)):
                if stopped.is_set():
                    raise Interrupted
                channels.send(STDIN, part)
                while not answer.complete and channels.readable():
                    answer.take(channels.receive())
                if answer.complete:
                    break  # it ended before it had all
        except OSError as error:
            raise storage_fault("The model cannot be read", Phase.STAGE, error) from error
        while not answer.complete:
            answer.take(channels.receive())
    answer.check()
    _logger.info("%d bytes arrived in the Pod in %.1f s", length, time.monotonic() - began)


def _with_checksum(archive: Archive, progress: _Progress) -> Iterator[bytes]:
    """The archive in messages of an even size, then its checksum in a line."""
    checksum = hashlib.sha256()
    waiting = bytearray()
    for chunk in archive.chunks():
        checksum.update(chunk)
        waiting += chunk
        if len(waiting) >= _MESSAGE_BYTES:
            progress.add(len(waiting))
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + f"{checksum.hexdigest()}\n".encode()


class _Progress:
    """Tells of a long transfer now and then."""

    def __init__(self, length: int, tell: Callable[[int], None]) -> None:
        self._length = length
        self._tell = tell
        self._sent = 0
        self._told = time.monotonic()

    def add(self, size: int) -> None:
        self._sent += size
        self._tell(self._sent)
        if time.monotonic() - self._told >= _PROGRESS_SECONDS:
            self._told = time.monotonic()
            _logger.info(
                "Sending the model into the Pod: %d of %d MiB (%d %%)",
                self._sent >> 20,
                self._length >> 20,
                100 * self._sent // self._length,
            )


class _Answer:
    """What the receiver says, and how it ends."""

    def __init__(self) -> None:
        self._said = io.BytesIO()
        self._status: dict[str, Any] | None = None
        self._whole = False

    @property
    def complete(self) -> bool:
        """Whether it has ended, or is about to: the container may end before it can say so."""
        return self._status is not None or self._whole

    def take(self, message: tuple[int, bytes] | None) -> None:
        """Takes a message.

        Raises:
            ConnectionFailed: if the connection ended before the receiver did.
        """
        if message is None:
            raise ConnectionFailed("the connection was closed")
        channel, data = message
        if channel in {STDOUT, STDERR}:
            self._said.write(data)
            self._whole = self._whole or (channel == STDOUT and data.endswith(_WHOLE))
        elif channel == ERROR:
            self._status = json.loads(data)

    def check(self) -> None:
        """Raises the fault if it did not end well."""
        status = self._status or {}
        if self._whole or status.get("status") == "Success":
            return
        said = self._said.getvalue().decode(errors="replace").strip()
        causes = (status.get("details") or {}).get("causes") or []
        codes = [cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"]
        if codes == [str(_MISMATCH_EXIT)]:
            words = "what arrived is not what was sent (their checksums differ)"
        else:
            words = first_line(said) or str(status.get("message"))
        raise FaultError(
            fault(
                "delivery_failed",
                Phase.STAGE,
                f"The files for the server did not arrive in its Pod: {words}",
                detail="\n".join(filter(None, [said, str(status.get("message") or "")])),
            )
        )
