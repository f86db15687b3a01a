"""What the specs say, checked and with the defaults filled in.

Pure: protos in, frozen values out. What can never work is a `SpecError` that
names the field, raised alike where the pipeline is written and where it runs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra_validator import docker_config, kubernetes_config, request_config
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.request_config import SourceConfig
from infra_validator.specs import SpecError, to_dict

DEFAULT_MODEL_NAME = "infra-validation-model"
DEFAULT_IMAGE_NAME = "tensorflow/serving"
DEFAULT_SIGNATURE = "serving_default"
DEFAULT_TAG_SET = ("serve",)
DEFAULT_MAX_LOADING_TIME_SECONDS = 300
DEFAULT_NUM_TRIES = 5
DEFAULT_NUM_EXAMPLES = 1
DEFAULT_REQUEST_TIMEOUT_SECONDS = 60.0
DEFAULT_MAX_PARALLEL_SERVERS = 4
DEFAULT_MAX_PARALLEL_REQUESTS = 1
DEFAULT_MAX_WARMUP_RECORDS = 1000

# Of seconds, eleven days; gRPC's deadlines overflow somewhat later.
_MAX_NUMBER = 1e6

RESERVED_FLAGS = frozenset(
    {
        "port",
        "rest_api_port",
        "grpc_socket_path",
        "model_name",
        "model_base_path",
        "model_config_file",
        "ssl_config_file",
    }
)
"""Flags of tensorflow_model_server that the validator itself must set, or must know unset."""

RESERVED_VARIABLES = frozenset({"MODEL_NAME", "MODEL_BASE_PATH"})
"""Variables by which the image of TensorFlow Serving is told which model to serve."""

PLATFORMS_WITH_IMAGES = frozenset({"local_docker", "kubernetes"})
PLATFORMS_WITHOUT_IMAGES = frozenset({"local_process"})


@dataclasses.dataclass(frozen=True)
class ConfigFileSource:
    """A configuration file of the server.

    Attributes:
        text: what it holds, or None where `uri` says where it is.
        uri: where it is.
    """

    text: str | None
    uri: str | None


@dataclasses.dataclass(frozen=True)
class TensorFlowServingConfig:
    """The serving binary: TensorFlow Serving.

    Attributes:
        images: references of the images to validate against, by tag, then by
            digest; empty on platforms that run no image.
        args: further flags, each "--name=value".
        env: environment variables of the server.
        config_files: flag, without dashes, to the file it is set to.
    """

    images: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    config_files: Mapping[str, ConfigFileSource]


@dataclasses.dataclass(frozen=True)
class PlatformConfig:
    """The serving platform.

    Attributes:
        name: the registered platform's name.
        settings: its own configuration: DockerSettings for local Docker,
            KubernetesSettings for Kubernetes, else a mapping in protobuf's JSON form.
    """

    name: str
    settings: Any


@dataclasses.dataclass(frozen=True)
class LimitsConfig:
    """Time limits in seconds, and counts.

    Attributes:
        loading_seconds: from the server's process running to the model available.
        request_seconds: for one request.
        num_tries: upper bound of attempts for one serving binary.
        parallel_servers: upper bound of servers running at the same time.
        parallel_requests: upper bound of requests under way to one server.
    """

    loading_seconds: float
    request_seconds: float
    num_tries: int
    parallel_servers: int
    parallel_requests: int


@dataclasses.dataclass(frozen=True)
class RequestConfig:
    """What to ask.

    Attributes:
        signature_names: signatures to ask.
        tag_set: exact tags of the MetaGraph whose signatures are meant.
        split_name: split of the examples, or None for the first.
        num_examples: examples for each signature.
        make_warmup: whether to stamp the model with the requests as warm-up.
        max_warmup_records: upper bound of requests that become warm-up.
        keep_failed_request: whether a request that fails is kept as a file.
        source: how requests are made.
    """

    signature_names: tuple[str, ...]
    tag_set: tuple[str, ...]
    split_name: str | None
    num_examples: int
    make_warmup: bool
    max_warmup_records: int
    keep_failed_request: bool
    source: SourceConfig = dataclasses.field(default_factory=SourceConfig)


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """Everything that the three specs say.

    Attributes:
        model_name: the name under which the model is served.
        serving: the serving binary.
        platform: the serving platform.
        limits: time limits and counts.
        requests: what to ask, or None to load the model only.
        fail_execution_when_undetermined: see ValidationSpec.
        notes: what of the specs has no effect, for the report.
        echo: the specs as given, in JSON form, without secrets, for the report.
    """

    model_name: str
    serving: TensorFlowServingConfig
    platform: PlatformConfig
    limits: LimitsConfig
    requests: RequestConfig | None
    fail_execution_when_undetermined: bool
    notes: tuple[str, ...]
    echo: Mapping[str, Any]


def parse(
    serving_spec: pb.ServingSpec,
    validation_spec: pb.ValidationSpec | None = None,
    request_spec: pb.RequestSpec | None = None,
    *,
    query: bool,
) -> ValidationConfig:
    """Checks the specs and fills in the defaults.

    Args:
        serving_spec: what serves, and where.
        validation_spec: limits; None for the defaults.
        request_spec: what to ask; None to load only.
        query: whether there are examples to ask with. Without, a `request_spec`
            that needs them is checked and then left out, as TFX's component does.

    Raises:
        SpecError: for the first field that can never work.
    """
    validation_spec = validation_spec or pb.ValidationSpec()
    limits = _parse_limits(validation_spec)
    requests = None
    if request_spec is not None:
        query = query or not request_config.needs_examples(request_spec)
        checked = _parse_requests(request_spec, query=query)
        requests = checked if query else None
    platform = _parse_platform(serving_spec, limits)
    return ValidationConfig(
        model_name=_parse_model_name(serving_spec.model_name),
        serving=_parse_tensorflow_serving(serving_spec, platform.name),
        platform=platform,
        limits=limits,
        requests=requests,
        fail_execution_when_undetermined=validation_spec.fail_execution_when_undetermined,
        notes=_notes(serving_spec.tensorflow_serving, platform.name),
        echo=_echo(serving_spec, validation_spec, request_spec),
    )


def _parse_limits(spec: pb.ValidationSpec) -> LimitsConfig:
    return LimitsConfig(
        loading_seconds=float(
            _positive(
                "ValidationSpec.max_loading_time_seconds",
                spec.max_loading_time_seconds,
                DEFAULT_MAX_LOADING_TIME_SECONDS,
            )
        ),
        request_seconds=float(
            _positive(
                "ValidationSpec.request_timeout_seconds",
                spec.request_timeout_seconds,
                DEFAULT_REQUEST_TIMEOUT_SECONDS,
            )
        ),
        num_tries=int(_positive("ValidationSpec.num_tries", spec.num_tries, DEFAULT_NUM_TRIES)),
        parallel_servers=int(
            _positive(
                "ValidationSpec.max_parallel_servers",
                spec.max_parallel_servers,
                DEFAULT_MAX_PARALLEL_SERVERS,
            )
        ),
        parallel_requests=int(
            _positive(
                "ValidationSpec.max_parallel_requests",
                spec.max_parallel_requests,
                DEFAULT_MAX_PARALLEL_REQUESTS,
            )
        ),
    )


def _positive(field: str, value: float, default: float) -> float:
    """Zero means unset, as in TFX."""
    if not 0 <= value < float("inf"):
        raise SpecError(f"{field}: {value} is not a positive number; leave it unset for {default}.")
    if value > _MAX_NUMBER:
        raise SpecError(f"{field}: {value} is too much; at most {_MAX_NUMBER:g} is taken.")
    return value or default


def _parse_model_name(name: str) -> str:
    if not name:
        return DEFAULT_MODEL_NAME
    # TensorFlow looks for variables by a pattern that the model's folder becomes a part of.
    if name in {".", ".."} or len(name.encode()) > 200 or re.search(r"[/\[\\\x00-\x1f\x7f]", name):
        raise SpecError(
            f"ServingSpec.model_name: {name!r} cannot be the name of a model's folder; use at most "
            "200 bytes, none of them a slash, a backslash, an opening bracket or a control "
            "character."
        )
    return name


def _parse_platform(spec: pb.ServingSpec, limits: LimitsConfig) -> PlatformConfig:
    kind = spec.WhichOneof("serving_platform")
    if kind is None:
        raise SpecError(
            "ServingSpec: no serving platform is set; set local_process, for example "
            "local_process=LocalProcessConfig()."
        )
    if kind == "custom_platform":
        custom = spec.custom_platform
        if not custom.name:
            raise SpecError(
                "ServingSpec.custom_platform.name: not set; name the platform's entry point."
            )
        return PlatformConfig(custom.name, to_dict(custom.config))
    if kind == "local_docker":
        return PlatformConfig(kind, docker_config.parse(spec.local_docker))
    if kind == "kubernetes":
        kubernetes_config.check_variables(spec.tensorflow_serving.env)
        return PlatformConfig(
            kind, kubernetes_config.parse(spec.kubernetes, limits.loading_seconds)
        )
    return PlatformConfig(kind, to_dict(getattr(spec, kind)))


def _parse_tensorflow_serving(spec: pb.ServingSpec, platform: str) -> TensorFlowServingConfig:
    if spec.WhichOneof("serving_binary") is None:
        raise SpecError(
            "ServingSpec: no serving binary is set; set tensorflow_serving=TensorFlowServing()."
        )
    serving = spec.tensorflow_serving
    images = () if platform in PLATFORMS_WITHOUT_IMAGES else _parse_images(serving)
    if platform in PLATFORMS_WITH_IMAGES and not images:
        raise SpecError(
            "ServingSpec.tensorflow_serving: neither tags nor digests are set; name at least one, "
            'for example tags=["2.16.1"].'
        )
    config_files = {
        flag: _parse_config_file(flag, file) for flag, file in sorted(serving.config_files.items())
    }
    _check_args(serving.args, config_files)
    for variable in serving.env:
        if variable in RESERVED_VARIABLES:
            raise SpecError(
                f"ServingSpec.tensorflow_serving.env: {variable} is set by the validator itself; "
                "remove it."
            )
        name, assigned, _ = variable.partition("=")
        if assigned:  # by what may be the value
            raise SpecError(
                f"ServingSpec.tensorflow_serving.env: after {name!r} the name goes on with '='; "
                "write name and value apart from each other."
            )
        if not name or "\0" in name + serving.env[name]:
            raise SpecError(
                f"ServingSpec.tensorflow_serving.env: {name!r} cannot be the name of a variable, "
                "or its value holds a zero byte."
            )
    return TensorFlowServingConfig(
        images, tuple(serving.args), dict(sorted(serving.env.items())), config_files
    )


def _parse_images(serving: pb.TensorFlowServing) -> tuple[str, ...]:
    image = serving.image_name or DEFAULT_IMAGE_NAME
    for field, values in (("tags", serving.tags), ("digests", serving.digests)):
        if "" in values:
            raise SpecError(f"ServingSpec.tensorflow_serving.{field}: an entry is empty.")
    docker_config.check_image(serving.image_name, serving.tags, serving.digests)
    by_tag = [f"{image}:{tag}" for tag in serving.tags]
    by_digest = [f"{image}@{digest}" for digest in serving.digests]
    return tuple(dict.fromkeys(by_tag + by_digest))


def _parse_config_file(flag: str, file: pb.ConfigFile) -> ConfigFileSource:
    field = f"ServingSpec.tensorflow_serving.config_files[{flag!r}]"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", flag):
        raise SpecError(f"{field}: give the flag's name without dashes and value.")
    _check_not_reserved(field, flag)
    source = file.WhichOneof("source")
    if source is None or not getattr(file, source):
        raise SpecError(f"{field}: neither text nor uri is set.")
    return ConfigFileSource(
        text=file.text if source == "text" else None, uri=file.uri if source == "uri" else None
    )


def _check_args(args: Sequence[str], config_files: Mapping[str, object]) -> None:
    for index, argument in enumerate(args):
        field = f"ServingSpec.tensorflow_serving.args[{index}]"
        match = re.fullmatch(r"--?([A-Za-z0-9][A-Za-z0-9_-]*)(=.*)?", argument, re.DOTALL)
        if match is None or "\0" in argument:
            raise SpecError(
                f"{field}: {argument!r} is not a flag; write it as --name=value, name and value "
                "in one entry."
            )
        flag = match.group(1).replace("-", "_")
        _check_not_reserved(field, flag)
        if flag in config_files:
            raise SpecError(
                f"{field}: --{flag} is set by ServingSpec.tensorflow_serving.config_files too; "
                "keep one of them."
            )


def _check_not_reserved(field: str, flag: str) -> None:
    if flag in RESERVED_FLAGS:
        raise SpecError(
            f"{field}: --{flag} is set by the validator itself, which must know where the server "
            "listens and which model it serves; remove it."
        )


def _parse_requests(spec: pb.RequestSpec, *, query: bool) -> RequestConfig:
    if query and spec.WhichOneof("kind") is None:
        raise SpecError(
            "RequestSpec: the kind of request is not set; set "
            "tensorflow_serving=TensorFlowServingRequestSpec()."
        )
    serving = spec.tensorflow_serving
    for field, values in (
        ("tag_set", serving.tag_set),
        ("signature_names", serving.signature_names),
    ):
        if "" in values:
            raise SpecError(f"RequestSpec.tensorflow_serving.{field}: an entry is empty.")
    if request_config.ALL in serving.signature_names and len(set(serving.signature_names)) > 1:
        raise SpecError(
            'RequestSpec.tensorflow_serving.signature_names: "*" means all; name no other '
            "signature beside it."
        )
    return RequestConfig(
        signature_names=tuple(dict.fromkeys(serving.signature_names)) or (DEFAULT_SIGNATURE,),
        tag_set=tuple(dict.fromkeys(serving.tag_set)) or DEFAULT_TAG_SET,
        split_name=spec.split_name or None,
        num_examples=int(
            _positive("RequestSpec.num_examples", spec.num_examples, DEFAULT_NUM_EXAMPLES)
        ),
        make_warmup=spec.make_warmup,
        max_warmup_records=_parse_max_warmup_records(spec),
        keep_failed_request=spec.keep_failed_request,
        source=request_config.parse(spec),
    )


def _parse_max_warmup_records(spec: pb.RequestSpec) -> int:
    field, most = "RequestSpec.max_warmup_records", DEFAULT_MAX_WARMUP_RECORDS
    records = int(_positive(field, spec.max_warmup_records, most))
    if records > most:
        raise SpecError(
            f"{field}: {records} is too much; TensorFlow Serving refuses a model with more than "
            f"{most} warm-up requests."
        )
    return records


def _notes(serving: pb.TensorFlowServing, platform: str) -> tuple[str, ...]:
    images = _parse_images(serving)
    if images and platform in PLATFORMS_WITHOUT_IMAGES:
        return (
            f"The platform {platform} runs no image, so the model was not validated with "
            f"{', '.join(images)}, but with the server that this report names.",
        )
    return ()


def _echo(
    serving_spec: pb.ServingSpec,
    validation_spec: pb.ValidationSpec,
    request_spec: pb.RequestSpec | None,
) -> dict[str, Any]:
    """The specs for the report; environment variables may hold secrets, so no values of them."""
    serving = pb.ServingSpec()
    serving.CopyFrom(serving_spec)
    # A protobuf map must not be changed while it is read: the rest would be skipped and shown.
    for variable in list(serving.tensorflow_serving.env):
        serving.tensorflow_serving.env[variable] = kubernetes_config.HIDDEN
    if serving.HasField("kubernetes"):
        kubernetes_config.hide_values(serving.kubernetes)
    return {
        "serving_spec": to_dict(serving),
        "validation_spec": to_dict(validation_spec),
        "request_spec": None if request_spec is None else to_dict(request_spec),
    }
