"""Why a validation attempt failed, as data.

A `Fault` is what the log line, the report, the artifact's properties and the
exception's text are made from. Its category is one of `CATEGORIES`, which
decides whom it is blamed on, whether it is worth another try, and what to do.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable


class Phase(str, enum.Enum):
    """A step of a validation, in the order in which they happen."""

    CONFIGURE = "configure"
    STAGE = "stage"
    IMAGE = "image"
    SCHEDULE = "schedule"
    START = "start"
    LOAD = "load"
    WARM_UP = "warm-up"
    QUERY = "query"
    CHECK = "check"
    STOP = "stop"


class Blame(str, enum.Enum):
    """Whose fault it is. Only `MODEL` says something about the model."""

    MODEL = "model"
    DATA = "data"
    INFRASTRUCTURE = "infrastructure"
    CONFIGURATION = "configuration"


@dataclasses.dataclass(frozen=True)
class Category:
    """A kind of fault.

    Attributes:
        name: stable identifier, for programs.
        blame: whose fault it is.
        transient: whether another try may succeed.
        hint: what a person can do about it.
    """

    name: str
    blame: Blame
    transient: bool
    hint: str


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a fault was concluded from.

    Attributes:
        exit_code: the server's exit code; a signal N is 128 + N, as in a shell.
        grpc_code: name of the gRPC status code, such as "INVALID_ARGUMENT".
        log_line: the decisive line of the server's log.
        events: what the platform said, oldest first.
    """

    exit_code: int | None = None
    grpc_code: str | None = None
    log_line: str | None = None
    events: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Fault:
    """Why an attempt, or the validation as a whole, failed.

    Attributes:
        phase: what was being done.
        category: name of one of `CATEGORIES`.
        blame: whose fault it is.
        transient: whether another try may succeed.
        summary: one plain sentence.
        detail: the full message of whoever reported the fault; may be empty.
        hint: what a person can do about it.
        evidence: what the fault was concluded from.
    """

    phase: Phase
    category: str
    blame: Blame
    transient: bool
    summary: str
    detail: str = ""
    hint: str = ""
    evidence: Evidence = Evidence()


class FaultError(Exception):
    """Raised where a fault is found; carries it.

    Attributes:
        fault: the fault.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.summary)
        self.fault = fault


def _table(categories: Iterable[Category]) -> dict[str, Category]:
    return {category.name: category for category in categories}


_CHECK_EXPORT = "Look at what was exported; the export must write a complete SavedModel."
_NOT_THE_SERVER = (
    "Run the command in the report by hand; it must be a tensorflow_model_server or behave as one."
)

CATEGORIES: dict[str, Category] = _table(
    [
        # The model's own.
        Category("model_missing", Blame.MODEL, False, _CHECK_EXPORT),
        Category("model_unreadable", Blame.MODEL, False, _CHECK_EXPORT),
        Category(
            "tags_missing",
            Blame.MODEL,
            False,
            "Export the model with these tags, or set RequestSpec.tensorflow_serving.tag_set "
            "to those it has.",
        ),
        Category(
            "signature_missing",
            Blame.MODEL,
            False,
            "Export the model with this signature, or name one that it has in "
            "RequestSpec.tensorflow_serving.signature_names.",
        ),
        Category(
            "model_load_failed",
            Blame.MODEL,
            False,
            "Load the model in the same version of the server by hand and look at its log.",
        ),
        Category(
            "op_missing",
            Blame.MODEL,
            False,
            "Export the model without this op, or serve it with a server that has it "
            "(a newer version, or one built with the package that the op comes from).",
        ),
        Category("variables_unreadable", Blame.MODEL, False, _CHECK_EXPORT),
        Category(
            "asset_unreadable",
            Blame.MODEL,
            False,
            "The export must write all files that the model reads into its assets folder "
            "(tf.saved_model.Asset, or a lookup table that the model tracks).",
        ),
        Category(
            "graph_version_mismatch",
            Blame.MODEL,
            False,
            "Serve the model with a TensorFlow Serving at least as new as the TensorFlow that "
            "exported it, or export it with an older TensorFlow.",
        ),
        Category(
            "warm_up_failed",
            Blame.MODEL,
            False,
            "Make the model's assets.extra/tf_serving_warmup_requests anew, or remove it.",
        ),
        Category(
            "load_timeout",
            Blame.MODEL,
            False,
            "If the model is known to load slowly, raise ValidationSpec.max_loading_time_seconds.",
        ),
        Category(
            "server_crashed",
            Blame.MODEL,
            False,
            "The model brings its server down; look at custom ops and at the server's log.",
        ),
        Category(
            "memory_limit_exceeded",
            Blame.MODEL,
            False,
            "The model does not fit into the memory that the server has in production; make it "
            "smaller, or raise both limits.",
        ),
        Category(
            "request_failed",
            Blame.MODEL,
            False,
            "The serving signature cannot answer such an example; try it on the exported model "
            "with the same examples.",
        ),
        Category(
            "request_timeout",
            Blame.MODEL,
            False,
            "If the model is known to answer slowly, raise ValidationSpec.request_timeout_seconds.",
        ),
        # The data's.
        Category(
            "examples_missing",
            Blame.DATA,
            False,
            "Look at what the examples hold (in a pipeline, at what ExampleGen wrote), and at "
            "RequestSpec.split_name.",
        ),
        Category(
            "examples_unreadable",
            Blame.DATA,
            False,
            "Write the examples anew; in a pipeline, run ExampleGen again.",
        ),
        Category(
            "examples_unfit",
            Blame.DATA,
            False,
            "Look at the features that the fault names; records must be serialized tf.Example "
            "messages, as ExampleGen writes them by default.",
        ),
        # The configuration's.
        Category("configuration_invalid", Blame.CONFIGURATION, False, "Correct the setting named."),
        Category(
            "signature_unsupported",
            Blame.CONFIGURATION,
            False,
            "Ask another signature (RequestSpec.tensorflow_serving.signature_names), ask with "
            "recorded requests (RequestSpec.prediction_log_file, RequestSpec.json_file), or "
            "validate without requests.",
        ),
        Category(
            "inputs_unmatched",
            Blame.CONFIGURATION,
            False,
            "Say which feature feeds which input in "
            "RequestSpec.tensorflow_serving.input_features, or set inputs in "
            "RequestSpec.tensorflow_serving.input_constants.",
        ),
        Category(
            "request_file_invalid",
            Blame.DATA,
            False,
            "Correct the file of requests, or the setting that names it.",
        ),
        Category(
            "executable_unusable",
            Blame.CONFIGURATION,
            False,
            "Set ServingSpec.local_process.executable to a tensorflow_model_server, or leave it "
            "unset to use the one on PATH or the embedded server.",
        ),
        Category(
            "server_flags_refused",
            Blame.CONFIGURATION,
            False,
            "Correct ServingSpec.tensorflow_serving.args and "
            "ServingSpec.tensorflow_serving.config_files.",
        ),
        Category(
            "engine_api_mismatch",
            Blame.CONFIGURATION,
            False,
            "Leave ServingSpec.local_docker.client_api_version unset; it is then agreed on with "
            "the engine.",
        ),
        Category(
            "mount_source_missing",
            Blame.CONFIGURATION,
            False,
            "Correct ServingSpec.local_docker.mounts; sources are paths on the engine's host.",
        ),
        Category(
            "device_unavailable",
            Blame.CONFIGURATION,
            False,
            "Correct ServingSpec.local_docker.device_requests, or install the devices' runtime "
            "on the engine's host.",
        ),
        Category(
            "container_config_invalid",
            Blame.CONFIGURATION,
            False,
            "Correct what ServingSpec.kubernetes says of the Pod, or create what it names in the "
            "Pod's namespace.",
        ),
        Category(
            "pod_invalid",
            Blame.CONFIGURATION,
            False,
            "Correct the field that the API server names; most of a Pod's fields come from "
            "ServingSpec.kubernetes.",
        ),
        Category(
            "storage_limit_exceeded",
            Blame.CONFIGURATION,
            False,
            "Raise ephemeral-storage in ServingSpec.kubernetes.serving_pod_overrides.resources, or "
            "the volume's sizeLimit; a model that is sent into the Pod counts.",
        ),
        Category(
            "model_not_shareable",
            Blame.CONFIGURATION,
            False,
            "Set ServingSpec.kubernetes.model_delivery to AUTO or STREAM.",
        ),
        # Everybody else's.
        Category(
            "cluster_unreachable",
            Blame.INFRASTRUCTURE,
            False,
            "See that the API server runs and can be reached from here, or say where it is in "
            "ServingSpec.kubernetes.kubeconfig and ServingSpec.kubernetes.context.",
        ),
        Category(
            "cluster_lost",
            Blame.INFRASTRUCTURE,
            True,
            "The API server went away or failed in between; look at its state.",
        ),
        Category(
            "cluster_access_denied",
            Blame.INFRASTRUCTURE,
            False,
            "Give the validator's account the rights that docs/platforms.md lists, or correct its "
            "credentials.",
        ),
        Category(
            "quota_exceeded",
            Blame.INFRASTRUCTURE,
            True,
            "Free some of the namespace's quota, raise it, or set "
            "ServingSpec.kubernetes.namespace to another.",
        ),
        Category(
            "pod_refused",
            Blame.INFRASTRUCTURE,
            False,
            "Make the Pod as the cluster wants it, by ServingSpec.kubernetes and its pod_patch, or "
            "have the policy changed.",
        ),
        Category(
            "pod_unschedulable",
            Blame.INFRASTRUCTURE,
            False,
            "Ask for less, select other nodes, tolerate their taints, or raise "
            "ServingSpec.kubernetes.schedule_timeout_seconds if the cluster grows slowly.",
        ),
        Category(
            "volume_unavailable",
            Blame.INFRASTRUCTURE,
            False,
            "Look at the claim, its StorageClass and its access modes, or set "
            "ServingSpec.kubernetes.model_delivery to STREAM.",
        ),
        Category(
            "pod_not_started",
            Blame.INFRASTRUCTURE,
            True,
            "Look at the node; raise ServingSpec.kubernetes.start_timeout_seconds if it is only "
            "slow.",
        ),
        Category(
            "init_container_failed",
            Blame.INFRASTRUCTURE,
            False,
            "Look at that init container; it comes from pod_patch or from an admission webhook.",
        ),
        Category(
            "pod_evicted",
            Blame.INFRASTRUCTURE,
            True,
            "The node ran short of something; request what the server needs in "
            "ServingSpec.kubernetes.serving_pod_overrides.resources.",
        ),
        Category(
            "pod_lost",
            Blame.INFRASTRUCTURE,
            True,
            "The Pod was taken away (a node that is gone, preemption, somebody who deleted it).",
        ),
        Category(
            "pod_deadline_exceeded",
            Blame.INFRASTRUCTURE,
            False,
            "Raise ServingSpec.kubernetes.active_deadline_seconds, or leave it unset.",
        ),
        Category(
            "delivery_failed",
            Blame.INFRASTRUCTURE,
            True,
            "The connection through the API server broke while files were sent; look at its load.",
        ),
        Category(
            "delivery_timeout",
            Blame.INFRASTRUCTURE,
            True,
            "Raise ServingSpec.kubernetes.delivery_timeout_seconds.",
        ),
        Category(
            "engine_unavailable",
            Blame.INFRASTRUCTURE,
            False,
            "Start the Docker engine, or say where it is in "
            "ServingSpec.local_docker.client_base_url or DOCKER_HOST.",
        ),
        Category(
            "engine_access_denied",
            Blame.INFRASTRUCTURE,
            False,
            "Run the validator as a user who may use the engine's socket, for example one in "
            "the group docker.",
        ),
        Category(
            "engine_lost",
            Blame.INFRASTRUCTURE,
            True,
            "The Docker engine was restarted or broke down; look at its log.",
        ),
        Category(
            "image_not_found",
            Blame.INFRASTRUCTURE,
            False,
            "Look at the image's name (ServingSpec.tensorflow_serving.image_name), at its version "
            "(ServingSpec.tensorflow_serving.tags, ServingSpec.tensorflow_serving.digests), and at "
            "ServingSpec.local_docker.pull_policy.",
        ),
        Category(
            "image_pull_denied",
            Blame.INFRASTRUCTURE,
            False,
            "Log in to the registry (docker login) as the user that runs the validator, or "
            "correct the image's name.",
        ),
        Category(
            "image_pull_failed",
            Blame.INFRASTRUCTURE,
            True,
            "See that the engine reaches the registry, or load the image by hand.",
        ),
        Category(
            "image_pull_timeout",
            Blame.INFRASTRUCTURE,
            True,
            "Raise ServingSpec.local_docker.pull_timeout_seconds, or pull the image beforehand.",
        ),
        Category(
            "image_unusable",
            Blame.INFRASTRUCTURE,
            False,
            "The image must be tensorflow/serving or behave like it, and be built for this "
            "processor.",
        ),
        Category(
            "mount_denied",
            Blame.INFRASTRUCTURE,
            False,
            "Let the engine share the model's folder, or set "
            "ServingSpec.local_docker.model_delivery to COPY.",
        ),
        Category(
            "port_taken",
            Blame.INFRASTRUCTURE,
            True,
            "Another process took the port in the same moment.",
        ),
        Category(
            "storage_failed",
            Blame.INFRASTRUCTURE,
            True,
            "See that the storage can be reached and read with the validator's rights.",
        ),
        Category(
            "storage_denied",
            Blame.INFRASTRUCTURE,
            False,
            "Give the validator's user the right to read or write there, and correct the path's "
            "scheme.",
        ),
        Category(
            "message_too_large",
            Blame.INFRASTRUCTURE,
            False,
            "Something between validator and model limits the size of messages; "
            "tensorflow_model_server itself does not.",
        ),
        Category(
            "internal_error",
            Blame.INFRASTRUCTURE,
            False,
            "This is a defect of infra-validator or of a platform; report it with its traceback.",
        ),
        Category("server_exited", Blame.INFRASTRUCTURE, False, _NOT_THE_SERVER),
        Category("server_not_ready", Blame.INFRASTRUCTURE, False, _NOT_THE_SERVER),
        Category("server_incompatible", Blame.INFRASTRUCTURE, False, _NOT_THE_SERVER),
        Category(
            "server_killed",
            Blame.INFRASTRUCTURE,
            True,
            "Something killed the server, most often the system for want of memory; give the "
            "machine more, or validate fewer servers at once "
            "(ValidationSpec.max_parallel_servers).",
        ),
        Category(
            "out_of_memory",
            Blame.INFRASTRUCTURE,
            True,
            "Give the server as much memory as in production, or validate fewer servers at once "
            "(ValidationSpec.max_parallel_servers).",
        ),
        Category(
            "gpu_unusable",
            Blame.INFRASTRUCTURE,
            False,
            "Install the driver and the libraries that the server names where it runs, in the "
            "versions that it was built with, or use an image without GPU.",
        ),
        Category(
            "illegal_instruction",
            Blame.INFRASTRUCTURE,
            False,
            "The server's binary is built for another processor (AVX); use one built for this.",
        ),
        Category(
            "model_not_delivered",
            Blame.INFRASTRUCTURE,
            True,
            "The server does not see the model at the place where the platform put it.",
        ),
        Category(
            "connection_lost",
            Blame.INFRASTRUCTURE,
            True,
            "The server runs but its connection broke; look at the machine's load and network.",
        ),
        Category(
            "access_denied",
            Blame.INFRASTRUCTURE,
            False,
            "Something between validator and server refuses the call (a proxy, a service mesh's "
            "policy); let the validator through.",
        ),
        Category(
            "platform_failed",
            Blame.INFRASTRUCTURE,
            True,
            "The platform could not run the server; look at its own logs.",
        ),
    ]
)

MEMORY_CATEGORIES = frozenset({"out_of_memory", "server_killed"})
"""Faults that servers running side by side may have caused each other."""

TIME_CATEGORIES = frozenset({"load_timeout", "request_timeout"})
"""Faults that blame a model for the time it took, unless the platform was cut off meanwhile."""


def fault(
    category: str,
    phase: Phase,
    summary: str,
    *,
    detail: str = "",
    hint: str | None = None,
    evidence: Evidence | None = None,
) -> Fault:
    """A fault of a known category.

    Args:
        category: name of one of `CATEGORIES`.
        phase: what was being done.
        summary: one plain sentence.
        detail: the full message of whoever reported the fault.
        hint: what to do about it, where more is known than the category's.
        evidence: what the fault was concluded from.
    """
    kind = CATEGORIES[category]
    if not summary.endswith((".", "!", "?", "…")):
        summary += "."  # it may end with somebody else's words
    return Fault(
        phase=phase,
        category=category,
        blame=kind.blame,
        transient=kind.transient,
        summary=summary,
        detail=detail,
        hint=kind.hint if hint is None else hint,
        evidence=evidence or Evidence(),
    )
