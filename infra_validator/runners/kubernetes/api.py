"""The Kubernetes API, as far as the validator uses it: plain JSON in, plain JSON out.

Of the Kubernetes client only what finds the cluster and holds the credentials is
used, and none of its model classes, so that its version does not matter.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import tenacity

from infra_validator.runners.kubernetes.faults import is_too_large
from infra_validator.text import first_line
from infra_validator.waiting import Cancelled, Deadline

_logger = logging.getLogger(__name__)

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DEFAULT_KUBECONFIG = "~/.kube/config"
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0
_DELETE_READ_SECONDS = 5.0
_RENEW_SECONDS = 20.0
_LOOK_READ_SECONDS = 10.0
_RIDE_OUT_SECONDS = 60.0
# Who gives up a validation may not wait for long, and yet nothing should be left.
_LAST_RIDE_OUT_SECONDS = 10.0
_LAST_PAUSE_SECONDS = 1.0
_TRIES_BEFORE_TELLING = 3
_NOTICE_SECONDS = 0.25
_REOPEN_SECONDS = 0.2
# An idle watch is opened anew, so that a connection that died silently is noticed.
_WATCH_SECONDS = 120

PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses that may pass by themselves."""

_UNAUTHORIZED = 401
_CONFLICT = 409
_GONE = 410
_PROTOCOL = "v4.channel.k8s.io"


class ClusterConfigError(Exception):
    """Raised where no cluster can be found, or the configuration of it cannot be used."""


class ApiError(Exception):
    """Raised where the API refuses.

    Attributes:
        status: the HTTP status.
        body: what the API said: a `Status` object as it came, or other text.
        verb: what was asked of it.
        resource: of what, for example "pods/exec".
        retry_after: seconds that it asks us to wait, if it does.
    """

    def __init__(
        self, status: int, body: str, verb: str, resource: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{verb} {resource}: {status} {body[:500]}")
        self.status = status
        self.body = body
        self.verb = verb
        self.resource = resource
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether it may pass by itself."""
        if self.status == _CONFLICT:  # such as a quota that was counted in between
            return self.reason == "Conflict"
        return self.status in PASSING_STATUSES and not is_too_large(self.body)

    @property
    def reason(self) -> str | None:
        """The API's own word for it, such as "AlreadyExists"."""
        try:
            said = json.loads(self.body)
        except ValueError:
            return None
        return said.get("reason") if isinstance(said, dict) else None


class ConnectionFailed(Exception):  # noqa: N818 - named after what happened
    """Raised where the API cannot be reached, or a connection to it breaks."""


class Interrupted(Exception):  # noqa: N818 - named after what happened
    """Raised where what is waited for is no more wanted."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the API is.

    Attributes:
        configuration: the Kubernetes client's Configuration.
        namespace: the one that the kubeconfig's context or the service account names.
        in_cluster: whether it was found as Pods find theirs.
        again: finds it anew, with credentials of now.
    """

    configuration: Any
    namespace: str | None
    in_cluster: bool
    again: Callable[[], Cluster] | None = None


def find_cluster(kubeconfig: str | None, context: str | None) -> Cluster:
    """Finds the cluster: the kubeconfig named, else that of the Pod we are in, else the usual one.

    Raises:
        ClusterConfigError: if there is none, or it cannot be used.
    """
    import yaml
    from kubernetes import config
    from kubernetes.client import Configuration

    def again() -> Cluster:
        return find_cluster(kubeconfig, context)

    configuration = Configuration()
    named = kubeconfig is not None or context is not None
    try:
        if (
            not named
            and os.environ.get("KUBERNETES_SERVICE_HOST")
            and (_SERVICE_ACCOUNT / "token").exists()
        ):
            config.incluster_config.InClusterConfigLoader(
                token_filename=str(_SERVICE_ACCOUNT / "token"),
                cert_filename=str(_SERVICE_ACCOUNT / "ca.crt"),
            ).load_and_set(configuration)
            return Cluster(configuration, service_account_namespace(), True, again)
        files = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG
        contexts, active = config.list_kube_config_contexts(files)
        chosen = next((one for one in contexts if one["name"] == context), None)
        if context is None:
            chosen = active
        elif chosen is None:
            known = ", ".join(sorted(one["name"] for one in contexts))
            raise ClusterConfigError(f"{files} has no context {context!r}; it has: {known}.")
        config.load_kube_config(
            files, context=context, client_configuration=configuration, persist_config=False
        )
    except (
        config.ConfigException,
        yaml.YAMLError,
        OSError,
        # The library looks at no value's type before it uses it.
        TypeError,
        KeyError,
        ValueError,
        AttributeError,
    ) as error:
        mark = getattr(error, "problem_mark", None)
        if mark is not None:  # the parser's own words may quote a token
            said = f"it is no YAML at line {mark.line + 1}, column {mark.column + 1}"
        else:
            said = " ".join(str(error).split()) or type(error).__name__
        raise ClusterConfigError(said) from error
    namespace = ((chosen or {}).get("context") or {}).get("namespace")
    return Cluster(configuration, namespace, False, again)


def service_account_namespace() -> str | None:
    """The namespace that Pods are told by a file, or None outside of Pods."""
    try:
        return (_SERVICE_ACCOUNT / "namespace").read_text().strip() or None
    except OSError:
        return None


class Api:
    """The API server. May be used by several threads."""

    def __init__(
        self,
        cluster: Cluster,
        read_seconds: float = _READ_SECONDS,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Contacts nobody yet.

        Args:
            cluster: where it is.
            read_seconds: how long to wait for an answer.
            check: raises `Cancelled` once all is given up; nothing is ridden out
                any more then, except that what is to be deleted is tried for a
                little while.
        """
        self._use(cluster)
        self._renewing = threading.Lock()
        self._read_seconds = read_seconds
        self._check = check

    def _use(self, cluster: Cluster) -> None:
        from kubernetes.client import ApiClient

        self.cluster = cluster
        self._client = ApiClient(cluster.configuration)
        self._pool = self._client.rest_client.pool_manager

    @property
    def address(self) -> str:
        """The API server's URL, without a password that it may hold."""
        return re.sub(r"//[^/]*@", "//", str(self.cluster.configuration.host).rstrip("/"))

    def close(self) -> None:
        """Closes connections that nobody uses; others are made where they are needed."""
        self._pool.clear()

    def own_address(self) -> str:
        """The address by which this machine, or Pod, speaks with the API server.

        Raises:
            ConnectionFailed: if there is no way to it.
        """
        parts = urlsplit(self.address)
        try:
            [(family, _, _, _, target), *_] = socket.getaddrinfo(
                parts.hostname, parts.port or 443, type=socket.SOCK_DGRAM
            )
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(target)  # sends nothing
                return str(probe.getsockname()[0])
        except OSError as error:
            raise ConnectionFailed(_words(error)) from error

    def get(self, path: str, stopped: threading.Event | None = None, **query: Any) -> Any:
        """Reads an object or a list; hiccups are ridden out.

        Raises:
            ApiError: if it is refused.
            ConnectionFailed: if the API cannot be reached for a while.
            Interrupted: once `stopped` is set.
            Cancelled: once all is given up.
        """
        return self._riding_out(
            lambda: self.call("GET", path, **query), stopped or threading.Event()
        )

    def delete(self, path: str) -> bool:
        """Deletes an object without grace; hiccups are ridden out.

        Returns:
            Whether it was there.

        Raises:
            ApiError, ConnectionFailed: as for `get`.
        """
        body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        retrying = tenacity.Retrying(
            retry=_PASSING,
            wait=_wait,
            stop=lambda state: (
                (state.seconds_since_start or 0.0)
                >= (_LAST_RIDE_OUT_SECONDS if self._given_up() else _RIDE_OUT_SECONDS)
            ),
            sleep=self._pause_briefly_at_last,
            reraise=True,
        )
        # One answer that does not come must leave time to ask again.
        seconds = min(self._read_seconds, _DELETE_READ_SECONDS)
        try:
            retrying(lambda: self._call("DELETE", path, body, seconds))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def create(
        self,
        path: str,
        body: Mapping[str, Any],
        stopped: threading.Event,
        creating: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> Any:
        """Creates an object that carries its name; hiccups are ridden out.

        Args:
            path: of the collection.
            body: the object.
            stopped: ends the riding out.
            creating: held around each try; may raise to prevent it.

        Raises:
            ApiError, ConnectionFailed, Interrupted: as for `get`.
        """
        tries = 0

        def create() -> Any:
            nonlocal tries
            tries += 1
            with creating():
                try:
                    # Else a mistyped field would be dropped without a word.
                    return self.call("POST", path, body, fieldValidation="Strict")
                except ApiError as error:
                    # An earlier try may have been heard, though its answer was not.
                    if error.status == _CONFLICT and not error.passing and tries > 1:
                        return self.call("GET", f"{path}/{body['metadata']['name']}")
                    raise

        return self._riding_out(create, stopped)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One call, without any riding out."""
        return self._call(method, path, body, self._read_seconds, **query)

    def look(self, path: str) -> Any:
        """Reads an object now or never: one call, which is not waited for long."""
        return self._call("GET", path, None, min(self._read_seconds, _LOOK_READ_SECONDS))

    def _call(self, method: str, path: str, body: Any, seconds: float, **query: Any) -> Any:
        response = self._open(method, path, body, query, seconds)
        try:
            answer = json.loads(self._read(response))
        except ValueError as error:
            raise ConnectionFailed(f"what answers is not the Kubernetes API: {error}") from error
        finally:
            response.release_conn()
        if not isinstance(answer, Mapping):
            raise ConnectionFailed("what answers is not the Kubernetes API: it says no object")
        return answer

    def lines(
        self, path: str, stopped: threading.Event, **query: Any
    ) -> contextlib.AbstractContextManager[Lines]:
        """Opens an answer that comes bit by bit; hiccups of opening are ridden out."""
        return contextlib.closing(
            self._riding_out(
                lambda: Lines(
                    self._open("GET", path, None, query, _WATCH_SECONDS + self._read_seconds)
                ),
                stopped,
            )
        )

    def watch(
        self, path: str, selector: str, stopped: threading.Event, opened: Callable[[Lines], None]
    ) -> Iterator[tuple[str, Any]]:
        """Follows objects, whatever becomes of the connection.

        Args:
            path: of the collection.
            selector: a field selector.
            stopped: ends it.
            opened: is told each connection, so that it can be interrupted.

        Yields:
            ("LISTED", list of objects) at the beginning, and whenever what happened in between
            cannot be told; else the kind of event and the object.

        Raises:
            ApiError, ConnectionFailed: as for `get`.
        """
        version: str | None = None
        while not stopped.is_set():
            if version is None:
                listed = self.get(path, stopped, fieldSelector=selector)
                version = str(listed["metadata"]["resourceVersion"])
                yield "LISTED", listed.get("items") or []
            query = {"watch": "true", "resourceVersion": version, "fieldSelector": selector}
            try:
                opening = self.lines(path, stopped, timeoutSeconds=_WATCH_SECONDS, **query)
            except ApiError as error:
                if error.status != _GONE:
                    raise
                version = None
                stopped.wait(_REOPEN_SECONDS)
                continue
            # Only a break of what was opened may be passed over: what cannot be opened has been
            # ridden out already, and else nobody would ever say that the API is gone.
            try:
                with opening as lines:
                    opened(lines)
                    for line in lines:
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise _watch_error(event["object"], path)
                        version = str(event["object"]["metadata"]["resourceVersion"])
                        yield event["type"], event["object"]
            except ApiError as error:
                if error.status == _GONE:
                    version = None
                elif not error.passing:
                    raise
            except (ConnectionFailed, ValueError):  # ValueError: cut off in the midst of a line
                pass
            stopped.wait(_REOPEN_SECONDS)

    def websocket(self, path: str, query: list[tuple[str, str]], timeout: float) -> Any:
        """Opens a WebSocket of Kubernetes' channel protocol.

        Raises:
            ApiError: if the API refuses it.
            ConnectionFailed: if it cannot be reached.
        """
        return self._authorized(lambda headers: self._websocket_with(headers, path, query, timeout))

    def _websocket_with(
        self, headers: dict[str, str], path: str, query: list[tuple[str, str]], timeout: float
    ) -> Any:
        import ssl

        import websocket

        configuration = self.cluster.configuration
        url = re.sub("^http", "ws", self.address) + path + "?" + urlencode(query)
        options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
        if configuration.verify_ssl:
            options = {"cert_reqs": ssl.CERT_REQUIRED}
            if configuration.ssl_ca_cert:
                options["ca_certs"] = configuration.ssl_ca_cert
            if configuration.assert_hostname is not None:
                options["check_hostname"] = configuration.assert_hostname
        if configuration.cert_file:
            options |= {"certfile": configuration.cert_file, "keyfile": configuration.key_file}
        server_name = getattr(configuration, "tls_server_name", None)  # of newer clients only
        if server_name:
            options["server_hostname"] = server_name
        # Other calls use no proxy but the configured one either.
        proxy: dict[str, Any] = {"http_no_proxy": ["*"]}
        if configuration.proxy:
            parts = urlsplit(configuration.proxy)
            proxy = {"http_proxy_host": parts.hostname, "http_proxy_port": parts.port}
        try:
            return websocket.create_connection(
                url,
                timeout=timeout,
                sslopt=options,
                subprotocols=[_PROTOCOL],
                header=[f"{name}: {value}" for name, value in headers.items()],
                **proxy,
            )
        except websocket.WebSocketBadStatusException as error:
            resource, verb = _resource_of(path), "get"
            body = getattr(error, "resp_body", None) or str(error).encode()
            text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
            raise ApiError(int(error.status_code), text, verb, resource) from error
        except (websocket.WebSocketException, OSError) as error:
            raise ConnectionFailed(f"{type(error).__name__}: {error}") from error

    def _headers(self) -> dict[str, str]:
        headers = dict(self._client.default_headers)
        try:
            self._client.update_params_for_auth(headers, [], ["BearerToken"])
        except Exception as error:  # of whatever provider has no token just now
            raise ConnectionFailed(_words(error)) from error
        headers.pop("Content-Type", None)
        return headers

    def _authorized(self, call: Callable[[dict[str, str]], Any]) -> Any:
        """Calls with the headers, and once more if the token is another by now.

        Newer clients read a token again before it expires; older ones keep the first.
        """
        headers = self._headers()
        try:
            return call(headers)
        except ApiError as error:
            if error.status != _UNAUTHORIZED or not self._renewed(headers):
                raise
        return call(self._headers())

    def _renewed(self, used: Mapping[str, str]) -> bool:
        if not self._renewing.acquire(timeout=_RENEW_SECONDS):
            return False
        try:
            if self._headers() == used and self.cluster.again is not None:
                self._renew(self.cluster.again)
            return self._headers() != used
        finally:
            self._renewing.release()

    def _renew(self, again: Callable[[], Cluster]) -> None:
        """Takes the credentials of now; a plugin that waits for somebody is not waited for."""
        found: list[Cluster] = []

        def look() -> None:
            try:
                found.append(again())
            except Exception as error:  # of whatever provider a kubeconfig names
                _logger.info("The credentials cannot be read again: %s", type(error).__name__)

        thread = threading.Thread(target=look, name="infra-validator-credentials", daemon=True)
        thread.start()
        thread.join(_RENEW_SECONDS)
        for one in found:
            # A kubeconfig may lead elsewhere by now.
            if one.configuration.host == self.cluster.configuration.host:
                self._use(one)

    def _riding_out(self, call: Callable[[], Any], stopped: threading.Event) -> Any:
        def pause(seconds: float) -> None:
            limit = Deadline.after(seconds)
            self._check()
            while not limit.expired():
                if stopped.wait(min(limit.remaining(), _NOTICE_SECONDS)):
                    raise Interrupted
                self._check()

        return tenacity.Retrying(
            retry=_PASSING,
            wait=_wait,
            stop=tenacity.stop_after_delay(_RIDE_OUT_SECONDS),
            sleep=pause,
            before_sleep=self._tell,
            reraise=True,
        )(call)

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """Says why there is a wait, once it is more than a moment's."""
        if state.attempt_number == _TRIES_BEFORE_TELLING and state.outcome is not None:
            _logger.warning(
                "The Kubernetes API at %s does not answer yet, and is asked for up to %.0f s: %s",
                self.address,
                _RIDE_OUT_SECONDS,
                first_line(str(state.outcome.exception())),
            )

    def _given_up(self) -> bool:
        try:
            self._check()
        except Cancelled:
            return True
        return False

    def _pause_briefly_at_last(self, seconds: float) -> None:
        began, limit = time.monotonic(), Deadline.after(seconds)
        while not limit.expired():
            if self._given_up() and time.monotonic() - began >= _LAST_PAUSE_SECONDS:
                return
            time.sleep(min(limit.remaining(), _NOTICE_SECONDS))

    def _open(
        self, method: str, path: str, body: Any, query: Mapping[str, Any], seconds: float
    ) -> Any:
        return self._authorized(
            lambda headers: self._open_with(headers, method, path, body, query, seconds)
        )

    def _open_with(
        self,
        headers: dict[str, str],
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, Any],
        seconds: float,
    ) -> Any:
        import urllib3

        url = self.address + path + ("?" + urlencode(query) if query else "")
        headers = {**headers, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._pool.request(
                method,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=seconds),
                preload_content=False,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionFailed(_words(error)) from error
        except ValueError:  # it would tell the header
            raise ClusterConfigError(
                "its token holds characters that may not be in a header"
            ) from None
        if response.status < 300:
            return response
        text = self._read(response).decode(errors="replace")
        response.release_conn()
        after = response.headers.get("Retry-After", "")
        verb = {"POST": "create", "DELETE": "delete"}.get(method, "get")
        if method == "GET" and query.keys() & {"fieldSelector", "labelSelector"}:
            verb = "watch" if "watch" in query else "list"
        raise ApiError(
            response.status,
            text,
            verb,
            _resource_of(path),
            float(after) if after.isdigit() else None,
        )

    @staticmethod
    def _read(response: Any) -> bytes:
        import urllib3

        try:
            return bytes(response.read())
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionFailed(_words(error)) from error


class Lines:
    """An answer that comes bit by bit. May be interrupted by another thread."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._interrupted = False
        self._socket = _second_handle(response)

    def chunks(self) -> Iterator[bytes]:
        """What came, as it came.

        Raises:
            ConnectionFailed: if the connection breaks.
        """
        import urllib3

        try:
            yield from self._response.stream(amt=65536, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if not self._interrupted:
                raise ConnectionFailed(_words(error)) from error

    def __iter__(self) -> Iterator[bytes]:
        """Line by line."""
        rest = b""
        for chunk in self.chunks():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line)
        if rest and not self._interrupted:
            raise ConnectionFailed("the answer was cut off")

    def interrupt(self) -> None:
        """Ends it, from any thread."""
        self._interrupted = True
        if self._socket is not None:
            break_off(self._socket)

    def close(self) -> None:
        """Gives the connection up; what has not been read of it is in nobody's way."""
        try:
            self._response.close()
        finally:
            if self._socket is not None:
                self._socket.close()


def _second_handle(response: Any) -> socket.socket | None:
    """A handle on an answer's connection; its own is out of reach once the server will close it.

    None if the answer has ended already.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return socket.socket(fileno=os.dup(response.fileno()))
    return None


def break_off(sock: Any) -> None:
    """Ends a connection, from any thread: whoever reads from it notices.

    Not by the TLS layer's own shutdown, which would take away what the other thread reads
    from. TLS within TLS, as through an HTTPS proxy, and pyOpenSSL's hold the socket inside.
    """
    with contextlib.suppress(OSError, TypeError):
        socket.socket.shutdown(getattr(sock, "socket", sock), socket.SHUT_RDWR)


def _watch_error(status: Mapping[str, Any], path: str) -> ApiError:
    return ApiError(int(status.get("code") or 500), json.dumps(status), "watch", _resource_of(path))


def _resource_of(path: str) -> str:
    """ "pods" or "pods/exec", of a path of the API."""
    match = re.fullmatch(r"/api/v1/(?:namespaces/[^/]+/)?([a-z]+)(?:/[^/]+(?:/([a-z]+))?)?", path)
    if match is None:
        return path
    return "/".join(part for part in match.groups() if part)


_PASSING = tenacity.retry_if_exception(
    lambda error: (
        isinstance(error, ConnectionFailed) or (isinstance(error, ApiError) and error.passing)
    )
)
_backoff = tenacity.wait_exponential_jitter(initial=0.2, max=10)


def _wait(state: tenacity.RetryCallState) -> float:
    """As the API asks, else by a growing back-off."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ApiError) and error.retry_after is not None:
        return min(error.retry_after, 30.0)
    return float(_backoff(state))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
