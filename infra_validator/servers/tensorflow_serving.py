"""TensorFlow Serving: what to launch, and what its end and its log mean."""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from infra_validator.clients.base import Client
from infra_validator.faults import Evidence, Fault, Phase, fault
from infra_validator.servers import tensorflow_serving_log as serving_log
from infra_validator.servers.base import LogFacts
from infra_validator.tensorflow_errors import find_missing_op
from infra_validator.text import first_line

_VERSION = 1

# Exit code of tensorflow_model_server when it cannot load the model or use a flag
# (model_servers/main.cc returns -1).
_EXIT_REFUSED = 255

# By default a load that fails is tried 5 times more, a minute apart.
_FAIL_AT_ONCE = ("--max_num_load_retries=0", "--load_retry_interval_micros=0")
_CRASHES = {128 + signal.SIGABRT, 128 + signal.SIGSEGV, 128 + signal.SIGBUS, 128 + signal.SIGFPE}


@dataclasses.dataclass(frozen=True)
class TensorFlowServing:
    """One TensorFlow Serving: an image, or a program on the machine.

    Attributes:
        model_name: the name under which it serves the model.
        image: the image's reference, or None where no image is used.
        args: further flags, each "--name=value"; they come last, so they win.
        env: environment variables.
        config_files: flag to the content of the file it is set to.
    """

    model_name: str
    image: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config_files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    program = "tensorflow_model_server"
    embedded_module = "infra_validator.model_server"

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.image or "TensorFlow Serving"

    def model_layout(self) -> str:
        """`name/version`; the version has no meaning here."""
        return f"{self.model_name}/{_VERSION}"

    def process_arguments(
        self, *, base: Path, socket: Path, config_files: Mapping[str, Path]
    ) -> list[str]:
        """Flags to serve the model on a unix socket, on no port, and to fail at the first error.

        Of a flag given twice the last one counts.
        """
        return [
            "--port=0",
            "--rest_api_port=0",
            f"--grpc_socket_path={socket}",
            f"--model_name={self.model_name}",
            f"--model_base_path={base / self.model_name}",
            *_FAIL_AT_ONCE,
            *(f"--{flag}={path}" for flag, path in config_files.items()),
            *self.args,
        ]

    container_port = 8500

    def container_environment(self, base: str) -> dict[str, str]:
        """By these the image's entry point finds the model (tools/docker/Dockerfile)."""
        return {**self.env, "MODEL_NAME": self.model_name, "MODEL_BASE_PATH": base}

    def container_arguments(self, config_files: Mapping[str, str]) -> list[str]:
        """The same as for a process, less what the image's entry point says itself."""
        return [
            *_FAIL_AT_ONCE,
            *(f"--{flag}={path}" for flag, path in config_files.items()),
            *self.args,
        ]

    def read_version(self, output: str) -> dict[str, str]:
        """Versions of the server and of its TensorFlow."""
        return serving_log.find_versions(output)

    def read_log(self, log: str) -> LogFacts:
        """What the log tells while it runs."""
        not_found = serving_log.find_model_not_found(log, self.model_name)
        warm_up = serving_log.find_warm_up(log)
        return LogFacts(
            fatal=None
            if not_found is None
            else fault(
                "model_not_delivered",
                Phase.LOAD,
                "The server does not find the model where the platform put it.",
                detail=not_found,
                evidence=Evidence(log_line=not_found),
            ),
            warm_up_records=warm_up[0] if warm_up else None,
            warm_up_seconds=warm_up[1] if warm_up else None,
            no_warm_up=serving_log.has_no_warm_up(log),
            notes=serving_log.find_notes(log) + self._note_lost_gpu(log),
        )

    def _note_lost_gpu(self, log: str) -> tuple[str, ...]:
        """An image for GPU serves without one as well, only slower; no other is to have one."""
        if self.image is None or "gpu" not in self.image.rpartition(":")[2]:
            return ()
        said = serving_log.find_lost_gpu(log)
        if said is None:
            return ()
        return (f"The server uses no GPU, though its image is made for one: {first_line(said)}",)

    def diagnose_exit(self, exit_code: int, reason: str, log: str) -> Fault:
        """From the exit code, then from the load error, then from what else the log says."""
        killed = _diagnose_signal(exit_code, reason, Phase.LOAD, "while loading the model", log)
        if killed is not None:
            return killed
        error = serving_log.find_load_error(log)
        if error is not None:
            return _diagnose_load_error(error, exit_code, log)
        library = serving_log.find_missing_gpu_library(log)
        if library is not None:
            return fault(
                "gpu_unusable",
                Phase.START,
                f"The server lacks a library of the GPU: {first_line(library)}",
                detail=library,
                evidence=Evidence(exit_code=exit_code, log_line=library),
            )
        bad_flag = serving_log.find_bad_flag(log)
        if exit_code == _EXIT_REFUSED and bad_flag is not None:
            return fault(
                "server_flags_refused",
                Phase.START,
                f"The server refuses its flags: {first_line(bad_flag)}",
                detail=bad_flag,
                evidence=Evidence(exit_code=exit_code, log_line=bad_flag),
            )
        last = serving_log.last_line(log)
        said = f"; its last words: {first_line(last)}" if last else " without a word"
        category = "model_load_failed" if serving_log.has_begun_loading(log) else "server_exited"
        return fault(
            category,
            Phase.LOAD if category == "model_load_failed" else Phase.START,
            f"The server ended before it was ready ({reason}){said}",
            detail=last,
            evidence=Evidence(exit_code=exit_code, log_line=last or None),
        )

    def diagnose_crash(self, exit_code: int, reason: str, log: str, asked: str) -> Fault:
        """A server has no reason to end while it answers, so a request made it."""
        killed = _diagnose_signal(exit_code, reason, Phase.QUERY, f"while answering {asked}", log)
        if killed is not None:
            return killed
        last = serving_log.last_line(log)
        return fault(
            "server_crashed",
            Phase.QUERY,
            f"The server ended while answering {asked} ({reason}).",
            detail=last,
            evidence=Evidence(exit_code=exit_code, log_line=last or None),
        )

    def diagnose_timeout(self, seconds: float, log: str) -> Fault:
        """The model's fault only if the server had begun to load it, and was not done with it."""
        last = serving_log.last_line(log)
        evidence = Evidence(log_line=last or None)
        if serving_log.says_it_serves(log):
            return fault(
                "server_not_ready",
                Phase.LOAD,
                f"The server says that it serves the model, but was not reached within "
                f"{seconds:g} s.",
                detail=last,
                hint="See that the network lets the validator reach the server's address; on local "
                "Docker, ServingSpec.local_docker.host_ip_address.",
                evidence=evidence,
            )
        if serving_log.has_begun_loading(log):
            return fault(
                "load_timeout",
                Phase.LOAD,
                f"The model was not loaded within {seconds:g} s.",
                detail=last,
                evidence=evidence,
            )
        return fault(
            "server_not_ready",
            Phase.LOAD,
            f"The server ran for {seconds:g} s, but neither answered nor began to load the model.",
            detail=last,
            evidence=evidence,
        )

    def connect(self, endpoint: str, wake: Callable[[], None]) -> Client:
        """A gRPC client."""
        from infra_validator.clients.tensorflow_serving import TensorFlowServingClient

        return TensorFlowServingClient(endpoint, self.model_name, wake)


def _diagnose_signal(
    exit_code: int, reason: str, phase: Phase, when: str, log: str
) -> Fault | None:
    evidence = Evidence(exit_code=exit_code)
    if exit_code == 128 + signal.SIGILL:
        return fault(
            "illegal_instruction",
            phase,
            f"The server stopped on an illegal instruction {when}.",
            evidence=evidence,
        )
    if exit_code in {128 + signal.SIGKILL, 128 + signal.SIGTERM}:
        return fault(
            "server_killed", phase, f"The server was killed {when} ({reason}).", evidence=evidence
        )
    if exit_code == 128 + signal.SIGABRT and serving_log.says_bad_alloc(log):
        return fault(
            "out_of_memory",
            phase,
            f"The server was given no more memory {when}, and ended itself.",
            evidence=evidence,
        )
    if exit_code in _CRASHES:
        return fault(
            "server_crashed", phase, f"The server crashed {when} ({reason}).", evidence=evidence
        )
    return None


def _diagnose_load_error(error: serving_log.LoadError, exit_code: int, log: str) -> Fault:
    """Decides by the message, then by the status code, what kind of load error it is."""
    text = f"{error.code}: {error.message}"
    # Words in the name of a folder, the model's above all, say nothing of the fault.
    words = re.sub(r"\S*/", "", error.message).lower()
    evidence = Evidence(exit_code=exit_code, log_line=text.splitlines()[0])

    def found(category: str, summary: str, hint: str | None = None) -> Fault:
        early = category == "server_flags_refused" and not serving_log.has_begun_loading(log)
        phase = Phase.START if early else Phase.LOAD
        return fault(category, phase, summary, detail=text, hint=hint, evidence=evidence)

    op = find_missing_op(error.message)
    if op is not None:
        return found(
            "op_missing", f"The server's TensorFlow does not have the op {op.name!r}.", op.hint
        )
    said = f"the server says {first_line(text)}"
    for category, summary, hint, applies in _LOAD_ERRORS:
        if applies(error, words):
            return found(category, f"{summary}: {said}", hint)
    if serving_log.ended_warming_up(log):  # the error is that of the request
        return found("warm_up_failed", f"The model's warm-up requests fail: {said}")
    return found("model_load_failed", f"The model cannot be loaded: {said}")


def _says(*parts: str) -> Callable[[serving_log.LoadError, str], bool]:
    return lambda _, words: any(part in words for part in parts)


# tensorflow/core/util/tensor_bundle, and the table format that its index has
_VARIABLES_CORRUPT = re.compile(
    "checkpoint|an sstable|tensor ?bundle|checksum does not match|bad block type|corrupted block|"
    "block checksum mismatch|read less bytes than requested"
)
_SERVED_TAGS_HINT = (
    "Export the model with the tags that the server looks for (serve, or those of its flag "
    "--saved_model_tags), or set that flag in ServingSpec.tensorflow_serving.args."
)

# Category, summary, hint (None for the category's own), and whether it is that. The first counts.
_LOAD_ERRORS: tuple[
    tuple[str, str, str | None, Callable[[serving_log.LoadError, str], bool]], ...
] = (
    (
        "model_not_delivered",
        "The server may not read the model",
        None,
        lambda error, words: error.code == "PERMISSION_DENIED" or "permission denied" in words,
    ),
    (
        "out_of_memory",
        "The model does not fit into memory",
        None,
        lambda error, words: error.code == "RESOURCE_EXHAUSTED" or "out_of_memory" in words,
    ),
    (
        "gpu_unusable",
        "The server cannot use its GPU",
        None,
        _says(
            "dnn library is not found",
            "dnn library initialization failed",
            "failed to initialize cuda",
            "cuda_error_",
            "cuda driver version is insufficient",
        ),
    ),
    (
        "warm_up_failed",
        "The model's warm-up requests fail",
        None,
        _says("warmup", "warm-up"),
    ),
    (
        "platform_failed",
        "The server cannot listen",
        None,
        _says("address already in use", "failed to bind"),
    ),
    (
        "server_flags_refused",
        "The server refuses its configuration",
        None,
        _says("batching", "allowed_batch_sizes", "protobuf file"),
    ),
    (
        "graph_version_mismatch",
        "The model's graph is of another TensorFlow",
        None,
        _says(
            "min consumer version",
            "below min producer",
            "graphdef-interpreting binary is up to date",
        ),
    ),
    (
        "tags_missing",
        "The model has no MetaGraph with the tags that the server looks for",
        _SERVED_TAGS_HINT,
        _says("could not find meta graph def matching supplied tags"),
    ),
    (
        "model_missing",
        "The server finds no SavedModel in the model's folder",
        None,
        _says("does not appear to contain a savedmodel"),
    ),
    (
        "model_unreadable",
        "The model's graph cannot be read",
        None,
        lambda error, words: (
            "saved_model.pb" in error.message
            and ("can't parse" in words or error.code == "DATA_LOSS")
        ),
    ),
    (
        "variables_unreadable",
        "The model's variables cannot be read",
        None,
        lambda error, words: (
            "/variables/variables" in error.message or _VARIABLES_CORRUPT.search(words) is not None
        ),
    ),
    (
        "asset_unreadable",
        "A file that the model reads cannot be read",
        None,
        lambda error, words: "/assets/" in error.message or "asset" in words,
    ),
)
