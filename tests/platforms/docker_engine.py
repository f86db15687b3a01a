"""What tests need of a real Docker engine: images of their own, its lists, a registry, a proxy."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import random
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LABEL = "infra-validator-tests"
"""On every image of a test run, and so on every container made from one."""

_STAND_IN = Path(__file__).parents[1] / "stand_in_server.py"

_SHELL = """\
#!/bin/bash
eval "${SERVER_SCRIPT:-echo no script; exit 64}"
"""

# Tag to Dockerfile.
_DOCKERFILES = {
    "good": "FROM {base}",
    "again": "FROM {base}\nLABEL tensorflow_serving_github_branchtag=2.99.0",
    "stand-in": "FROM {base}\nCOPY stand-in /usr/bin/tensorflow_model_server",
    "shell": "FROM {base}\nCOPY shell /usr/bin/tensorflow_model_server",
    "no-entrypoint": 'FROM {base}\nENTRYPOINT ["/usr/bin/nowhere"]',
    "no-program": 'FROM {base}\nENTRYPOINT ["/etc/passwd"]',
}


@dataclasses.dataclass(frozen=True)
class TestEngine:
    """The engine, and the images of this test run in it.

    Attributes:
        client: a client of it.
        name: the images' name.
        run: value of LABEL.
    """

    __test__ = False

    client: Any
    name: str
    run: str

    def containers(self, **options: Any) -> list[str]:
        """Names of all containers made from these images, in whatever state; the engine says."""
        options = {"all": True, **options}
        filters = {"label": f"{LABEL}={self.run}", **options.pop("filters", {})}
        found = self.client.api.containers(filters=filters, **options)
        return [entry["Names"][0].lstrip("/") for entry in found]

    def running(self) -> list[str]:
        """Names of those that run."""
        return self.containers(all=False)

    def remove_all(self) -> None:
        """Removes them, and their volumes."""
        for name in self.containers():
            self.client.api.remove_container(name, force=True, v=True)

    def volumes_since(self, moment: float) -> set[str]:
        """Volumes that containers made from these images have had since then, and that are left."""
        until = int(time.time()) + 1
        made = {
            event["Actor"]["ID"]
            for event in self.client.api.events(
                since=int(moment),
                until=until,
                decode=True,
                filters={"type": "container", "event": "create", "label": f"{LABEL}={self.run}"},
            )
        }
        names = {
            event["Actor"]["ID"]
            for event in self.client.api.events(
                since=int(moment), until=until, decode=True, filters={"type": "volume"}
            )
            if event["Actor"]["Attributes"].get("container") in made
        }
        there = {volume["Name"] for volume in self.client.api.volumes()["Volumes"] or []}
        return names & there


@contextlib.contextmanager
def test_images(client: Any, base: str, name: str, run: str, folder: Path) -> Iterator[TestEngine]:
    """Builds the images; removes them, and all containers made from them, afterwards."""
    (folder / "stand-in").write_text(f"#!/opt/model-server/bin/python\n{_STAND_IN.read_text()}")
    (folder / "shell").write_text(_SHELL)
    for script in ("stand-in", "shell"):
        (folder / script).chmod(0o755)
    engine = TestEngine(client, name, run)
    try:
        for tag, dockerfile in _DOCKERFILES.items():
            (folder / "Dockerfile").write_text(dockerfile.format(base=base))
            client.images.build(
                path=str(folder),
                tag=f"{name}:{tag}",
                labels={LABEL: run, "tag": tag},
                rm=True,
                forcerm=True,
            )
        yield engine
    finally:
        engine.remove_all()
        for image in client.images.list(filters={"label": f"{LABEL}={run}"}):
            client.images.remove(image.id, force=True)


test_images.__test__ = False  # type: ignore[attr-defined]

Answer = Callable[["RegistryHandler"], None]


class RegistryHandler(http.server.BaseHTTPRequestHandler):
    """One request to the registry; how it is answered is the test's business."""

    protocol_version = "HTTP/1.1"
    server: Registry

    def do_GET(self) -> None:
        self.server.asked.set()
        self.server.answer(self)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Sends an answer; names of headers are written with underscores."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str, message: str, **headers: str) -> None:
        """An error as registries word it."""
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.reply(status, body, Content_Type="application/json", **headers)

    def hang(self) -> None:
        """No answer until the registry closes."""
        self.server.closing.wait()
        self.close_connection = True

    def trickle(self) -> None:
        """An answer that comes a byte at a time, until whoever asked goes away."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", str(2**30))
        self.end_headers()
        self.server.trickling.set()
        try:
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            self.server.left.set()


class Registry(http.server.ThreadingHTTPServer):
    """A registry on this machine's loopback, which engines ask without TLS.

    Attributes:
        asked: set once somebody asked.
        trickling: set once an answer was begun that has no end.
        left: set once nobody listens to it any more.
        closing: set when it closes.
    """

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), RegistryHandler)
        self.answer = answer
        self.asked = threading.Event()
        self.trickling = threading.Event()
        self.left = threading.Event()
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def registry(answer: Answer) -> Iterator[Registry]:
    """Runs a registry that answers so."""
    with Registry(answer) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield running
        finally:
            running.closing.set()
            running.shutdown()
            thread.join()


class TinyImage:
    """An image of one file, as a registry serves it.

    Attributes:
        digest: the manifest's.
    """

    def __init__(self, labels: dict[str, str], architecture: str = "amd64") -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("file"))
        layer = gzip.compress(buffer.getvalue(), mtime=0)
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {"Entrypoint": ["/nothing"], "Labels": labels},
                "rootfs": {"type": "layers", "diff_ids": [_digest(buffer.getvalue())]},
                "history": [{"created_by": "tests"}],
            }
        ).encode()
        kind = "application/vnd.docker"
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{kind}.distribution.manifest.v2+json",
                "config": {
                    "mediaType": f"{kind}.container.image.v1+json",
                    "size": len(config),
                    "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": f"{kind}.image.rootfs.diff.tar.gzip",
                        "size": len(layer),
                        "digest": _digest(layer),
                    }
                ],
            }
        ).encode()
        self._layer = _digest(layer)
        self._blobs = {_digest(config): config, _digest(layer): layer}
        self.digest = _digest(self._manifest)

    def serve_for_ever(self, request: RegistryHandler) -> None:
        """Answers as `serve`, but the layer has no end."""
        if request.path.rpartition("/")[2] == self._layer:
            request.trickle()
        else:
            self.serve(request)

    def serve(self, request: RegistryHandler) -> None:
        """Answers a request of an engine that pulls."""
        what, which = request.path.rstrip("/").split("/")[-2:]
        if request.path.rstrip("/") == "/v2":
            request.reply(200, b"{}", Content_Type="application/json")
        elif what == "manifests":
            request.reply(
                200,
                self._manifest,
                Content_Type="application/vnd.docker.distribution.manifest.v2+json",
                Docker_Content_Digest=self.digest,
            )
        else:
            request.reply(200, self._blobs[which], Content_Type="application/octet-stream")


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class EngineProxy:
    """A socket that leads to the engine, and can be cut off as if the engine were restarted.

    Attributes:
        sent: bytes that went to the engine.
        accepted: connections that were made.
        held: set when nothing goes through any more.
    """

    def __init__(self, path: Path, target: str) -> None:
        self._path = path
        self._target = target
        self.sent = 0
        self.accepted = 0
        self.held = threading.Event()
        self._hold_at: int | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.listen()

    @property
    def address(self) -> str:
        """What to give as client_base_url."""
        return f"unix://{self._path}"

    def listen(self) -> None:
        """The engine is there."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """The engine is gone, and all connections with it."""
        self.release()
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._open = self._open, set()
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Nothing more goes through, in neither direction, until `release`."""
        self._flowing.clear()
        self.held.set()

    def hold_at(self, sent: int) -> None:
        """Holds as soon as that many bytes went to the engine."""
        self._hold_at = sent

    def release(self) -> None:
        """What was held goes through."""
        self._hold_at = None
        self._flowing.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.socket(socket.AF_UNIX)
            there.connect(self._target)
            with self._lock:
                self.accepted += 1
                if self._listener is not listener:  # it was cut meanwhile
                    here.close()
                    there.close()
                    return
                self._open |= {here, there}
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        to_engine = target.getpeername() == self._target
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                self._flowing.wait()
                target.sendall(chunk)
                if to_engine:
                    with self._lock:
                        self.sent += len(chunk)
                    if self._hold_at is not None and self.sent >= self._hold_at:
                        self.hold()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def make_network(client: Any, name: str) -> Any:
    """A network whose addresses can be chosen, on a subnet that nobody else has."""
    import docker

    while True:
        subnet = f"10.{random.randrange(64, 256)}.{random.randrange(256)}.0/28"  # noqa: S311
        pool = docker.types.IPAMPool(subnet=subnet)
        try:
            return client.networks.create(
                name, ipam=docker.types.IPAMConfig(pool_configs=[pool]), check_duplicate=True
            )
        except docker.errors.APIError as error:
            if "overlaps" not in str(error.explanation):
                raise


_SECOND_ENTRY = json.dumps(["/bin/sh", "-c", 'eval "${SERVER_SCRIPT:-exec sleep 300}"'])


class SecondEngine:
    """An engine of one's own, beside the one that others use; it can be restarted.

    The server of its image does what SERVER_SCRIPT says, and sleeps by default.

    Attributes:
        client: a client of it.
    """

    _IMAGE = "second-engine:sleeps"
    network = "second-engine"

    def __init__(self, folder: Path, *flags: str) -> None:
        self._folder = folder
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    @property
    def address(self) -> str:
        """What to give as client_base_url."""
        return f"unix://{self._folder}/engine.sock"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        import docker

        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    # In a network of its own: started without a bridge, an engine removes docker0,
                    # whosever it is.
                    *("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
                    "dockerd",
                    *("--data-root", str(self._folder / "data")),
                    *("--exec-root", str(self._folder / "exec")),
                    *("--pidfile", str(self._folder / "pid")),
                    *("--host", self.address),
                    *("--bridge", "none", "--iptables=false", "--ip6tables=false"),
                    *self._flags,
                ],
                stdout=log,
                stderr=log,
            )
        limit = time.monotonic() + 60
        while True:
            try:
                self.client = docker.DockerClient(base_url=self.address)
                return
            except docker.errors.DockerException:
                if self._process.poll() is not None or time.monotonic() > limit:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends it; it ends its containers first."""
        if self._process is not None:
            if self.client is not None:
                self.client.close()
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def make_image(self) -> str:
        """An image whose server sleeps; of the machine's own programs, to be mounted by `mounts`.

        Returns:
            Its name, without the tag "sleeps".
        """
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("usr", "bin", "lib", "lib64", "tmp", "state"):
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
        name, _, tag = self._IMAGE.partition(":")
        self.client.api.import_image_from_data(
            buffer.getvalue(),
            repository=name,
            tag=tag,
            changes=[f"ENTRYPOINT {_SECOND_ENTRY}"],
        )
        return name

    @staticmethod
    def mounts() -> list[tuple[str, str]]:
        """Folders of this machine that the image needs, and where."""
        return [(f"/{name}", f"/{name}") for name in ("usr", "bin", "lib", "lib64")]

    def make_network(self) -> None:
        """A network for its containers."""
        make_network(self.client, self.network)

    def remove(self) -> None:
        """Removes all that is in it, and ends it."""
        import docker

        if self._process is None:
            return
        for container in self.client.api.containers(all=True):
            self.client.api.remove_container(container["Id"], force=True, v=True)
        with contextlib.suppress(docker.errors.NotFound):
            self.client.networks.get(self.network).remove()
        self.stop()
        # One that did not end well leaves its mounts behind.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((path for path in mounts if str(self._folder) in path), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
