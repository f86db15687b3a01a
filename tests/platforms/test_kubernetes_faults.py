"""Why a Pod does not run, or ends, shown on a real cluster with one node.

What this cannot show (registries, preempting clouds, nodes that are lost) is in
tests/unit/test_kubernetes_faults.py, from recordings and sources.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf import json_format

from infra_validator import kubernetes_config
from infra_validator.faults import Blame, Fault, Phase
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report, Verdict
from infra_validator.runners.kubernetes import api
from infra_validator.runners.kubernetes.manifest import pod_manifest
from infra_validator.runners.kubernetes.places import (
    ClaimModel,
    ModelPlace,
    StreamedModel,
    UriModel,
)
from infra_validator.runners.kubernetes.step import StepPod
from infra_validator.servers.tensorflow_serving import TensorFlowServing
from infra_validator.strategic_merge import merge_pod
from tests.engine.helpers import run
from tests.platforms.docker_engine import Answer, RegistryHandler, registry
from tests.platforms.kubernetes_cluster import (
    TestNamespace,
    server_command,
    shell_server,
    wait_for,
)

Config = dict[str, Any]
Validate = Callable[..., Report]

ENTRY_POINT = 'exec /usr/bin/tf_serving_entrypoint.sh "$@"'
DEVICE = "infra-validator.example.com/device"


@pytest.fixture(autouse=True)
def _leaves_nothing_in_the_cluster(
    kubernetes_namespace: TestNamespace, leaves_nothing: Callable[[], set[str]]
) -> Iterator[None]:
    yield
    left = [pod["metadata"]["name"] for pod in kubernetes_namespace.pods()]
    kubernetes_namespace.remove_pods()
    assert left == []


def to_config(namespace: TestNamespace, fields: Mapping[str, Any]) -> pb.KubernetesConfig:
    return json_format.ParseDict({"namespace": namespace.name, **fields}, pb.KubernetesConfig())


@pytest.fixture
def validate(kubernetes_namespace: TestNamespace, saved_model: Path) -> Validate:
    """Validates on the cluster, with a KubernetesConfig in JSON form."""

    def validate(
        config: Config | None = None,
        image: tuple[str, str] | None = None,
        loading: int = 60,
        tries: int = 1,
    ) -> Report:
        name, tag = image or kubernetes_namespace.image
        return run(
            saved_model,
            image_name=name,
            images=(tag,),
            kubernetes=to_config(kubernetes_namespace, config or {}),
            limits=pb.ValidationSpec(num_tries=tries, max_loading_time_seconds=loading),
        )

    return validate


def fault_of(report: Report) -> Fault:
    assert report.fault is not None, report.reason
    assert report.fault.hint
    assert "\n" not in report.reason
    # Whatever it was, the model is not to blame.
    if report.fault.category != "memory_limit_exceeded":
        assert report.fault.blame in {Blame.INFRASTRUCTURE, Blame.CONFIGURATION}
        assert report.verdict == Verdict.UNDETERMINED
    return report.fault


def containers(**patch: Any) -> Config:
    return {"spec": {"containers": [{"name": "server", **patch}]}}


def resources(**kinds: Any) -> Config:
    return {"serving_pod_overrides": {"resources": kinds}}


def variable(name: str, key: str) -> Config:
    reference = {"secret_key_ref": {"name": name, "key": key}}
    return {"serving_pod_overrides": {"env": [{"name": "TOKEN", "value_from": reference}]}}


def mounted(**source: Any) -> Config:
    return {
        "volumes": [{"name": "v", **source}],
        "volume_mounts": [{"name": "v", "mountPath": "/v", "readOnly": True}],
    }


# Before the server runs.


@pytest.mark.parametrize(
    ("config", "image", "category", "phase", "said"),
    [
        pytest.param(
            {**resources(limits={"example.com/gpu": "1"}), "schedule_timeout_seconds": 3},
            None,
            "pod_unschedulable",
            Phase.SCHEDULE,
            "Insufficient example.com/gpu",
            id="no such device",
        ),
        pytest.param(
            {"node_selector": {"no-such": "label"}, "schedule_timeout_seconds": 3},
            None,
            "pod_unschedulable",
            Phase.SCHEDULE,
            "0/1 nodes are available",
            id="no such node",
        ),
        pytest.param(
            mounted(persistentVolumeClaim={"claimName": "no-such"}),
            None,
            "volume_unavailable",
            Phase.SCHEDULE,
            "The claim 'no-such' is not there",
            id="no such claim",
        ),
        pytest.param(
            {},
            ("registry.invalid/serving", "1"),
            "image_pull_failed",
            Phase.IMAGE,
            "registry.invalid",
            id="no such registry",
        ),
        pytest.param(
            {"image_pull_policy": "NEVER"},
            ("no-such/serving", "1"),
            "image_not_found",
            Phase.IMAGE,
            "says NEVER",
            id="not on the node",
        ),
        pytest.param(
            variable("no-such", "key"),
            None,
            "container_config_invalid",
            Phase.START,
            'secret "no-such" not found',
            id="no such Secret",
        ),
        pytest.param(
            mounted(configMap={"name": "no-such"}),
            None,
            "container_config_invalid",
            Phase.START,
            'configmap "no-such" not found',
            id="no such ConfigMap",
        ),
        pytest.param(
            mounted(hostPath={"path": "/no/such", "type": "Directory"}),
            None,
            "container_config_invalid",
            Phase.START,
            "/no/such is not a directory",
            id="no such path",
        ),
        pytest.param(
            {"pod_patch": {"spec": {"securityContext": {"runAsUser": None, "runAsGroup": None}}}},
            None,
            "container_config_invalid",
            Phase.START,
            "may not run as root",
            id="root",
        ),
        pytest.param(
            {"pod_patch": server_command("/no/such/program")},
            None,
            "image_unusable",
            Phase.START,
            "/no/such/program",
            id="no such program",
        ),
        pytest.param(
            {"pod_patch": containers(resources={"limits": {"memory": "1Mi"}})},
            None,
            "container_config_invalid",
            Phase.START,
            "limit of memory, 1Mi, is too small",
            id="no memory for the sandbox",
        ),
        pytest.param(
            {"pod_patch": containers(resources={"limits": {"memory": "4Mi"}})},
            None,
            "container_config_invalid",
            Phase.START,
            "limit of memory, 4Mi, is too small",
            id="no memory for the container",
        ),
        pytest.param(
            {"pod_patch": {"spec": {"hostname": "A_B"}}},
            None,
            "pod_invalid",
            Phase.START,
            "at spec.hostname",
            id="invalid field",
        ),
        pytest.param(
            {"service_account_name": "no-such"},
            None,
            "configuration_invalid",
            Phase.START,
            "ServingSpec.kubernetes.service_account_name",
            id="no such account",
        ),
        pytest.param(
            {"priority_class_name": "no-such"},
            None,
            "configuration_invalid",
            Phase.START,
            "ServingSpec.kubernetes.priority_class_name",
            id="no such priority",
        ),
        pytest.param(
            {"runtime_class_name": "no-such"},
            None,
            "configuration_invalid",
            Phase.START,
            "ServingSpec.kubernetes.runtime_class_name",
            id="no such runtime",
        ),
        pytest.param(
            {"namespace": "no-such-namespace"},
            None,
            "configuration_invalid",
            Phase.START,
            "ServingSpec.kubernetes.namespace",
            id="no such namespace",
        ),
    ],
)
def test_why_a_pod_does_not_start(
    validate: Validate,
    kubernetes_namespace: TestNamespace,
    config: Config,
    image: tuple[str, str] | None,
    category: str,
    phase: Phase,
    said: str,
) -> None:
    if kubernetes_namespace.image == image:
        pytest.skip("the image is there")
    found = fault_of(validate(config, image))
    assert (found.category, found.phase) == (category, phase), found
    assert said in found.summary
    assert found.detail


@pytest.fixture
def _node_is_here(kubernetes_namespace: TestNamespace) -> None:
    """A node that pulls from 127.0.0.1 asks itself."""
    if urlsplit(kubernetes_namespace.api.address).hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("the node is not this machine, so it cannot ask a registry here")


def refusing(status: int, code: str, message: str, **headers: str) -> Answer:
    """A registry that is there, and has not what is asked for."""

    def answer(request: RegistryHandler) -> None:
        if request.path.rstrip("/") == "/v2" and status != 401:
            request.reply(200, b"{}")
        else:
            request.refuse(status, code, message, **headers)

    return answer


@pytest.mark.usefixtures("_node_is_here")
@pytest.mark.parametrize(
    ("answer", "category", "said"),
    [
        pytest.param(
            refusing(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            "image_not_found",
            "The image {} does not exist: ",
            id="misspelt",
        ),
        pytest.param(
            refusing(
                401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="a"'
            ),
            "image_pull_denied",
            "The registry refuses to give the image {}: ",
            id="no credentials",
        ),
        pytest.param(
            refusing(429, "TOOMANYREQUESTS", "You have reached your pull rate limit."),
            "image_pull_failed",
            "The image {} cannot be pulled: ",
            id="rate limit",
        ),
    ],
)
def test_what_a_registry_refuses(
    validate: Validate, answer: Answer, category: str, said: str
) -> None:
    with registry(answer) as there:
        name = f"{there.address}/tensorflow/servin"
        found = fault_of(validate({}, (name, "2.16.1")))
        assert there.asked.is_set()
    assert (found.category, found.phase) == (category, Phase.IMAGE)
    assert found.summary.startswith(said.format(f"{name}:2.16.1"))
    assert "ServingSpec.tensorflow_serving.image_name" in found.hint


@pytest.mark.usefixtures("_node_is_here")
def test_a_registry_that_hangs(validate: Validate) -> None:
    with registry(RegistryHandler.hang) as there:
        found = fault_of(validate({"pull_timeout_seconds": 3}, (f"{there.address}/a", "1")))
    assert (found.category, found.phase) == ("image_pull_timeout", Phase.IMAGE)


def test_what_a_pod_waits_for_is_in_the_log_at_once(
    validate: Validate, caplog: pytest.LogCaptureFixture
) -> None:
    """An autoscaler may still mend it, so the verdict has to wait, but nobody has to guess."""
    config = {"node_selector": {"no-such": "label"}, "schedule_timeout_seconds": 6}
    with caplog.at_level("INFO", "infra_validator"):
        report = validate(config)
    [waits] = [record for record in caplog.records if " waits: " in record.getMessage()]
    assert "0/1 nodes are available" in waits.getMessage()
    [attempt] = report.binaries[0].attempts
    [scheduling] = [phase for phase in attempt.phases if phase.phase == Phase.SCHEDULE]
    assert scheduling.seconds > 4
    [judged] = [record for record in caplog.records if "No node took" in record.getMessage()]
    assert judged.created - waits.created > 3


def test_a_key_that_a_secret_lacks(validate: Validate, kubernetes_namespace: TestNamespace) -> None:
    secret = {"metadata": {"name": "half"}, "stringData": {"other": "x"}}
    with kubernetes_namespace.having("secrets", secret):
        found = fault_of(validate(variable("half", "key")))
    assert found.category == "container_config_invalid"
    assert "couldn't find key key" in found.summary


def test_a_claim_that_nobody_fills(validate: Validate, kubernetes_namespace: TestNamespace) -> None:
    claim = {
        "metadata": {"name": "unfilled"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "no-such-class",
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    source = {"persistentVolumeClaim": {"claimName": "unfilled"}}
    with kubernetes_namespace.having("persistentvolumeclaims", claim):
        found = fault_of(validate({**mounted(**source), "schedule_timeout_seconds": 3}))
    assert (found.category, found.phase) == ("volume_unavailable", Phase.SCHEDULE)
    assert "unbound immediate" in found.summary


def test_another_init_container_that_fails(
    validate: Validate, kubernetes_namespace: TestNamespace
) -> None:
    failing = {
        "name": "mesh",
        "image": ":".join(kubernetes_namespace.image),
        "command": ["sh", "-c", "echo no rights >&2; exit 3"],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    found = fault_of(validate({"pod_patch": {"spec": {"initContainers": [failing]}}}))
    assert found.category == "init_container_failed"
    assert found.summary == "The init container 'mesh' failed (exit code 3: no rights)."
    assert found.evidence.exit_code == 3


def test_the_pods_own_deadline(validate: Validate, kubernetes_namespace: TestNamespace) -> None:
    slow = {
        "name": "slow",
        "image": ":".join(kubernetes_namespace.image),
        "command": ["sleep", "600"],
    }
    config = {
        "active_deadline_seconds": 4,
        "pod_patch": {"spec": {"initContainers": [slow]}},
    }
    found = fault_of(validate(config, loading=3))
    assert found.category == "pod_deadline_exceeded"
    assert "after 4 s" in found.summary


# What the cluster's rules refuse.


def quota(**hard: str) -> dict[str, Any]:
    return {"metadata": {"name": "tight"}, "spec": {"hard": hard}}


@contextlib.contextmanager
def having_quota(namespace: TestNamespace, **hard: str) -> Iterator[None]:
    with namespace.having("resourcequotas", quota(**hard)):
        wait_for(
            lambda: namespace.get("resourcequotas/tight").get("status", {}).get("used"),
            "the quota to be counted",
        )
        yield


@pytest.mark.parametrize(
    ("hard", "config", "said"),
    [
        ({"pods": "0"}, {}, "more than the whole quota"),
        ({"limits.memory": "1Gi"}, {}, "must specify limits.memory"),
        (
            {"limits.memory": "1Gi"},
            resources(limits={"memory": "2Gi"}),
            "more than the whole quota",
        ),
    ],
)
def test_a_quota_into_which_the_pod_can_never_fit(
    validate: Validate,
    kubernetes_namespace: TestNamespace,
    hard: dict[str, str],
    config: Config,
    said: str,
) -> None:
    with having_quota(kubernetes_namespace, **hard):
        found = fault_of(validate(config))
    assert found.category == "pod_refused"
    assert not found.transient
    assert said in found.summary


def test_a_quota_that_others_have_used_up_is_waited_for(
    validate: Validate, kubernetes_namespace: TestNamespace
) -> None:
    other = {
        "metadata": {"name": "other"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "c",
                    "image": ":".join(kubernetes_namespace.image),
                    "command": ["sleep", "600"],
                }
            ],
        },
    }
    with having_quota(kubernetes_namespace, pods="1"):
        with kubernetes_namespace.having("pods", other):
            wait_for(
                lambda: (
                    kubernetes_namespace.get("resourcequotas/tight")["status"]["used"]["pods"]
                    == "1"
                ),
                "the Pod to be counted",
            )
            report = validate(tries=2)
        found = fault_of(report)
    assert found.category == "quota_exceeded"
    assert len(report.binaries[0].attempts) == 2


def test_a_quota_that_leaves_room(validate: Validate, kubernetes_namespace: TestNamespace) -> None:
    """Also of the init container it wants every resource."""
    limits = {"memory": "1Gi", "cpu": "2"}
    with having_quota(
        kubernetes_namespace, **{"limits.memory": "1Gi", "limits.cpu": "2", "pods": "1"}
    ):
        report = validate(resources(limits=limits))
    assert report.verdict == Verdict.BLESSED, report.reason


@contextlib.contextmanager
def limit_range(namespace: TestNamespace, **limits: Any) -> Iterator[None]:
    """Limits of containers; the API server heeds them a moment after they are made."""
    body = {
        "metadata": {"name": "range"},
        "spec": {"limits": [{"type": "Container", **limits}]},
    }
    probe = {
        "metadata": {"name": "probe"},
        "spec": {"containers": [{"name": "c", "image": "none:1"}]},
    }

    def heeded() -> bool:
        made = namespace.api.call("POST", namespace.path("pods"), probe, dryRun="All")
        return "kubernetes.io/limit-ranger" in made["metadata"].get("annotations", {})

    with namespace.having("limitranges", body):
        wait_for(heeded, "the limits to be heeded")
        yield


def test_a_limit_range(validate: Validate, kubernetes_namespace: TestNamespace) -> None:
    with limit_range(kubernetes_namespace, max={"memory": "1Gi"}):
        found = fault_of(validate(resources(limits={"memory": "2Gi"})))
    assert found.category == "pod_refused"
    assert "LimitRange" in found.summary


class Webhook:
    """An admission webhook on this machine, asked for Pods of one namespace.

    Attributes:
        reviews: how often it was asked.
    """

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
                *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self.authority = base64.b64encode(certificate.read_bytes()).decode()
        self.reviews = 0
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook.reviews += 1
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                response = {
                    "uid": asked["request"]["uid"],
                    "allowed": False,
                    "status": {"message": "images must come from our own registry"},
                }
                body = json.dumps({**asked, "response": response}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}/admit"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook(kubernetes_namespace: TestNamespace, tmp_path: Path) -> Iterator[Webhook]:
    namespace = kubernetes_namespace
    if urlsplit(namespace.api.address).hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("the API server is not on this machine, so it cannot ask a webhook here")
    found = Webhook(tmp_path)
    label = {"metadata": {"labels": {"admission": namespace.name}}}
    patch(namespace, namespace.path(""), label, "merge-patch+json")
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    body = {
        "metadata": {"name": namespace.name},
        "webhooks": [
            {
                "name": "gate.infra-validator.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "clientConfig": {"url": found.url, "caBundle": found.authority},
                "namespaceSelector": {"matchLabels": {"admission": namespace.name}},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ],
            }
        ],
    }
    namespace.api.call("POST", path, body)
    try:
        probe = {
            "metadata": {"generateName": "probe-"},
            "spec": {"containers": [{"name": "c", "image": "none:1"}]},
        }

        def asked() -> bool:
            """The API server learns of a webhook a moment after it is made."""
            with contextlib.suppress(Exception):
                namespace.api.call("POST", namespace.path("pods"), probe, dryRun="All")
            return found.reviews > 0

        wait_for(asked, "the webhook to be asked")
        yield found
    finally:
        namespace.api.delete(f"{path}/{namespace.name}")
        found.close()


def test_an_admission_webhook_that_refuses(validate: Validate, webhook: Webhook) -> None:
    found = fault_of(validate())
    assert (found.category, found.phase) == ("pod_refused", Phase.START)
    assert "gate.infra-validator.example.com" in found.summary
    assert "images must come from our own registry" in found.summary


def test_an_admission_webhook_that_is_gone(
    validate: Validate, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_RIDE_OUT_SECONDS", 3.0)
    webhook.close()
    found = fault_of(validate())
    assert found.category == "cluster_lost"
    assert found.transient
    assert "gate.infra-validator.example.com" in found.summary


# While the server runs.

EATS_MEMORY = "x=$(head -c 400000000 /dev/zero | tr '\\0' a); sleep 600"


def test_a_server_that_needs_more_memory_than_production_gives_it(validate: Validate) -> None:
    report = validate(
        {**resources(limits={"memory": "48Mi"}), "pod_patch": shell_server(EATS_MEMORY)}
    )
    assert report.verdict == Verdict.NOT_BLESSED
    found = fault_of(report)
    assert (found.category, found.phase) == ("memory_limit_exceeded", Phase.LOAD)
    assert "48Mi" in found.summary


def test_a_limit_of_memory_that_nobody_asked_for(
    validate: Validate, kubernetes_namespace: TestNamespace
) -> None:
    with limit_range(kubernetes_namespace, default={"memory": "48Mi"}):
        found = fault_of(validate({"pod_patch": shell_server(EATS_MEMORY)}))
    assert found.category == "out_of_memory"
    assert "the namespace's LimitRange" in found.summary


def test_a_server_that_fills_the_disk(validate: Validate) -> None:
    config: Config = {"pod_patch": shell_server("head -c 20000000 /dev/zero > /tmp/x; sleep 600")}
    config["pod_patch"]["spec"]["volumes"] = [
        {"name": "infra-validator-tmp", "emptyDir": {"sizeLimit": "1Mi"}}
    ]
    found = fault_of(validate(config, loading=240))  # the kubelet looks now and then
    assert found.category == "storage_limit_exceeded"
    assert 'exceeds the limit "1Mi"' in found.summary


def test_a_server_that_exits_is_told_by_its_own_last_words(validate: Validate) -> None:
    found = fault_of(validate({"pod_patch": shell_server("echo gone wrong >&2; exit 3")}))
    assert found.category == "server_exited"
    assert "gone wrong" in found.summary
    assert found.evidence.exit_code == 3


# What users set works.


def patch(namespace: TestNamespace, path: str, body: Any, kind: str) -> Any:
    """A PATCH of the API, which the platform itself never needs."""
    from kubernetes.client import ApiClient

    pool = ApiClient(namespace.api.cluster.configuration).rest_client.pool_manager
    answer = pool.request(
        "PATCH",
        namespace.api.address + path,
        body=json.dumps(body),
        headers={"Content-Type": f"application/{kind}", "Accept": "application/json"},
    )
    assert answer.status == 200, answer.data
    return json.loads(answer.data)


@pytest.fixture
def device(kubernetes_namespace: TestNamespace) -> Iterator[str]:
    """One device on one node, as far as the scheduler and the kubelet can tell."""
    namespace = kubernetes_namespace
    [node, *_] = namespace.api.get("/api/v1/nodes")["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}/status"
    pointer = f"/status/capacity/{DEVICE.replace('/', '~1')}"
    add = [{"op": "add", "path": pointer, "value": "1"}]
    patch(namespace, path, add, "json-patch+json")

    def allocatable() -> bool:
        status = namespace.api.get(path)["status"]
        return status["allocatable"].get(DEVICE) == "1"

    try:
        wait_for(allocatable, "the kubelet to take up the device")
        yield DEVICE
    finally:
        patch(namespace, path, [{"op": "remove", "path": pointer}], "json-patch+json")


def test_production_s_pod_serves_a_model(
    validate: Validate, kubernetes_namespace: TestNamespace, device: str
) -> None:
    """With a device, a Secret's key, a volume, and where it runs, all as the user says."""
    secret = {"metadata": {"name": "token"}, "stringData": {"key": "hush, do not tell"}}
    files = {"metadata": {"name": "files"}, "data": {"greeting": "hello"}}
    check = (
        '[ "${TOKEN%%,*}" = hu""sh ] && [ "$(cat /v/greeting)" = hello ] || { env; ls /v; exit 9; }'
    )
    config = {
        **mounted(configMap={"name": "files"}),
        "labels": {"team": "serving"},
        "node_selector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                    }
                ]
            }
        },
        "serving_pod_overrides": {
            "annotations": {"example.com/owner": "me"},
            **variable("token", "key")["serving_pod_overrides"],
            "resources": {
                "requests": {"cpu": "100m"},
                "limits": {"memory": "1Gi", device: "1"},
            },
        },
        "pod_patch": shell_server(f"{check}; {ENTRY_POINT}"),
    }
    with (
        kubernetes_namespace.having("secrets", secret),
        kubernetes_namespace.having("configmaps", files),
    ):
        report = validate(config)
    assert report.verdict == Verdict.BLESSED, report.reason
    assert "hush" not in repr(report)


EVERYTHING = {
    "image_pull_policy": "ALWAYS",
    "image_pull_secrets": ["registry"],
    "labels": {"team": "serving", "example.com/tier": ""},
    "node_selector": {"a": "b"},
    "tolerations": [
        {"key": "k", "value": "v", "effect": "NoExecute", "toleration_seconds": 9},
        {"operator": "Exists"},
    ],
    "affinity": {"podAntiAffinity": {}},
    "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
    "volume_mounts": [{"name": "v", "mountPath": "/v"}],
    "serving_pod_overrides": {
        "annotations": {"a": "b"},
        "env": [
            {"name": "A", "value": "$(MODEL_NAME)"},
            {"name": "B", "value_from": {"secret_key_ref": {"name": "s", "key": "k"}}},
        ],
        "resources": {
            "requests": {"cpu": "100m"},
            "limits": {"memory": "1Gi", "example.com/gpu": "1"},
        },
    },
    "pod_patch": {
        "spec": {
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["models"]}],
            "securityContext": {"fsGroup": 2000},
        }
    },
}


@pytest.mark.parametrize("config", [{}, EVERYTHING], ids=["defaults", "everything"])
@pytest.mark.parametrize(
    "model",
    [StreamedModel(), ClaimModel("c", "a/b", read_only=True), UriModel("gs://b/m")],
    ids=["streamed", "claim", "uri"],
)
def test_the_api_takes_every_pod_as_it_is(
    kubernetes_namespace: TestNamespace, config: Config, model: ModelPlace
) -> None:
    namespace = kubernetes_namespace
    step = StepPod("step", namespace.name, str(uuid.uuid4()))
    pod = pod_manifest(
        kubernetes_config.parse(to_config(namespace, config), 300),
        TensorFlowServing(model_name="m", image="serving:1", config_files={"f": b""}),
        name="dry-run",
        namespace=namespace.name,
        model=model,
        labels={"infra-validator.managed": "true"},
        annotations={"infra-validator.host": "any text"},
        owner=step,
        service_account=None,
        node="node-1",
    )
    made = namespace.api.call(
        "POST", namespace.path("pods"), pod, dryRun="All", fieldValidation="Strict"
    )

    def contains(whole: Any, part: Any) -> bool:
        """What was sent stands; a server adds defaults and things of its own."""
        if isinstance(part, dict):
            return isinstance(whole, dict) and all(
                contains(whole.get(key), value) for key, value in part.items() if value != {}
            )
        if isinstance(part, list):
            return len(whole) >= len(part) and all(map(contains, whole, part))
        return bool(whole == part)

    assert contains(made, pod)


PATCHES: list[Config] = [
    containers(args=["--x"], env=[{"name": "MODEL_NAME", "value": "x"}, {"name": "N"}]),
    containers(env=[{"name": "MODEL_NAME", "$patch": "delete"}]),
    containers(env=[{"$patch": "replace"}, {"name": "N", "value": "1"}]),
    containers(securityContext={"capabilities": {"drop": None, "add": ["SYS_NICE"]}}),
    containers(ports=[{"containerPort": 8501}], resources={"limits": {"cpu": "1"}}),
    containers(volumeMounts=[{"mountPath": "/tmp", "readOnly": True}]),  # noqa: S108
    {"spec": {"containers": [{"name": "b", "image": "c"}], "tolerations": [{"key": "b"}]}},
    {"spec": {"volumes": [{"name": "infra-validator-tmp", "emptyDir": {"medium": "Memory"}}]}},
    {
        "spec": {
            "volumes": [
                {
                    "name": "infra-validator-tmp",
                    "$retainKeys": ["name", "hostPath"],
                    "hostPath": {"path": "/x"},
                }
            ]
        }
    },
    {"spec": {"securityContext": {"$patch": "replace", "fsGroup": 5}}},
    {"spec": {"imagePullSecrets": [{"name": "more"}], "affinity": None}},
    {"spec": {"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["b"]}]}},
    {"metadata": {"labels": {"team": None, "b": "c"}, "annotations": None}},
]


@pytest.mark.parametrize("change", PATCHES, ids=lambda change: json.dumps(change)[:60])
def test_a_patch_is_merged_as_the_api_merges_it(
    kubernetes_namespace: TestNamespace, change: Config
) -> None:
    """A PodTemplate holds a Pod and may be patched; both results get the API's own defaults."""
    namespace = kubernetes_namespace
    pod = pod_manifest(
        kubernetes_config.parse(to_config(namespace, EVERYTHING), 300),
        TensorFlowServing(model_name="m", image="serving:1"),
        name="x",
        namespace=namespace.name,
        model=StreamedModel(),
        labels={},
        annotations={},
        owner=None,
        service_account=None,
        node=None,
    )
    template = {
        "metadata": {key: pod["metadata"][key] for key in ("labels", "annotations")},
        "spec": {**pod["spec"], "restartPolicy": "Never"},
    }
    path = namespace.path("podtemplates")
    ours = merge_pod(template, change)
    with namespace.having("podtemplates", {"metadata": {"name": "a"}, "template": template}):
        kind = "strategic-merge-patch+json"
        theirs = patch(namespace, f"{path}/a", {"template": change}, kind)["template"]
    made = namespace.api.call(
        "POST", path, {"metadata": {"name": "b"}, "template": ours}, dryRun="All"
    )

    def unordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: unordered(item) for key, item in value.items() if item != {}}
        if isinstance(value, list):
            return sorted(map(unordered, value), key=lambda item: json.dumps(item, sort_keys=True))
        return value

    assert unordered(made["template"]) == unordered(theirs)
