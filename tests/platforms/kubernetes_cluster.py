"""What tests need of a real cluster: a namespace, users with few rights, Pods, a bad way to it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import select
import socket
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.docker_owner import MANAGED_LABEL
from infra_validator.runners.kubernetes.api import Api, ApiError
from infra_validator.waiting import Deadline

LIMIT_SECONDS = 180.0
STAND_IN = (Path(__file__).parents[1] / "stand_in_server.py").read_text()


def wait_for(done: Callable[[], Any], what: str, seconds: float = LIMIT_SECONDS) -> Any:
    """Waits for something that nobody tells of; returns it."""
    limit = Deadline.after(seconds)
    while not (found := done()):
        assert not limit.expired(), f"in vain: {what}"
        time.sleep(0.02)
    return found


class TestNamespace:
    """A namespace of the cluster.

    Attributes:
        api: the cluster's, with all rights.
        name: its name.
        image: of the model server, as the node has it: name and tag.
    """

    __test__ = False

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        image = os.environ.get("MODEL_SERVER_IMAGE", "infra-validator/model-server:dev")
        self.image = tuple(image.rsplit(":", 1))
        self._users: dict[str, Path] = {}

    @classmethod
    def create(cls, api: Api) -> TestNamespace:
        """Makes it, and waits until Pods can be made in it."""
        namespace = cls(api, f"infra-validator-tests-{uuid.uuid4().hex[:8]}")
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name}}
        api.call("POST", "/api/v1/namespaces", body)
        try:
            wait_for(
                lambda: (namespace.find("serviceaccounts/default") or {}).get("secrets"),
                "a service account",
            )
        except BaseException:
            namespace.remove()
            raise
        return namespace

    def remove(self) -> None:
        """Removes it, and waits until it is gone."""
        self.remove_pods()
        self.api.delete(f"/api/v1/namespaces/{self.name}")
        wait_for(lambda: self.find("") is None, "the namespace's end")

    def path(self, what: str, group: str = "api/v1") -> str:
        """Path in the API."""
        return f"/{group}/namespaces/{self.name}/{what}".rstrip("/")

    def get(self, what: str, group: str = "api/v1") -> Any:
        """Reads."""
        return self.api.get(self.path(what, group))

    def text(self, what: str, **query: str) -> str:
        """Reads what is no JSON, such as a log."""
        with self.api.lines(self.path(what), threading.Event(), **query) as lines:
            return b"".join(lines.chunks()).decode(errors="replace")

    def find(self, what: str) -> Any | None:
        """Reads; None where there is nothing."""
        try:
            return self.get(what)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def find_pod(self, namespace: str, name: str) -> Any | None:
        """A Pod of any namespace; None where there is none."""
        return TestNamespace(self.api, namespace).find(f"pods/{name}")

    def create_object(self, what: str, body: Mapping[str, Any], group: str = "api/v1") -> Any:
        """Makes an object of a collection."""
        return self.api.call("POST", self.path(what, group), body)

    def delete(self, what: str, group: str = "api/v1") -> None:
        """Deletes an object, without grace."""
        self.api.delete(self.path(what, group))

    @contextlib.contextmanager
    def having(self, what: str, body: Mapping[str, Any], group: str = "api/v1") -> Iterator[Any]:
        """Makes an object that goes again."""
        made = self.create_object(what, body, group)
        try:
            yield made
        finally:
            self.delete(f"{what}/{made['metadata']['name']}", group)

    def pods(self) -> list[dict[str, Any]]:
        """All servers' Pods there are."""
        found = self.api.get(self.path("pods"), labelSelector=f"{MANAGED_LABEL}=true")
        return list(found.get("items") or [])

    def remove_pods(self) -> None:
        """Deletes all Pods."""
        for pod in self.get("pods").get("items") or []:
            self.delete(f"pods/{pod['metadata']['name']}")

    def user(self, name: str, rules: Sequence[Mapping[str, Any]], folder: Path) -> Path:
        """A service account with these rights here; the same one where it was asked for before.

        Returns:
            Its kubeconfig.
        """
        if name not in self._users:
            self._users[name] = self._make_user(name, rules, folder)
        return self._users[name]

    def _make_user(self, name: str, rules: Sequence[Mapping[str, Any]], folder: Path) -> Path:
        rbac = "apis/rbac.authorization.k8s.io/v1"
        self.create_object(
            "serviceaccounts",
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        )
        self.create_object("roles", {"metadata": {"name": name}, "rules": list(rules)}, rbac)
        self.create_object(
            "rolebindings",
            {
                "metadata": {"name": name},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "Role",
                    "name": name,
                },
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.name}],
            },
            rbac,
        )
        [secret] = wait_for(
            lambda: self.get(f"serviceaccounts/{name}").get("secrets"), "the account's token"
        )
        token = self.get(f"secrets/{secret['name']}")["data"]["token"]
        authority = Path(self.api.cluster.configuration.ssl_ca_cert).read_bytes()
        return write_kubeconfig(
            folder / f"{name}.kubeconfig",
            self.api.address,
            {"token": base64.b64decode(token).decode()},
            self.name,
            authority,
        )

    def config(self, **fields: Any) -> pb.KubernetesConfig:
        """A KubernetesConfig for this namespace."""
        fields.setdefault("namespace", self.name)
        patch = fields.pop("pod_patch", None)
        config = pb.KubernetesConfig(**fields)
        if patch is not None:
            config.pod_patch.update(patch)
        return config


def write_kubeconfig(
    path: Path, server: str, user: Mapping[str, str], namespace: str, authority: bytes | None
) -> Path:
    """A kubeconfig with one context."""
    cluster = {"server": server}
    if authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": dict(user)}],
                "contexts": [
                    {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}
                ],
            }
        )
    )
    return path


def server_command(*command: str) -> dict[str, Any]:
    """A Pod patch by which the server's container runs this in place of its entry point."""
    return {"spec": {"containers": [{"name": "server", "command": list(command)}]}}


def shell_server(script: str) -> dict[str, Any]:
    """A Pod patch by which the server is a shell script; the server's flags are its arguments."""
    return server_command("/bin/bash", "-c", script, "server")


def stand_in_server(**variables: str) -> dict[str, Any]:
    """A Pod patch by which the server is the stand-in, with these variables."""
    patch = shell_server(
        '/opt/model-server/bin/python -c "$STAND_IN" --port=8500 --model_name="$MODEL_NAME"'
        ' --model_base_path="$MODEL_BASE_PATH/$MODEL_NAME" "$@"; exit $?'
    )
    given = {"STAND_IN": STAND_IN, **variables}
    patch["spec"]["containers"][0]["env"] = [
        {"name": name, "value": value.replace("$", "$$")} for name, value in given.items()
    ]
    return patch


def machine_mounts(*folders: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes and their mounts by which a Pod can run this machine's Python and see these folders.

    Returns:
        Volumes and volumeMounts.
    """
    needed = ["/usr", "/lib", "/lib64", "/bin", "/etc/alternatives"]
    needed += [sys.base_prefix, sys.prefix, str(Path(__file__).parents[2]), *map(str, folders)]
    kept = dict.fromkeys(
        path
        for path in needed
        if not any(path != other and Path(path).is_relative_to(other) for other in needed)
    )
    volumes, mounts = [], []
    for index, path in enumerate(kept):
        volumes.append({"name": f"machine-{index}", "hostPath": {"path": path}})
        mounts.append({"name": f"machine-{index}", "mountPath": path})
    return volumes, mounts


class Proxy:
    """Stands before the API server, speaks plain HTTP, and does harm as it is told.

    Attributes:
        harm: given a request's line, an answer (status, further headers, body) to
            give in the API server's place, or None.
        requests: the requests' lines.
    """

    def __init__(self, api: Api) -> None:
        self._configuration = api.cluster.configuration
        self.harm: Callable[[str], tuple[int, dict[str, str], str] | None] = lambda line: None
        self.requests: list[str] = []
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks all connections."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(here)
            threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with contextlib.suppress(OSError), here:
            received = b""
            while b"\r\n\r\n" not in received:
                chunk = here.recv(65536)
                if not chunk:
                    return
                received += chunk
            head, _, rest = received.partition(b"\r\n\r\n")
            line, *headers = head.decode().split("\r\n")
            self.requests.append(line)
            answer = self.harm(line)
            if answer is not None:
                status, more, body = answer
                reason = http.client.responses[status]
                more = {"Content-Length": str(len(body)), "Connection": "close", **more}
                text = "".join(f"{name}: {value}\r\n" for name, value in more.items())
                here.sendall(f"HTTP/1.1 {status} {reason}\r\n{text}\r\n{body}".encode())
                return
            self._forward(here, line, headers, rest)

    def _forward(self, here: socket.socket, line: str, headers: list[str], rest: bytes) -> None:
        context = ssl.create_default_context(cafile=self._configuration.ssl_ca_cert)
        context.load_cert_chain(self._configuration.cert_file, self._configuration.key_file)
        host, port = self._configuration.host.removeprefix("https://").split(":")
        with (
            socket.create_connection((host, int(port))) as plain,
            context.wrap_socket(plain, server_hostname=host) as there,
        ):
            upgrade = any(header.lower().startswith("upgrade:") for header in headers)
            dropped = () if upgrade else ("connection:",)
            kept = [header for header in headers if not header.lower().startswith(dropped or "\0")]
            if not upgrade:
                kept.append("Connection: close")
            there.sendall("\r\n".join([line, *kept, "", ""]).encode() + rest)
            with self._lock:
                if here not in self._open:  # it was cut meanwhile
                    return
                self._open.add(there)
            self._carry(here, there)

    @staticmethod
    def _carry(here: socket.socket, there: ssl.SSLSocket) -> None:
        """Carries bytes both ways until one side ends.

        By one thread, since OpenSSL's connections may not be read and written by two at once:
        now and then a request's body never left.
        """
        with contextlib.suppress(OSError, ValueError):
            while True:
                waiting: list[socket.socket] = [there] if there.pending() else []
                for source in waiting or select.select([here, there], [], [])[0]:
                    source.settimeout(0)  # what came may be TLS's own, and no byte for us
                    try:
                        chunk = source.recv(65536)
                    except ssl.SSLWantReadError:
                        continue
                    finally:
                        source.settimeout(None)
                    if not chunk:
                        return
                    (there if source is here else here).sendall(chunk)
