"""The Kubernetes platform: where the cluster is, and who we are in it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.kubernetes_config import KubernetesSettings, Reach
from infra_validator.model_source import ModelSource
from infra_validator.runners.base import ServerTask
from infra_validator.runners.docker_owner import MANAGED_LABEL
from infra_validator.runners.kubernetes import faults, owner
from infra_validator.runners.kubernetes.api import (
    Api,
    ApiError,
    Cluster,
    ClusterConfigError,
    ConnectionFailed,
    find_cluster,
    service_account_namespace,
)
from infra_validator.runners.kubernetes.delivery import Step, Way, choose_way
from infra_validator.runners.kubernetes.runner import KubernetesRunner, diagnose
from infra_validator.runners.kubernetes.step import Candidates, candidates, is_step
from infra_validator.servers.base import ServingBinary

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the servers' Pods are made.

    Attributes:
        api: the cluster's.
        namespace: the Pods'.
        step: the validator's own Pod there, if it is known.
        version: the cluster's, where it says.
        forward: whether servers are reached through the API server.
    """

    api: Api
    namespace: str
    step: Step | None
    version: str | None
    forward: bool


class KubernetesPlatform:
    """Runs servers as Pods."""

    def __init__(self, settings: KubernetesSettings) -> None:
        """Contacts no cluster yet.

        Args:
            settings: the checked KubernetesConfig.
        """
        self.settings = settings
        self._lock = threading.Lock()
        self._place: Place | None = None
        self._check: Callable[[], None] = lambda: None
        self._ways: dict[str, Way] = {}

    @property
    def phase_limits(self) -> Mapping[Phase, float]:
        """Each step on the way has a limit of its own, and none of them counts as loading."""
        settings = self.settings
        return {
            Phase.SCHEDULE: settings.schedule_timeout_seconds,
            Phase.IMAGE: settings.pull_timeout_seconds,
            Phase.START: settings.start_timeout_seconds,
            Phase.STAGE: settings.delivery_timeout_seconds,
        }

    def prepare(self, binary: ServingBinary, model: ModelSource) -> None:
        """Finds the cluster, sweeps what dead validators left there, has the model at hand."""
        self._check = model.check
        place = self.place()
        with api_faults(place.api, place.namespace, Phase.STAGE):
            _sweep(place)
        self.way(model)

    def create_runner(self, task: ServerTask) -> KubernetesRunner:
        """A runner that has not started yet."""
        return KubernetesRunner(self, task)

    def close(self) -> None:
        """Closes what connections to the cluster are kept."""
        with self._lock:
            if self._place is not None:
                self._place.api.close()

    def place(self) -> Place:
        """The cluster, found once.

        Raises:
            FaultError: if there is none, or it does not let us in.
        """
        with self._lock:
            if self._place is None:
                self._place = _find_place(self.settings, self._check)
            return self._place

    def way(self, model: ModelSource) -> Way:
        """How the model gets there, decided once.

        Raises:
            FaultError: if it cannot.
        """
        place = self.place()
        with self._lock:
            if model.uri not in self._ways:
                with api_faults(place.api, place.namespace, Phase.STAGE):
                    self._ways[model.uri] = choose_way(
                        self.settings, place.api, place.namespace, place.step, model
                    )
            return self._ways[model.uri]


@contextlib.contextmanager
def api_faults(api: Api, namespace: str, phase: Phase) -> Iterator[None]:
    """Turns what the API refuses, or its absence, into faults."""
    try:
        yield
    except ApiError as error:
        raise FaultError(diagnose(error, namespace, phase)) from error
    except ConnectionFailed as error:
        raise FaultError(faults.diagnose_unreachable(api.address, str(error), phase)) from error


def _find_place(settings: KubernetesSettings, check: Callable[[], None]) -> Place:
    try:
        cluster = find_cluster(settings.kubeconfig, settings.context)
    except ImportError as error:
        raise _unusable(
            f"The platform kubernetes needs the package {error.name}",
            "Install the package kubernetes where the component runs; the extra "
            "infra-validator[kubernetes] brings it.",
        ) from error
    except ClusterConfigError as error:
        raise _not_found(settings, str(error)) from error
    api = Api(cluster, settings.client_timeout_seconds, check)
    own = _own_candidates(cluster)
    step_namespace = own.namespace if cluster.in_cluster else None
    namespace = settings.namespace or default_namespace(cluster)
    try:
        with api_faults(api, namespace, Phase.STAGE):
            version = _version(api)
            step = _find_step(api, step_namespace, own) if step_namespace is not None else None
    except ClusterConfigError as error:
        raise _not_found(settings, str(error)) from error
    if settings.reach == Reach.AUTO:
        forward = not cluster.in_cluster
    else:
        forward = settings.reach == Reach.PORT_FORWARD
    return Place(api, namespace, step, version, forward)


def default_namespace(cluster: Cluster) -> str:
    """Where Pods are made unless a field says otherwise."""
    step_namespace = _own_candidates(cluster).namespace if cluster.in_cluster else None
    return step_namespace or cluster.namespace or "default"


def _own_candidates(cluster: Cluster) -> Candidates:
    return candidates(os.environ, service_account_namespace() if cluster.in_cluster else None)


def _find_step(api: Api, namespace: str, own: Candidates) -> Step | None:
    """The validator's own Pod, by the names that it may have, else by its address."""

    def looked_at() -> Iterator[Mapping[str, Any]]:
        for name in own.names:
            found = _find_pod(api, namespace, name)
            if found is not None:
                yield found
        # A host's name is the Pod's only if that is short enough.
        yield from _pods_at(api, namespace, api.own_address())

    for manifest in looked_at():
        pod = is_step(manifest, own)
        if pod is not None:
            return Step(pod, manifest)
    return None


def _pods_at(api: Api, namespace: str, address: str) -> Sequence[Mapping[str, Any]]:
    try:
        listed = api.get(
            f"/api/v1/namespaces/{namespace}/pods", fieldSelector=f"status.podIP={address}"
        )
    except ApiError as error:
        if error.status in {400, 403}:
            return ()
        raise
    return listed.get("items") or ()


def _version(api: Api) -> str | None:
    """Also shows that the cluster answers."""
    try:
        return str(api.get("/version").get("gitVersion"))
    except ApiError as error:
        if error.status in {401, 404, 500} or error.passing:
            raise
        return None


def _find_pod(api: Api, namespace: str, name: str) -> Mapping[str, Any] | None:
    """A Pod; None where there is none, or it may not be looked at."""
    try:
        found: Mapping[str, Any] = api.get(_path_of(namespace, name))
    except ApiError as error:
        if error.status in {403, 404}:
            return None
        raise
    return found


def _sweep(place: Place) -> None:
    """Removes Pods whose validator is gone."""
    path = f"/api/v1/namespaces/{place.namespace}/pods"
    try:
        pods = place.api.get(path, labelSelector=f"{MANAGED_LABEL}=true").get("items") or []
    except ApiError as error:
        if error.status != 403:
            raise
        _logger.info("Pods of dead validators cannot be swept: %s", error)
        return
    for pod in pods:
        name = pod["metadata"]["name"]
        try:
            if owner.is_left_over(
                pod, lambda other: _find_owner(place.api, place.namespace, other)
            ):
                _logger.info("Removing the Pod %s of a validator that is gone", name)
                place.api.delete(f"{path}/{name}")
        except ApiError as error:  # such as a webhook's, which has a say in the end of Pods too
            if error.passing:
                raise
            _logger.info("The Pod %s cannot be swept: %s", name, error)


def _path_of(namespace: str, name: str) -> str:
    """Path of a Pod whose name was read somewhere, and may be none."""
    return f"/api/v1/namespaces/{namespace}/pods/{quote(name, safe='')}"


def _find_owner(api: Api, namespace: str, name: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = api.get(_path_of(namespace, name))
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return found


def _not_found(settings: KubernetesSettings, words: str) -> FaultError:
    if settings.context is not None:
        return _unusable(
            f"ServingSpec.kubernetes.context: {settings.context!r} cannot be used: {words}",
            "Name a context of the kubeconfig, or leave the field unset for its current one.",
        )
    if settings.kubeconfig is not None:
        return _unusable(
            f"ServingSpec.kubernetes.kubeconfig: {settings.kubeconfig!r} cannot be used: {words}",
            "Name a kubeconfig that exists where the component runs.",
        )
    named = os.environ.get("KUBECONFIG")
    if named:
        return FaultError(
            fault(
                "cluster_unreachable",
                Phase.STAGE,
                f"The variable KUBECONFIG names {named}, which cannot be used: {words}",
                hint="Let KUBECONFIG name a kubeconfig that exists where the component runs.",
            )
        )
    summary = f"No Kubernetes cluster is configured here: {words}"
    return FaultError(fault("cluster_unreachable", Phase.STAGE, summary))


def _unusable(summary: str, hint: str) -> FaultError:
    return FaultError(fault("configuration_invalid", Phase.STAGE, summary, hint=hint))
