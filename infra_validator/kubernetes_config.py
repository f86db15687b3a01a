"""What KubernetesConfig says, checked and with the defaults filled in. Pure."""

from __future__ import annotations

import dataclasses
import decimal
import enum
import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeVar

from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.specs import SpecError, to_dict
from infra_validator.strategic_merge import MergeError, merge_pod

SERVER = "server"
"""Name of the server's container."""

RECEIVER = "receive-files"
"""Name of the init container into which model and configuration files are sent."""

MODEL_BASE = "/model"
"""Where the model's base folder is in the container, as with TFX's component."""

CONFIG_FOLDER = "/infra-validator"
"""Where configuration files are in the container."""

RECEIVED_VOLUME = "infra-validator-received"
CLAIM_VOLUME = "infra-validator-model"
TEMPORARY_VOLUME = "infra-validator-tmp"

LABEL_PREFIX = "infra-validator"
"""Label keys that begin so are the validator's own."""

MEMORY_LIMIT = f"{LABEL_PREFIX}.memory-limit"
"""Annotation: the limit that the user gave the server, which the cluster may replace or lack."""

ISTIO_INJECT = "sidecar.istio.io/inject"

DEFAULT_SCHEDULE_TIMEOUT_SECONDS = 600
DEFAULT_PULL_TIMEOUT_SECONDS = 1200
DEFAULT_START_TIMEOUT_SECONDS = 300
DEFAULT_DELIVERY_TIMEOUT_SECONDS = 1800
DEFAULT_CLIENT_TIMEOUT_SECONDS = 60

# Beyond the sum of all time limits; a Pod that lives so long has no validator any more.
_DEADLINE_MARGIN_SECONDS = 600
_MAX_ASKING_SECONDS = 7 * 24 * 3600

_TAKEN_PLACES = frozenset({MODEL_BASE, CONFIG_FOLDER, "/tmp"})  # noqa: S108 - in the container
_TAKEN_VOLUMES = frozenset({RECEIVED_VOLUME, CLAIM_VOLUME, TEMPORARY_VOLUME})
_RESERVED_VARIABLES = frozenset({"MODEL_NAME", "MODEL_BASE_PATH"})

# k8s.io/apimachinery, pkg/util/validation and pkg/api/resource.
_DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(
    r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
)
_LABEL = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*")
_QUANTITY = re.compile(
    r"\+?(\d+(?:\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?", re.ASCII
)
_SUFFIXES: Mapping[str, decimal.Decimal] = {
    "": decimal.Decimal(1),
    **{suffix: decimal.Decimal(10) ** (3 * power) for power, suffix in enumerate("num", start=-3)},
    **{suffix: decimal.Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{
        f"{suffix}i": decimal.Decimal(1024) ** power
        for power, suffix in enumerate("KMGTPE", start=1)
    },
}
_OVERCOMMITTED = re.compile(r"cpu|memory|ephemeral-storage|hugepages-.+")
_FRACTIONS = ("n", "u", "m")

# No container starts with less: so says Docker's engine, and below it runc cannot begin.
_MIN_MEMORY_BYTES = 6 * 1024 * 1024
_MAX_ANNOTATION_BYTES = 256 * 1024

Choice = TypeVar("Choice")


class PullPolicy(str, enum.Enum):
    """When the node pulls the image; the values are the API's."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class Delivery(str, enum.Enum):
    """How the model gets to the server."""

    AUTO = "auto"
    CLAIM = "claim"
    URI = "uri"
    STREAM = "stream"


class Reach(str, enum.Enum):
    """How the validator reaches the server."""

    AUTO = "auto"
    POD_IP = "pod IP"
    PORT_FORWARD = "port-forward"


@dataclasses.dataclass(frozen=True)
class KubernetesSettings:
    """KubernetesConfig with defaults; None where the cluster's own, or what is found, counts.

    Mappings and sequences of parts of a Pod have the API's own form.

    Attributes:
        deadline_seconds: after which the cluster ends the Pod; above the loading limit.
            Unless the user set it, the time for requests comes on top.
        deadline_is_users: whether the user set it.
        max_loading_seconds: ValidationSpec.max_loading_time_seconds.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    service_account_name: str | None
    deadline_seconds: int
    deadline_is_users: bool
    max_loading_seconds: float
    pull_policy: PullPolicy
    image_pull_secrets: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    env: tuple[Mapping[str, Any], ...]
    resources: Mapping[str, Any]
    node_selector: Mapping[str, str]
    tolerations: tuple[Mapping[str, Any], ...]
    affinity: Mapping[str, Any]
    priority_class_name: str | None
    runtime_class_name: str | None
    volumes: tuple[Mapping[str, Any], ...]
    volume_mounts: tuple[Mapping[str, Any], ...]
    pod_patch: Mapping[str, Any]
    delivery: Delivery
    reach: Reach
    istio_sidecar: bool
    schedule_timeout_seconds: int
    pull_timeout_seconds: int
    start_timeout_seconds: int
    delivery_timeout_seconds: int
    client_timeout_seconds: int

    def deadline_with(self, asking_seconds: float) -> int:
        """After how many seconds the cluster ends a Pod.

        Args:
            asking_seconds: what all requests together may take at most.
        """
        if self.deadline_is_users:
            return self.deadline_seconds
        return self.deadline_seconds + math.ceil(min(asking_seconds, _MAX_ASKING_SECONDS))


def parse(config: pb.KubernetesConfig, max_loading_seconds: float) -> KubernetesSettings:
    """Checks the configuration of the Kubernetes platform.

    Args:
        config: as the user wrote it.
        max_loading_seconds: ValidationSpec.max_loading_time_seconds.

    Raises:
        SpecError: for the first field that can never work.
    """
    overrides = config.serving_pod_overrides
    schedule = _count(
        "schedule_timeout_seconds",
        config.schedule_timeout_seconds,
        DEFAULT_SCHEDULE_TIMEOUT_SECONDS,
    )
    pull = _count("pull_timeout_seconds", config.pull_timeout_seconds, DEFAULT_PULL_TIMEOUT_SECONDS)
    start = _count(
        "start_timeout_seconds", config.start_timeout_seconds, DEFAULT_START_TIMEOUT_SECONDS
    )
    delivery = _count(
        "delivery_timeout_seconds",
        config.delivery_timeout_seconds,
        DEFAULT_DELIVERY_TIMEOUT_SECONDS,
    )
    needed = pull + start + delivery + max_loading_seconds
    volumes = tuple(
        _volume(f"volumes[{index}]", _plain(volume)) for index, volume in enumerate(config.volumes)
    )
    _check_unique("volumes", (volume["name"] for volume in volumes))
    return KubernetesSettings(
        kubeconfig=config.kubeconfig or None,
        context=config.context or None,
        namespace=_name("namespace", config.namespace, _DNS_LABEL, 63),
        service_account_name=_name(
            "service_account_name", config.service_account_name, _DNS_SUBDOMAIN, 253
        ),
        deadline_seconds=_deadline(
            config.active_deadline_seconds,
            max_loading_seconds,
            math.ceil(needed) + _DEADLINE_MARGIN_SECONDS,
        ),
        deadline_is_users=bool(config.active_deadline_seconds),
        max_loading_seconds=max_loading_seconds,
        pull_policy=_choice("image_pull_policy", config.image_pull_policy, _PULL_POLICIES),
        image_pull_secrets=_secrets(config.image_pull_secrets),
        labels=_labels("labels", config.labels, reserved=True),
        annotations=_annotations(overrides.annotations),
        env=_env(overrides.env),
        resources=_resources(overrides.resources),
        node_selector=_labels("node_selector", config.node_selector, reserved=False),
        tolerations=tuple(
            _toleration(f"tolerations[{index}]", toleration)
            for index, toleration in enumerate(config.tolerations)
        ),
        affinity=_affinity("affinity", _plain(config.affinity)),
        priority_class_name=_name(
            "priority_class_name", config.priority_class_name, _DNS_SUBDOMAIN, 253
        ),
        runtime_class_name=_name(
            "runtime_class_name", config.runtime_class_name, _DNS_SUBDOMAIN, 253
        ),
        volumes=volumes,
        volume_mounts=_volume_mounts(config.volume_mounts, volumes),
        pod_patch=_pod_patch(_plain(config.pod_patch)),
        delivery=_choice("model_delivery", config.model_delivery, _DELIVERIES),
        reach=_choice("reach", config.reach, _REACHES),
        istio_sidecar=config.istio_sidecar,
        schedule_timeout_seconds=schedule,
        pull_timeout_seconds=pull,
        start_timeout_seconds=start,
        delivery_timeout_seconds=delivery,
        client_timeout_seconds=_count(
            "client_timeout_seconds", config.client_timeout_seconds, DEFAULT_CLIENT_TIMEOUT_SECONDS
        ),
    )


def check_variables(names: Iterable[str]) -> None:
    """Checks names of ServingSpec.tensorflow_serving.env, of which Kubernetes takes fewer.

    Raises:
        SpecError: for the first that it does not take.
    """
    for name in names:
        if not _VARIABLE.fullmatch(name) or name in {".", ".."}:
            raise SpecError(
                f"ServingSpec.tensorflow_serving.env: {_before_value(name)} is no name of a "
                "variable that Kubernetes takes; use letters, digits, '_', '-' and '.'."
            )


def _before_value(name: str) -> str:
    """A name for an error; what follows an equals sign may be the variable's value."""
    before, assigned, _ = name.partition("=")
    return f"{before + assigned!r} with what follows" if assigned else repr(name)


def hide_values(config: pb.KubernetesConfig) -> None:
    """Blanks what may hold secrets in the message given: what `hide_values_of_pod` does."""
    for variable in config.serving_pod_overrides.env:
        if variable.value:
            variable.value = HIDDEN
    if config.HasField("pod_patch"):
        patch = to_dict(config.pod_patch)
        hide_values_of_pod(patch)
        config.pod_patch.Clear()
        config.pod_patch.update(patch)


def hide_values_of_pod(pod: Any, shown: Container[str] = ()) -> set[str]:
    """Blanks the values of environment variables, and of the HTTP headers of probes.

    Args:
        pod: a Pod or a part of one, of dicts and lists; it is changed.
        shown: names whose values stay.

    Returns:
        The names whose values are gone.
    """
    if isinstance(pod, list):
        return set().union(*(hide_values_of_pod(item, shown) for item in pod))
    if not isinstance(pod, dict):
        return set()
    hidden = set()
    for key, inner in pod.items():
        hidden |= hide_values_of_pod(inner, shown)
        if key in {"env", "httpHeaders"} and isinstance(inner, list):
            hidden |= _hide_values(inner, shown)
    return hidden


def _hide_values(entries: list[Any], shown: Container[str]) -> set[str]:
    hidden = set()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            entries[index] = HIDDEN
            continue
        name = str(entry.get("name"))
        values = entry.keys() - _KEYS_WITHOUT_VALUES  # not only "value", which may be misspelt
        if values and name not in shown:
            entry.update(dict.fromkeys(values, HIDDEN))
            hidden.add(name)
    return hidden


_KEYS_WITHOUT_VALUES = {"name", "valueFrom", "$patch"}

HIDDEN = "(not shown)"
"""Stands in the report for the value of a variable."""

_PULL_POLICIES: Mapping[int, PullPolicy] = {
    pb.KubernetesConfig.PULL_POLICY_UNSPECIFIED: PullPolicy.IF_NOT_PRESENT,
    pb.KubernetesConfig.IF_NOT_PRESENT: PullPolicy.IF_NOT_PRESENT,
    pb.KubernetesConfig.ALWAYS: PullPolicy.ALWAYS,
    pb.KubernetesConfig.NEVER: PullPolicy.NEVER,
}
_DELIVERIES: Mapping[int, Delivery] = {
    pb.KubernetesConfig.MODEL_DELIVERY_UNSPECIFIED: Delivery.AUTO,
    pb.KubernetesConfig.AUTO: Delivery.AUTO,
    pb.KubernetesConfig.CLAIM: Delivery.CLAIM,
    pb.KubernetesConfig.URI: Delivery.URI,
    pb.KubernetesConfig.STREAM: Delivery.STREAM,
}
_REACHES: Mapping[int, Reach] = {
    pb.KubernetesConfig.REACH_UNSPECIFIED: Reach.AUTO,
    pb.KubernetesConfig.POD_IP: Reach.POD_IP,
    pb.KubernetesConfig.PORT_FORWARD: Reach.PORT_FORWARD,
}


def _refuse(field: str, problem: str) -> SpecError:
    return SpecError(f"ServingSpec.kubernetes.{field}: {problem}")


def _choice(field: str, value: int, choices: Mapping[int, Choice]) -> Choice:
    if value not in choices:
        raise _refuse(field, f"{value} is none of its values.")
    return choices[value]


def _count(field: str, value: int, default: int) -> int:
    if value < 0:
        raise _refuse(field, f"{value} is negative; leave it unset for {default}.")
    return value or default


def _deadline(value: int, max_loading_seconds: float, default: int) -> int:
    if value < 0 or 0 < value <= max_loading_seconds:
        raise _refuse(
            "active_deadline_seconds",
            f"{value} is not above ValidationSpec.max_loading_time_seconds "
            f"({max_loading_seconds:g}); the Pod would end while the model loads.",
        )
    return value or default


def _name(field: str, name: str, pattern: re.Pattern[str], length: int) -> str | None:
    if name and (len(name) > length or not pattern.fullmatch(name)):
        raise _refuse(
            field,
            f"{name!r} is no name that Kubernetes takes; use at most {length} small letters, "
            f"digits{'' if pattern is _DNS_LABEL else ', dots'} and dashes, letters and digits at "
            "both ends.",
        )
    return name or None


def _secrets(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        _name(f"image_pull_secrets[{index}]", name, _DNS_SUBDOMAIN, 253)
        or _missing(f"image_pull_secrets[{index}]")
        for index, name in enumerate(names)
    )


def _missing(field: str) -> str:
    raise _refuse(field, "not set.")


def _check_key(field: str, key: str) -> None:
    """Checks the syntax of a label's or an annotation's key, or of a resource's name."""
    prefix, slash, name = key.rpartition("/")
    if not _LABEL.fullmatch(name) or (
        slash and (len(prefix) > 253 or not _DNS_SUBDOMAIN.fullmatch(prefix))
    ):
        raise _refuse(
            field,
            f"{key!r} is no key that Kubernetes takes; write a name of at most 63 letters, digits, "
            "'-', '_' and '.', with a domain and a slash before it or without.",
        )


def _labels(field: str, labels: Mapping[str, str], *, reserved: bool) -> dict[str, str]:
    for key, value in sorted(labels.items()):
        _check_key(field, key)
        if value and not _LABEL.fullmatch(value):
            raise _refuse(
                f"{field}[{key!r}]",
                f"{value!r} is no value of a label; use at most 63 letters, digits, '-', '_' and "
                "'.', letters and digits at both ends.",
            )
        if reserved and key.startswith(LABEL_PREFIX):
            raise _refuse(f"{field}[{key!r}]", "labels that begin so are the validator's own.")
    return dict(sorted(labels.items()))


def _annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    field = "serving_pod_overrides.annotations"
    for key in sorted(annotations):
        _check_key(field, key)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _MAX_ANNOTATION_BYTES:
        raise _refuse(field, f"{size} bytes are more than the {_MAX_ANNOTATION_BYTES} of a Pod.")
    return dict(sorted(annotations.items()))


def _env(variables: Sequence[pb.EnvVar]) -> tuple[Mapping[str, Any], ...]:
    parsed = []
    for index, variable in enumerate(variables):
        field = f"serving_pod_overrides.env[{index}]"
        if not _VARIABLE.fullmatch(variable.name) or variable.name in {".", ".."}:
            raise _refuse(f"{field}.name", f"{_before_value(variable.name)} is no variable's name.")
        if variable.name in _RESERVED_VARIABLES:
            raise _refuse(
                f"{field}.name", f"{variable.name} is set by the validator itself; remove it."
            )
        parsed.append({"name": variable.name, **_env_value(field, variable)})
    _check_unique("serving_pod_overrides.env", (variable["name"] for variable in parsed))
    return tuple(parsed)


def _env_value(field: str, variable: pb.EnvVar) -> dict[str, Any]:
    if not variable.HasField("value_from"):
        if "\0" in variable.value:
            raise _refuse(f"{field}.value", "it holds a zero byte.")
        return {"value": variable.value}
    if variable.value:
        raise _refuse(field, "value and value_from are both set; keep one of them.")
    if not variable.value_from.HasField("secret_key_ref"):
        raise _refuse(f"{field}.value_from.secret_key_ref", "not set.")
    reference = variable.value_from.secret_key_ref
    where = f"{field}.value_from.secret_key_ref"
    name = _name(f"{where}.name", reference.name, _DNS_SUBDOMAIN, 253) or _missing(f"{where}.name")
    if len(reference.key) > 253 or not re.fullmatch(r"[-._A-Za-z0-9]+", reference.key):
        raise _refuse(f"{where}.key", f"{reference.key!r} is no key of a Secret.")
    return {"valueFrom": {"secretKeyRef": {"name": name, "key": reference.key}}}


def _check_unique(field: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _refuse(field, f"{name!r} stands there twice.")
        seen.add(name)


def _resources(resources: pb.Resources) -> dict[str, Any]:
    field = "serving_pod_overrides.resources"
    requests = {
        name: _quantity(f"{field}.requests[{name!r}]", name, text)
        for name, text in sorted(resources.requests.items())
    }
    limits = {
        name: _quantity(f"{field}.limits[{name!r}]", name, text)
        for name, text in sorted(resources.limits.items())
    }
    memory = limits.get("memory")
    if memory and memory < _MIN_MEMORY_BYTES:  # 0 stands for no limit
        raise _refuse(
            f"{field}.limits['memory']",
            f"{resources.limits['memory']!r} is below 6Mi, with which no container starts; give "
            'the server what it has in production, for example "4Gi".',
        )
    for name, amount in requests.items():
        limit = limits.get(name)
        if limit is None and not _OVERCOMMITTED.fullmatch(name):
            raise _refuse(
                f"{field}.requests[{name!r}]", "a device is never shared; set it in limits too."
            )
        if limit is not None and amount > limit:
            raise _refuse(f"{field}.requests[{name!r}]", "it is above the limit.")
        if limit is not None and amount != limit and not _OVERCOMMITTED.fullmatch(name):
            raise _refuse(f"{field}.requests[{name!r}]", "of a device it must equal the limit.")
    for name in resources.claims:
        if not _DNS_LABEL.fullmatch(name):
            raise _refuse(f"{field}.claims", f"{name!r} is no name of a claim.")
    found: dict[str, Any] = {}
    if requests:
        found["requests"] = {name: str(resources.requests[name]) for name in requests}
    if limits:
        found["limits"] = {name: str(resources.limits[name]) for name in limits}
    if resources.claims:
        found["claims"] = [
            {"name": name, "request": request} if request else {"name": name}
            for name, request in sorted(resources.claims.items())
        ]
    return found


def _quantity(field: str, resource: str, text: str) -> decimal.Decimal:
    if resource not in {"cpu", "memory", "ephemeral-storage"} and not resource.startswith(
        "hugepages-"
    ):
        if "/" not in resource:
            raise _refuse(
                field,
                f"{resource!r} is no resource; write cpu, memory, ephemeral-storage, or the full "
                'name of a device, for example "nvidia.com/gpu".',
            )
        _check_key(field, resource)
    amount = parse_quantity(text)
    if amount is None:
        raise _refuse(field, f'{text!r} is no quantity; write for example "500m", "2" or "4Gi".')
    whole = amount == amount.to_integral_value()
    if resource in {"memory", "ephemeral-storage"} and text.endswith(_FRACTIONS) and not whole:
        raise _refuse(
            field,
            f"{text!r} are {amount.normalize():f} bytes, for {text[-1]!r} stands for a fraction; "
            'write for example "512Mi" or "4Gi".',
        )
    if "/" in resource and not whole:
        raise _refuse(field, f"{text!r} is no whole number of devices.")
    return amount


def parse_quantity(text: str) -> decimal.Decimal | None:
    """A quantity of Kubernetes, not negative, as a number; None if it is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    suffix = match[2] or ""
    if suffix[:1] in {"e", "E"} and len(suffix) > 1 and suffix != "Ei":
        return decimal.Decimal(match[1]) * decimal.Decimal(10) ** int(suffix[1:])
    return decimal.Decimal(match[1]) * _SUFFIXES[suffix]


def _toleration(field: str, toleration: pb.Toleration) -> dict[str, Any]:
    operator = toleration.operator or "Equal"
    if operator not in {"Equal", "Exists"}:
        raise _refuse(f"{field}.operator", f'{operator!r} is neither "Equal" nor "Exists".')
    if toleration.key:
        _check_key(f"{field}.key", toleration.key)
    elif operator != "Exists":
        raise _refuse(f"{field}.key", 'not set; that needs the operator "Exists".')
    if toleration.value and operator == "Exists":
        raise _refuse(f"{field}.value", 'with the operator "Exists" there is none.')
    if toleration.value and not _LABEL.fullmatch(toleration.value):
        raise _refuse(f"{field}.value", f"{toleration.value!r} is no value of a taint.")
    if toleration.effect not in {"", "NoSchedule", "PreferNoSchedule", "NoExecute"}:
        raise _refuse(
            f"{field}.effect",
            f'{toleration.effect!r} is none of "NoSchedule", "PreferNoSchedule" and "NoExecute".',
        )
    if toleration.toleration_seconds and toleration.effect != "NoExecute":
        raise _refuse(f"{field}.toleration_seconds", 'it needs the effect "NoExecute".')
    if toleration.toleration_seconds < 0:
        raise _refuse(
            f"{field}.toleration_seconds", f"{toleration.toleration_seconds} is negative."
        )
    found: dict[str, Any] = {
        key: value
        for key, value in (
            ("key", toleration.key),
            ("operator", operator),
            ("value", toleration.value),
            ("effect", toleration.effect),
        )
        if value
    }
    if toleration.toleration_seconds:
        found["tolerationSeconds"] = toleration.toleration_seconds
    return found


def _plain(struct: Any) -> dict[str, Any]:
    """A Struct as plain values; it knows only floating point, and the API wants whole numbers."""

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: whole(item) for key, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return dict(whole(to_dict(struct)))


def _affinity(field: str, affinity: Any) -> Mapping[str, Any]:
    """Checks an affinity as far as the validator itself adds to it: a node for the server."""
    found = _object(field, affinity)
    for key, value in found.items():
        if key not in {"nodeAffinity", "podAffinity", "podAntiAffinity"}:
            raise _refuse(
                f"{field}.{key}", "a Pod has nodeAffinity, podAffinity and podAntiAffinity."
            )
        _object(f"{field}.{key}", value)
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    field = f"{field}.nodeAffinity.{key}"
    required = _object(field, found.get("nodeAffinity", {}).get(key, {}))
    for term in _list(f"{field}.nodeSelectorTerms", required.get("nodeSelectorTerms", [])):
        one = _object(f"{field}.nodeSelectorTerms", term)
        _list(f"{field}.nodeSelectorTerms.matchFields", one.get("matchFields", []))
    return found


def _object(field: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _refuse(field, "not an object.")
    return value


def _list(field: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise _refuse(field, "not a list.")
    return value


def _volume(field: str, volume: dict[str, Any]) -> dict[str, Any]:
    name = volume.get("name")
    if not isinstance(name, str) or not _DNS_LABEL.fullmatch(name):
        raise _refuse(f"{field}.name", f"{name!r} is no name of a volume.")
    if name in _TAKEN_VOLUMES:
        raise _refuse(f"{field}.name", f"{name!r} is taken already.")
    sources = [key for key in volume if key != "name"]
    if len(sources) != 1 or not isinstance(volume[sources[0]], Mapping):
        raise _refuse(
            field, 'name one source, as in a Pod\'s spec, for example "persistentVolumeClaim".'
        )
    return volume


def _volume_mounts(
    mounts: Sequence[Any], volumes: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], ...]:
    names = {volume["name"] for volume in volumes}
    parsed: list[Mapping[str, Any]] = []
    taken = set(_TAKEN_PLACES)
    for index, struct in enumerate(mounts):
        field, mount = f"volume_mounts[{index}]", _plain(struct)
        if mount.get("name") not in names:
            raise _refuse(f"{field}.name", f"{mount.get('name')!r} is none of the volumes.")
        place = mount.get("mountPath")
        path = PurePosixPath(place if isinstance(place, str) else "")
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2 or ":" in str(path):
            raise _refuse(f"{field}.mountPath", f"{place!r} is not an absolute path below /.")
        if str(path) in taken:
            raise _refuse(f"{field}.mountPath", f"{place!r} is taken already.")
        taken.add(str(path))
        parsed.append({**mount, "mountPath": str(path)})
    return tuple(parsed)


_OWN_METADATA = ("name", "generateName", "namespace", "uid", "ownerReferences", "finalizers")
_OWN_SPEC: Mapping[str, str] = {
    "restartPolicy": "a server that ended must stay ended",
    "activeDeadlineSeconds": "set active_deadline_seconds",
    "nodeName": "set node_selector or affinity",
    "ephemeralContainers": "the API takes none in a new Pod",
}


_KEPT_SPEC = ("restartPolicy", "activeDeadlineSeconds")
_OWN_CONTAINER: Mapping[str, tuple[str, ...]] = {
    SERVER: ("restartPolicy", "restartPolicyRules"),
    RECEIVER: ("command", "args", "restartPolicy", "restartPolicyRules"),
}


def _pod_patch(patch: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in patch:
        if key not in {"metadata", "spec"}:
            raise _refuse(f"pod_patch.{key}", 'only "metadata" and "spec" can be patched.')
        if not isinstance(patch[key], Mapping):
            raise _refuse(f"pod_patch.{key}", "not an object.")
    metadata, spec = patch.get("metadata", {}), patch.get("spec", {})
    for key in _OWN_METADATA:
        if key in metadata:
            raise _refuse(f"pod_patch.metadata.{key}", "it is the validator's own.")
    for key, why in _OWN_SPEC.items():
        if key in spec:
            raise _refuse(f"pod_patch.spec.{key}", f"it cannot be patched: {why}.")
    _check_patched(patch)
    for kind in ("labels", "annotations"):
        found = {} if metadata.get(kind) is None else metadata[kind]
        if not isinstance(found, Mapping):
            raise _refuse(f"pod_patch.metadata.{kind}", "not an object.")
        for key, value in found.items():
            if key.startswith("$"):
                continue
            _check_key(f"pod_patch.metadata.{kind}", key)
            if value is not None and not isinstance(value, str):
                raise _refuse(f"pod_patch.metadata.{kind}[{key!r}]", "not a text.")
            if kind == "labels":
                _labels("pod_patch.metadata.labels", {key: value or ""}, reserved=True)
    return patch


def _check_patched(patch: Mapping[str, Any]) -> None:
    """Merges the patch into the bones of a Pod, to see what it leaves of the server."""
    own = {
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {
            "containers": [{"name": SERVER, "image": "image"}],
            "initContainers": [{"name": RECEIVER, "image": "image"}],
            "volumes": [{"name": name} for name in sorted(_TAKEN_VOLUMES)],
            **dict.fromkeys(_KEPT_SPEC, "kept"),
        },
    }
    try:
        merged = merge_pod(own, patch)
    except MergeError as error:
        raise _refuse("pod_patch", f"{error}.") from error
    spec = merged.get("spec", {})
    for kind, name in (("containers", SERVER), ("initContainers", RECEIVER)):
        container = _named(spec.get(kind), name)
        if container is None:
            raise _refuse(
                f"pod_patch.spec.{kind}", f"it removes the container {name!r}, which must stay."
            )
        if container.get("image") != "image":
            raise _refuse(
                f"pod_patch.spec.{kind}",
                f"the image of {name!r} is ServingSpec.tensorflow_serving's.",
            )
        for key in _OWN_CONTAINER[name]:
            if key in container:
                raise _refuse(f"pod_patch.spec.{kind}", f"{key} of {name!r} cannot be patched.")
    for key in _KEPT_SPEC:
        if spec.get(key) != "kept":
            raise _refuse("pod_patch.spec", f"it removes {key}: {_OWN_SPEC[key]}.")
    _affinity("pod_patch.spec.affinity", spec.get("affinity", {}))
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            for variable in container.get("env") or ():
                if not isinstance(variable.get("value", ""), str):
                    raise _refuse(
                        f"pod_patch.spec.{kind}",
                        f"the value of the variable {variable['name']} is no text; quote it.",
                    )
    server = _named(spec.get("containers"), SERVER) or {}
    for variable in server.get("env") or ():
        if variable.get("name") in _RESERVED_VARIABLES:
            raise _refuse(
                "pod_patch.spec.containers",
                f"{variable['name']} of {SERVER!r} is set by the validator itself; remove it.",
            )
    if any(_named(spec.get("volumes"), name) is None for name in _TAKEN_VOLUMES):
        raise _refuse("pod_patch.spec.volumes", "it removes a volume of the validator's own.")


def _named(elements: Any, name: str) -> Mapping[str, Any] | None:
    found = [element for element in elements or () if element.get("name") == name]
    return found[0] if len(found) == 1 else None
