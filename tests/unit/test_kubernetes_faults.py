"""What a cluster says of a Pod that does not run, and what is made of it.

kubernetes_recorded.json holds Pods, their events and the API server's answers as a
Kubernetes 1.20 with the Docker engine gave them, cut to what matters; addresses and
namespaces are exchanged. What one node without a registry cannot show is put together
here, from the source that is named beside it.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra_validator.faults import CATEGORIES, Blame, Phase
from infra_validator.kubernetes_config import MEMORY_LIMIT
from infra_validator.runners.base import Exit
from infra_validator.runners.kubernetes.faults import (
    diagnose_api_error,
    diagnose_deleted,
    diagnose_pod,
    diagnose_unreachable,
    diagnose_waiting,
    exit_of,
    last_words,
    phase_of,
    waiting_reason,
)

RECORDED: dict[str, Any] = json.loads(
    Path(__file__).with_name("kubernetes_recorded.json").read_text()
)
MINIMAL: dict[str, Any] = {
    "metadata": {"name": "a"},
    "spec": {"nodeName": "node", "containers": [{"name": "server", "image": "serving:1"}]},
    "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
}


def recorded(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = copy.deepcopy(RECORDED["pods"][name])
    if name == "oom":  # recorded before Pods noted it
        found["pod"]["metadata"]["annotations"] = {MEMORY_LIMIT: "32Mi"}
    return found["pod"], found["events"]


def pod(**status: Any) -> dict[str, Any]:
    made = copy.deepcopy(MINIMAL)
    made["status"].update(status)
    return made


def server_state(**state: Any) -> dict[str, Any]:
    return pod(containerStatuses=[{"name": "server", "state": state}])


def waiting(reason: str, message: str) -> dict[str, Any]:
    return server_state(waiting={"reason": reason, "message": message})


AT_ONCE = {
    "claim-missing": ("volume_unavailable", Phase.SCHEDULE, "'no-such'"),
    "command-missing": ("image_unusable", Phase.START, "/no/such/program"),
    "configmap-volume-missing": ("container_config_invalid", Phase.START, '"no-such" not found'),
    "deadline": ("pod_deadline_exceeded", Phase.LOAD, "after 8 s"),
    "deadline-init": ("pod_deadline_exceeded", Phase.STAGE, "after 8 s"),
    "evicted-ephemeral": ("storage_limit_exceeded", Phase.START, "exceeds the total limit"),
    "hostpath-missing": ("container_config_invalid", Phase.START, "/no/such/dir"),
    "image-invalid": ("image_not_found", Phase.IMAGE, "must be lowercase"),
    "image-missing": ("image_pull_failed", Phase.IMAGE, "no such host"),
    "image-missing-init": ("image_pull_failed", Phase.IMAGE, "no such host"),
    "image-never": ("image_not_found", Phase.IMAGE, "says NEVER"),
    "init-timeout": ("delivery_timeout", Phase.STAGE, "gave up"),
    "nonroot": ("container_config_invalid", Phase.START, "may not run as root"),
    "oom": ("memory_limit_exceeded", Phase.LOAD, "32Mi"),
    "preempted": ("pod_lost", Phase.LOAD, "Preempted by validation/preemptor"),
    "pullsecret-missing": ("image_pull_failed", Phase.IMAGE, "no such host"),
    "secret-key-missing": ("container_config_invalid", Phase.START, "couldn't find key k"),
    "secret-missing": ("container_config_invalid", Phase.START, '"no-such" not found'),
    "secret-volume-missing": ("container_config_invalid", Phase.START, '"no-such" not found'),
    "tmp-sizelimit": ("storage_limit_exceeded", Phase.START, '"1Mi"'),
}
LATER = {
    "claim-unbound": ("volume_unavailable", Phase.SCHEDULE, "unbound immediate"),
    "image-missing-hub": ("pod_not_started", Phase.START, ""),
    "receiving": ("delivery_timeout", Phase.STAGE, "7 s"),
    "unschedulable-affinity-node": ("pod_unschedulable", Phase.SCHEDULE, "node affinity"),
    "unschedulable-cpu": ("pod_unschedulable", Phase.SCHEDULE, "Insufficient cpu"),
    "unschedulable-gpu": ("pod_unschedulable", Phase.SCHEDULE, "Insufficient nvidia.com/gpu"),
}
NOTHING_WRONG = ("exit-3", "running")


def test_nothing_recorded_is_left_out() -> None:
    assert {*AT_ONCE, *LATER, *NOTHING_WRONG} == RECORDED["pods"].keys()


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_real_pod_is_diagnosed_at_once(name: str) -> None:
    category, phase, said = AT_ONCE[name]
    found = diagnose_pod(*recorded(name))
    assert found is not None
    assert (found.category, found.phase) == (category, phase)
    assert said in found.summary
    assert "\n" not in found.summary


@pytest.mark.parametrize("name", LATER)
def test_what_may_mend_itself_is_told_when_its_time_is_over(name: str) -> None:
    category, phase, said = LATER[name]
    real, events = recorded(name)
    assert diagnose_pod(real, events) is None
    assert phase_of(real, events) == phase
    found = diagnose_waiting(real, events, phase, 7)
    assert (found.category, found.phase) == (category, phase)
    assert said in found.summary
    assert said == "" or said == "7 s" or said in (waiting_reason(real, events) or "")


@pytest.mark.parametrize("name", NOTHING_WRONG)
def test_with_a_server_that_runs_or_ended_by_itself_nothing_is_wrong(name: str) -> None:
    assert diagnose_pod(*recorded(name)) is None
    assert phase_of(*recorded(name)) == Phase.LOAD


@pytest.mark.parametrize(
    "name", sorted({*AT_ONCE} - {"configmap-volume-missing", "hostpath-missing"})
)
def test_events_are_never_needed(name: str) -> None:
    real, _ = recorded(name)
    if name == "secret-volume-missing" or name == "image-missing":  # the status does not tell it
        found = diagnose_waiting(real, None, phase_of(real, None), 7)
        assert found.category == "pod_not_started"
        assert "events, which may not be read" in found.summary
    else:
        found_at_once = diagnose_pod(real, None)
        assert found_at_once is not None
        assert found_at_once.category == AT_ONCE[name][0]


@pytest.mark.parametrize(
    ("name", "ended"),
    [
        ("exit-3", Exit(3, "exit code 3")),
        ("oom", Exit(137, "OOMKilled, signal SIGKILL")),
        ("running", None),
        ("deadline", None),  # the kubelet shows the container as running for good
        ("receiving", None),
        ("init-timeout", None),
        ("command-missing", None),  # the server never ran, so it did not end
        ("unschedulable-gpu", None),
    ],
)
def test_the_end_of_a_real_server(name: str, ended: Exit | None) -> None:
    assert exit_of(recorded(name)[0]) == ended


def test_all_faults_of_pods_are_everybodys_but_the_models() -> None:
    for category, _, _ in (*AT_ONCE.values(), *LATER.values()):
        own = category == "memory_limit_exceeded"  # production would have killed it as well
        assert (CATEGORIES[category].blame == Blame.MODEL) == own, category


# Pulling.

PULL = [
    # containerd, remotes/docker/resolver.go, through the kubelet (kubernetes issue 109552)
    (
        "rpc error: code = NotFound desc = failed to pull and unpack image "
        '"docker.io/library/serving:nope": failed to resolve reference '
        '"docker.io/library/serving:nope": docker.io/library/serving:nope: not found',
        "image_not_found",
    ),
    (
        'rpc error: code = Unknown desc = failed to pull and unpack image "docker.io/a/b:1": '
        'failed to resolve reference "docker.io/a/b:1": pull access denied, repository does not '
        "exist or may require authorization: server message: insufficient_scope: authorization "
        "failed",
        "image_pull_denied",
    ),
    (
        'failed to resolve reference "gcr.io/a/b:1": failed to authorize: failed to fetch oauth '
        "token: unexpected status from GET request: 403 Forbidden",
        "image_pull_denied",
    ),
    (
        'failed to resolve reference "registry.example.com/a:1": unexpected status from HEAD '
        "request to https://registry.example.com/v2/a/manifests/1: 401 Unauthorized",
        "image_pull_denied",
    ),
    # containerd, platforms
    (
        'failed to pull and unpack image "docker.io/a/b:1": no match for platform in manifest '
        "sha256:0123: not found",
        "image_unusable",
    ),
    # Docker Hub's rate limit
    (
        "failed to copy: httpReadSeeker: failed open: unexpected status code "
        "https://registry-1.docker.io/v2/a/manifests/sha256:01: 429 Too Many Requests - Server "
        "message: toomanyrequests: You have reached your pull rate limit.",
        "image_pull_failed",
    ),
    (
        'failed to do request: Head "https://registry.example.com/v2/a/manifests/1": dial tcp '
        "192.0.2.1:443: i/o timeout",
        "image_pull_failed",
    ),
    (
        'failed to do request: Head "https://registry.example.com/v2/a/manifests/1": tls: failed '
        "to verify certificate: x509: certificate signed by unknown authority",
        "image_pull_failed",
    ),
    # cri-o, containers/image
    (
        "reading manifest nope in docker.io/library/serving: manifest unknown",
        "image_not_found",
    ),
    (
        "reading manifest 1 in docker.io/a/b: requested access to the resource is denied",
        "image_pull_denied",
    ),
    # moby through dockershim
    (
        "rpc error: code = Unknown desc = Error response from daemon: manifest for a:1 not found: "
        "manifest unknown: manifest unknown",
        "image_not_found",
    ),
    ("something that nobody has seen yet", "image_pull_failed"),
]


@pytest.mark.parametrize(("message", "category"), PULL)
@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_what_a_registry_says(reason: str, message: str, category: str) -> None:
    found = diagnose_pod(waiting(reason, message), [])
    assert found is not None
    assert (found.category, found.phase) == (category, Phase.IMAGE)
    assert "local_docker" not in found.hint
    assert "rpc error" not in found.summary
    assert re.search(r" image serving:1\b", found.summary)


def test_backing_off_the_words_are_in_the_event() -> None:
    event = {
        "type": "Warning",
        "reason": "Failed",
        "message": 'Failed to pull image "a:1": a:1: not found',
        "lastTimestamp": "2026-11-22T22:00:00Z",
    }
    backing_off = waiting("ImagePullBackOff", 'Back-off pulling image "a:1"')
    found = diagnose_pod(backing_off, [event])
    assert found is not None
    assert found.category == "image_not_found"
    # Without it nothing tells whether another try helps.
    found = diagnose_pod(backing_off, None)
    assert found is not None
    assert found.category == "image_pull_failed"


@pytest.mark.parametrize(
    "reason", ["RegistryUnavailable", "SignatureValidationFailed", "ImageInspectError"]
)
def test_further_reasons_of_newer_kubelets(reason: str) -> None:
    """kubernetes, pkg/kubelet/images/types.go."""
    found = diagnose_pod(waiting(reason, "why ever"), [])
    assert found is not None
    assert found.category == "image_pull_failed"


# Starting.


@pytest.mark.parametrize(
    ("reason", "message", "category"),
    [
        (
            "CreateContainerConfigError",
            'configmap "settings" not found',
            "container_config_invalid",
        ),
        # kubernetes, pkg/kubelet/kuberuntime/security_context.go
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (serving), cannot verify "
            "user is non-root",
            "container_config_invalid",
        ),
        ("CreateContainerConfigError", "cannot find volume to mount", "platform_failed"),
        # containerd with runc
        (
            "RunContainerError",
            'failed to create containerd task: OCI runtime create failed: exec: "x": executable '
            "file not found in $PATH: unknown",
            "image_unusable",
        ),
        ("CreateContainerError", "context deadline exceeded", "platform_failed"),
        (
            "RunContainerError",
            "nvidia-container-cli: initialization error: nvml error: driver not loaded",
            "platform_failed",
        ),
    ],
)
def test_a_container_that_cannot_be_made(reason: str, message: str, category: str) -> None:
    found = diagnose_pod(waiting(reason, message), [])
    assert found is not None
    assert (found.category, found.phase) == (category, Phase.START)


@pytest.mark.parametrize("what", ["secret", "configmap"])
def test_what_a_node_has_not_heard_of_yet_is_waited_for(what: str) -> None:
    """It waits a second (client-go, tools/cache), and tries anew."""
    message = f"failed to sync {what} cache: timed out waiting for the condition"
    assert diagnose_pod(waiting("CreateContainerConfigError", message), []) is None


def test_a_program_that_cannot_be_started_under_containerd() -> None:
    """There it ends with reason StartError and code 128 (containerd, cri/sbserver)."""
    message = 'exec: "/x": stat /x: no such file or directory: unknown'
    failed = server_state(terminated={"reason": "StartError", "exitCode": 128, "message": message})
    found = diagnose_pod(failed, [])
    assert found is not None
    assert found.category == "image_unusable"
    assert exit_of(failed) is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        # containerd, internal/cri/server/restart.go and helpers.go (older: pkg/cri/server):
        # unknownExitCode = 255, unknownExitReason = "Unknown"
        (255, "Unknown"),
        # kubernetes, pkg/kubelet/kubelet_pods.go: convertToAPIContainerStatuses
        (137, "ContainerStatusUnknown"),
    ],
)
def test_a_container_that_nobody_saw_end_was_lost_with_its_node_or_runtime(
    code: int, reason: str
) -> None:
    lost = server_state(terminated={"exitCode": code, "reason": reason})
    lost["status"]["phase"] = "Failed"
    found = diagnose_pod(lost, [])
    assert found is not None
    assert (found.category, found.phase, found.transient) == ("pod_lost", Phase.LOAD, True)
    by_itself = server_state(terminated={"exitCode": code, "reason": "Error"})
    assert diagnose_pod(by_itself, []) is None


def test_what_the_kubelet_kept_of_a_log_is_shown_without_a_text_that_is_cut() -> None:
    line = "2026-01-02 03:04:05.6: F x.cc:1] no\n"
    for words, shown in (
        ("exec: not found", "exec: not found"),
        ("hunter2\n" * 300 + line, line),
        ("h\n" * 79 + line, line),
    ):
        ended = server_state(terminated={"exitCode": 1, "reason": "Error", "message": words})
        assert last_words(ended) == shown
        lost = server_state(terminated={"exitCode": 255, "reason": "Unknown", "message": words})
        found = diagnose_pod(lost, [])
        assert found is not None
        assert words not in f"{found.summary}{found.detail}"


@pytest.mark.parametrize(
    ("last", "ended", "category"),
    [
        ({"terminated": {"exitCode": 139, "reason": "Error"}}, 139, None),
        ({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, 137, "out_of_memory"),
        ({}, 255, "pod_lost"),
    ],
)
def test_a_server_that_was_started_again_has_ended(
    last: dict[str, Any], ended: int, category: str | None
) -> None:
    again = pod(
        phase="Running",
        containerStatuses=[
            {"name": "server", "restartCount": 1, "state": {"running": {}}, "lastState": last}
        ],
    )
    found = exit_of(again)
    assert found is not None
    assert found.code == ended
    fault = diagnose_pod(again, [])
    assert (fault and fault.category) == category


@pytest.mark.parametrize("state", [{"running": {}}, {"terminated": {"exitCode": 0}}])
def test_a_mount_that_once_failed_says_nothing_of_a_server_that_runs(
    state: dict[str, Any],
) -> None:
    late = event("FailedMount", 'MountVolume.SetUp failed: configmap "x" not found')
    assert diagnose_pod(server_state(**state), [late]) is None
    found = diagnose_pod(waiting("ContainerCreating", ""), [late])
    assert found is not None
    assert found.category == "container_config_invalid"


def event(reason: str, message: str, at: str = "2026-11-22T22:00:00Z") -> dict[str, Any]:
    return {"type": "Warning", "reason": reason, "message": message, "lastTimestamp": at}


@pytest.mark.parametrize(
    "name",
    [
        "kube-root-ca.crt",  # kubernetes issue 105204
        "istio-ca-root-cert",  # istio, pilot's namespace controller
        "openshift-service-ca.crt",  # OpenShift's service CA operator
    ],
)
def test_the_root_certificates_of_a_new_namespace_come_a_moment_later(name: str) -> None:
    creating = waiting("ContainerCreating", "")
    mount = event(
        "FailedMount",
        f'MountVolume.SetUp failed for volume "kube-api-access-x" : configmap "{name}" not found',
    )
    assert diagnose_pod(creating, [mount]) is None
    assert diagnose_waiting(creating, [mount], Phase.START, 5).category == "volume_unavailable"


@pytest.mark.parametrize(
    ("reason", "message", "category"),
    [
        # kubernetes, pkg/controller/volume/attachdetach
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) trainer',
            "volume_unavailable",
        ),
        (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[m], unattached volumes=[m]: "
            "timed out waiting for the condition",
            "volume_unavailable",
        ),
        (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup "
            "network",
            "pod_not_started",
        ),
    ],
)
def test_what_a_pod_waited_for_too_long(reason: str, message: str, category: str) -> None:
    creating = waiting("ContainerCreating", "")
    found = diagnose_waiting(creating, [event(reason, message)], Phase.START, 5)
    assert found.category == category
    assert message.replace("rpc error: code = Unknown desc = ", "") in found.summary
    assert found.evidence.events == (f"{reason}: {message}",)


def test_the_end_of_a_long_message_is_kept_in_the_detail() -> None:
    message = f"Failed to create pod sandbox: {'mkdir: ' * 100}cannot allocate memory"
    told = [event("FailedCreatePodSandBox", message)]
    found = diagnose_waiting(waiting("ContainerCreating", ""), told, Phase.START, 5)
    assert found.category == "pod_not_started"
    assert found.detail == message
    assert len(found.summary) < len(message)


def test_a_pull_that_takes_too_long() -> None:
    pulling = {
        **event("Pulling", "Pulling image"),
        "type": "Normal",
        "involvedObject": {"fieldPath": "spec.containers{server}"},
    }
    creating = waiting("ContainerCreating", "")
    assert phase_of(creating, [pulling]) == Phase.IMAGE
    found = diagnose_waiting(creating, [pulling], Phase.IMAGE, 5)
    assert found.category == "image_pull_timeout"
    assert "ServingSpec.kubernetes.pull_timeout_seconds" in found.hint
    assert phase_of(creating, [pulling, {**pulling, "reason": "Pulled"}]) == Phase.START
    assert phase_of(creating, None) == Phase.IMAGE


@pytest.mark.parametrize(
    ("receiver", "server", "expected"),
    [
        ({"waiting": {"reason": "PodInitializing"}}, {}, Phase.STAGE),  # the kubelet tells late
        ({"running": {}}, {}, Phase.STAGE),
        ({"terminated": {"exitCode": 0}}, {}, Phase.START),
        ({"terminated": {"exitCode": 0}}, {"running": {}}, Phase.LOAD),
        ({"terminated": {"exitCode": 0}}, {"terminated": {"exitCode": 1}}, Phase.LOAD),
    ],
)
def test_files_that_are_being_sent(
    receiver: dict[str, Any], server: dict[str, Any], expected: Phase
) -> None:
    sent = pod(
        initContainerStatuses=[{"name": "receive-files", "state": receiver}],
        containerStatuses=[{"name": "server", "state": server}],
    )
    assert phase_of(sent, [], receiving=True) == expected


def test_no_scheduler_at_all() -> None:
    alone = copy.deepcopy(MINIMAL)
    del alone["spec"]["nodeName"]
    alone["status"] = {"phase": "Pending"}
    found = diagnose_waiting(alone, [], phase_of(alone, []), 5)
    assert found.category == "pod_unschedulable"
    assert "No scheduler" in found.summary


# Memory.


@pytest.mark.parametrize(
    ("annotations", "limit", "category", "said"),
    [
        ({MEMORY_LIMIT: "4Gi"}, "4Gi", "memory_limit_exceeded", "4Gi of memory that ServingSpec"),
        ({MEMORY_LIMIT: "0.5Gi"}, "512Mi", "memory_limit_exceeded", "512Mi"),
        ({}, None, "out_of_memory", "for want of memory"),
        ({MEMORY_LIMIT: "0"}, None, "out_of_memory", "for want of memory"),
        # The limit is the namespace's, and says nothing of production.
        (
            {
                "kubernetes.io/limit-ranger": "LimitRanger plugin set: memory request for "
                "container server; memory limit for container server"
            },
            "512Mi",
            "out_of_memory",
            "the namespace's LimitRange",
        ),
        # So it is where an admission webhook sets it, as GKE Autopilot's does, or lowers it, as
        # that of the Vertical Pod Autoscaler.
        ({}, "2Gi", "out_of_memory", "the cluster (an admission webhook)"),
        ({MEMORY_LIMIT: "4Gi"}, "2Gi", "out_of_memory", "the cluster (an admission webhook)"),
        ({MEMORY_LIMIT: "4Gi"}, "8Gi", "memory_limit_exceeded", "8Gi"),
        (
            {
                MEMORY_LIMIT: "4Gi",
                "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu limit for container "
                "server",
            },
            "4Gi",
            "memory_limit_exceeded",
            "4Gi",
        ),
    ],
)
def test_memory(annotations: dict[str, str], limit: str | None, category: str, said: str) -> None:
    ended = server_state(terminated={"reason": "OOMKilled", "exitCode": 137})
    if limit:
        ended["spec"]["containers"][0]["resources"] = {"limits": {"memory": limit}}
    ended["metadata"]["annotations"] = annotations
    found = diagnose_pod(ended, [])
    assert found is not None
    assert found.category == category
    assert said in found.summary


# As a Kubernetes 1.20 with Docker 20.10 and runc 1.1 said it for limits of 4m, 1Mi, 3Mi and 4Mi;
# under containerd the words are runc's too.
SANDBOX = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to start sandbox "
    'container for pod "a": Error response from daemon: '
)
RUNC = (
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
    "container process: "
)
TOO_LITTLE = [
    f"{SANDBOX}{RUNC}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/memory/kubepods/"
    "burstable/pod1/2: cannot allocate memory: unknown",
    f"{SANDBOX}{RUNC}container init was OOM-killed (memory limit too low?): unknown",
    f"{SANDBOX}cannot start a stopped process: unknown",
    "Error response from daemon: Minimum memory limit allowed is 6MB",
]


def limited(made: dict[str, Any], limit: str) -> dict[str, Any]:
    made["spec"]["containers"][0]["resources"] = {"limits": {"memory": limit}}
    return made


@pytest.mark.parametrize("message", TOO_LITTLE)
@pytest.mark.parametrize(
    "told", ["event", "CreateContainerError", "RunContainerError", "StartError"]
)
def test_too_little_memory_to_start_any_container(message: str, told: str) -> None:
    ended = {"reason": told, "exitCode": 128, "message": message}
    made, events = {
        "event": (waiting("ContainerCreating", ""), [event("FailedCreatePodSandBox", message)]),
        "StartError": (server_state(terminated=ended), []),
    }.get(told, (waiting(told, message), []))
    found = diagnose_pod(limited(made, "4m"), events)
    assert found is not None
    assert (found.category, found.phase) == ("container_config_invalid", Phase.START)
    assert "limit of memory, 4m, is too small" in found.summary
    assert "resources.limits.memory" in found.hint
    assert found.detail == message
    assert exit_of(made) is None
    # With a sensible limit it is the node that has none left, or something else.
    for limit in ("4Gi", "0"):
        found = diagnose_pod(limited(made, limit), events)
        assert found is None or found.category != "container_config_invalid"


def test_a_sandbox_that_fails_otherwise_is_not_for_want_of_memory() -> None:
    failed = event("FailedCreatePodSandBox", f"{SANDBOX}failed to setup network")
    creating = limited(waiting("ContainerCreating", ""), "8Mi")
    assert diagnose_pod(creating, [failed]) is None
    said = waiting_reason(creating, [failed]) or ""
    assert said.startswith("Failed to create pod sandbox: failed to start sandbox container")
    # What once failed says nothing of a server that runs.
    failed = event("FailedCreatePodSandBox", TOO_LITTLE[1])
    assert diagnose_pod(limited(server_state(running={}), "8Mi"), [failed]) is None


# Pods that are taken away.


@pytest.mark.parametrize(
    ("status", "category"),
    [
        # kubernetes, pkg/kubelet/eviction/helpers.go
        (
            {
                "reason": "Evicted",
                "message": "The node was low on resource: memory. Container server was using "
                "5120Mi, which exceeds its request of 0. ",
            },
            "pod_evicted",
        ),
        (
            {"reason": "NodeShutdown", "message": "Pod was rejected as the node is shutting down."},
            "pod_lost",
        ),
        # kubernetes, pkg/kubelet/nodeshutdown
        (
            {
                "reason": "Terminated",
                "message": "Pod was terminated in response to imminent node shutdown.",
            },
            "pod_lost",
        ),
        (
            {"reason": "NodeLost", "message": "Node n which was running pod p is unresponsive"},
            "pod_lost",
        ),
        (
            {"reason": "Preempting", "message": "Preempted in order to admit critical pod"},
            "pod_lost",
        ),
        # kubernetes, pkg/kubelet/lifecycle/predicate.go
        (
            {"reason": "OutOfcpu", "message": "Pod Node didn't have enough resource: cpu"},
            "platform_failed",
        ),
        (
            {"reason": "UnexpectedAdmissionError", "message": "Allocate failed due to no devices"},
            "platform_failed",
        ),
    ],
)
def test_a_pod_that_failed_as_a_whole(status: dict[str, Any], category: str) -> None:
    found = diagnose_pod(pod(phase="Failed", **status), [])
    assert found is not None
    assert found.category == category
    assert found.transient


@pytest.mark.parametrize(
    ("reason", "message"),
    [  # kubernetes.io/docs/concepts/workloads/pods/disruptions
        ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher pod"),
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
        ("EvictionByEvictionAPI", "Eviction API: evicting"),
        ("DeletionByPodGC", "PodGC: node no longer exists"),
    ],
)
def test_a_disruption_is_told_in_its_own_words(reason: str, message: str) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    disrupted = pod(phase="Running", conditions=[condition])
    found = diagnose_pod(disrupted, [])
    assert found is not None
    assert found.category == "pod_lost"
    assert message in found.summary
    assert diagnose_deleted(disrupted, Phase.LOAD) == found.__class__(
        **{**vars(found), "phase": Phase.LOAD}
    )


def test_a_pod_that_somebody_deletes() -> None:
    deleted = server_state(running={})
    deleted["metadata"]["deletionTimestamp"] = "2026-11-22T22:00:00Z"
    found = diagnose_pod(deleted, [])
    assert found is not None
    assert found.category == "pod_lost"
    assert diagnose_deleted(None, Phase.QUERY).summary == found.summary


# Init containers.


def init_ended(name: str, **terminated: Any) -> dict[str, Any]:
    made = pod(
        phase="Failed", initContainerStatuses=[{"name": name, "state": {"terminated": terminated}}]
    )
    made["spec"]["initContainers"] = [{"name": name}]
    return made


@pytest.mark.parametrize(
    ("name", "terminated", "category"),
    [
        ("receive-files", {"exitCode": 1, "reason": "Error"}, "delivery_failed"),
        ("receive-files", {"exitCode": 124, "reason": "Error"}, "delivery_timeout"),
        ("receive-files", {"exitCode": 127, "reason": "Error"}, "image_unusable"),
        ("receive-files", {"exitCode": 128, "reason": "StartError"}, "image_unusable"),
        ("receive-files", {"exitCode": 137, "reason": "OOMKilled"}, "out_of_memory"),
        ("istio-init", {"exitCode": 1, "reason": "Error"}, "init_container_failed"),
    ],
)
def test_an_init_container_that_fails(name: str, terminated: dict[str, Any], category: str) -> None:
    found = diagnose_pod(init_ended(name, **terminated), [])
    assert found is not None
    assert found.category == category
    assert found.evidence.exit_code == terminated["exitCode"]


# The API server's answers.

ANSWERS = {
    "bad-type": "pod_invalid",
    "conflict": "platform_failed",
    "invalid": "pod_invalid",
    "invalid-hostname": "pod_invalid",
    "limitrange": "pod_refused",
    "namespace-mismatch": "pod_invalid",
    "namespace-missing": "configuration_invalid",
    "namespace-terminating": "configuration_invalid",
    "priority-missing": "configuration_invalid",
    "quota-memory": "pod_refused",
    "quota-pods": "pod_refused",
    "quota-unset": "pod_refused",
    "rbac-claim": "cluster_access_denied",
    "rbac-create": "cluster_access_denied",
    "rbac-exec": "cluster_access_denied",
    "rbac-list": "cluster_access_denied",
    "rbac-log": "cluster_access_denied",
    "runtimeclass-missing": "configuration_invalid",
    "sa-missing": "configuration_invalid",
    "unauthorized": "cluster_access_denied",
    "webhook-gone": "cluster_lost",
}


def test_no_recorded_answer_is_left_out() -> None:
    assert ANSWERS.keys() == RECORDED["answers"].keys()


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_real_answer(name: str, as_text: bool) -> None:
    answer = RECORDED["answers"][name]
    body = json.dumps(answer["body"]) if as_text else answer["body"]
    found = diagnose_api_error(answer["status"], body, "create", "pods", "validation", Phase.START)
    assert found.category == ANSWERS[name]
    assert found.detail == answer["body"]["message"].partition(", error found in #")[0]
    assert found.blame != Blame.MODEL


@pytest.mark.parametrize(
    ("name", "verb", "resource"),
    [
        ("rbac-create", "create", "pods"),
        ("rbac-list", "list", "pods"),
        ("rbac-log", "get", "pods/log"),
        ("rbac-exec", "get", "pods/exec"),
        ("rbac-claim", "get", "persistentvolumeclaims"),
    ],
)
def test_a_missing_right_is_named_with_the_rule_that_grants_it(
    name: str, verb: str, resource: str
) -> None:
    answer = RECORDED["answers"][name]
    found = diagnose_api_error(answer["status"], answer["body"], verb, resource, "x", Phase.START)
    assert f"may not {verb} {resource} in the namespace 'validation'." in found.summary
    assert "'system:serviceaccount:validation:default'" in found.summary
    assert f'"resources": ["{resource}"], "verbs": ["{verb}"]' in found.hint


@pytest.mark.parametrize(
    ("status", "message", "category", "transient"),
    [
        # kubernetes, plugin/pkg/admission/resourcequota: there is room for it in an empty namespace
        (
            403,
            'pods "a" is forbidden: exceeded quota: q, requested: limits.memory=2Gi,pods=1, used: '
            "limits.memory=7Gi,pods=3, limited: limits.memory=8Gi,pods=9",
            "quota_exceeded",
            True,
        ),
        # kubernetes, staging/src/k8s.io/pod-security-admission
        (
            403,
            'pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true '
            '(container "server" must not set securityContext.runAsNonRoot=false)',
            "pod_refused",
            False,
        ),
        # OpenShift
        (
            403,
            'pods "a" is forbidden: unable to validate against any security context constraint: '
            "[provider restricted: .spec.securityContext.runAsUser: Invalid value: 65534]",
            "pod_refused",
            False,
        ),
        # open-policy-agent/gatekeeper
        (
            403,
            'admission webhook "validation.gatekeeper.sh" denied the request: [need-owner] you '
            'must provide labels: {"owner"}',
            "pod_refused",
            False,
        ),
        # kubeflow/pipelines issue 5164, tfx issue 3257
        (
            500,
            'Internal error occurred: failed calling webhook "sidecar-injector.istio.io": Post '
            '"https://istiod.istio-system.svc:443/inject?timeout=30s": context deadline exceeded',
            "cluster_lost",
            True,
        ),
        (400, 'strict decoding error: unknown field "spec.nosuchfield"', "pod_invalid", False),
        (429, "the server has received too many requests", "cluster_lost", True),
        # kube-apiserver 1.20, for a Pod of 2 MB and for one of 4 MB
        (500, "etcdserver: request is too large", "pod_invalid", False),
        (413, "Request entity too large: limit is 3145728", "pod_invalid", False),
        (503, "", "cluster_lost", True),
        (403, "", "cluster_access_denied", False),
        (403, "something new that admission says", "pod_refused", False),
    ],
)
def test_further_answers(status: int, message: str, category: str, transient: bool) -> None:
    body = {"kind": "Status", "message": message} if message else ""
    found = diagnose_api_error(status, body, "create", "pods", "ns", Phase.START)
    assert (found.category, found.transient) == (category, transient)


@pytest.mark.parametrize("body", [None, "", b"\xff", "<html>", "[]", '"text"', {"details": None}])
def test_any_body_is_taken(body: Any) -> None:
    found = diagnose_api_error(404, body, "get", "pods/log", "ns", Phase.LOAD)
    assert found.category == "platform_failed"
    assert "get pods/log" in found.summary


def test_a_refusal_to_read_is_a_missing_right_in_whatever_words() -> None:
    """Clouds have authorizers of their own, and the websocket's handshake carries no text."""
    found = diagnose_api_error(403, "no!", "get", "pods/exec", "ns", Phase.STAGE)
    assert found.category == "cluster_access_denied"
    assert found.summary == "The validator may not get pods/exec in the namespace 'ns'."


@pytest.mark.parametrize(
    ("was_reached", "category"), [(False, "cluster_unreachable"), (True, "cluster_lost")]
)
def test_an_api_server_that_cannot_be_reached(was_reached: bool, category: str) -> None:
    found = diagnose_unreachable(
        "https://192.0.2.1:6443",
        "[Errno 111] Connection refused",
        Phase.STAGE,
        was_reached=was_reached,
    )
    assert (found.category, found.transient) == (category, was_reached)
    assert "https://192.0.2.1:6443" in found.summary
