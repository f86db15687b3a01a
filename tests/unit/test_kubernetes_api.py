"""The way to the API server: what is ridden out, and what is not."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator import kubernetes_config
from infra_validator.faults import Blame, FaultError
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.runners.kubernetes import api as kubernetes_api
from infra_validator.runners.kubernetes.api import (
    Api,
    ApiError,
    Cluster,
    ConnectionFailed,
    Interrupted,
)
from infra_validator.runners.kubernetes.platform import KubernetesPlatform
from infra_validator.waiting import Cancellation, Cancelled

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server(http.server.ThreadingHTTPServer):
    """Gives the answers in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.requests: list[str] = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.answers.pop(0)(self)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def api(server: Server) -> Api:
    from kubernetes.client import Configuration

    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    return Api(Cluster(configuration, "n", in_cluster=False))


def say(status: int, body: Any, **headers: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def hang_up(request: http.server.BaseHTTPRequestHandler) -> None:
    request.connection.close()
    request.close_connection = True


def events(*found: Any, cut: bool = False) -> Answer:
    """A watch that gives these, and ends; or breaks in the midst of a line."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for event in found:
            line = json.dumps(event).encode() + b"\n"
            request.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        if cut:
            request.wfile.write(b'5\r\n{"typ\r\n')
            request.close_connection = True
        else:
            request.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_ridden_out(server: Server, api: Api, status: int) -> None:
    server.answers = [say(status, "no"), hang_up, say(200, {"a": 1})]
    assert api.get("/version") == {"a": 1}
    assert server.answers == []


def test_a_wait_that_is_more_than_a_moments_is_told(
    server: Server, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [say(503, "no"), hang_up, say(200, {})]
    api.get("/version")
    assert caplog.messages == []
    server.answers = [say(503, "no"), hang_up, say(503, "busy"), say(200, {})]
    api.get("/version")
    [told] = caplog.messages
    assert api.address in told
    assert "busy" in told


@pytest.mark.parametrize("answer", [b"<html>Log in, please</html>", b"", b"[]", b'{"a":'])
def test_what_is_no_answer_of_the_api_is_asked_for_again(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    server.answers = [say(200, answer), say(200, {"a": 1})]
    assert api.get("/version") == {"a": 1}
    monkeypatch.setattr(kubernetes_api, "_RIDE_OUT_SECONDS", 0.0)
    server.answers = [say(200, answer)]
    with pytest.raises(ConnectionFailed, match="is not the Kubernetes API"):
        api.get("/version")


@pytest.mark.parametrize("token", ["secret\n", "secret ключ"])
def test_a_token_that_fits_into_no_header_is_told_but_not_shown(
    server: Server, tmp_path: Path, token: str
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    address = f"http://127.0.0.1:{server.server_port}"
    kubeconfig.write_text(
        json.dumps(
            {
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": address}}],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    config = pb.KubernetesConfig(kubeconfig=str(kubeconfig))
    with pytest.raises(FaultError) as caught:
        KubernetesPlatform(kubernetes_config.parse(config, 30)).place()
    found = caught.value.fault
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert "secret" not in f"{found} {traceback.format_exception(caught.value)}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"\xff\xfe\0", id="no text"),
        pytest.param(b"just text", id="no object"),
        pytest.param(b'{"a": {"b": 1} 2}', id="no YAML"),
        pytest.param(b"users:\n- {user: {token: *hunter2}}", id="an alias that is none"),
        pytest.param(b"users:\n- {user: {token: !hunter2 a}}", id="a tag that is none"),
        pytest.param(
            b'{"current-context": "c", "clusters": [{"name": "c", "cluster": {"server": "x"}}],'
            b' "users": [{"name": "u", "user": "x"}],'
            b' "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}',
            id="no user",
        ),
    ],
)
def test_a_kubeconfig_that_is_none_is_refused_in_one_line(tmp_path: Path, text: bytes) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_bytes(text)
    config = pb.KubernetesConfig(kubeconfig=str(kubeconfig))
    with pytest.raises(FaultError) as caught:
        KubernetesPlatform(kubernetes_config.parse(config, 30)).place()
    found = caught.value.fault
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert "ServingSpec.kubernetes.kubeconfig" in found.summary
    assert "\n" not in found.summary
    assert "hunter2" not in str(found)


def test_a_password_in_the_address_is_not_shown() -> None:
    from kubernetes.client import Configuration

    configuration = Configuration(host="https://me:hunter2@127.0.0.1:6443/prefix/")
    api = Api(Cluster(configuration, None, in_cluster=False))
    assert api.address == "https://127.0.0.1:6443/prefix"


def test_an_object_that_is_too_large_is_not_tried_again(server: Server, api: Api) -> None:
    server.answers = [say(500, {"message": "etcdserver: request is too large"})]
    with pytest.raises(ApiError):
        api.get("/version")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_what_will_not_pass_is_told_at_once(server: Server, api: Api, status: int) -> None:
    server.answers = [say(status, {"message": "no"})]
    with pytest.raises(ApiError) as caught:
        api.get("/api/v1/namespaces/n/pods/p/exec")
    assert (caught.value.status, caught.value.verb, caught.value.resource) == (
        status,
        "get",
        "pods/exec",
    )
    assert json.loads(caught.value.body) == {"message": "no"}


@pytest.mark.parametrize(
    ("query", "verb"),
    [
        ({}, "get"),
        ({"fieldSelector": "a=b"}, "list"),
        ({"labelSelector": "a=b"}, "list"),
        ({"fieldSelector": "a=b", "watch": "true"}, "watch"),
    ],
)
def test_the_verb_is_rbacs(server: Server, api: Api, query: dict[str, str], verb: str) -> None:
    server.answers = [say(403, "no")]
    with pytest.raises(ApiError) as caught:
        api.call("GET", "/api/v1/namespaces/n/pods", **query)
    assert (caught.value.verb, caught.value.resource) == (verb, "pods")


def test_it_waits_as_long_as_it_is_asked_to(server: Server, api: Api) -> None:
    server.answers = [say(429, "no", Retry_After="1"), say(200, {})]
    began = time.monotonic()
    api.get("/version")
    assert 1 <= time.monotonic() - began < 5


def test_it_does_not_ride_for_ever(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "_RIDE_OUT_SECONDS", 0.3)
    server.answers = [say(503, "no")] * 20
    with pytest.raises(ApiError):
        api.get("/version")
    server.server_close()
    server.answers = [hang_up] * 20
    with pytest.raises(ConnectionFailed):
        api.get("/version")


def test_riding_can_be_ended(server: Server, api: Api) -> None:
    server.answers = [say(429, "no", Retry_After="30")]
    stopped = threading.Event()
    threading.Timer(0.2, stopped.set).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        api.get("/version", stopped)
    assert time.monotonic() - began < 5


@pytest.fixture
def cancellation() -> Cancellation:
    return Cancellation()


@pytest.fixture
def cancellable(api: Api, cancellation: Cancellation) -> Api:
    return Api(api.cluster, check=cancellation.check)


def test_riding_out_ends_once_all_is_given_up(
    server: Server, cancellable: Api, cancellation: Cancellation
) -> None:
    """Also where nobody else could tell it, as while the cluster is looked for."""
    server.answers = [say(503, "no", Retry_After="30")]
    threading.Timer(0.3, cancellation.cancel, ["SIGTERM"]).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        cancellable.get("/version")
    assert time.monotonic() - began < 10


def test_what_is_given_up_is_still_deleted_if_that_goes_soon(
    server: Server, cancellable: Api, cancellation: Cancellation
) -> None:
    cancellation.cancel("SIGTERM")
    server.answers = [hang_up, say(503, "no", Retry_After="30"), say(200, {})]
    began = time.monotonic()
    assert cancellable.delete("/api/v1/namespaces/n/pods/p") is True
    assert time.monotonic() - began < 10


def test_what_is_given_up_is_not_deleted_for_ever(
    server: Server,
    cancellable: Api,
    cancellation: Cancellation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kubernetes_api, "_LAST_RIDE_OUT_SECONDS", 0.5)
    server.answers = [say(503, "no") for _ in range(100)]
    threading.Timer(0.3, cancellation.cancel, ["SIGTERM"]).start()
    began = time.monotonic()
    with pytest.raises(ApiError):
        cancellable.delete("/api/v1/namespaces/n/pods/p")
    assert time.monotonic() - began < 10


def test_a_deletion_whose_answer_does_not_come_is_asked_for_again(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "_DELETE_READ_SECONDS", 0.2)
    done = threading.Event()
    server.answers = [lambda request: hang_up(request) if done.wait(60) else None, say(404, {})]
    assert api.delete("/api/v1/namespaces/n/pods/p") is False
    done.set()


def test_what_is_gone_already_is_deleted(server: Server, api: Api) -> None:
    server.answers = [say(200, {}), say(404, {}), say(503, "no"), say(404, {})]
    path = "/api/v1/namespaces/n/pods/p"
    assert [api.delete(path), api.delete(path), api.delete(path)] == [True, False, False]


def test_a_creation_that_was_heard_unanswered_is_found(server: Server, api: Api) -> None:
    server.answers = [hang_up, say(409, {"reason": "AlreadyExists"}), say(200, {"kind": "Pod"})]
    made = api.create(
        "/api/v1/namespaces/n/pods",
        {"metadata": {"name": "p"}},
        threading.Event(),
        contextlib.nullcontext,
    )
    assert made == {"kind": "Pod"}
    assert server.requests[-1] == "GET /api/v1/namespaces/n/pods/p"


def test_a_name_that_somebody_else_took_is_refused(server: Server, api: Api) -> None:
    server.answers = [say(409, {"reason": "AlreadyExists"})]
    with pytest.raises(ApiError):
        api.create("/p", {"metadata": {"name": "p"}}, threading.Event(), contextlib.nullcontext)


CONFLICT = {
    "reason": "Conflict",
    "message": 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
}


def test_a_quota_that_was_counted_in_between_is_ridden_out(server: Server, api: Api) -> None:
    """kubernetes, plugin/pkg/admission/resourcequota; also where an earlier try was not heard."""
    for before in ([], [hang_up]):
        server.answers = [*before, say(409, CONFLICT), say(201, {"kind": "Pod"})]
        made = api.create(
            "/p", {"metadata": {"name": "p"}}, threading.Event(), contextlib.nullcontext
        )
        assert made == {"kind": "Pod"}
        assert server.requests[-1].startswith("POST")


def of_user(token: str, server: Server, again: Callable[[], Cluster] | None = None) -> Cluster:
    from kubernetes.client import Configuration

    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    configuration.api_key = {"authorization": f"Bearer {token}"}
    if "BearerToken" not in configuration.auth_settings():  # the name is newer
        configuration.api_key = {"BearerToken": f"Bearer {token}"}
    return Cluster(configuration, "n", in_cluster=True, again=again)


def only_for(token: str) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        known = request.headers.get("Authorization") == f"Bearer {token}"
        say(200 if known else 401, {"reason": "" if known else "Unauthorized"})(request)

    return answer


def test_a_token_that_has_expired_is_read_again(server: Server) -> None:
    """Older clients keep the token that they read first."""
    api = Api(of_user("old", server, lambda: of_user("new", server)))
    server.answers = [only_for("new")] * 3
    api.get("/version")
    api.get("/version")
    assert len(server.requests) == 3


def test_a_token_that_is_the_same_or_anothers_is_not_tried(server: Server) -> None:
    elsewhere = of_user("new", server)
    elsewhere.configuration.host = "http://127.0.0.1:9"
    for again in (None, lambda: of_user("old", server), lambda: elsewhere):
        api = Api(of_user("old", server, again))
        server.answers = [only_for("new")]
        with pytest.raises(ApiError) as caught:
            api.get("/version")
        assert caught.value.status == 401


def test_a_provider_of_tokens_that_fails_or_waits_leaves_the_refusal(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "_RENEW_SECONDS", 0.2)
    done = threading.Event()

    def fail() -> Cluster:
        raise RuntimeError("the grant has expired")

    def wait() -> Cluster:
        done.wait(60)
        return of_user("new", server)

    for again in (fail, wait):
        api = Api(of_user("old", server, again))
        server.answers = [only_for("new")]
        with pytest.raises(ApiError) as caught:
            api.get("/version")
        assert caught.value.status == 401
    done.set()


def test_a_token_that_cannot_be_read_just_now_is_ridden_out(server: Server, api: Api) -> None:
    from kubernetes.config import ConfigException

    turns: list[Exception] = [ConfigException("token file is empty"), OSError("gone")]

    def refresh(configuration: Any) -> None:
        if turns:
            raise turns.pop(0)

    api.cluster.configuration.api_key = {"authorization": "Bearer x"}
    api.cluster.configuration.refresh_api_key_hook = refresh
    server.answers = [say(200, {"a": 1})]
    assert api.get("/version") == {"a": 1}
    assert turns == []


def pod(version: int) -> dict[str, Any]:
    return {"metadata": {"name": "p", "resourceVersion": str(version)}}


def listed(version: int) -> Answer:
    return say(200, {"metadata": {"resourceVersion": str(version)}, "items": [pod(version)]})


def test_a_watch_goes_on_where_it_broke_off_and_lists_again_what_expired(
    server: Server, api: Api
) -> None:
    expired = {"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}
    server.answers = [
        listed(1),
        events({"type": "MODIFIED", "object": pod(2)}, cut=True),
        events({"type": "MODIFIED", "object": pod(3)}),
        say(410, {"code": 410}),
        listed(5),
        events(expired),
        listed(7),
        say(500, "no"),
        events({"type": "DELETED", "object": pod(8)}),
    ]
    stopped = threading.Event()
    seen = []
    for kind, found in api.watch("/pods", "metadata.name=p", stopped, lambda lines: None):
        one = found[0] if kind == "LISTED" else found
        seen.append((kind, one["metadata"]["resourceVersion"]))
        if kind == "DELETED":
            stopped.set()
    assert seen == [
        ("LISTED", "1"),
        ("MODIFIED", "2"),
        ("MODIFIED", "3"),
        ("LISTED", "5"),
        ("LISTED", "7"),
        ("DELETED", "8"),
    ]
    versions = [
        line.partition("resourceVersion=")[2].partition("&")[0]
        for line in server.requests
        if "watch=true" in line
    ]
    assert versions == ["1", "2", "3", "5", "7", "7"]


@pytest.mark.parametrize(
    ("away", "expected"), [(hang_up, ConnectionFailed), (say(503, "no"), ApiError)]
)
def test_a_watch_tells_that_the_api_is_gone_for_good(
    server: Server,
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    away: Answer,
    expected: type[Exception],
) -> None:
    monkeypatch.setattr(kubernetes_api, "_RIDE_OUT_SECONDS", 0.3)
    server.answers = [listed(1), events({"type": "MODIFIED", "object": pod(2)}), *[away] * 50]
    with pytest.raises(expected):
        list(api.watch("/pods", "a=b", threading.Event(), lambda lines: None))


def test_a_watch_that_is_refused_ends(server: Server, api: Api) -> None:
    server.answers = [listed(1), say(403, "no")]
    with pytest.raises(ApiError):
        list(api.watch("/pods", "a=b", threading.Event(), lambda lines: None))


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_watch_can_be_interrupted_by_another_thread(
    server: Server, api: Api, connection: str
) -> None:
    released = threading.Event()

    def silent(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Connection", connection)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        released.wait(30)

    server.answers = [listed(1), silent]
    stopped = threading.Event()

    def opened(lines: kubernetes_api.Lines) -> None:
        def end() -> None:
            stopped.set()
            lines.interrupt()

        threading.Timer(0.2, end).start()

    began = time.monotonic()
    assert [kind for kind, _ in api.watch("/pods", "a=b", stopped, opened)] == ["LISTED"]
    assert time.monotonic() - began < 10
    released.set()


class Wrapped:
    """As urllib3's SSLTransport, by which an HTTPS proxy is spoken through, and pyOpenSSL's."""

    def __init__(self, inner: socket.socket) -> None:
        self.socket = inner


def test_any_kind_of_connection_can_be_interrupted() -> None:
    for wrap in (lambda inner: inner, Wrapped):
        here, there = socket.socketpair()
        with here, there:
            kubernetes_api.break_off(wrap(here))
            assert there.recv(1) == b""
    kubernetes_api.break_off(object())


def test_an_answer_that_has_ended_can_be_interrupted(server: Server, api: Api) -> None:
    server.answers = [say(200, b"")]
    with api.lines("/log", threading.Event()) as lines:
        assert list(lines) == []
        lines.interrupt()
    lines.interrupt()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    platform = KubernetesPlatform(kubernetes_config.parse(pb.KubernetesConfig(), 30))
    with pytest.raises(FaultError) as caught:
        platform.place()
    found = caught.value.fault
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert "the package kubernetes" in found.summary
    assert "infra-validator[kubernetes]" in found.hint
