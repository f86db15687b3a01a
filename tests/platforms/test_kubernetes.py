"""The Kubernetes platform, against a real cluster, whose API judges what is there and what is left.

What a Pod can suffer from is in test_kubernetes_faults.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra_validator import kubernetes_config
from infra_validator.faults import Blame, FaultError, Phase
from infra_validator.files import Gfile
from infra_validator.model_source import ModelSource
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import Report, Verdict
from infra_validator.runners.base import Platform
from infra_validator.runners.kubernetes import api as kubernetes_api
from infra_validator.runners.kubernetes import owner
from infra_validator.runners.kubernetes.api import ApiError
from infra_validator.runners.kubernetes.platform import KubernetesPlatform
from infra_validator.servers.base import ServingBinary
from infra_validator.servers.tensorflow_serving import TensorFlowServing
from infra_validator.validation.progress import Event, PhaseBegan
from infra_validator.waiting import Cancellation, Cancelled
from tests.engine.helpers import run
from tests.platforms.conformance import PlatformConformance
from tests.platforms.kubernetes_cluster import (
    LIMIT_SECONDS,
    Proxy,
    TestNamespace,
    shell_server,
    stand_in_server,
    wait_for,
    write_kubeconfig,
)

ROOT = Path(__file__).parents[2]

Validate = Callable[..., Report]


@pytest.fixture(autouse=True)
def _leaves_nothing_in_the_cluster(
    kubernetes_namespace: TestNamespace, leaves_nothing: Callable[[], set[str]]
) -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    left = [pod["metadata"]["name"] for pod in kubernetes_namespace.pods()]
    kubernetes_namespace.remove_pods()
    assert left == []
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith(("infra-validator", "port-forward")):
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive(), f"{thread.name} is still here:\n{_stack_of(thread)}"


def _stack_of(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    return "".join(traceback.format_stack(frame)) if frame else "it has just ended"


@pytest.fixture
def validate(kubernetes_namespace: TestNamespace, saved_model: Path) -> Validate:
    """Validates on the cluster; fields of KubernetesConfig are given as `kubernetes`."""

    def validate(**options: Any) -> Report:
        name, tag = kubernetes_namespace.image
        fields = options.pop("kubernetes", {})
        return run(
            options.pop("model", saved_model),
            image_name=name,
            images=options.pop("images", (tag,)),
            kubernetes=kubernetes_namespace.config(**fields),
            **options,
        )

    return validate


def server_of(report: Report) -> Any:
    """What the report says of the one server of the last attempt."""
    [binary] = report.binaries
    return binary.attempts[-1].server


def phases_of(report: Report) -> list[Phase]:
    """The phases of the one attempt, without repetitions."""
    [binary] = report.binaries
    return [phase.phase for phase in binary.attempts[-1].phases]


def told(report: Report) -> tuple[str, Blame, Phase]:
    """The fault that decided."""
    assert report.fault is not None, report.reason
    assert report.fault.hint
    assert "\n" not in report.reason
    return report.fault.category, report.fault.blame, report.fault.phase


class TestConformance(PlatformConformance):
    @pytest.fixture(autouse=True)
    def _namespace(self, kubernetes_namespace: TestNamespace) -> None:
        self.namespace = kubernetes_namespace

    @pytest.fixture
    def binary(self, kubernetes_namespace: TestNamespace) -> ServingBinary:
        return TensorFlowServing(model_name="a model", image=":".join(kubernetes_namespace.image))

    def make(self, **fields: Any) -> Platform:
        config = self.namespace.config(**fields)
        return KubernetesPlatform(kubernetes_config.parse(config, 30))

    @pytest.fixture
    def platform(self) -> Platform:
        return self.make()

    @pytest.fixture
    def exiting_platform(self) -> Platform:
        return self.make(pod_patch=shell_server("echo goodbye; exit 3"))

    def count_servers(self, workdir: Path) -> int:
        return len(self.namespace.pods())


# The model gets in, and the server is reached.


@pytest.mark.parametrize(
    ("reach", "expected"),
    [("REACH_UNSPECIFIED", "port-forward"), ("POD_IP", "Pod IP"), ("PORT_FORWARD", "port-forward")],
)
def test_a_good_model_is_blessed_and_the_report_says_what_served_it(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    split: Path,
    reach: str,
    expected: str,
) -> None:
    report = validate(split=split, kubernetes={"reach": reach})
    assert report.verdict == Verdict.BLESSED, report.reason
    server = server_of(report)
    assert report.platform == "kubernetes"
    assert server["server"] == ":".join(kubernetes_namespace.image)
    assert server["model_delivery"] == "stream"
    assert server["reached_by"] == expected
    assert server["namespace"] == kubernetes_namespace.name
    assert server["node"]
    assert "sha256:" in server["image_id"]
    assert set(server["versions"]) >= {"ModelServer", "Library"}
    found = phases_of(report)
    assert found[-3:] == [Phase.LOAD, Phase.QUERY, Phase.STOP]
    assert Phase.STAGE in found


@pytest.mark.parametrize("name", ["with spaces", "ünïcödé 模型", "=equals;&$(x)$$'\""])
def test_any_name_of_the_models_folder_will_do(
    validate: Validate, saved_model: Path, tmp_path: Path, name: str
) -> None:
    model = tmp_path / name
    shutil.copytree(saved_model, model)
    report = validate(model=model, model_name=name)
    assert report.verdict == Verdict.BLESSED, report.reason


def test_files_of_any_owner_mode_and_links_are_readable_to_the_server(
    validate: Validate, saved_model: Path, split: Path, tmp_path: Path
) -> None:
    real = tmp_path / "elsewhere"
    shutil.copytree(saved_model, real)
    model = tmp_path / "model"
    model.mkdir()
    for path in real.iterdir():
        (model / path.name).symlink_to(path)
    for path in sorted(real.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    report = validate(model=model, split=split)
    assert report.verdict == Verdict.BLESSED, report.reason


def test_a_large_model_arrives_whole(
    validate: Validate, saved_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "large"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    with (model / "assets.extra" / "ballast").open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(1 << 20))
    with caplog.at_level("INFO"):
        report = validate(
            model=model,
            kubernetes={
                "pod_patch": shell_server(
                    'sha256sum "$MODEL_BASE_PATH/$MODEL_NAME/1/assets.extra/ballast"; exit 1'
                )
            },
        )
    expected = subprocess.run(
        ["sha256sum", str(model / "assets.extra" / "ballast")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()[0]
    [attempt] = report.binaries[0].attempts
    assert [line.split()[0] for line in attempt.log_tail] == [expected]
    assert server_of(report)["sent_bytes"] > 256 << 20
    assert "bytes arrived in the Pod" in caplog.text


def test_config_files_arrive_as_they_are(validate: Validate) -> None:
    script = (
        'for a in "$@"; do case "$a" in *_file=*) echo "${a%%=*}"; cat "${a#*=}"; echo;; esac; '
        "done; exit 1"
    )
    report = validate(
        kubernetes={"pod_patch": shell_server(script)},
        config_files={
            "batching_parameters_file": pb.ConfigFile(text="ünïcödé"),
            "monitoring_config_file": pb.ConfigFile(text="$(x) $y"),
        },
    )
    assert list(report.binaries[0].attempts[0].log_tail) == [
        "--batching_parameters_file",
        "ünïcödé",
        "--monitoring_config_file",
        "$(x) $y",
    ]


def test_a_model_that_vanishes_is_no_fault_of_the_cluster(
    validate: Validate, saved_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "dangling").symlink_to("nowhere")
    report = validate(model=model)
    assert told(report) == ("storage_failed", Blame.INFRASTRUCTURE, Phase.STAGE)


def test_an_image_that_cannot_receive_files_is_told(validate: Validate) -> None:
    """Without a shell there is no way in."""
    report = validate(
        kubernetes={
            "pod_patch": {
                "spec": {
                    "initContainers": [
                        {"name": "receive-files", "env": [{"name": "PATH", "value": "/nowhere"}]}
                    ]
                }
            }
        }
    )
    assert told(report)[:2] == ("image_unusable", Blame.INFRASTRUCTURE), report.reason
    assert "tar" in report.reason


def test_only_the_servers_own_variables_reach_it(
    validate: Validate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    report = validate(
        kubernetes={"pod_patch": shell_server("env; exit 1")},
        env={"OMP_NUM_THREADS": "3", "DOLLAR": "$(HOME)"},
        model_name="a b",
    )
    log = report.binaries[0].attempts[0].log_tail
    assert {
        "OMP_NUM_THREADS=3",
        "DOLLAR=$(HOME)",
        "MODEL_NAME=a b",
        "MODEL_BASE_PATH=/model",
    } <= set(log)
    assert not [line for line in log if "secret" in line]


def test_the_server_has_the_least_of_rights(validate: Validate) -> None:
    script = """
        grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp|Uid):' /proc/self/status
        touch /usr/x || echo root is read-only
        touch "/model/$MODEL_NAME/1/x" || echo the model is read-only
        touch /tmp/x && echo tmp is writable
        ls /var/run/secrets || echo no token
        exit 1
    """
    report = validate(kubernetes={"pod_patch": shell_server(script)})
    log = "\n".join(report.binaries[0].attempts[0].log_tail)
    status = {
        line.partition(":")[0]: line.partition(":")[2].split()
        for line in log.splitlines()
        if ":\t" in line
    }
    assert int(status["CapEff"][0], 16) == int(status["CapBnd"][0], 16) == 0
    assert status["NoNewPrivs"] == ["1"]
    assert status["Uid"] == ["65534"] * 4
    for said in ("root is read-only", "the model is read-only", "tmp is writable", "no token"):
        assert said in log


# What a server does wrong.


# The second has to be long enough for the server to say that it loads.
_LOADING_SECONDS = {"never_ready": 2, "never_ready_after_loading_began": 15}


@pytest.mark.parametrize(
    ("fault", "category", "blame", "phase", "exit_code"),
    [
        ("exit_at_start", "server_exited", Blame.INFRASTRUCTURE, Phase.START, 3),
        ("exit_while_loading", "op_missing", Blame.MODEL, Phase.LOAD, 255),
        ("killed_while_loading", "server_killed", Blame.INFRASTRUCTURE, Phase.LOAD, 137),
        ("never_ready", "server_not_ready", Blame.INFRASTRUCTURE, Phase.LOAD, None),
        ("never_ready_after_loading_began", "load_timeout", Blame.MODEL, Phase.LOAD, None),
        ("end_state", "model_load_failed", Blame.MODEL, Phase.LOAD, None),
        ("exit_on_request", "server_crashed", Blame.MODEL, Phase.QUERY, 134),
        ("killed_on_request", "server_killed", Blame.INFRASTRUCTURE, Phase.QUERY, 137),
        ("hang_on_request", "request_timeout", Blame.MODEL, Phase.QUERY, None),
        ("refuse_request", "request_failed", Blame.MODEL, Phase.QUERY, None),
    ],
)
def test_what_a_server_does_wrong_is_told(
    validate: Validate,
    split: Path,
    fault: str,
    category: str,
    blame: Blame,
    phase: Phase,
    exit_code: int | None,
) -> None:
    report = validate(
        split=split,
        kubernetes={"pod_patch": stand_in_server(STAND_IN_FAULT=fault)},
        limits=pb.ValidationSpec(
            num_tries=1,
            max_loading_time_seconds=_LOADING_SECONDS.get(fault, 60),
            request_timeout_seconds=2 if fault == "hang_on_request" else 60,
        ),
    )
    assert told(report) == (category, blame, phase), report.reason
    assert report.fault is not None
    assert report.fault.evidence.exit_code == exit_code


def test_a_broken_model_is_not_blessed_and_the_servers_last_error_is_told(
    validate: Validate, saved_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "broken"
    shutil.copytree(saved_model, model)
    [variables] = (model / "variables").glob("*.data-*")
    variables.unlink()
    report = validate(model=model)
    assert report.verdict == Verdict.NOT_BLESSED, report.reason
    assert told(report)[0] == "variables_unreadable"


# Somebody else's hands.


class Background:
    """A validation in a thread of its own."""

    def __init__(self, validate: Validate, **options: Any) -> None:
        self.cancellation = Cancellation()
        self.outcome: Report | BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(validate, options), daemon=True)
        self._thread.start()

    def _run(self, validate: Validate, options: Any) -> None:
        try:
            self.outcome = validate(cancellation=self.cancellation, **options)
        except BaseException as error:
            self.outcome = error

    def report(self, seconds: float = LIMIT_SECONDS) -> Report:
        self._thread.join(seconds)
        assert isinstance(self.outcome, Report), self.outcome
        return self.outcome


def state_of(namespace: TestNamespace, kind: str, name: str) -> dict[str, Any]:
    """State of a container of the one Pod, empty if there is none yet."""
    for pod in namespace.pods():
        for container in pod["status"].get(kind) or []:
            if container["name"] == name:
                return dict(container["state"])
    return {}


def server_runs(namespace: TestNamespace) -> bool:
    return "running" in state_of(namespace, "containerStatuses", "server")


def server_log(namespace: TestNamespace) -> str:
    """What the server of the one Pod has written."""
    try:
        [name] = [pod["metadata"]["name"] for pod in namespace.pods()]
        return namespace.text(f"pods/{name}/log", container="server")
    except (ValueError, ApiError):  # there is no Pod yet, or no container
        return ""


def server_is_asked(namespace: TestNamespace) -> bool:
    """Whether a request hangs in the stand-in."""
    return "hanging" in server_log(namespace)


def receiver_runs(namespace: TestNamespace) -> bool:
    return "running" in state_of(namespace, "initContainerStatuses", "receive-files")


@pytest.mark.parametrize("fault", ["never_ready", "hang_on_request"])
def test_a_pod_deleted_under_us_is_noticed(
    kubernetes_namespace: TestNamespace, validate: Validate, split: Path, fault: str
) -> None:
    patch = stand_in_server(STAND_IN_FAULT=fault)
    running = Background(
        validate,
        split=split,
        kubernetes={"pod_patch": patch},
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=50),
    )
    there = server_is_asked if fault == "hang_on_request" else server_runs
    wait_for(lambda: there(kubernetes_namespace), "the server")
    began = time.monotonic()
    kubernetes_namespace.remove_pods()
    report = running.report()
    assert time.monotonic() - began < 6
    assert told(report)[:2] == ("pod_lost", Blame.INFRASTRUCTURE), report.reason


def test_a_validation_that_is_cancelled_leaves_nothing(
    kubernetes_namespace: TestNamespace, validate: Validate
) -> None:
    running = Background(
        validate, kubernetes={"pod_patch": stand_in_server(STAND_IN_FAULT="never_ready")}
    )
    wait_for(lambda: server_runs(kubernetes_namespace), "the server")
    running.cancellation.cancel("asked by the test")
    wait_for(lambda: running.outcome, "the end")
    assert isinstance(running.outcome, Cancelled)
    assert kubernetes_namespace.pods() == []


# The validator in a process of its own.


class Validator:
    """A process that validates."""

    def __init__(self, home: Path, **given: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.platforms.kubernetes_validator", json.dumps(given)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=LIMIT_SECONDS)
        return self.process.returncode, out, err


@pytest.fixture
def validator(
    kubernetes_namespace: TestNamespace, saved_model: Path, split: Path
) -> Iterator[Callable[..., Validator]]:
    started: list[Validator] = []
    with tempfile.TemporaryDirectory(prefix="ivt-", dir="/tmp") as home:

        def start(pod_patch: dict[str, Any] | None = None, **fields: Any) -> Validator:
            started.append(
                Validator(
                    Path(home),
                    model=fields.pop("model", str(saved_model)),
                    split=str(split),
                    image=kubernetes_namespace.image,
                    limits={"num_tries": 1, "max_loading_time_seconds": 50},
                    kubernetes={
                        "namespace": kubernetes_namespace.name,
                        **({"pod_patch": pod_patch} if pod_patch else {}),
                        **fields,
                    },
                )
            )
            return started[-1]

        yield start
        for one in started:
            one.process.kill()
            one.process.communicate()


UNSCHEDULABLE = {"spec": {"nodeSelector": {"no-node": "has-this"}}}

# Phase to the patch that holds a validation there, and how it is seen to be there.
PHASES: dict[str, tuple[dict[str, Any], Callable[[TestNamespace], Any]]] = {
    "schedule": (UNSCHEDULABLE, lambda namespace: namespace.pods()),
    "stage": (
        {
            "spec": {
                "initContainers": [
                    {"name": "before", "image": "", "command": ["sleep", "3"]},
                ]
            }
        },
        receiver_runs,
    ),
    "load": (stand_in_server(STAND_IN_FAULT="never_ready"), server_runs),
    "query": (stand_in_server(STAND_IN_FAULT="hang_on_request"), server_is_asked),
}


@pytest.fixture
def slow_model(saved_model: Path, tmp_path: Path) -> Path:
    """A model that takes a while to send."""
    model = tmp_path / "slow"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    with (model / "assets.extra" / "ballast").open("wb") as file:
        file.truncate(400 << 20)
    return model


def sweep(namespace: TestNamespace) -> None:
    """What a later validation does before all else."""
    platform = KubernetesPlatform(kubernetes_config.parse(namespace.config(), 30))
    platform.prepare(
        TensorFlowServing("m", image="x:y"),
        ModelSource("/nowhere", Gfile(), Path("/nowhere"), lambda: None),
    )
    platform.close()


@pytest.mark.parametrize("phase", ["schedule", "stage", "load", "query"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_in_every_phase(
    kubernetes_namespace: TestNamespace,
    validator: Callable[..., Validator],
    slow_model: Path,
    phase: str,
    number: signal.Signals,
) -> None:
    patch, there = PHASES[phase]
    options: dict[str, Any] = {"pod_patch": patch}
    if phase == "stage":
        options = {"model": str(slow_model)}
    running = validator(**options)
    wait_for(lambda: there(kubernetes_namespace), f"the phase {phase}")
    running.process.send_signal(number)
    code, _, err = running.wait()
    assert code != 0
    if number == signal.SIGTERM:
        assert "Cancelled" in err
        assert kubernetes_namespace.pods() == []
        return
    [left] = kubernetes_namespace.pods()
    assert left["spec"]["activeDeadlineSeconds"] > 0
    sweep(kubernetes_namespace)
    assert kubernetes_namespace.pods() == []


def test_a_server_of_a_killed_validator_ends_at_its_deadline(
    kubernetes_namespace: TestNamespace, validator: Callable[..., Validator]
) -> None:
    running = validator(
        stand_in_server(STAND_IN_FAULT="hang_on_request"), active_deadline_seconds=51
    )
    wait_for(lambda: server_runs(kubernetes_namespace), "the server")
    running.process.kill()
    [pod] = kubernetes_namespace.pods()
    assert pod["spec"]["activeDeadlineSeconds"] == 51
    # The API lets it be lowered, so that nobody has to wait.
    del pod["metadata"]["resourceVersion"]  # whatever else becomes of it meanwhile
    api, path = kubernetes_namespace.api, f"pods/{pod['metadata']['name']}"
    pod["spec"]["activeDeadlineSeconds"] = 1
    api.call("PUT", kubernetes_namespace.path(path), pod)
    wait_for(lambda: kubernetes_namespace.get(path)["status"]["phase"] == "Failed", "the deadline")
    kubernetes_namespace.remove_pods()


# Sweeping.


def pod_of(name: str, noted: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": dict(owner.LABELS),
            "annotations": noted,
            **metadata,
        },
        "spec": {
            "nodeSelector": {"no-node": "has-this"},
            "containers": [{"name": "server", "image": "nothing"}],
        },
    }


def test_only_what_is_left_over_is_swept(
    kubernetes_namespace: TestNamespace, validate: Validate
) -> None:
    mine = owner.annotate(None, 1000)
    elsewhere = {**mine, "infra-validator.boot": "another", "infra-validator.host": "another"}
    step = {"infra-validator.step-name": "gone", "infra-validator.step-uid": "gone"}
    expired = {**elsewhere, "infra-validator.expires": str(int(time.time() - 4000))}
    for name, noted in {
        "mine": mine,
        "elsewhere": elsewhere,
        "expired": expired,
        "step-gone": {**elsewhere, **step},
        "owner-gone": {**mine, "infra-validator.pid": "4194300"},
    }.items():
        kubernetes_namespace.create_object("pods", pod_of(name, noted))
    unlabelled = pod_of("unlabelled", expired, labels={})
    kubernetes_namespace.create_object("pods", unlabelled)
    assert validate().verdict == Verdict.BLESSED
    left = {pod["metadata"]["name"] for pod in kubernetes_namespace.get("pods")["items"]}
    kubernetes_namespace.remove_pods()
    assert left == {"mine", "elsewhere", "unlabelled"}


# Rights.

STEP_RULES = [
    {
        "apiGroups": [""],
        "resources": ["pods"],
        "verbs": ["create", "delete", "get", "list", "watch"],
    },
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]},
]
EVENT_RULES = [{"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]}]
OUTSIDE_RULES = [
    *STEP_RULES,
    {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]},
]
PIPELINE_RUNNER_RULES = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "watch", "list"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "watch", "list"]},
    {
        "apiGroups": [""],
        "resources": ["persistentvolumes", "persistentvolumeclaims"],
        "verbs": ["*"],
    },
    {"apiGroups": [""], "resources": ["pods", "pods/exec", "pods/log", "services"], "verbs": ["*"]},
    {
        "apiGroups": ["", "apps", "extensions"],
        "resources": ["deployments", "replicasets"],
        "verbs": ["*"],
    },
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["*"]},
]
"""Of Kubeflow Pipelines: manifests/kustomize/base/pipeline/pipeline-runner-role.yaml."""


@pytest.mark.parametrize(
    ("name", "rules", "reach"),
    [
        ("outside", OUTSIDE_RULES, "PORT_FORWARD"),
        ("outside-with-events", [*OUTSIDE_RULES, *EVENT_RULES], "PORT_FORWARD"),
        ("step", STEP_RULES, "POD_IP"),
        ("pipeline-runner", PIPELINE_RUNNER_RULES, "POD_IP"),
    ],
)
def test_the_documented_rights_are_enough(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    split: Path,
    tmp_path: Path,
    name: str,
    rules: list[dict[str, Any]],
    reach: str,
) -> None:
    kubeconfig = kubernetes_namespace.user(f"user-{name}", rules, tmp_path)
    report = validate(split=split, kubernetes={"kubeconfig": str(kubeconfig), "reach": reach})
    assert report.verdict == Verdict.BLESSED, report.reason


@pytest.mark.parametrize(
    ("resource", "verb"), [("pods", "create"), ("pods/exec", "get"), ("pods/portforward", "get")]
)
def test_a_right_that_lacks_is_named(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    tmp_path: Path,
    resource: str,
    verb: str,
) -> None:
    rules = [
        {
            **rule,
            "verbs": [
                one
                for one in rule["verbs"]
                if rule["resources"] != [resource] or (one != verb and resource == "pods")
            ],
        }
        for rule in OUTSIDE_RULES
    ]
    rules = [rule for rule in rules if rule["verbs"]]
    name = f"user-without-{verb}-{resource.replace('/', '-')}"
    kubeconfig = kubernetes_namespace.user(name, rules, tmp_path)
    report = validate(kubernetes={"kubeconfig": str(kubeconfig)})
    assert told(report)[:2] == ("cluster_access_denied", Blame.INFRASTRUCTURE), report.reason
    assert report.fault is not None
    assert resource in report.reason + report.fault.hint
    assert verb in report.reason + report.fault.hint


def test_a_pod_that_was_refused_is_not_missed(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who may not create Pods mostly may not delete any either."""
    reading = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    kubeconfig = kubernetes_namespace.user("user-reading", reading, tmp_path)
    report = validate(kubernetes={"kubeconfig": str(kubeconfig)})
    assert told(report)[:2] == ("cluster_access_denied", Blame.INFRASTRUCTURE), report.reason
    assert [record for record in caplog.records if "cannot be deleted" in record.message] == []


# Where the cluster is.


def refused(**fields: Any) -> FaultError:
    platform = KubernetesPlatform(kubernetes_config.parse(pb.KubernetesConfig(**fields), 30))
    with pytest.raises(FaultError) as caught:
        platform.prepare(
            TensorFlowServing("m", image="x:y"),
            ModelSource("/nowhere", Gfile(), Path("/nowhere"), lambda: None),
        )
    return caught.value


def test_a_kubeconfig_or_context_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    found = refused(kubeconfig=str(tmp_path / "nowhere")).fault
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert "ServingSpec.kubernetes.kubeconfig" in found.summary
    found = refused(context="nowhere").fault
    assert (found.category, found.blame) == ("configuration_invalid", Blame.CONFIGURATION)
    assert "ServingSpec.kubernetes.context" in found.summary
    (tmp_path / "bad").write_text("{")
    assert refused(kubeconfig=str(tmp_path / "bad")).fault.category == "configuration_invalid"


def test_no_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra_validator.runners.kubernetes import api

    monkeypatch.setattr(api, "_RIDE_OUT_SECONDS", 1.0)
    nobody = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:9", {"token": "x"}, "n", None)
    found = refused(kubeconfig=str(nobody)).fault
    assert found.category == "cluster_unreachable"
    assert "127.0.0.1:9" in found.summary + found.detail
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    nowhere = refused().fault
    assert nowhere.category == "cluster_unreachable"
    assert str(tmp_path / "nowhere") in nowhere.summary


# A bad way to the cluster.


@pytest.fixture
def proxy(kubernetes_namespace: TestNamespace, tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(kubernetes_namespace.api)
    yield made
    made.close()


@pytest.fixture
def proxied(proxy: Proxy, kubernetes_namespace: TestNamespace, tmp_path: Path) -> str:
    """A kubeconfig that leads through the proxy."""
    return str(
        write_kubeconfig(
            tmp_path / "proxied", proxy.address, {"token": "any"}, kubernetes_namespace.name, None
        )
    )


def test_the_proxy_alone_does_no_harm(validate: Validate, split: Path, proxied: str) -> None:
    report = validate(split=split, kubernetes={"kubeconfig": proxied})
    assert report.verdict == Verdict.BLESSED, report.reason


@pytest.mark.parametrize(
    ("status", "headers"), [(429, {"Retry-After": "1"}), (500, {}), (503, {}), (504, {})]
)
def test_hiccups_of_the_api_are_ridden_out(
    validate: Validate,
    split: Path,
    proxy: Proxy,
    proxied: str,
    status: int,
    headers: dict[str, str],
) -> None:
    """Every request is refused when it comes for the first time."""
    seen: set[str] = set()
    lock = threading.Lock()

    def harm(line: str) -> tuple[int, dict[str, str], str] | None:
        method, target, _ = line.split()
        with lock:
            if (key := f"{method} {target.partition('?')[0]} {'watch=' in target}") in seen:
                return None
            seen.add(key)
        return status, headers, "no"

    proxy.harm = harm
    report = validate(split=split, kubernetes={"kubeconfig": proxied})
    assert report.verdict == Verdict.BLESSED, report.reason
    assert len(seen) >= 8


def test_a_cluster_that_fails_to_tell_events_is_no_fault(
    validate: Validate,
    proxy: Proxy,
    proxied: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Large clusters keep them in a store of their own, which fails by itself."""
    caplog.set_level("INFO")
    monkeypatch.setattr(kubernetes_api, "_RIDE_OUT_SECONDS", 0.5)
    proxy.harm = lambda line: (503, {}, "no") if "/events" in line else None
    slow = shell_server('sleep 3; exec /usr/bin/tf_serving_entrypoint.sh "$@"')
    report = validate(kubernetes={"kubeconfig": proxied, "pod_patch": slow})
    assert report.verdict == Verdict.BLESSED, report.reason
    assert "The Pod's events cannot be read: list events: 503" in caplog.text


def test_what_cannot_be_swept_is_in_nobodys_way(
    kubernetes_namespace: TestNamespace, validate: Validate, proxy: Proxy, proxied: str
) -> None:
    """A webhook that refuses without a code of its own answers 400."""
    gone = {**owner.annotate(None, 1000), "infra-validator.pid": "4194300"}
    step = {"infra-validator.step-name": "../..?x", "infra-validator.step-uid": "gone"}
    for name, noted in {"kept": gone, "no-name": {**gone, **step}, "swept": gone}.items():
        kubernetes_namespace.create_object("pods", pod_of(name, noted))
    refusal = json.dumps({"message": 'admission webhook "x" denied the request: no'})
    proxy.harm = lambda line: (
        (400, {}, refusal) if line.startswith("DELETE") and "/kept" in line else None
    )
    report = validate(kubernetes={"kubeconfig": proxied})
    left = {pod["metadata"]["name"] for pod in kubernetes_namespace.get("pods")["items"]}
    kubernetes_namespace.remove_pods()
    assert report.verdict == Verdict.BLESSED, report.reason
    assert left == {"kept"}


def test_watches_that_break_and_expire_are_ridden_out(
    kubernetes_namespace: TestNamespace, validate: Validate, proxy: Proxy, proxied: str
) -> None:
    gone = {"left": 2}

    def harm(line: str) -> tuple[int, dict[str, str], str] | None:
        if "watch=true" in line and gone["left"]:
            gone["left"] -= 1
            return 410, {}, json.dumps({"code": 410, "reason": "Expired"})
        return None

    proxy.harm = harm
    running = Background(
        validate,
        kubernetes={
            "kubeconfig": proxied,
            "reach": "POD_IP",
            "pod_patch": stand_in_server(STAND_IN_LOAD_SECONDS="4", STAND_IN_LOG="began"),
        },
    )
    wait_for(lambda: server_runs(kubernetes_namespace), "the server")
    for _ in range(3):
        proxy.cut()
        time.sleep(0.5)
    report = running.report()
    assert report.verdict == Verdict.BLESSED, report.reason
    assert list(report.binaries[0].attempts[0].log_tail) == ["began"]
    assert gone["left"] == 0


def test_a_stream_that_breaks_is_sent_again(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    slow_model: Path,
    proxy: Proxy,
    proxied: str,
) -> None:
    running = Background(
        validate, model=slow_model, kubernetes={"kubeconfig": proxied, "reach": "POD_IP"}
    )

    def tries() -> int:
        return len([line for line in proxy.requests if "/exec?" in line])

    wait_for(lambda: receiver_runs(kubernetes_namespace) and tries(), "the stream")
    time.sleep(1)
    before = tries()  # some may have come too early
    proxy.cut()
    wait_for(lambda: tries() > before, "the second try")
    report = running.report(3 * LIMIT_SECONDS)
    assert report.verdict == Verdict.BLESSED, report.reason


def test_how_much_of_a_model_has_been_sent_is_told(validate: Validate, slow_model: Path) -> None:
    phases: list[PhaseBegan] = []

    def observe(event: Event) -> None:
        if isinstance(event, PhaseBegan):
            phases.append(event)

    running = Background(validate, model=slow_model, observer=observe)
    told = set()

    def look() -> Any:
        told.update(phase.detail() for phase in phases[-1:] if phase.phase == Phase.STAGE)
        return running.outcome

    wait_for(look, "the end", 3 * LIMIT_SECONDS)
    report = running.report()
    assert report.verdict == Verdict.BLESSED, report.reason
    seen = [re.fullmatch(r"sent (\d+) of 40\d MiB", words or "") for words in told]
    assert len({found[1] for found in seen if found}) > 3, told


@pytest.mark.parametrize("phase", ["schedule", "load", "query"])
def test_giving_up_does_not_wait_for_an_api_that_is_away(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    split: Path,
    proxy: Proxy,
    proxied: str,
    phase: str,
) -> None:
    """Who sends SIGTERM sends SIGKILL half a minute later."""
    patch, there = PHASES[phase]
    running = Background(
        validate,
        split=split,
        kubernetes={"kubeconfig": proxied, "reach": "POD_IP", "pod_patch": patch},
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=50),
    )
    wait_for(lambda: there(kubernetes_namespace), f"the phase {phase}")
    proxy.close()
    running.cancellation.cancel("asked by the test")
    wait_for(lambda: running.outcome, "the end", 30)
    assert isinstance(running.outcome, Cancelled)
    assert len(kubernetes_namespace.pods()) == 1  # it could not be deleted
    kubernetes_namespace.remove_pods()


def test_giving_up_does_not_wait_for_an_api_that_never_was_there(
    validate: Validate, tmp_path: Path
) -> None:
    nobody = write_kubeconfig(tmp_path / "k", "http://127.0.0.1:9", {"token": "x"}, "n", None)
    running = Background(validate, kubernetes={"kubeconfig": str(nobody)})
    time.sleep(1)
    running.cancellation.cancel("asked by the test")
    wait_for(lambda: running.outcome, "the end", 30)
    assert isinstance(running.outcome, Cancelled)


@pytest.mark.parametrize(
    ("ride_out", "limit"), [(2.0, 50), (60.0, 15)], ids=["before the limit", "at the limit"]
)
def test_an_api_that_goes_away_for_good_is_not_the_models_fault(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    proxy: Proxy,
    proxied: str,
    monkeypatch: pytest.MonkeyPatch,
    ride_out: float,
    limit: int,
) -> None:
    monkeypatch.setattr(kubernetes_api, "_RIDE_OUT_SECONDS", ride_out)
    running = Background(
        validate,
        kubernetes={
            "kubeconfig": proxied,
            "reach": "POD_IP",
            "pod_patch": stand_in_server(STAND_IN_FAULT="never_ready_after_loading_began"),
        },
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=limit),
    )

    def loads() -> bool:
        return "Loading servable" in server_log(kubernetes_namespace) and any(
            "/log?" in line and "follow" in line for line in proxy.requests
        )

    wait_for(loads, "loading")
    proxy.close()
    report = running.report()
    assert told(report) == ("cluster_lost", Blame.INFRASTRUCTURE, Phase.LOAD), report.reason
    assert report.verdict == Verdict.UNDETERMINED
    kubernetes_namespace.remove_pods()  # it could not be deleted


def test_servers_side_by_side_have_a_pod_and_a_verdict_each(
    kubernetes_namespace: TestNamespace, validate: Validate, split: Path
) -> None:
    _, tag = kubernetes_namespace.image
    report = validate(
        split=split,
        images=(tag, "no-such-tag"),
        kubernetes={"image_pull_policy": "NEVER"},
        limits=pb.ValidationSpec(num_tries=1, max_parallel_servers=2, max_loading_time_seconds=50),
    )
    verdicts = {binary.name.rpartition(":")[2]: binary.verdict for binary in report.binaries}
    assert verdicts == {tag: Verdict.BLESSED, "no-such-tag": Verdict.UNDETERMINED}
    assert told(report)[0] == "image_not_found"
    assert "no-such-tag" in report.reason


def test_the_pods_deadline_counts_the_requests_that_are_made(
    kubernetes_namespace: TestNamespace, validate: Validate, split: Path
) -> None:
    running = Background(
        validate,
        split=split,
        kubernetes={"pod_patch": stand_in_server(STAND_IN_FAULT="never_ready")},
        limits=pb.ValidationSpec(
            num_tries=1, max_loading_time_seconds=50, request_timeout_seconds=1000
        ),
    )
    [pod] = wait_for(kubernetes_namespace.pods, "the Pod")
    running.cancellation.cancel("asked by the test")
    wait_for(lambda: running.outcome, "the end")
    bare = kubernetes_config.parse(pb.KubernetesConfig(), 50).deadline_seconds
    asking = pod["spec"]["activeDeadlineSeconds"] - bare
    assert asking == 3 * 1000


def test_a_break_of_the_connection_is_told_soon(
    validate: Validate,
    split: Path,
    proxy: Proxy,
    proxied: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The forwarded connection is the request's own way."""

    def cut_once() -> None:
        wait_for(lambda: "attempt 1: query" in caplog.text, "the request")
        time.sleep(1)
        proxy.cut()

    caplog.set_level("INFO")
    threading.Thread(target=cut_once, daemon=True).start()
    report = validate(
        split=split,
        kubernetes={
            "kubeconfig": proxied,
            "pod_patch": stand_in_server(STAND_IN_FAULT="hang_on_request"),
        },
        limits=pb.ValidationSpec(num_tries=1, max_loading_time_seconds=30),
    )
    assert told(report) == ("connection_lost", Blame.INFRASTRUCTURE, Phase.QUERY), report.reason


def test_a_forwarded_connection_that_breaks_while_loading_is_made_anew(
    kubernetes_namespace: TestNamespace,
    validate: Validate,
    split: Path,
    proxy: Proxy,
    proxied: str,
) -> None:
    running = Background(
        validate,
        split=split,
        kubernetes={
            "kubeconfig": proxied,
            "pod_patch": stand_in_server(STAND_IN_LOAD_SECONDS="8"),
        },
    )
    wait_for(lambda: server_runs(kubernetes_namespace), "the server")
    for _ in range(8):
        proxy.cut()
        time.sleep(0.5)
    report = running.report()
    assert report.verdict == Verdict.BLESSED, report.reason
