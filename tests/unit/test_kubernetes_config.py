"""KubernetesConfig: every default, every refusal by its field's name."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from infra_validator import config, kubernetes_config
from infra_validator.kubernetes_config import (
    Delivery,
    KubernetesSettings,
    PullPolicy,
    Reach,
    parse_quantity,
)
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import SpecError, to_json

KUBERNETES = "ServingSpec.kubernetes"
LOADING = 300.0


def message(**fields: Any) -> pb.KubernetesConfig:
    return json_format.ParseDict(fields, pb.KubernetesConfig())


def parse(**fields: Any) -> KubernetesSettings:
    return kubernetes_config.parse(message(**fields), LOADING)


def overrides(**fields: Any) -> KubernetesSettings:
    return parse(serving_pod_overrides=fields)


def refusal(**fields: Any) -> str:
    with pytest.raises(SpecError) as caught:
        parse(**fields)
    return str(caught.value)


def test_defaults() -> None:
    assert parse() == KubernetesSettings(
        kubeconfig=None,
        context=None,
        namespace=None,
        service_account_name=None,
        deadline_seconds=1200 + 300 + 1800 + 300 + 600,
        deadline_is_users=False,
        max_loading_seconds=LOADING,
        pull_policy=PullPolicy.IF_NOT_PRESENT,
        image_pull_secrets=(),
        labels={},
        annotations={},
        env=(),
        resources={},
        node_selector={},
        tolerations=(),
        affinity={},
        priority_class_name=None,
        runtime_class_name=None,
        volumes=(),
        volume_mounts=(),
        pod_patch={},
        delivery=Delivery.AUTO,
        reach=Reach.AUTO,
        istio_sidecar=False,
        schedule_timeout_seconds=600,
        pull_timeout_seconds=1200,
        start_timeout_seconds=300,
        delivery_timeout_seconds=1800,
        client_timeout_seconds=60,
    )


AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]}
            ]
        }
    }
}


@pytest.mark.parametrize(
    ("field", "value", "attribute", "parsed"),
    [
        ("kubeconfig", "/root/.kube/other", "kubeconfig", None),
        ("context", "gke_project_zone_cluster", "context", None),
        ("namespace", "kubeflow-user", "namespace", None),
        ("service_account_name", "pipeline-runner", "service_account_name", None),
        ("image_pull_policy", "IF_NOT_PRESENT", "pull_policy", PullPolicy.IF_NOT_PRESENT),
        ("image_pull_policy", "ALWAYS", "pull_policy", PullPolicy.ALWAYS),
        ("image_pull_policy", "NEVER", "pull_policy", PullPolicy.NEVER),
        ("image_pull_secrets", ["a", "b.c"], "image_pull_secrets", ("a", "b.c")),
        ("labels", {"team": "x", "example.com/a": ""}, "labels", None),
        ("node_selector", {"cloud.google.com/gke-nodepool": "gpu"}, "node_selector", None),
        (
            "tolerations",
            [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"operator": "Exists"},
                {"key": "a", "value": "b", "effect": "NoExecute", "toleration_seconds": 9},
            ],
            "tolerations",
            (
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"operator": "Exists"},
                {
                    "key": "a",
                    "operator": "Equal",
                    "value": "b",
                    "effect": "NoExecute",
                    "tolerationSeconds": 9,
                },
            ),
        ),
        ("affinity", AFFINITY, "affinity", None),
        ("priority_class_name", "low", "priority_class_name", None),
        ("runtime_class_name", "gvisor", "runtime_class_name", None),
        (
            "volumes",
            [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}],
            "volumes",
            ({"name": "v", "configMap": {"name": "c", "defaultMode": 420}},),
        ),
        ("pod_patch", {"spec": {"hostname": "h"}}, "pod_patch", None),
        ("model_delivery", "AUTO", "delivery", Delivery.AUTO),
        ("model_delivery", "CLAIM", "delivery", Delivery.CLAIM),
        ("model_delivery", "URI", "delivery", Delivery.URI),
        ("model_delivery", "STREAM", "delivery", Delivery.STREAM),
        ("reach", "POD_IP", "reach", Reach.POD_IP),
        ("reach", "PORT_FORWARD", "reach", Reach.PORT_FORWARD),
        ("istio_sidecar", True, "istio_sidecar", None),
        ("schedule_timeout_seconds", 5, "schedule_timeout_seconds", None),
        ("client_timeout_seconds", 5, "client_timeout_seconds", None),
    ],
)
def test_what_is_set_is_taken_and_nothing_else_changes(
    field: str, value: Any, attribute: str, parsed: Any
) -> None:
    expected = {**vars(parse()), attribute: value if parsed is None else parsed}
    assert vars(parse(**{field: value})) == expected


def test_volumes_are_mounted_where_one_says() -> None:
    settings = parse(
        volumes=[{"name": "v", "emptyDir": {}}],
        volume_mounts=[{"name": "v", "mountPath": "/v/", "readOnly": True}],
    )
    assert settings.volume_mounts == ({"name": "v", "mountPath": "/v", "readOnly": True},)


def test_whole_numbers_stay_whole() -> None:
    """A Struct knows floating point only, and the API refuses 1000.0 for a user's number."""
    patch = parse(
        pod_patch={"spec": {"securityContext": {"runAsUser": 1000}, "x": [0.5]}}
    ).pod_patch
    user = patch["spec"]["securityContext"]["runAsUser"]
    assert user == 1000
    assert isinstance(user, int)
    assert patch["spec"]["x"] == [0.5]


def test_env_is_given_by_value_or_from_a_secret() -> None:
    settings = overrides(
        annotations={"example.com/owner": "me"},
        env=[
            {"name": "A", "value": "$(B)"},
            {"name": "B", "value_from": {"secret_key_ref": {"name": "s", "key": "k.txt"}}},
            {"name": "C"},
        ],
    )
    assert settings.annotations == {"example.com/owner": "me"}
    assert settings.env == (
        {"name": "A", "value": "$(B)"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k.txt"}}},
        {"name": "C", "value": ""},
    )


def test_resources_have_the_form_of_the_api() -> None:
    """TFX writes claims as a map, which the API does not take."""
    settings = overrides(
        resources={
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"},
            "claims": {"gpu": "", "net": "first"},
        }
    )
    assert settings.resources == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"},
        "claims": [{"name": "gpu"}, {"name": "net", "request": "first"}],
    }


# The deadline.


@pytest.mark.parametrize(
    ("fields", "asking", "deadline"),
    [
        ({}, 0.0, 4200),
        ({}, 60.0, 4260),
        ({"pull_timeout_seconds": 5, "start_timeout_seconds": 5}, 0.0, 2710),
        ({"delivery_timeout_seconds": 5}, 0.0, 2405),
        ({"active_deadline_seconds": 301}, 1e9, 301),
        ({}, 1e9, 4200 + 7 * 24 * 3600),
    ],
)
def test_the_pod_ends_by_itself(fields: dict[str, Any], asking: float, deadline: int) -> None:
    settings = kubernetes_config.parse(message(**fields), LOADING)
    assert settings.deadline_with(asking) == deadline
    assert settings.deadline_is_users == ("active_deadline_seconds" in fields)


def test_a_fraction_of_a_second_does_not_shorten_the_deadline() -> None:
    settings = kubernetes_config.parse(message(), LOADING)
    assert settings.deadline_with(0.2) == settings.deadline_seconds + 1


def test_the_deadline_counts_what_the_specs_ask() -> None:
    parsed = config.parse(
        json_format.ParseDict(
            {"tensorflow_serving": {"tags": ["1"]}, "kubernetes": {}}, pb.ServingSpec()
        ),
        pb.ValidationSpec(max_loading_time_seconds=100, request_timeout_seconds=10),
        pb.RequestSpec(tensorflow_serving=pb.TensorFlowServingRequestSpec(), num_examples=7),
        query=True,
    )
    assert parsed.platform.name == "kubernetes"
    assert parsed.platform.settings.max_loading_seconds == 100
    assert parsed.platform.settings.deadline_seconds == 1200 + 300 + 1800 + 100 + 600


# Quantities.


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("500m", "0.5"),
        ("100n", "0.0000001"),
        ("5u", "0.000005"),
        ("2k", "2000"),
        ("2Ki", "2048"),
        ("1.5Gi", str(3 * 512 * 1024**2)),
        ("1E", str(10**18)),
        ("1Ei", str(1024**6)),
        ("1e3", "1000"),
        ("12E2", "1200"),
        ("1e-3", "0.001"),
    ],
)
def test_quantities(text: str, amount: str) -> None:
    assert parse_quantity(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text", ["", "-1", "1 Gi", "1gi", "1K", "1GB", "Gi", ".", "1e", "1e3m", "1,5", "\u0661"]
)
def test_what_is_no_quantity(text: str) -> None:
    assert parse_quantity(text) is None
    assert refusal(serving_pod_overrides={"resources": {"limits": {"memory": text}}}).startswith(
        f"{KUBERNETES}.serving_pod_overrides.resources.limits['memory']: "
    )


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_none(text: str) -> None:
    amount = parse_quantity(text)
    assert amount is None or amount >= 0


# Refusals.

OVERRIDES = "serving_pod_overrides"
VOLUME = {"name": "v", "emptyDir": {}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"namespace": "Kubeflow"}, "namespace"),
        ({"namespace": "a.b"}, "namespace"),
        ({"namespace": "x" * 64}, "namespace"),
        ({"namespace": "-a"}, "namespace"),
        ({"namespace": "a\n"}, "namespace"),
        ({"service_account_name": "Pipeline Runner"}, "service_account_name"),
        ({"service_account_name": "x" * 254}, "service_account_name"),
        ({"active_deadline_seconds": -1}, "active_deadline_seconds"),
        ({"active_deadline_seconds": 1}, "active_deadline_seconds"),
        ({"active_deadline_seconds": 300}, "active_deadline_seconds"),
        ({"image_pull_policy": 9}, "image_pull_policy"),
        ({"image_pull_secrets": ["a", ""]}, "image_pull_secrets[1]"),
        ({"image_pull_secrets": ["A"]}, "image_pull_secrets[0]"),
        ({"labels": {"a b": "x"}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"x" * 64: "x"}}, "labels"),
        ({"labels": {"Example.com/a": "x"}}, "labels"),
        ({"labels": {"/a": "x"}}, "labels"),
        ({"labels": {"a/b/c": "x"}}, "labels"),
        ({"labels": {"a": "x" * 64}}, "labels['a']"),
        ({"labels": {"a": "b c"}}, "labels['a']"),
        ({"labels": {"a": "-b"}}, "labels['a']"),
        ({"labels": {"infra-validator.managed": "b"}}, "labels['infra-validator.managed']"),
        ({"node_selector": {"a": "b/c"}}, "node_selector['a']"),
        ({"tolerations": [{}]}, "tolerations[0].key"),
        ({"tolerations": [{"key": "a", "operator": "In"}]}, "tolerations[0].operator"),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "tolerations[0].value",
        ),
        ({"tolerations": [{"key": "a", "value": "b c"}]}, "tolerations[0].value"),
        ({"tolerations": [{"key": "a", "effect": "Never"}]}, "tolerations[0].effect"),
        (
            {"tolerations": [{"key": "a", "toleration_seconds": 5}]},
            "tolerations[0].toleration_seconds",
        ),
        (
            {"tolerations": [{"key": "a", "effect": "NoExecute", "toleration_seconds": -5}]},
            "tolerations[0].toleration_seconds",
        ),
        ({"affinity": {"node_affinity": {}}}, "affinity.node_affinity"),
        ({"affinity": {"nodeAffinity": []}}, "affinity.nodeAffinity"),
        ({"priority_class_name": "HIGH"}, "priority_class_name"),
        ({"runtime_class_name": "g_visor"}, "runtime_class_name"),
        ({"volumes": [{"emptyDir": {}}]}, "volumes[0].name"),
        ({"volumes": [{"name": "a.b", "emptyDir": {}}]}, "volumes[0].name"),
        ({"volumes": [{"name": 5, "emptyDir": {}}]}, "volumes[0].name"),
        ({"volumes": [{"name": "v"}]}, "volumes[0]"),
        ({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {}}]}, "volumes[0]"),
        ({"volumes": [{"name": "v", "emptyDir": "yes"}]}, "volumes[0]"),
        ({"volumes": [VOLUME, VOLUME]}, "volumes"),
        (
            {"volumes": [{"name": "infra-validator-tmp", "emptyDir": {}}]},
            "volumes[0].name",
        ),
        ({"volume_mounts": [{"name": "v", "mountPath": "/v"}]}, "volume_mounts[0].name"),
        (
            {"volumes": [VOLUME], "volume_mounts": [{"name": "v", "mountPath": "v"}]},
            "volume_mounts[0].mountPath",
        ),
        (
            {"volumes": [VOLUME], "volume_mounts": [{"name": "v", "mountPath": "/model/"}]},
            "volume_mounts[0].mountPath",
        ),
        (
            {"volumes": [VOLUME], "volume_mounts": [{"name": "v", "mountPath": "/a/../model"}]},
            "volume_mounts[0].mountPath",
        ),
        (
            {"volumes": [VOLUME], "volume_mounts": [{"name": "v"}]},
            "volume_mounts[0].mountPath",
        ),
        (
            {"volumes": [VOLUME], "volume_mounts": [{"name": "v", "mountPath": "/a"}] * 2},
            "volume_mounts[1].mountPath",
        ),
        ({"model_delivery": 9}, "model_delivery"),
        ({"reach": 9}, "reach"),
        ({"schedule_timeout_seconds": -1}, "schedule_timeout_seconds"),
        ({"pull_timeout_seconds": -1}, "pull_timeout_seconds"),
        ({"start_timeout_seconds": -1}, "start_timeout_seconds"),
        ({"delivery_timeout_seconds": -1}, "delivery_timeout_seconds"),
        ({"client_timeout_seconds": -1}, "client_timeout_seconds"),
        ({OVERRIDES: {"annotations": {"a b": "x"}}}, f"{OVERRIDES}.annotations"),
        ({OVERRIDES: {"annotations": {"a": "x" * 300_000}}}, f"{OVERRIDES}.annotations"),
        ({OVERRIDES: {"env": [{"value": "x"}]}}, f"{OVERRIDES}.env[0].name"),
        ({OVERRIDES: {"env": [{"name": "a=b"}]}}, f"{OVERRIDES}.env[0].name"),
        ({OVERRIDES: {"env": [{"name": "1A"}]}}, f"{OVERRIDES}.env[0].name"),
        ({OVERRIDES: {"env": [{"name": "MODEL_NAME"}]}}, f"{OVERRIDES}.env[0].name"),
        ({OVERRIDES: {"env": [{"name": "A"}, {"name": "A"}]}}, f"{OVERRIDES}.env"),
        ({OVERRIDES: {"env": [{"name": "A=31337"}]}}, f"{OVERRIDES}.env[0].name"),
        ({OVERRIDES: {"env": [{"name": "A", "value": "\0"}]}}, f"{OVERRIDES}.env[0].value"),
        (
            {OVERRIDES: {"env": [{"name": "A", "value_from": {}}]}},
            f"{OVERRIDES}.env[0].value_from.secret_key_ref",
        ),
        (
            {OVERRIDES: {"env": [{"name": "A", "value_from": {"secret_key_ref": {"key": "k"}}}]}},
            f"{OVERRIDES}.env[0].value_from.secret_key_ref.name",
        ),
        (
            {OVERRIDES: {"env": [{"name": "A", "value_from": {"secret_key_ref": {"name": "s"}}}]}},
            f"{OVERRIDES}.env[0].value_from.secret_key_ref.key",
        ),
        (
            {
                OVERRIDES: {
                    "env": [
                        {
                            "name": "A",
                            "value": "x",
                            "value_from": {"secret_key_ref": {"name": "s", "key": "k"}},
                        }
                    ]
                }
            },
            f"{OVERRIDES}.env[0]",
        ),
    ],
)
def test_what_can_never_work_is_refused_by_the_fields_name(
    fields: dict[str, Any], named: str
) -> None:
    text = refusal(**fields)
    assert text.startswith(f"{KUBERNETES}.{named}: "), text
    assert "\n" not in text
    assert "31337" not in text


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        ({"requests": {"gpu": "1"}}, "requests['gpu']"),
        ({"limits": {"a b/c": "1"}}, "limits['a b/c']"),
        ({"limits": {"nvidia.com/gpu": "0.5"}}, "limits['nvidia.com/gpu']"),
        ({"requests": {"nvidia.com/gpu": "1"}}, "requests['nvidia.com/gpu']"),
        (
            {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "2"}},
            "requests['nvidia.com/gpu']",
        ),
        ({"requests": {"memory": "2Gi"}, "limits": {"memory": "2G"}}, "requests['memory']"),
        ({"claims": {"A": ""}}, "claims"),
        # Kubernetes takes these: it reads 4m as 0.004 bytes.
        ({"limits": {"memory": "4m"}}, "limits['memory']"),
        ({"requests": {"memory": "512m"}}, "requests['memory']"),
        ({"limits": {"ephemeral-storage": "100u"}}, "limits['ephemeral-storage']"),
        ({"limits": {"memory": "4Mi"}}, "limits['memory']"),
        ({"limits": {"memory": "6291455"}}, "limits['memory']"),
    ],
)
def test_resources_that_no_cluster_takes(resources: dict[str, Any], named: str) -> None:
    text = refusal(serving_pod_overrides={"resources": resources})
    assert text.startswith(f"{KUBERNETES}.{OVERRIDES}.resources.{named}: "), text


@pytest.mark.parametrize(
    "resources",
    [
        {"limits": {"memory": "6Mi"}},
        {"limits": {"memory": "0"}},  # none
        {"limits": {"memory": "0.1Gi"}},  # no whole bytes, but what is meant is plain
        {"limits": {"memory": "128974848000m"}},  # from Kubernetes' own documentation
        {"requests": {"memory": "1"}, "limits": {"memory": "1Gi"}},
        {"limits": {"cpu": "4m"}},
    ],
)
def test_odd_resources_that_clusters_take(resources: dict[str, Any]) -> None:
    assert overrides(resources=resources).resources == resources


def test_what_thousandths_of_bytes_are_is_told() -> None:
    text = refusal(serving_pod_overrides={"resources": {"limits": {"memory": "4m"}}})
    assert "'4m' are 0.004 bytes, for 'm' stands for a fraction" in text


def containers(*patches: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(patches)}}


@pytest.mark.parametrize(
    ("patch", "named"),
    [
        ({"kind": "Pod"}, "kind"),
        ({"spec": "x"}, "spec"),
        ({"spec": None}, "spec"),
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"metadata": {"ownerReferences": []}}, "metadata.ownerReferences"),
        ({"metadata": {"finalizers": ["example.com/a"]}}, "metadata.finalizers"),
        ({"metadata": {"labels": {"a": "b c"}}}, "metadata.labels['a']"),
        ({"metadata": {"labels": {"a": 5}}}, "metadata.labels['a']"),
        ({"metadata": {"labels": 5}}, "metadata.labels"),
        ({"metadata": {"annotations": "a"}}, "metadata.annotations"),
        ({"metadata": {"labels": {"infra-validator.managed": None}}}, "metadata.labels"),
        ({"metadata": {"annotations": {"a b": "c"}}}, "metadata.annotations"),
        ({"spec": {"restartPolicy": "Always"}}, "spec.restartPolicy"),
        ({"spec": {"activeDeadlineSeconds": None}}, "spec.activeDeadlineSeconds"),
        ({"spec": {"nodeName": "n"}}, "spec.nodeName"),
        ({"spec": {"ephemeralContainers": []}}, "spec.ephemeralContainers"),
        (containers({"name": "server", "$patch": "delete"}), "spec.containers"),
        (containers({"$patch": "replace"}), "spec.containers"),
        (containers({"$patch": "replace"}, {"name": "other", "image": "x"}), "spec.containers"),
        ({"spec": {"containers": None}}, "spec.containers"),
        ({"spec": {"$patch": "replace"}}, "spec.containers"),
        ({"spec": {"$patch": "delete"}}, "spec.containers"),
        ({"spec": {"$retainKeys": ["containers", "initContainers", "volumes"]}}, "spec: it"),
        *(
            (
                {"spec": {"$retainKeys": ["containers", "initContainers", "volumes", kept]}},
                f"spec: it removes {removed}",
            )
            for kept, removed in (
                ("restartPolicy", "activeDeadlineSeconds"),
                ("activeDeadlineSeconds", "restartPolicy"),
            )
        ),
        (containers({"name": "server", "restartPolicy": "Always"}), "spec.containers"),
        (containers({"name": "server", "image": "mine:1"}), "spec.containers"),
        (
            containers({"name": "server", "env": [{"name": "MODEL_NAME", "value": "x"}]}),
            "spec.containers",
        ),
        (containers({"name": "server", "env": [{"name": "A", "value": 31337}]}), "spec.containers"),
        (
            {"spec": {"initContainers": [{"name": "a", "env": [{"name": "A", "value": {}}]}]}},
            "spec.initContainers",
        ),
        (containers({"name": "server", "$patch": "replace"}), "spec.containers"),
        (
            {"spec": {"initContainers": [{"name": "receive-files", "$patch": "delete"}]}},
            "spec.initContainers",
        ),
        (
            {"spec": {"initContainers": [{"name": "receive-files", "command": ["sh"]}]}},
            "spec.initContainers",
        ),
        ({"spec": {"affinity": "x"}}, "spec.affinity"),
        ({"spec": {"affinity": {"nodeAffinity": 1}}}, "spec.affinity.nodeAffinity"),
        *(
            (
                {
                    "spec": {
                        "affinity": {
                            "nodeAffinity": {
                                "requiredDuringSchedulingIgnoredDuringExecution": required
                            }
                        }
                    }
                },
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
            )
            for required in (
                "x",
                {"nodeSelectorTerms": {}},
                {"nodeSelectorTerms": ["x"]},
                {"nodeSelectorTerms": [{"matchFields": 1}]},
            )
        ),
        ({"spec": {"volumes": None}}, "spec.volumes"),
        (
            {"spec": {"volumes": [{"name": "infra-validator-received", "$patch": "delete"}]}},
            "spec.volumes",
        ),
    ],
)
def test_a_patch_that_takes_the_server_away_is_refused(patch: dict[str, Any], named: str) -> None:
    text = refusal(pod_patch=patch)
    assert text.startswith(f"{KUBERNETES}.pod_patch.{named}"), text
    assert "\n" not in text
    assert "31337" not in text


@pytest.mark.parametrize(
    "patch",
    [containers({"image": "x"}), {"spec": {"containers": "x"}}, {"spec": {"$set": 1}}],
)
def test_a_patch_that_cannot_be_merged_is_refused(patch: dict[str, Any]) -> None:
    assert refusal(pod_patch=patch).startswith(f"{KUBERNETES}.pod_patch: ")


@pytest.mark.parametrize(
    "patch",
    [
        containers({"name": "sidecar", "image": "x"}),
        containers({"name": "server", "securityContext": {"privileged": True}, "args": ["-v"]}),
        {"spec": {"volumes": [{"name": "infra-validator-tmp", "emptyDir": {"sizeLimit": "1Gi"}}]}},
        {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "any text"}}},
    ],
)
def test_a_patch_may_change_all_else(patch: dict[str, Any]) -> None:
    assert parse(pod_patch=patch).pod_patch == patch


PATCH_KEYS = st.sampled_from(
    [
        *("metadata", "spec", "containers", "initContainers", "volumes"),
        *("name", "image", "env", "value", "$patch"),
    ]
)
PATCH = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["server", "receive-files", "delete", "replace"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PATCH_KEYS, inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), PATCH, max_size=2))
def test_any_patch_is_taken_or_refused_by_name(patch: dict[str, Any]) -> None:
    refused = ""
    try:
        parse(pod_patch=patch)
    except SpecError as error:
        refused = str(error)
    assert refused == "" or refused.startswith(f"{KUBERNETES}.pod_patch")


@given(
    st.dictionaries(st.text(max_size=70), st.text(max_size=70), max_size=2),
    st.text(max_size=300),
)
def test_any_labels_and_names_are_taken_or_refused(labels: dict[str, str], name: str) -> None:
    for fields in ({"labels": labels}, {"namespace": name}, {"service_account_name": name}):
        refused = ""
        try:
            kubernetes_config.parse(pb.KubernetesConfig(**fields), LOADING)
        except SpecError as error:
            refused = str(error)
        assert refused == "" or refused.startswith(f"{KUBERNETES}.{next(iter(fields))}")


def test_variables_of_the_server_must_be_such_as_kubernetes_takes() -> None:
    spec = {"tensorflow_serving": {"tags": ["1"], "env": {"A B": "x"}}, "kubernetes": {}}
    with pytest.raises(SpecError) as caught:
        config.parse(json_format.ParseDict(spec, pb.ServingSpec()), query=False)
    assert str(caught.value).startswith("ServingSpec.tensorflow_serving.env: 'A B' ")


def test_no_value_that_may_be_secret_is_echoed() -> None:
    spec = json_format.ParseDict(
        {
            "tensorflow_serving": {"tags": ["1"]},
            "kubernetes": {
                "serving_pod_overrides": {"env": [{"name": "A", "value": "hush"}]},
                "pod_patch": {
                    "spec": {
                        "containers": [
                            {
                                "name": "server",
                                "env": [{"name": "B", "value": "hush"}],
                                "livenessProbe": {
                                    "httpGet": {
                                        "port": 8501,
                                        "httpHeaders": [
                                            {"name": "X", "value": "hush"},
                                            {"name": ["Y"], "vaule": "hush"},
                                            "Authorization: hush",
                                        ],
                                    }
                                },
                            },
                            {"name": "c", "image": "x", "env": [{"name": "D", "vaule": "hush"}]},
                        ],
                        "initContainers": [
                            {"name": "e", "image": "x", "env": [{"name": "F", "value": "hush"}]}
                        ],
                    }
                },
            },
        },
        pb.ServingSpec(),
    )
    before = to_json(spec)
    parsed = config.parse(spec, query=False)
    assert "hush" not in str(parsed.echo)
    assert to_json(spec) == before
    assert "hush" in str(parsed.platform.settings)
    for patch in ({}, {"spec": {}}, {"spec": {"containers": [{"name": "server"}]}}):
        bare = pb.KubernetesConfig()
        bare.pod_patch.update(patch)
        before = to_json(bare)
        kubernetes_config.hide_values(bare)
        assert to_json(bare) == before  # a null that was added would read as a removal


def test_every_field_of_the_message_has_its_place() -> None:
    """A field that is added to the proto and forgotten here would do nothing."""
    elsewhere = {
        "active_deadline_seconds": "deadline_seconds",
        "image_pull_policy": "pull_policy",
        "model_delivery": "delivery",
        "serving_pod_overrides": "annotations",
    }
    names = {field.name for field in dataclasses.fields(KubernetesSettings)}
    for field in pb.KubernetesConfig.DESCRIPTOR.fields:
        assert elsewhere.get(field.name, field.name) in names
