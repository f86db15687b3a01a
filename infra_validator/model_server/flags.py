"""The command line of ``tensorflow_model_server``.

Names, defaults and parsing rules are those of tensorflow_serving/model_servers/main.cc and
tensorflow/core/util/command_line_flags.cc: only ``--name=value`` (and a bare ``--name`` for a
bool), the last of several wins, an unknown argument is named and passed over, a bad value ends
the program.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Literal

Value = bool | int | float | str
Kind = Literal["bool", "int32", "int64", "float", "string"]

_THREADS_PER_CPU = 4
_INTEGER = re.compile(r"\s*[+-]?\d+")
_INTEGER_BITS = {"int32": 32, "int64": 64}


def _default_threads() -> int:
    return _THREADS_PER_CPU * len(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag of the real server.

    Attributes:
        name: without the dashes.
        kind: TensorFlow's name of its type.
        default: its value when it is not given.
        usage: one line for the usage text.
        ignored: it changes nothing in the embedded server.
    """

    name: str
    kind: Kind
    default: Value
    usage: str
    ignored: bool = False


def _ignored(name: str, kind: Kind, default: Value) -> Flag:
    return Flag(name, kind, default, "accepted, without effect here", ignored=True)


FLAGS: tuple[Flag, ...] = (
    Flag("port", "int32", 8500, "TCP port for gRPC on all IPv4 addresses; 0 for none"),
    Flag("grpc_socket_path", "string", "", "path of a UNIX socket for gRPC"),
    _ignored("rest_api_port", "int32", 0),
    _ignored("rest_api_num_threads", "int32", _default_threads()),
    _ignored("rest_api_timeout_in_ms", "int32", 30000),
    _ignored("rest_api_enable_cors_support", "bool", False),
    Flag("enable_batching", "bool", False, "run requests by the rules of the batching session"),
    Flag(
        "allow_version_labels_for_unavailable_models",
        "bool",
        False,
        "let version_labels name versions that are not loaded yet",
    ),
    Flag("batching_parameters_file", "string", "", "file with a BatchingParameters text proto"),
    Flag(
        "enable_per_model_batching_parameters",
        "bool",
        False,
        "read batching_params.pbtxt in the version directory",
    ),
    Flag("model_config_file", "string", "", "file with a ModelServerConfig text proto, one model"),
    _ignored("model_config_file_poll_wait_seconds", "int32", 0),
    Flag("model_name", "string", "default", "name of the model"),
    Flag("model_base_path", "string", "", "absolute path of the directory that holds the versions"),
    _ignored("num_load_threads", "int32", 0),
    _ignored("num_unload_threads", "int32", 0),
    Flag("max_num_load_retries", "int32", 5, "how often a failed load is tried again"),
    Flag("load_retry_interval_micros", "int64", 60_000_000, "pause between two tries of a load"),
    Flag(
        "file_system_poll_wait_seconds",
        "int32",
        1,
        "pause between two looks for a first version; 0 looks once, less than 0 never",
    ),
    _ignored("flush_filesystem_caches", "bool", True),
    Flag("tensorflow_session_parallelism", "int64", 0, "threads of the session, both pools"),
    Flag("tensorflow_session_config_file", "string", "", "file with a ConfigProto text proto"),
    Flag("tensorflow_intra_op_parallelism", "int64", 0, "threads for one op"),
    Flag("tensorflow_inter_op_parallelism", "int64", 0, "ops that run side by side"),
    _ignored("use_alts_credentials", "bool", False),
    _ignored("ssl_config_file", "string", ""),
    _ignored("platform_config_file", "string", ""),
    Flag("per_process_gpu_memory_fraction", "float", 0.0, "share of the GPU's memory to take"),
    Flag("saved_model_tags", "string", "serve", "comma-separated tags of the MetaGraph to load"),
    Flag("grpc_channel_arguments", "string", "", "comma-separated key=value arguments for gRPC"),
    Flag("grpc_max_threads", "int32", _default_threads(), "requests that are handled at a time"),
    Flag("enable_model_warmup", "bool", True, "replay assets.extra/tf_serving_warmup_requests"),
    Flag("num_request_iterations_for_warmup", "int32", 0, "replays of each request; 0 means 1"),
    Flag("version", "bool", False, "print the versions and exit"),
    _ignored("monitoring_config_file", "string", ""),
    _ignored("remove_unused_fields_from_bundle_metagraph", "bool", True),
    _ignored("prefer_tflite_model", "bool", False),
    _ignored("num_tflite_pools", "int32", len(os.sched_getaffinity(0))),
    _ignored("num_tflite_interpreters_per_pool", "int32", 1),
    Flag(
        "enable_signature_method_name_check",
        "bool",
        False,
        "require a signature's method_name to fit the call",
    ),
    Flag("xla_cpu_compilation_enabled", "bool", False, "allow XLA's just-in-time compilation"),
    Flag("xla_gpu_compilation_enabled", "bool", False, "allow XLA's just-in-time compilation"),
    _ignored("enable_profiler", "bool", True),
    _ignored("thread_pool_factory_config_file", "string", ""),
    _ignored("mixed_precision", "string", ""),
    _ignored("skip_initialize_tpu", "bool", False),
    Flag("enable_grpc_healthcheck_service", "bool", False, "serve grpc.health.v1.Health"),
    _ignored("enable_serialization_as_tensor_content", "bool", False),
)


# It bounds the wait for a first version; afterwards nobody looks for new ones.
_HALF_IGNORED = ("file_system_poll_wait_seconds",)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the flags that have an effect say; each field is the flag of the same name."""

    port: int
    grpc_socket_path: str
    enable_batching: bool
    allow_version_labels_for_unavailable_models: bool
    batching_parameters_file: str
    enable_per_model_batching_parameters: bool
    model_config_file: str
    model_name: str
    model_base_path: str
    max_num_load_retries: int
    load_retry_interval_micros: int
    file_system_poll_wait_seconds: int
    tensorflow_session_parallelism: int
    tensorflow_session_config_file: str
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    per_process_gpu_memory_fraction: float
    saved_model_tags: str
    grpc_channel_arguments: str
    grpc_max_threads: int
    enable_model_warmup: bool
    num_request_iterations_for_warmup: int
    version: bool
    enable_signature_method_name_check: bool
    xla_cpu_compilation_enabled: bool
    xla_gpu_compilation_enabled: bool
    enable_grpc_healthcheck_service: bool


@dataclasses.dataclass(frozen=True)
class ParsedFlags:
    """A command line, understood.

    Attributes:
        options: what to do.
        ignored: names of flags that were set to something else than their default, but change
            nothing here.
        help: the usage text is asked for: ``--help`` comes first of what no known flag takes.
        unknown: arguments that are no flags of the real server.
        errors: one line for each value that could not be read; not empty means: do not start.
    """

    options: Options
    ignored: tuple[str, ...]
    help: bool
    unknown: tuple[str, ...]
    errors: tuple[str, ...]


def _parse_value(kind: Kind, text: str) -> Value | None:
    """Returns the value that ``text`` spells, or None where it spells none."""
    if kind == "string":
        return text
    if kind == "bool":
        return {"": True, "=true": True, "=false": False}.get(text)
    if kind == "float":
        try:
            return float(text)
        except ValueError:
            return None
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    limit = 1 << (_INTEGER_BITS[kind] - 1)
    return number if -limit <= number < limit else None


def _match(flag: Flag, argument: str) -> str | None:
    """Returns the text of the value where ``argument`` sets ``flag``, else None.

    As in TensorFlow, a bool flag takes every argument that begins with its name; what follows the
    name, if it is neither empty nor ``=true`` nor ``=false``, is then a bad value.
    """
    prefix = f"--{flag.name}"
    if not argument.startswith(prefix):
        return None
    rest = argument[len(prefix) :]
    if flag.kind == "bool":
        return rest
    return rest[1:] if rest.startswith("=") else None


def parse(arguments: Sequence[str]) -> ParsedFlags:
    """Reads a command line, without the program's name."""
    values: dict[str, Value] = {flag.name: flag.default for flag in FLAGS}
    unknown: list[str] = []
    errors: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            unknown.extend(arguments[position:])
            break
        for flag in FLAGS:
            text = _match(flag, argument)
            if text is None:
                continue
            value = _parse_value(flag.kind, text)
            if value is None:
                errors.append(
                    f"Couldn't interpret value {text.removeprefix('=')} for flag {flag.name}."
                )
            else:
                values[flag.name] = value
            break
        else:
            unknown.append(argument)
    fields = {field.name for field in dataclasses.fields(Options)}
    return ParsedFlags(
        options=Options(**{name: values[name] for name in fields}),  # type: ignore[arg-type]
        ignored=tuple(
            flag.name
            for flag in FLAGS
            if (flag.ignored or flag.name in _HALF_IGNORED) and values[flag.name] != flag.default
        ),
        help=unknown[:1] == ["--help"],
        unknown=tuple(unknown),
        errors=tuple(errors),
    )


def _display(flag: Flag) -> str:
    if flag.kind == "bool":
        return f"--{flag.name}={'true' if flag.default else 'false'}"
    if flag.kind == "string":
        return f'--{flag.name}="{flag.default}"'
    if flag.kind == "float":
        return f"--{flag.name}={flag.default:f}"
    return f"--{flag.name}={flag.default}"


def usage(program: str) -> str:
    """Returns the usage text, in TensorFlow's layout."""
    lines = [f"usage: {program}", "Flags:"]
    lines += [f"\t{_display(flag):33}\t{flag.kind}\t{flag.usage}" for flag in FLAGS]
    return "\n".join(lines) + "\n"
