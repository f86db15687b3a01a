"""From flags and configuration files to what the server has to do.

The order of the checks and their messages: Server::BuildAndStart in
tensorflow_serving/model_servers/server.cc, then ServerCore::Create in server_core.cc.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra_validator.model_server import log, protos
from infra_validator.model_server.flags import Options
from infra_validator.model_server.status import Code, StatusError, invalid_argument
from infra_validator.model_server.storage import VersionPolicy
from infra_validator.model_server.text_proto import read_text_proto

_TENSORFLOW_PLATFORM = "tensorflow"
_DEFAULT_TAG = "serve"
_INT32 = range(-(1 << 31), 1 << 31)
_INTEGER = re.compile(r"\s*[+-]?\d+\s*", re.ASCII)
# time.sleep takes no more than 292 years.
_MAX_PAUSE_SECONDS = 1e9
_DEFAULT_BATCH_THREAD_POOL = "model_server_batch_threads"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The one model to serve.

    Attributes:
        name: as requests name it.
        base_path: absolute directory that holds the versions.
        policy: which versions to load.
        labels: label → version.
    """

    name: str
    base_path: str
    policy: VersionPolicy
    labels: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class LoadConfig:
    """How a version is loaded.

    Attributes:
        session_config: serialized ConfigProto.
        tags: tags of the MetaGraph.
        batching: BatchingParameters, or None without batching.
        per_model_batching: read ``batching_params.pbtxt`` beside the SavedModel.
        warmup_iterations: replays of each warm-up request; 0 for no warm-up.
        max_retries: further tries after a failed one.
        retry_interval_seconds: pause between two tries.
        check_method_names: ``--enable_signature_method_name_check``.
    """

    session_config: bytes
    tags: tuple[str, ...]
    batching: Any | None
    per_model_batching: bool
    warmup_iterations: int
    max_retries: int
    retry_interval_seconds: float
    check_method_names: bool


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_options(options: Options) -> None:
    """Refuses flags that can never work together.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, str) and not _is_utf8(value):
            raise invalid_argument(f"the embedded server takes UTF-8 only: --{field.name}={value}")
    if options.port == 0 and not options.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be "
            "set."
        )
    if not options.model_base_path and not options.model_config_file:
        raise invalid_argument(
            "Both server_options.model_base_path and server_options.model_config_file are empty!"
        )


def _batching(options: Options) -> Any | None:
    if options.enable_batching:
        parameters = protos.BatchingParameters()
        if options.batching_parameters_file:
            return read_text_proto(options.batching_parameters_file, parameters)
        parameters.thread_pool_name.value = _DEFAULT_BATCH_THREAD_POOL
        return parameters
    if options.batching_parameters_file:
        raise invalid_argument(
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true."
        )
    return None


def _session_config(options: Options) -> bytes:
    config = protos.ConfigProto()
    if options.tensorflow_session_config_file:
        read_text_proto(options.tensorflow_session_config_file, config)
    config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    intra = options.tensorflow_intra_op_parallelism
    inter = options.tensorflow_inter_op_parallelism
    both = options.tensorflow_session_parallelism
    for name, threads in (("intra_op", intra), ("inter_op", inter), ("session", both)):
        if threads not in _INT32:
            raise invalid_argument(
                f"tensorflow_{name}_parallelism does not fit in 32 bits; got {threads}"
            )
    if intra > 0 and inter > 0 and both > 0:
        raise invalid_argument(
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. "
            "You cannot configure all."
        )
    if intra > 0 or inter > 0:
        config.intra_op_parallelism_threads = intra
        config.inter_op_parallelism_threads = inter
    elif both:
        config.intra_op_parallelism_threads = both
        config.inter_op_parallelism_threads = both
    return bytes(config.SerializeToString())


def read_load_config(options: Options) -> LoadConfig:
    """Returns how to load, from flags and the files that they name.

    Raises:
        StatusError: a file is unfit, or flags contradict each other.
    """
    warmup_iterations = 0
    if options.enable_model_warmup:
        warmup_iterations = max(options.num_request_iterations_for_warmup, 1)
    tags = options.saved_model_tags
    return LoadConfig(
        batching=_batching(options),
        session_config=_session_config(options),
        tags=tuple(dict.fromkeys(tags.split(","))) if tags else (_DEFAULT_TAG,),
        per_model_batching=options.enable_per_model_batching_parameters,
        warmup_iterations=warmup_iterations,
        max_retries=max(options.max_num_load_retries, 0),
        retry_interval_seconds=min(
            max(options.load_retry_interval_micros, 0) / 1e6, _MAX_PAUSE_SECONDS
        ),
        check_method_names=options.enable_signature_method_name_check,
    )


def _check_platform(config: Any) -> None:
    """Refuses a model that is none of TensorFlow's; model_type 1 is TENSORFLOW (deprecated)."""
    platform = config.model_platform
    if config.model_type:
        if platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                "ModelServerConfig::model_platform."
            )
        if config.model_type != 1:
            raise invalid_argument(
                f"ModelServerConfig::model_type choice {config.model_type} not supported."
            )
        return
    if not platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform."
        )
    if platform != _TENSORFLOW_PLATFORM:
        raise invalid_argument(f"Model {config.name} requests unsupported platform {platform}")


def _check_paths(configs: Sequence[Any]) -> None:
    names: set[str] = set()
    for config in configs:
        if config.name in names:
            raise invalid_argument(
                f"Illegal to list model {config.name} multiple times in config list"
            )
        names.add(config.name)
    for config in configs:
        path = config.base_path
        if not path.startswith("/") and "://" not in path:
            raise invalid_argument(
                f"Expected model {config.name} to have an absolute path or URI; "
                f"got base_path()={path}"
            )


def read_model_config(options: Options) -> ModelConfig | None:
    """Returns the model to serve; one without a base path where the list of models is empty, and
    None where the configuration file has no list.

    Raises:
        StatusError: the configuration is unfit, or asks for more than the embedded server does.
    """
    server_config = protos.ModelServerConfig()
    if options.model_config_file:
        read_text_proto(options.model_config_file, server_config)
    else:
        log.info(
            "Building single TensorFlow model file config:  "
            f"model_name: {options.model_name} model_base_path: {options.model_base_path}"
        )
        server_config.model_config_list.config.add(
            name=options.model_name,
            base_path=options.model_base_path,
            model_platform=_TENSORFLOW_PLATFORM,
        )
    if server_config.WhichOneof("config") == "custom_model_config":
        raise StatusError(
            Code.UNIMPLEMENTED, "ModelServer does not yet support custom model config."
        )
    if server_config.WhichOneof("config") is None:
        log.info("Taking no action for empty config.")
        return None
    configs = server_config.model_config_list.config
    _check_paths(configs)
    log.info("Adding/updating models.")
    if not configs:
        return ModelConfig("", "", VersionPolicy(), {})
    for config in configs:
        log.info(f" (Re-)adding model: {config.name}")
        _check_platform(config)
    return _single_model(configs, options.allow_version_labels_for_unavailable_models)


def _single_model(configs: Sequence[Any], allow_labels: bool) -> ModelConfig:
    if len(configs) > 1:
        raise StatusError(
            Code.UNIMPLEMENTED,
            f"the embedded server serves one model, and the configuration lists {len(configs)}",
        )
    (config,) = configs
    # TensorFlow Serving looks at labels before anything is loaded.
    for version in config.version_labels.values() if not allow_labels else ():
        raise StatusError(
            Code.FAILED_PRECONDITION,
            f"Request to assign label to version {version} of model {config.name}, "
            "which is not currently available for inference",
        )
    if "://" in config.base_path:
        raise StatusError(
            Code.UNIMPLEMENTED,
            "the embedded server reads versions from local directories only; "
            f"got base_path()={config.base_path}",
        )
    if config.HasField("logging_config"):
        log.warning("the embedded server ignores --model_config_file's logging_config")
    return ModelConfig(
        name=config.name,
        base_path=config.base_path,
        policy=VersionPolicy.from_proto(config.model_version_policy),
        labels=dict(config.version_labels),
    )


def grpc_arguments(text: str) -> list[tuple[str, int | str]]:
    """Reads ``--grpc_channel_arguments``: ``key=value`` pairs, numbers of 32 bits as numbers.

    Raises:
        StatusError: INVALID_ARGUMENT, for a part without ``=``.
    """
    arguments: list[tuple[str, int | str]] = []
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not separator:
            raise invalid_argument(f"grpc_channel_arguments needs key=value; got {part}")
        is_number = _INTEGER.fullmatch(value) and int(value) in _INT32
        arguments.append((key, int(value) if is_number else value))
    return arguments
