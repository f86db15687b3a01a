"""From a Pod, its events and the API server's answers to a fault. Pure.

Pods and events are plain JSON values as the API gives them. The texts are the
kubelet's, the scheduler's, a runtime's or a registry's; the tests give the source
of each. Events are evidence that is welcome and never needed: they may not be read
everywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra_validator.faults import Evidence, Fault, Phase, fault
from infra_validator.kubernetes_config import MEMORY_LIMIT, RECEIVER, SERVER, parse_quantity
from infra_validator.runners.base import Exit
from infra_validator.runners.exits import exit_reason
from infra_validator.tensorflow_errors import without_cut_text
from infra_validator.text import first_line

Object = Mapping[str, Any]

_KUBERNETES = "ServingSpec.kubernetes"
_TIMEOUT_EXIT = 124
_NO_PROGRAM_EXIT = 127

# Of a log that the kubelet keeps with the Pod (kuberuntime_container.go).
_KEPT_BYTES, _KEPT_LINES = 2048, 80

_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)

# Nobody saw such a container end, so its exit code (255, 137) is made up: containerd's
# unknownExitReason, and the kubelet's for one that it finds no more.
_LOST_REASONS = frozenset({"Unknown", "ContainerStatusUnknown"})

_HINDRANCES = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
"""Reasons of events that keep containers from being made."""

_LOST_STATE: Mapping[str, Any] = {"terminated": {"exitCode": 255, "reason": "Unknown"}}

_Table = tuple[tuple[re.Pattern[str], str, str], ...]


def _table(*rows: tuple[str, str, str]) -> _Table:
    return tuple(
        (re.compile(pattern, re.IGNORECASE), category, summary)
        for pattern, category, summary in rows
    )


# What a kubelet puts before the words of the runtime.
_WRAPPING = re.compile(
    r'Failed to pull image "[^"]*": |rpc error: code = \w+ desc = |Error response from daemon: '
)

# Looked for in this order; what is more special comes first.
_PULLING: _Table = _table(
    (
        r"no such host|dial tcp|i/o timeout|connection refused|connection reset|tls handshake|"
        r"too ?many ?requests|\b429\b|\b50[0234]\b|context deadline exceeded|x509",
        "image_pull_failed",
        "The image {image} cannot be pulled",
    ),
    (
        r"no match(?:ing manifest)? for .*(?:platform|manifest)|"
        r"does not match the specified platform",
        "image_unusable",
        "The image {image} is not there for the node's platform",
    ),
    (
        r"pull access denied|unauthorized|authentication required|authorization failed|"
        r"no basic auth|denied|insufficient_scope|access forbidden|failed to authorize|"
        r"\b40[13]\b|authorization token has expired",
        "image_pull_denied",
        "The registry refuses to give the image {image}",
    ),
    (
        r"not found|manifest unknown|name unknown|no such image|no such manifest",
        "image_not_found",
        "The image {image} does not exist",
    ),
    (
        r"invalid reference format|couldn't parse image",
        "image_not_found",
        "{image} is no image's name",
    ),
)
_STARTING: _Table = _table(
    (
        r"secret .* not found|configmap .* not found|couldn't find key|"
        r"non-?existent (?:secret|config) key|references non-existent",
        "container_config_invalid",
        "The Pod names something that its namespace does not have",
    ),
    (
        r"runasnonroot|non-numeric user|image will run as root",
        "container_config_invalid",
        "The container may not run as root, and nothing says as whom else",
    ),
    (
        r"executable file not found|no such file or directory|exec format error|"
        r"exec: .* permission denied|no command specified",
        "image_unusable",
        "The image cannot be run",
    ),
    (
        r"unknown capability|seccomp|apparmor|not allowed by|invalid capability",
        "container_config_invalid",
        "The node refuses the container's security settings",
    ),
    (
        r"nvidia-container-cli|could not select device driver|no such device|cdi device",
        "platform_failed",
        "The node's devices cannot be used",
    ),
)
# A node waits a second for what it has not heard of yet, and then tries anew.
_NOT_KNOWN_YET = re.compile(r"failed to sync (?:secret|configmap) cache")
_MOUNTING: _Table = _table(
    (
        # A new namespace is given these a moment later.
        r"(?:secret|configmap) "
        r"(?!\"(?:kube-root-ca\.crt|istio-ca-root-cert|openshift-service-ca\.crt)\")"
        r".*not found|references non-existent",
        "container_config_invalid",
        "A volume names something that the Pod's namespace does not have",
    ),
    (
        r"hostpath type check failed",
        "container_config_invalid",
        "A volume's path is not on the node",
    ),
)

# The words of runc and of Docker's engine where a container's first process gets no memory.
_NO_MEMORY = re.compile(
    r"OOM-killed|minimum memory limit|cannot allocate memory|start a stopped process",
    re.IGNORECASE,
)
# They may also be said of a node that has none left, but hardly with a limit like this one.
_TINY_MEMORY_BYTES = 64 * 1024 * 1024

_IMAGE_NAME = (
    "(ServingSpec.tensorflow_serving.image_name, ServingSpec.tensorflow_serving.tags, "
    "ServingSpec.tensorflow_serving.digests)"
)
_IMAGE_HINTS: Mapping[str, str] = {
    "image_not_found": f"See that the registry has just this name and version {_IMAGE_NAME}; a "
    "name without a registry is looked for on Docker Hub.",
    "image_pull_denied": f"Correct the image's name {_IMAGE_NAME}, or name a Secret with the "
    f"registry's credentials in {_KUBERNETES}.image_pull_secrets.",
    "image_pull_failed": f"See that the image's name is right {_IMAGE_NAME} and that the node "
    "reaches the registry, or load the image there by hand.",
    "image_pull_timeout": f"Raise {_KUBERNETES}.pull_timeout_seconds, or pull the image before.",
}


# How far a Pod has got.


def phase_of(pod: Object, events: Sequence[Object] | None, *, receiving: bool = False) -> Phase:
    """What the Pod waits for: SCHEDULE, IMAGE, START, STAGE while files are sent, then LOAD.

    Args:
        pod: as the API gave it.
        events: the Pod's; None where they may not be read. Then pulling cannot be
            told from what comes after it, and all of it is IMAGE.
        receiving: whether files are being sent, as the sender knows before the kubelet tells.
    """
    if _state(pod, SERVER).keys() & {"running", "terminated"}:
        return Phase.LOAD
    receiver = receiver_state(pod)
    if "running" in receiver or (receiving and "terminated" not in receiver):
        return Phase.STAGE
    if not is_scheduled(pod):
        return Phase.SCHEDULE
    if any(_waiting(pod, name).get("reason") in _IMAGE_REASONS for name in _names(pod)):
        return Phase.IMAGE
    if "terminated" in receiver:
        return Phase.START  # both have the same image
    if events is None:
        return Phase.IMAGE
    pulling = {_container_of(event) for event in events if event.get("reason") == "Pulling"}
    pulled = {_container_of(event) for event in events if event.get("reason") == "Pulled"}
    return Phase.IMAGE if pulling - pulled else Phase.START


def exit_of(pod: Object) -> Exit | None:
    """How the server ended, or None while it has not, or never ran."""
    ended = _state(pod, SERVER).get("terminated")
    if ended is None or ended.get("reason") in {"ContainerCannotRun", "StartError"}:
        return None
    code = int(ended.get("exitCode", 0))
    reason = ended.get("reason")
    words = exit_reason(code)
    return Exit(code, words if reason in {None, "", "Error", "Completed"} else f"{reason}, {words}")


def last_words(pod: Object) -> str:
    """The end of a failed server's log, as far as the kubelet keeps it with the Pod.

    terminationMessagePolicy: FallbackToLogsOnError has it keep 80 lines or 2048 bytes. Where
    something may be cut off, what may be the rest of a quoted text is left out.
    """
    words = str((_state(pod, SERVER).get("terminated") or {}).get("message") or "")
    cut = len(words.encode()) >= _KEPT_BYTES or words.count("\n") >= _KEPT_LINES - 1
    return without_cut_text(words) if cut else words


def waiting_reason(pod: Object, events: Sequence[Object] | None) -> str | None:
    """What the Pod waits for, in the cluster's words, for a line of the log."""
    hindrance = _last_message(events, *_HINDRANCES)
    return (
        _scheduler_says(pod)
        or (first_line(_WRAPPING.sub("", hindrance)) if hindrance else None)
        or next(
            (
                first_line(str(waiting["message"]))
                for waiting in (_waiting(pod, name) for name in _names(pod))
                if waiting.get("message")
            ),
            None,
        )
    )


def slow_hint(pod: Object) -> str | None:
    """What to look at where the server did not get far, if it has less than one processor."""
    limit = _container(pod, SERVER).get("resources", {}).get("limits", {}).get("cpu")
    amount = parse_quantity(str(limit or ""))
    if not amount or amount >= 1:
        return None
    return (
        f"It may only be slow: its limit is {limit} of a processor ({_KUBERNETES}"
        ".serving_pod_overrides.resources.limits.cpu). Give it what it has in production, or raise "
        "ValidationSpec.max_loading_time_seconds."
    )


# What is wrong with a Pod.


def diagnose_pod(pod: Object, events: Sequence[Object] | None) -> Fault | None:
    """What is wrong for good, as far as it can be told now.

    What may still mend itself, such as a Pod that no node has room for, is told by
    `diagnose_waiting` once its time is over. How a server that ran ended is told by
    `exit_of`, unless the platform ended it.

    Args:
        pod: as the API gave it.
        events: the Pod's; None where they may not be read.
    """
    phase = phase_of(pod, events)
    return (
        _diagnose_end(pod, events, phase)
        or _diagnose_tiny_memory(pod, events, phase)
        or _diagnose_receiver(pod, phase)
        or _diagnose_server(pod, phase)
        or _diagnose_waiting_containers(pod, events)
        or _diagnose_claims(pod)
        or (_diagnose_mounts(events) if phase != Phase.LOAD else None)
        or _diagnose_other_end(pod, phase)
    )


def diagnose_waiting(
    pod: Object, events: Sequence[Object] | None, phase: Phase, seconds: float
) -> Fault:
    """Why a phase did not end within its time limit.

    Args:
        pod: as the API gave it last.
        events: the Pod's; None where they may not be read.
        phase: which has taken too long.
        seconds: the limit.
    """
    known = diagnose_pod(pod, events)
    if known is not None:
        return known
    if phase == Phase.SCHEDULE:
        return _diagnose_unscheduled(pod, events, seconds)
    if phase == Phase.STAGE:
        return fault(
            "delivery_timeout", phase, f"The files were not sent into the Pod within {seconds:g} s."
        )
    if phase == Phase.IMAGE and events is not None:
        image = _container(pod, SERVER).get("image")
        return fault(
            "image_pull_timeout",
            phase,
            f"The image {image} was not pulled within {seconds:g} s.",
            hint=_IMAGE_HINTS["image_pull_timeout"],
            evidence=Evidence(events=_tell(events)),
        )
    volume = _last_event(events, "FailedMount", "FailedAttachVolume")
    if volume:
        return fault(
            "volume_unavailable",
            phase,
            f"A volume could not be mounted within {seconds:g} s: {volume}",
            detail=volume,
            evidence=Evidence(events=_tell(events)),
        )
    said = waiting_reason(pod, events)
    unread = "" if events is not None else " Its events, which may not be read, would say more."
    return fault(
        "pod_not_started",
        phase,
        f"The Pod's containers did not start within {seconds:g} s"
        + (f": {said}" if said else f".{unread}"),
        detail=_last_message(events, *_HINDRANCES) or said or "",
        evidence=Evidence(events=_tell(events)),
    )


def diagnose_deleted(
    pod: Object | None, phase: Phase, events: Sequence[Object] | None = None
) -> Fault:
    """Why a Pod that the validator did not delete is gone, or is going.

    Args:
        pod: as the API gave it last; None if it never did.
        phase: what was being done.
        events: the Pod's; None where they may not be read.
    """
    disruption = _condition(pod or {}, "DisruptionTarget")
    if disruption.get("status") == "True":
        said = disruption.get("message") or disruption.get("reason") or ""
        return fault(
            "pod_lost",
            phase,
            f"The cluster took the Pod away: {first_line(said)}",
            detail=said,
            evidence=Evidence(events=(str(disruption.get("reason")),)),
        )
    said = _last_event(events, "Preempted", "TaintManagerEviction", "NodeNotReady", "Evicted")
    if said is not None:
        return fault(
            "pod_lost",
            phase,
            f"The cluster took the Pod away: {said}",
            detail=said,
            evidence=Evidence(events=(said,)),
        )
    return fault("pod_lost", phase, "The Pod was deleted by somebody else.")


def _diagnose_end(pod: Object, events: Sequence[Object] | None, phase: Phase) -> Fault | None:
    """The Pod as a whole ended, by whatever rules over it; its containers may not show it."""
    status = pod.get("status", {})
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    evidence = Evidence(events=(reason, *_tell(events))) if reason else Evidence()

    def found(category: str, summary: str) -> Fault:
        return fault(category, phase, summary, detail=message, evidence=evidence)

    if reason == "DeadlineExceeded":
        limit = pod.get("spec", {}).get("activeDeadlineSeconds")
        return found("pod_deadline_exceeded", f"The cluster ended the Pod after {limit} s.")
    if reason == "Evicted":
        own_limit = re.search(r"exceeds the (?:total )?limit", message)
        category = "storage_limit_exceeded" if own_limit else "pod_evicted"
        return found(category, f"The node put the Pod out: {first_line(message)}")
    if reason in {"NodeLost", "NodeShutdown", "Shutdown", "Terminated"}:
        return found("pod_lost", f"The Pod's node went away: {first_line(message) or reason}")
    if reason.startswith("Preempt"):
        return found("pod_lost", f"The Pod had to make room: {first_line(message) or reason}")
    disrupted = _condition(pod, "DisruptionTarget").get("status") == "True"
    if disrupted or pod.get("metadata", {}).get("deletionTimestamp"):
        return diagnose_deleted(pod, phase, events)
    return None


def _diagnose_other_end(pod: Object, phase: Phase) -> Fault | None:
    """The Pod failed for another reason than its server's end: a node may refuse what it got."""
    status = pod.get("status", {})
    if status.get("phase") not in {"Failed", "Unknown"} or "terminated" in _state(pod, SERVER):
        return None
    said = first_line(status.get("message")) or str(status.get("reason") or status["phase"])
    return fault(
        "platform_failed",
        phase,
        f"The Pod failed before its server ran: {said}",
        detail=str(status.get("message") or ""),
        evidence=Evidence(events=tuple(filter(None, [status.get("reason")]))),
    )


def _diagnose_tiny_memory(
    pod: Object, events: Sequence[Object] | None, phase: Phase
) -> Fault | None:
    """A limit of memory with which not even the Pod's sandbox or a shell can be started."""
    limit = _container(pod, SERVER).get("resources", {}).get("limits", {}).get("memory")
    amount = parse_quantity(str(limit or ""))
    if not amount or amount >= _TINY_MEMORY_BYTES:
        return None
    messages = [str(_waiting(pod, name).get("message") or "") for name in _names(pod)]
    for name in _names(pod):
        ended = _state(pod, name).get("terminated") or {}
        if _cannot_run(ended):
            messages.append(str(ended.get("message") or ""))
    if phase != Phase.LOAD:
        messages.append(_last_message(events, *_HINDRANCES) or "")
    said = next((message for message in messages if _NO_MEMORY.search(message)), None)
    if said is None:
        return None
    return fault(
        "container_config_invalid",
        Phase.START,
        f"The server's limit of memory, {limit}, is too small to start any container: "
        f"{first_line(_WRAPPING.sub('', said))}",
        detail=said,
        hint=f"Raise {_KUBERNETES}.serving_pod_overrides.resources.limits.memory to what the "
        "server has in production; where it is not set there, pod_patch or the namespace's "
        "LimitRange gives the limit.",
        evidence=Evidence(events=_tell(events)),
    )


def _diagnose_receiver(pod: Object, phase: Phase) -> Fault | None:
    for name in _names(pod, "initContainers"):
        ended = _state(pod, name).get("terminated")
        if ended is None or ended.get("exitCode") == 0:
            continue
        code, said = int(ended.get("exitCode", 0)), first_line(ended.get("message"))
        evidence = Evidence(exit_code=code, events=tuple(filter(None, [ended.get("reason"), said])))
        words = exit_reason(code) + (f": {said}" if said else "")
        if name != RECEIVER:
            return fault(
                "init_container_failed",
                phase,
                f"The init container {name!r} failed ({words})",
                evidence=evidence,
            )
        if ended.get("reason") == "OOMKilled":
            return fault(
                "out_of_memory",
                Phase.STAGE,
                "The init container that takes the files was killed for want of memory.",
                evidence=evidence,
            )
        if code == _TIMEOUT_EXIT:
            return fault(
                "delivery_timeout",
                Phase.STAGE,
                "The Pod gave up waiting for the files.",
                evidence=evidence,
            )
        if code == _NO_PROGRAM_EXIT or _cannot_run(ended):
            return fault(
                "image_unusable",
                Phase.STAGE,
                "Files cannot be sent into the image, which needs sh, tar and coreutils for that: "
                f"{words}",
                hint=f"Set {_KUBERNETES}.model_delivery to CLAIM or URI, and use no config_files; "
                "or add these programs to the image.",
                evidence=evidence,
            )
        return fault(
            "delivery_failed",
            Phase.STAGE,
            f"The Pod did not get the files whole ({words})",
            evidence=evidence,
        )
    return None


def _diagnose_server(pod: Object, phase: Phase) -> Fault | None:
    ended = _state(pod, SERVER).get("terminated")
    if ended is None:
        return None
    code = int(ended.get("exitCode", 0))
    if _cannot_run(ended):
        return _match(
            _STARTING,
            str(ended.get("message") or ended.get("reason")),
            Phase.START,
            ("image_unusable", "The image cannot be run"),
            Evidence(exit_code=code, events=(str(ended.get("reason")),)),
        )
    if ended.get("reason") in _LOST_REASONS:
        return fault(
            "pod_lost",
            phase,
            "The server's container was lost, as by a restart of its node or of the runtime there.",
            evidence=Evidence(exit_code=code, events=(str(ended["reason"]),)),
        )
    if ended.get("reason") != "OOMKilled":
        return None
    evidence = Evidence(exit_code=code, events=("OOMKilled",))
    container = _container(pod, SERVER)
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    annotations = pod.get("metadata", {}).get("annotations") or {}
    given, wanted = (parse_quantity(str(one)) for one in (limit, annotations.get(MEMORY_LIMIT)))
    if given and wanted and given >= wanted:
        return fault(
            "memory_limit_exceeded",
            phase,
            f"The server needs more than the {limit} of memory that {_KUBERNETES}"
            ".serving_pod_overrides.resources gives it.",
            evidence=evidence,
        )
    if given:
        ranged = annotations.get("kubernetes.io/limit-ranger", "")
        by_range = re.search(rf"memory[^;]* limit for container {SERVER}\b", ranged)
        whose = "the namespace's LimitRange" if by_range else "the cluster (an admission webhook)"
        return fault(
            "out_of_memory",
            phase,
            f"The server needs more than the {limit} of memory that {whose} gives it.",
            hint=f"Set the memory that the server has in production in {_KUBERNETES}"
            ".serving_pod_overrides.resources.limits.",
            evidence=evidence,
        )
    return fault(
        "out_of_memory", phase, "The server was killed for want of memory.", evidence=evidence
    )


def _diagnose_waiting_containers(pod: Object, events: Sequence[Object] | None) -> Fault | None:
    for name in _names(pod):
        waiting = _waiting(pod, name)
        reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        if reason in _IMAGE_REASONS:
            return _diagnose_pull(pod, name, reason, message, events)
        if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
            if _NOT_KNOWN_YET.search(message):
                continue
            return _match(
                _STARTING,
                message,
                Phase.START,
                ("platform_failed", "The node cannot start the container"),
                Evidence(events=(reason, *_tell(events))),
            )
    return _diagnose_pull_event(pod, events)


def _diagnose_pull_event(pod: Object, events: Sequence[Object] | None) -> Fault | None:
    """The event comes a second or more before the Pod's status tells the same."""
    if phase_of(pod, events) == Phase.LOAD:
        return None
    for event in _sorted(events):
        message, reason = str(event.get("message") or ""), event.get("reason")
        if reason == "Failed" and message.startswith("Failed to pull image"):
            return _diagnose_pull(pod, _named_by(event), "ErrImagePull", message, events)
        if reason == "ErrImageNeverPull":
            return _diagnose_pull(pod, _named_by(event), "ErrImageNeverPull", message, events)
    return None


def _named_by(event: Object) -> str:
    """The container of an event, whose field is `spec.containers{name}`."""
    return _container_of(event).partition("{")[2].rstrip("}")


def _diagnose_pull(
    pod: Object, name: str, reason: str, message: str, events: Sequence[Object] | None
) -> Fault:
    image = str((_container(pod, name) or _container(pod, SERVER)).get("image"))
    if reason == "ErrImageNeverPull":
        return fault(
            "image_not_found",
            Phase.IMAGE,
            f"The node does not have the image {image}, and {_KUBERNETES}.image_pull_policy says "
            "NEVER.",
            detail=message,
            hint=f"Correct the image's name {_IMAGE_NAME}, load the image on the node, or let it "
            f"be pulled by {_KUBERNETES}.image_pull_policy.",
            evidence=Evidence(events=(reason,)),
        )
    if reason == "ImagePullBackOff":  # what the registry said is in the event, or in the status too
        message = _last_event(events, "Failed", containing="Failed to pull image") or message
    otherwise = (
        ("image_not_found", "{image} is no image's name")
        if reason == "InvalidImageName"
        else ("image_pull_failed", "The image {image} cannot be pulled")
    )
    return _match(
        _PULLING,
        message,
        Phase.IMAGE,
        otherwise,
        Evidence(events=(reason, *_tell(events))),
        hints=_IMAGE_HINTS,
        image=image,
    )


def _diagnose_claims(pod: Object) -> Fault | None:
    said = _scheduler_says(pod) or ""
    missing = re.search(r'persistentvolumeclaim "([^"]*)" (?:not found|is being deleted)', said)
    if missing is None:
        return None
    return fault(
        "volume_unavailable",
        Phase.SCHEDULE,
        f"The claim {missing[1]!r} is not there: {said}",
        detail=said,
        evidence=Evidence(events=(said,)),
    )


def _diagnose_unscheduled(pod: Object, events: Sequence[Object] | None, seconds: float) -> Fault:
    said = _scheduler_says(pod)
    evidence = Evidence(events=_tell(events))
    if said is None:
        return fault(
            "pod_unschedulable",
            Phase.SCHEDULE,
            f"No scheduler took up the Pod within {seconds:g} s.",
            hint=f"See that the cluster's scheduler runs, and that {_KUBERNETES}.pod_patch names "
            "no other one.",
            evidence=evidence,
        )
    volume = re.search(
        r"unbound immediate persistentvolumeclaims|volume node affinity conflict|"
        r"didn't find available persistent volumes|can't be attached|exceed max volume count|"
        r"readwriteoncepod|no available persistent volumes",
        said,
        re.IGNORECASE,
    )
    return fault(
        "volume_unavailable" if volume else "pod_unschedulable",
        Phase.SCHEDULE,
        f"No node took the Pod within {seconds:g} s: {said}",
        detail=str(_condition(pod, "PodScheduled").get("message")),
        evidence=evidence,
    )


def _diagnose_mounts(events: Sequence[Object] | None) -> Fault | None:
    said = _last_event(events, "FailedMount")
    known = said and any(pattern.search(said) for pattern, _, _ in _MOUNTING)
    if not said or not known:
        return None
    return _match(
        _MOUNTING,
        said,
        Phase.START,
        ("volume_unavailable", "A volume cannot be mounted"),
        Evidence(events=_tell(events)),
    )


def _match(
    table: _Table,
    message: str,
    phase: Phase,
    otherwise: tuple[str, str],
    evidence: Evidence,
    hints: Mapping[str, str] | None = None,
    image: str = "",
) -> Fault:
    known = ((category, summary) for pattern, category, summary in table if pattern.search(message))
    category, summary = next(known, otherwise)
    summary = summary.replace("{image}", image)
    said = first_line(_WRAPPING.sub("", message))
    return fault(
        category,
        phase,
        f"{summary}: {said}" if said else summary,
        detail=message,
        hint=(hints or {}).get(category),
        evidence=evidence,
    )


# What the API server answers.

_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)" in API group '
    r'"(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]*)")?'
)
_NAMED: _Table = _table(
    (
        r"service account .* not found|serviceaccount .* not found",
        "configuration_invalid",
        f"{_KUBERNETES}.service_account_name: there is none such",
    ),
    (
        r"no priorityclass with name",
        "configuration_invalid",
        f"{_KUBERNETES}.priority_class_name: there is none such",
    ),
    (
        r"runtimeclass .* not found",
        "configuration_invalid",
        f"{_KUBERNETES}.runtime_class_name: there is none such",
    ),
    (
        r'namespaces "[^"]*" not found',
        "configuration_invalid",
        f"{_KUBERNETES}.namespace: there is none such",
    ),
    (
        r"because it is being terminated",
        "configuration_invalid",
        f"{_KUBERNETES}.namespace: it is being deleted",
    ),
)


def diagnose_api_error(
    status: int, body: Any, verb: str, resource: str, namespace: str, phase: Phase
) -> Fault:
    """What the API server means that refuses to do something.

    Args:
        status: the HTTP status.
        body: the answer: a Status object, or its text, or any other text.
        verb: what it was asked to do, as in a Role.
        resource: with what, as in a Role, for example "pods/log".
        namespace: where; "" where that does not matter.
        phase: what was being done.
    """
    where = f" in the namespace {namespace!r}" if namespace else ""
    message, details = _read_status(body)
    evidence = Evidence(events=(f"HTTP {status}", *([first_line(message)] if message else ())))

    def found(category: str, summary: str, hint: str | None = None) -> Fault:
        said = f"{summary}: {first_line(message)}" if message else summary
        return fault(category, phase, said, detail=message, hint=hint, evidence=evidence)

    named = next(
        ((category, said) for pattern, category, said in _NAMED if pattern.search(message)), None
    )
    if named is not None:
        return found(*named)
    if status == 401:
        return found("cluster_access_denied", "The API server does not know the validator")
    if re.search(r"failed calling webhook|failed to call webhook", message):
        return found(
            "cluster_lost",
            "An admission webhook of the cluster does not answer",
            "Look at the webhook that is named; without it the cluster takes no Pods.",
        )
    if "denied the request" in message:
        return found("pod_refused", "An admission webhook refuses the Pod")
    if status == 403:
        if not message or verb not in {"create", "patch"}:
            message = message or f"{verb} {resource}{where}"
            return _diagnose_denied(message, verb, resource, where, phase, evidence)
        return _diagnose_forbidden(message, phase, evidence)
    if status in {400, 422}:
        cause = next((cause.get("field") for cause in details.get("causes") or ()), None)
        at = f" at {cause}" if cause else ""
        return found("pod_invalid", f"The API server does not take the Pod{at}")
    if status == 413 or is_too_large(message):
        return found(
            "pod_invalid",
            "The Pod is larger than the cluster stores",
            "Put large values into a file of ServingSpec.tensorflow_serving.config_files, into a "
            "ConfigMap or into a Secret.",
        )
    if status == 429 or status >= 500:
        return found("cluster_lost", f"The API server fails to {verb} {resource} (HTTP {status})")
    return found("platform_failed", f"The API server does not {verb} {resource} (HTTP {status})")


def _diagnose_denied(
    message: str, verb: str, resource: str, where: str, phase: Phase, evidence: Evidence
) -> Fault:
    """The authorizer's refusal; its own words know best who may not do what."""
    denied = _FORBIDDEN.search(message)
    who = "The validator"
    if denied is not None:
        who, verb, resource = repr(denied["user"]), denied["verb"], denied["resource"]
        where = f" in the namespace {denied['namespace']!r}" if denied["namespace"] else ""
    return fault(
        "cluster_access_denied",
        phase,
        f"{who} may not {verb} {resource}{where}.",
        detail=message,
        hint=f"Add to a Role that is bound to it: {role_rule(verb, resource)}",
        evidence=evidence,
    )


def _diagnose_forbidden(message: str, phase: Phase, evidence: Evidence) -> Fault:
    """403 is said by the authorizer, by quotas, and by what admits Pods."""
    said = first_line(message)

    def found(category: str, summary: str, hint: str | None = None) -> Fault:
        return fault(category, phase, summary, detail=message, hint=hint, evidence=evidence)

    if _FORBIDDEN.search(message):
        return _diagnose_denied(message, "", "", "", phase, evidence)
    quota = re.search(r"exceeded quota: ([^,]*),.*", message, re.DOTALL)
    if quota is not None:
        if _exceeds_whole_quota(message):
            return found(
                "pod_refused",
                f"The Pod asks for more than the whole quota of its namespace: {said}",
                f"Ask for less in {_KUBERNETES}.serving_pod_overrides.resources, or have the quota "
                "raised.",
            )
        return found("quota_exceeded", f"The namespace's quota is used up: {said}")
    if "failed quota:" in message and "must specify" in message:
        return found(
            "pod_refused",
            f"The namespace's quota wants resources to be given: {said}",
            f"Set them in {_KUBERNETES}.serving_pod_overrides.resources.",
        )
    if re.search(
        r"usage per (?:container|pod)|ratio per (?:container|pod)", message, re.IGNORECASE
    ):
        return found(
            "pod_refused",
            f"The namespace's LimitRange refuses the Pod: {said}",
            f"Correct {_KUBERNETES}.serving_pod_overrides.resources.",
        )
    if re.search(r"PodSecurity|pod security policy|security context constraint", message):
        return found(
            "pod_refused",
            f"The cluster's security policy refuses the Pod: {said}",
            f"Change the securityContext by {_KUBERNETES}.pod_patch as the policy wants it.",
        )
    return found("pod_refused", f"The cluster refuses: {said or 'HTTP 403'}")


def is_too_large(message: str) -> bool:
    """Whether it is etcd's limit for an object, which the API server takes for its own failure."""
    return "request is too large" in message


def role_rule(verb: str, resource: str) -> str:
    """A rule of a Role, on one line."""
    return json.dumps({"apiGroups": [""], "resources": [resource], "verbs": [verb]})


def _exceeds_whole_quota(message: str) -> bool:
    """Whether what is asked for would not even fit into an unused quota."""

    def amounts(word: str) -> dict[str, Any]:
        found = re.search(rf"{word}: ((?:[^\s=,]+=[^\s,]+,?)+)", message)
        pairs = (part.partition("=") for part in found[1].split(",") if part) if found else ()
        return {name: parse_quantity(amount) for name, _, amount in pairs}

    limited = amounts("limited")
    return any(
        asked is not None and limited.get(name) is not None and asked > limited[name]
        for name, asked in amounts("requested").items()
    )


_QUOTED_BODY = re.compile(r", error found in #\d+ byte of .*", re.DOTALL)


def _read_status(body: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(body, bytes):
        body = body.decode(errors="replace")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return body, {}
    if not isinstance(body, Mapping):
        return str(body or ""), {}
    # The parser quotes what surrounds a value of the wrong type; it may hold a variable's value.
    message = _QUOTED_BODY.sub("", str(body.get("message") or ""))
    return message, body.get("details") or {}


def diagnose_unreachable(
    address: str, message: str, phase: Phase, *, was_reached: bool = False
) -> Fault:
    """Why the API server cannot be reached.

    Args:
        address: where it was looked for.
        message: what the client library says.
        phase: what was being done.
        was_reached: whether it answered before.
    """
    if re.search(r"certificate|ssl", message, re.IGNORECASE):
        problem = "cannot be trusted, or does not trust the validator"
    else:
        problem = "went away" if was_reached else "cannot be reached"
    return fault(
        "cluster_lost" if was_reached else "cluster_unreachable",
        phase,
        f"The API server at {address} {problem}: {first_line(message)}",
        detail=message,
    )


# Reading a Pod.


def _names(pod: Object, *kinds: str) -> Iterator[str]:
    for kind in kinds or ("initContainers", "containers"):
        for container in pod.get("spec", {}).get(kind) or ():
            yield str(container["name"])


def _container(pod: Object, name: str) -> Mapping[str, Any]:
    for kind in ("initContainers", "containers"):
        for container in pod.get("spec", {}).get(kind) or ():
            if container.get("name") == name:
                return dict(container)
    return {}


def _state(pod: Object, name: str) -> Mapping[str, Any]:
    status = pod.get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            if container.get("name") == name == SERVER and container.get("restartCount"):
                # However it came to be started again: it has ended, and how is kept.
                return dict(container.get("lastState") or _LOST_STATE)
            if container.get("name") == name:
                return dict(container.get("state") or {})
    return {}


def _waiting(pod: Object, name: str) -> Mapping[str, Any]:
    return dict(_state(pod, name).get("waiting") or {})


def _condition(pod: Object, kind: str) -> Mapping[str, Any]:
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return {}


def has_receiver(pod: Object) -> bool:
    """Whether there is a container that takes files."""
    return RECEIVER in _names(pod, "initContainers")


def receiver_state(pod: Object) -> Mapping[str, Any]:
    """Of the container that takes files: the API's one of waiting, running and terminated."""
    return _state(pod, RECEIVER)


def is_scheduled(pod: Object) -> bool:
    """Whether a node was found."""
    return bool(pod.get("spec", {}).get("nodeName")) or (
        _condition(pod, "PodScheduled").get("status") == "True"
    )


def _scheduler_says(pod: Object) -> str | None:
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") == "True" or not condition.get("message"):
        return None
    return first_line(str(condition["message"]))


def _cannot_run(ended: Mapping[str, Any]) -> bool:
    """The words of docker's shim and of containerd for a program that could not be started."""
    return ended.get("reason") in {"ContainerCannotRun", "StartError"}


def _container_of(event: Object) -> str:
    return str(event.get("involvedObject", {}).get("fieldPath", ""))


def _tell(events: Sequence[Object] | None) -> tuple[str, ...]:
    """What went wrong in the cluster's own words, oldest first, each once."""
    told = (
        f"{event.get('reason')}: {first_line(event.get('message'))}"
        for event in _sorted(events)
        if event.get("type") == "Warning"
    )
    return tuple(dict.fromkeys(told))


def _last_event(events: Sequence[Object] | None, *reasons: str, containing: str = "") -> str | None:
    message = _last_message(events, *reasons, containing=containing)
    return None if message is None else first_line(message)


def _last_message(
    events: Sequence[Object] | None, *reasons: str, containing: str = ""
) -> str | None:
    found = [
        str(event.get("message") or "")
        for event in _sorted(events)
        if event.get("reason") in reasons and containing in (event.get("message") or "")
    ]
    return found[-1] if found else None


def _sorted(events: Sequence[Object] | None) -> list[Object]:
    return sorted(
        events or (),
        key=lambda event: str(
            event.get("lastTimestamp")
            or (event.get("series") or {}).get("lastObservedTime")
            or event.get("eventTime")
            or ""
        ),
    )
