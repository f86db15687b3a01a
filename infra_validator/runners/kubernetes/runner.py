"""One server in one Pod."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from infra_validator.faults import TIME_CATEGORIES, Fault, FaultError, Phase, fault
from infra_validator.files import storage_fault
from infra_validator.kubernetes_config import SERVER
from infra_validator.runners.base import Exit, ServerTask
from infra_validator.runners.kubernetes import faults, owner
from infra_validator.runners.kubernetes.api import (
    ApiError,
    ConnectionFailed,
    Interrupted,
)
from infra_validator.runners.kubernetes.by_hand import kubectl_script
from infra_validator.runners.kubernetes.forward import Forwarder
from infra_validator.runners.kubernetes.manifest import pod_manifest
from infra_validator.runners.kubernetes.places import StreamedModel
from infra_validator.runners.kubernetes.stream import send
from infra_validator.runners.tar_stream import Archive
from infra_validator.tensorflow_errors import without_cut_text
from infra_validator.text import first_line
from infra_validator.waiting import Cancelled, Deadline

if TYPE_CHECKING:
    from infra_validator.runners.kubernetes.delivery import Way
    from infra_validator.runners.kubernetes.platform import KubernetesPlatform, Place

_logger = logging.getLogger(__name__)

_KEPT_OUTPUT_BYTES = 1 << 20
_COMPARED_BYTES = 256
_STOP_SECONDS = 10.0
_KILLED_EXIT = 137
_MIB = 1024 * 1024

# The end of the log and the end of the container are told apart, the later one within this time.
_LAST_WORDS_SECONDS = 5.0
_LOG_AGAIN_SECONDS = 0.2

# What was asked for may be stored a little later, though its answer never came.
_IN_FLIGHT_SECONDS = 5.0
_DELETE_AGAIN_SECONDS = 0.5

# A phase that took too long is told a little before the engine's own limit for it.
_SOONER_SECONDS = 0.5


def diagnose(error: ApiError, namespace: str, phase: Phase) -> Fault:
    """The fault of what the API refused."""
    return faults.diagnose_api_error(
        error.status, error.body, error.verb, error.resource, namespace, phase
    )


class _Interruptible(Protocol):
    def interrupt(self) -> None:
        """Ends it, from any thread."""


class KubernetesRunner:
    """One Pod. A thread of its own brings it up and follows it; others read its log and events."""

    def __init__(self, platform: KubernetesPlatform, task: ServerTask) -> None:
        self._platform = platform
        self._settings = platform.settings
        self._task = task
        # Named before it is created, so that it can be removed in any ending.
        self._name = f"infra-validator-{uuid.uuid4().hex[:12]}"
        self._phase = Phase.START
        self._phase_since = time.monotonic()
        self._endpoint: str | None = None
        self._exit: Exit | None = None
        self._fault: Fault | None = None
        self._waits: str | None = None  # what for, as the log was last told
        self._identity: dict[str, Any] = {"server": task.binary.name, "pod": self._name}
        self._pod: Mapping[str, Any] = {}
        self._events: dict[str, Mapping[str, Any]] | None = {}  # None where they may not be read
        # Held by whoever judges, so that phase, fault and exit are seen as they belong together.
        self._state = threading.RLock()
        self._output: collections.deque[bytes] = collections.deque()
        self._output_lock = threading.Lock()
        self._log_begins: bytes | None = None
        self._log_was_rotated = False
        self._log_problem: str | None = None  # why it cannot be read just now
        self._log_heard = threading.Event()  # or is not to be had
        self._log_ended = threading.Event()
        self._server_ended = threading.Event()
        self._creating = threading.Lock()
        self._stopped = threading.Event()
        self._asked_for = False
        self._unheard_of = False  # whether a Pod may yet appear that was asked for in vain
        self._refused = False  # whether the API said that it makes no Pod
        self._removed = False
        self._sending = False
        self._to_send = self._sent = 0  # bytes
        self._receiving = False
        self._receiver_runs = threading.Event()
        self._reading = False
        self._open: set[_Interruptible] = set()
        self._forwarder: Forwarder | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Lets the thread begin."""
        self._enter(Phase.START)
        self._spawn("pod", self._bring_up)

    def phase(self) -> Phase:
        """SCHEDULE, IMAGE, STAGE while the model is sent, START in between, then LOAD."""
        return self._phase

    def endpoint(self) -> str | None:
        """The Pod's address, or where its port was brought to on this machine."""
        return self._endpoint

    def poll(self) -> Exit | None:
        """None until the server's container has ended, or its Pod is gone."""
        return self._exit

    def diagnose(self) -> Fault | None:
        """What the cluster says is wrong, at last that it took too long."""
        with self._state:
            if self._fault is None and self._exit is None and self._phase != Phase.LOAD:
                limit = self._platform.phase_limits.get(self._phase, float("inf"))
                if time.monotonic() - self._phase_since >= limit - _SOONER_SECONDS:
                    self._fault = faults.diagnose_waiting(
                        self._pod, self._told(), self._phase, limit
                    )
            return self._fault

    def progress(self) -> str | None:
        """What the Pod waits for, in the cluster's words; how much of the model is sent."""
        if self._phase == Phase.LOAD:
            return self._unreached() if self._endpoint is None else None
        if self._phase == Phase.STAGE and self._to_send >= _MIB:
            return f"sent {self._sent // _MIB} of {self._to_send // _MIB} MiB"
        return self._waits

    def logs(self) -> str:
        """Standard output and error of the server's container; the last MiB of it."""
        with self._output_lock:
            text = b"".join(self._output).decode(errors="replace")
            return without_cut_text(text) if self._log_was_rotated else text

    def identity(self) -> Mapping[str, Any]:
        """Image, versions, cluster, node, and how the model got in.

        Asks the cluster whether the server still runs: of its end the watch may
        tell late, and its address may be another's by then.
        """
        if self._exit is None and self._phase == Phase.LOAD and not self._stopped.is_set():
            api = self._platform.place().api
            self._look_again(lambda path: api.get(path, self._stopped))
            if self._exit is None and self._reading:  # a server may answer before its log is here
                self._log_heard.wait(_LAST_WORDS_SECONDS)
        versions = self._task.binary.read_version(self.logs())
        return {**self._identity, **_facts(self._pod), "versions": versions}

    def stop(self) -> None:
        """Deletes the Pod without grace: the server's entry point passes no signal on."""
        with self._creating:
            self._stopped.set()
        self._server_ended.set()
        self._receiver_runs.set()
        if self._removed or not self._threads:
            return
        try:
            self._interrupt_all()
            if self._forwarder is not None:
                self._forwarder.close()
        finally:
            if self._asked_for and not self._refused:
                self._remove()
        limit = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
        if self._exit is None and self._asked_for:
            self._exit = Exit(_KILLED_EXIT, "removed")

    def find_cause(self, found: Fault, log: str) -> Fault:
        """The cluster's own fault, where a time limit would be held against model or server.

        It is asked once more, since the limit may be shorter than what is ridden out.
        """
        not_ready = found.category == "server_not_ready"
        in_question = not_ready or found.category in TIME_CATEGORIES
        if not in_question or self._stopped.is_set():
            return found
        self._look_again(self._platform.place().api.look)
        cause = self._fault or self._unheard()
        if cause is not None:
            return dataclasses.replace(cause, phase=found.phase)
        if not_ready and self._unreached():
            return dataclasses.replace(
                found, detail="\n".join(filter(None, [found.detail, self._unreached()]))
            )
        slow = faults.slow_hint(self._pod)
        if not_ready and slow:
            return dataclasses.replace(found, hint=f"{slow} {found.hint}")
        return found

    def _unreached(self) -> str | None:
        """What was last said of the server's port, but that nobody listens there yet."""
        if self._forwarder is None:
            return None
        said = self._forwarder.problem or self._forwarder.refusal
        return None if said is None or "refused" in said else first_line(said)

    def _unheard(self) -> Fault | None:
        """The cluster's fault if the way to the server was cut, though its API answers."""
        forwarder = self._forwarder
        for what, problem in (
            ("server's log cannot be read", self._log_problem),
            ("server's port cannot be forwarded", forwarder.problem if forwarder else None),
        ):
            if problem is not None:
                words = f"The {what} through the API server: {first_line(problem)}"
                return fault("cluster_lost", self._phase, words, detail=problem)
        return None

    def _look_again(self, read: Callable[[str], Any]) -> None:
        place = self._platform.place()
        try:
            pod = read(self._path(place))
        except ApiError as error:
            if error.status == 404:
                with self._state:
                    told = self._told()
                self._fail(faults.diagnose_deleted(self._pod, self._phase, told))
            else:
                self._fail(diagnose(error, place.namespace, self._phase))
        except ConnectionFailed as error:
            self._fail(
                faults.diagnose_unreachable(
                    place.api.address, str(error), self._phase, was_reached=True
                )
            )
        else:
            self._take_end(pod)

    def _path(self, place: Place, *rest: str) -> str:
        return "/".join([f"/api/v1/namespaces/{place.namespace}/pods/{self._name}", *rest])

    def _remove(self) -> None:
        place = self._platform.place()
        try:
            limit = Deadline.after(_IN_FLIGHT_SECONDS if self._unheard_of else 0.0)
            while not place.api.delete(self._path(place)) and not limit.expired():
                time.sleep(_DELETE_AGAIN_SECONDS)
            self._removed = True
        except Exception as error:  # whatever it is, it is to be told that the Pod is left
            _logger.warning(
                "The Pod %s in %s cannot be deleted: %s", self._name, place.namespace, error
            )

    # What follows runs in the threads.

    def _spawn(self, kind: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(
            target=self._guarded, args=(target,), name=f"{self._name}-{kind}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except (Interrupted, Cancelled):
            pass
        except FaultError as error:
            self._fail(error.fault)
        except ApiError as error:
            self._fail(diagnose(error, self._platform.place().namespace, self._phase))
        except ConnectionFailed as error:
            address = self._platform.place().api.address
            self._fail(
                faults.diagnose_unreachable(address, str(error), self._phase, was_reached=True)
            )
        except Exception as error:
            # It would end with this thread, and the attempt would wait for nothing.
            _logger.exception("A defect in the Kubernetes platform")
            words = f"The platform itself failed: {type(error).__name__}: {error}"
            self._fail(fault("internal_error", self._phase, words))
        finally:
            self._task.wake()

    def _fail(self, found: Fault) -> None:
        """The first fault stays: those after it are mostly its consequences."""
        if self._stopped.is_set():
            return
        with self._state:
            if self._fault is None:
                self._fault = found
            if self._phase == Phase.LOAD and self._exit is None:
                self._exit = Exit(_KILLED_EXIT, found.summary)
        self._task.wake()

    def _enter(self, phase: Phase) -> None:
        with self._state:
            if phase == self._phase:
                return
            self._phase = phase
            self._phase_since = time.monotonic()
        self._task.wake()

    def _take_end(self, pod: Mapping[str, Any]) -> None:
        """The server's end, with the platform's reason for it if that is known."""
        ended = faults.exit_of(pod)
        if ended is None:
            return
        self._server_ended.set()
        if self._reading:
            self._log_ended.wait(_LAST_WORDS_SECONDS)
        words = faults.last_words(pod)
        with self._output_lock:
            if words and not self._output:  # a log that comes yet takes its place
                self._output.append(words.encode())
        with self._state:
            if self._exit is None:
                self._fault = self._fault or faults.diagnose_pod(pod, self._told())
                self._exit = ended
        self._task.wake()

    def _opened(self, connection: _Interruptible) -> None:
        self._open.add(connection)
        if self._stopped.is_set():
            connection.interrupt()

    def _interrupt_all(self) -> None:
        for connection in tuple(self._open):
            connection.interrupt()

    @contextlib.contextmanager
    def _allowed_to_create(self) -> Iterator[None]:
        with self._creating:  # so that stop() deletes what is created, or nothing is
            if self._stopped.is_set():
                raise Interrupted
            self._asked_for = True
            try:
                yield
            except (ApiError, ConnectionFailed) as error:
                self._unheard_of |= not isinstance(error, ApiError) or error.passing
                self._refused = not self._unheard_of
                raise
            self._unheard_of = False

    def _bring_up(self) -> None:
        place = self._platform.place()
        way = self._platform.way(self._task.model)
        settings = self._settings
        step = place.step.pod if place.step is not None else None
        beside_step = step is not None and step.namespace == place.namespace
        account = settings.service_account_name or (
            step.service_account if step is not None and beside_step else None
        )
        asking = self._task.asking_seconds
        lifetime = settings.schedule_timeout_seconds + settings.deadline_with(asking)
        self._identity |= {
            "namespace": place.namespace,
            "model_delivery": way.name,
            "reached_by": "port-forward" if place.forward else "Pod IP",
            "cluster": place.version,
        }
        manifest = pod_manifest(
            settings,
            self._task.binary,
            name=self._name,
            namespace=place.namespace,
            model=way.place,
            user=way.user,
            labels=owner.LABELS,
            annotations=owner.annotate(step if beside_step else None, lifetime),
            owner=step if beside_step else None,
            service_account=account,
            node=way.node,
            asking_seconds=asking,
        )
        streamed = isinstance(way.place, StreamedModel)
        self._identity["reproduce"] = kubectl_script(
            manifest,
            port=self._task.binary.container_port,
            model=str(self._task.model.local_path()) if streamed else None,
            model_uri=self._task.model.own_place(),
            layout=self._task.binary.model_layout(),
            config_flags=self._task.binary.config_files,
        )
        created = place.api.create(
            f"/api/v1/namespaces/{place.namespace}/pods",
            manifest,
            self._stopped,
            self._allowed_to_create,
        )
        self._take_pod(created)
        self._spawn("events", self._follow_events)
        selector = f"metadata.name={self._name}"
        for kind, found in place.api.watch(
            f"/api/v1/namespaces/{place.namespace}/pods", selector, self._stopped, self._opened
        ):
            if self._stopped.is_set():
                return
            if kind == "DELETED" or (kind == "LISTED" and not found):
                self._server_ended.set()
                with self._state:
                    told = self._told()
                self._fail(faults.diagnose_deleted(self._pod, self._phase, told))
                return
            self._take_pod(found[0] if kind == "LISTED" else found)
            if self._exit is not None or self._fault is not None:
                return

    def _follow_events(self) -> None:
        """Events are evidence that is welcome, and may be kept from us."""
        place = self._platform.place()
        try:
            for kind, found in place.api.watch(
                f"/api/v1/namespaces/{place.namespace}/events",
                f"involvedObject.name={self._name}",
                self._stopped,
                self._opened,
            ):
                if self._stopped.is_set() or self._server_ended.is_set():
                    return
                with self._state:
                    known = self._events or {}
                    for event in found if kind == "LISTED" else [found]:
                        known[event["metadata"]["uid"]] = event
                    self._events = known
                    self._judge()
        except (ApiError, ConnectionFailed) as error:
            _logger.info("The Pod's events cannot be read: %s", error)
            with self._state:
                self._events = None
                self._judge()

    def _take_pod(self, pod: Mapping[str, Any]) -> None:
        with self._state:
            self._pod = pod
            self._judge()
        place, way = self._platform.place(), self._platform.way(self._task.model)
        if not self._sending and faults.is_scheduled(pod) and faults.has_receiver(pod):
            self._sending = True
            self._spawn("send", lambda: self._send(place, way))
        if faults.receiver_state(pod).keys() & {"running", "terminated"}:
            self._receiver_runs.set()
        if self._phase != Phase.LOAD:
            return
        if not self._reading:
            self._reading = True
            self._spawn("log", self._follow_log)
        if self._endpoint is None and self._forwarder is None:
            self._reach(place, pod)
        self._take_end(pod)

    def _judge(self) -> None:
        """Looks at all that is known; `_state` is held."""
        events = self._told()
        if self._phase != Phase.LOAD:  # of an evicted Pod's containers the API tells no more
            self._enter(faults.phase_of(self._pod, events, receiving=self._receiving))
            waits = faults.waiting_reason(self._pod, events)
            if waits is not None and waits != self._waits:
                _logger.info("The Pod %s waits: %s", self._name, waits)
            self._waits = waits
        if faults.exit_of(self._pod) is not None:
            return  # the log's end comes first
        found = faults.diagnose_pod(self._pod, events)
        if found is not None:
            self._fail(found)

    def _told(self) -> list[Mapping[str, Any]] | None:
        """The events; `_state` is held."""
        return None if self._events is None else list(self._events.values())

    def _sends(self, connection: _Interruptible) -> None:
        with self._state:
            self._receiving = True  # before the kubelet tells so
            self._judge()
        self._opened(connection)

    def _send(self, place: Place, way: Way) -> None:
        folders = {}
        if isinstance(way.place, StreamedModel):
            layout = self._task.binary.model_layout()
            folders[f"model/{layout}"] = self._task.model.local_path()
        files = {
            f"config/{flag}": content for flag, content in self._task.binary.config_files.items()
        }
        try:
            archive = Archive(folders, files)
        except OSError as error:
            summary = f"The model cannot be read: {self._task.model.uri}"
            raise storage_fault(summary, Phase.STAGE, error) from error
        self._identity["sent_bytes"] = self._to_send = archive.length

        def note(sent: int) -> None:
            self._sent = sent

        send(
            place.api,
            self._path(place),
            archive,
            self._stopped,
            self._sends,
            self._receiver_runs,
            lambda: (faults.receiver_state(self._pod).get("terminated") or {}).get("exitCode") == 0,
            note,
        )

    def _reach(self, place: Place, pod: Mapping[str, Any]) -> None:
        port = self._task.binary.container_port
        if not place.forward:
            address = (pod.get("status") or {}).get("podIP")
            if address:
                self._endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                self._task.wake()
            return
        with self._creating:
            if self._stopped.is_set():
                return
            self._forwarder = Forwarder(
                place.api, self._path(place), port, self._forwarded, self._not_forwarded
            )

    def _forwarded(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._task.wake()

    def _not_forwarded(self, error: Exception) -> None:
        if isinstance(error, ApiError) and error.status == 404:
            return  # the Pod is gone, of which the watch tells

        def tell() -> None:
            raise error

        self._guarded(tell)

    def _follow_log(self) -> None:
        """Reads the log to its end; from its beginning again wherever it broke off."""
        place = self._platform.place()
        query = {"container": SERVER, "follow": "true"}
        try:
            while not self._stopped.is_set():
                ended = self._server_ended.is_set()
                whole = False
                try:
                    with place.api.lines(self._path(place, "log"), self._stopped, **query) as lines:
                        self._opened(lines)
                        self._log_problem = None
                        self._keep(lines.chunks())
                        whole = True
                except ConnectionFailed as error:
                    _logger.debug("The log broke off: %s", error)
                    # Silence is none: nothing comes before the server's first line.
                    self._log_problem = None if "ReadTimeoutError" in str(error) else str(error)
                except ApiError as error:
                    self._log_problem = str(error)
                    # It may be asked for before the kubelet knows of the container, or after.
                    if error.status not in {400, 404} and not error.passing:
                        raise
                    whole = ended
                if self._stopped.is_set() or (
                    whole and (ended or self._server_ended.wait(_LAST_WORDS_SECONDS))
                ):
                    return
                self._stopped.wait(_LOG_AGAIN_SECONDS)
        finally:
            self._log_heard.set()
            self._log_ended.set()

    def _begin_log(self, chunk: bytes) -> None:
        """Forgets what was read before; a log that begins otherwise than then was rotated."""
        if self._log_begins is None:
            self._log_begins = chunk[:_COMPARED_BYTES]
        common = min(len(chunk), len(self._log_begins))
        self._log_was_rotated = chunk[:common] != self._log_begins[:common]
        self._output.clear()

    def _keep(self, chunks: Iterator[bytes]) -> None:
        kept = 0
        for number, chunk in enumerate(chunks):
            if self._stopped.is_set():
                return  # the kubelet puts its own words in where a container is taken away
            with self._output_lock:
                if number == 0:
                    self._begin_log(chunk)
                self._output.append(chunk)
                self._log_heard.set()
                kept += len(chunk)
                while kept - len(self._output[0]) > _KEPT_OUTPUT_BYTES:
                    kept -= len(self._output.popleft())
            self._task.wake()


def _facts(pod: Mapping[str, Any]) -> dict[str, Any]:
    """What the report says of a Pod."""
    status = pod.get("status") or {}
    found = {
        "node": (pod.get("spec") or {}).get("nodeName"),
        "pod_ip": status.get("podIP"),
    }
    for container in status.get("containerStatuses") or []:
        # "docker-pullable://name@sha256:...", and other forms of other container runtimes.
        image = str(container.get("imageID") or "").rpartition("://")[2]
        if container.get("name") == SERVER and image:
            found["image_id"] = image.rpartition("@")[2]
            found["image_digests"] = [image] if "@" in image else []
    return {key: value for key, value in found.items() if value is not None}
