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
            notes=serving_log.find_notes(log),
        )

    def diagnose_exit(self, exit_code: int, reason: str, log: str) -> Fault:
        """From the exit code, then from the load error, then from what else the log says."""
        killed = _diagnose_signal(exit_code, reason, Phase.LOAD, "while loading the model")
        if killed is not None:
            return killed
        error = serving_log.find_load_error(log)
        if error is not None:
            return _diagnose_load_error(error, exit_code)
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
        killed = _diagnose_signal(exit_code, reason, Phase.QUERY, f"while answering {asked}")
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


def _diagnose_signal(exit_code: int, reason: str, phase: Phase, when: str) -> Fault | None:
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
    if exit_code in _CRASHES:
        return fault(
            "server_crashed", phase, f"The server crashed {when} ({reason}).", evidence=evidence
        )
    return None


def _diagnose_load_error(error: serving_log.LoadError, exit_code: int) -> Fault:
    """Decides by the message, then by the status code, what kind of load error it is."""
    text = f"{error.code}: {error.message}"
    # Words in the name of a folder, the model's above all, say nothing of the fault.
    words = re.sub(r"\S*/", "", error.message).lower()
    evidence = Evidence(exit_code=exit_code, log_line=text.splitlines()[0])

    def found(category: str, summary: str, hint: str | None = None) -> Fault:
        return fault(category, Phase.LOAD, summary, detail=text, hint=hint, evidence=evidence)

    op = find_missing_op(error.message)
    if op is not None:
        return found(
            "op_missing", f"The server's TensorFlow does not have the op {op.name!r}.", op.hint
        )
    said = f"the server says {first_line(text)}"
    if error.code == "PERMISSION_DENIED" or "permission denied" in words:
        return found("model_not_delivered", f"The server may not read the model: {said}")
    if error.code == "RESOURCE_EXHAUSTED":
        return found("out_of_memory", f"The model does not fit into memory: {said}")
    if "warmup" in words or "warm-up" in words:
        return found("warm_up_failed", f"The model's warm-up requests fail: {said}")
    if "address already in use" in words or "failed to bind" in words:
        return found("platform_failed", f"The server cannot listen: {said}")
    if "batching" in words or "allowed_batch_sizes" in words or "protobuf file" in words:
        return found("server_flags_refused", f"The server refuses its configuration: {said}")
    if "/variables/variables" in error.message or "checkpoint" in words:
        return found("variables_unreadable", f"The model's variables cannot be read: {said}")
    return found("model_load_failed", f"The model cannot be loaded: {said}")
