"""The local process platform: the server is a process on this machine.

The server listens on a unix socket in a private folder and on no port, so that
no other process can answer in its place, and none can take its port.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra_validator.faults import Evidence, Fault, FaultError, Phase, fault
from infra_validator.model_source import ModelSource
from infra_validator.runners import process_command, supervisor
from infra_validator.runners.base import Exit, ServerTask
from infra_validator.runners.exits import exit_reason
from infra_validator.runners.supervised_process import SupervisedProcess
from infra_validator.servers.base import ServingBinary
from infra_validator.text import first_line

_logger = logging.getLogger(__name__)

# What a program needs of the validator's environment to run at all; credentials and proxies
# stay out.
_PASSED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
_VERSION_SECONDS = 3.0
_SETTINGS = {"executable"}


@dataclasses.dataclass(frozen=True)
class Program:
    """What is run.

    Attributes:
        command: the program's absolute path and the arguments that come first.
        embedded: whether it is the embedded model server.
    """

    command: tuple[str, ...]
    embedded: bool

    @property
    def name(self) -> str:
        """What the report calls it."""
        return "embedded model server" if self.embedded else self.command[0]


class LocalProcessPlatform:
    """Runs servers as processes of this machine."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Looks nothing up yet.

        Args:
            settings: LocalProcessConfig in JSON form.

        Raises:
            ValueError: if there is a setting that is not known.
        """
        unknown = set(settings) - _SETTINGS
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
        self._executable: str = settings.get("executable", "")

    @property
    def phase_limits(self) -> Mapping[Phase, float]:
        """None: a process runs as soon as it is started."""
        return {}

    def prepare(self, binary: ServingBinary, model: ModelSource) -> None:
        """Finds the program, and has the model on this machine."""
        self._find_program(binary)
        if not hasattr(os, "pidfd_open"):
            raise FaultError(
                fault(
                    "platform_failed",
                    Phase.STAGE,
                    "The local process platform needs Linux 5.3 or later.",
                )
            )
        model.local_path()

    def create_runner(self, task: ServerTask) -> LocalProcessRunner:
        """A runner that has not started yet."""
        return LocalProcessRunner(self._find_program(task.binary), task)

    def _find_program(self, binary: ServingBinary) -> Program:
        if self._executable:
            return Program((str(_find_executable(self._executable)),), embedded=False)
        found = shutil.which(binary.program)
        if found is not None:
            return Program((str(Path(found).absolute()),), embedded=False)
        return Program((sys.executable, "-m", binary.embedded_module), embedded=True)


class LocalProcessRunner:
    """One server process."""

    def __init__(self, program: Program, task: ServerTask) -> None:
        self._program = program
        self._task = task
        self._process: SupervisedProcess | None = None
        self._version: SupervisedProcess | None = None
        self._command: list[str] = []
        self._socket = task.workdir / "server.sock"

    def start(self) -> None:
        """Lays out the model by a link, never a copy, and starts the process."""
        task = self._task
        base = task.workdir / "models"
        link = base / task.binary.model_layout()
        config_files = {flag: task.workdir / f"{flag}.conf" for flag in task.binary.config_files}
        try:
            link.parent.mkdir(parents=True)
            link.symlink_to(task.model.local_path(), target_is_directory=True)
            for flag, path in config_files.items():
                path.write_bytes(task.binary.config_files[flag])
            self._command = [
                *self._program.command,
                *task.binary.process_arguments(
                    base=base, socket=self._socket, config_files=config_files
                ),
            ]
            _logger.info("%s is the %s", task.binary.name, self._program.name)
            self._process = self._spawn(self._command)
            if not self._program.embedded:
                self._version = self._spawn([*self._program.command, "--version"])
        except OSError as error:
            raise FaultError(
                fault(
                    "platform_failed",
                    Phase.START,
                    f"The server's process cannot be started: {error}",
                )
            ) from error

    def phase(self) -> Phase:
        """LOAD: the process runs as soon as it is started."""
        return Phase.LOAD

    def endpoint(self) -> str:
        """The unix socket."""
        return f"unix:{self._socket}"

    def poll(self) -> Exit | None:
        """None while the process runs, else how it ended."""
        code = None if self._process is None else self._process.poll()
        return None if code is None else Exit(code, exit_reason(code))

    def diagnose(self) -> Fault | None:
        """Whether the program could not be run at all."""
        ended = self.poll()
        if ended is None or ended.code != supervisor.EXIT_CANNOT_RUN:
            return None
        said = first_line(self.logs())
        if not said.startswith(supervisor.CANNOT_RUN):
            return None
        return fault(
            "executable_unusable",
            Phase.START,
            f"The program cannot be run: {said.removeprefix(supervisor.CANNOT_RUN)}",
            evidence=Evidence(exit_code=ended.code),
        )

    def logs(self) -> str:
        """Standard output and error of the process."""
        return "" if self._process is None else self._process.output()

    def identity(self) -> Mapping[str, Any]:
        """Which program, with which arguments, in which version."""
        if self._program.embedded:
            versions = {
                package: importlib.metadata.version(package)
                for package in ("infra-validator", "tensorflow")
                if _is_installed(package)
            }
        elif self._version is not None:
            self._version.wait(_VERSION_SECONDS)
            versions = self._task.binary.read_version(self._version.output())
        else:
            versions = {}
        return {
            "server": self._program.name,
            "command": self._command,
            "reproduce": self._reproduce() if self._command else "",
            "versions": versions,
        }

    def _reproduce(self) -> str:
        task = self._task
        return process_command.reproduce(
            self._command,
            workdir=str(task.workdir),
            link=str(task.workdir / "models" / task.binary.model_layout()),
            model=str(task.model.local_path()),
            model_uri=task.model.own_place(),
            config_files=task.binary.config_files,
            variables=task.binary.env,
        )

    def stop(self) -> None:
        """Kills the process and all its descendants."""
        for process in (self._process, self._version):
            if process is not None:
                process.stop()

    def _spawn(self, command: list[str]) -> SupervisedProcess:
        return SupervisedProcess(
            command,
            env=_environment(self._program, self._task.binary.env, self._task.workdir),
            workdir=self._task.workdir,
            workspace=self._task.workdir.parent,
            wake=self._task.wake,
        )


def _find_executable(executable: str) -> Path:
    """A path, or a name to look up on PATH, as an absolute path.

    Raises:
        FaultError: "executable_unusable".
    """
    path = Path(executable)
    try:
        path = path.expanduser()
        if path.name == executable:
            found = shutil.which(executable)
            problem = None if found else "is not on PATH"
            path = Path(found or executable)
        elif not path.exists():
            problem = "does not exist"
        elif not path.is_file() or not os.access(path, os.X_OK):
            problem = "is not an executable file"
        else:
            problem = None
    except (OSError, RuntimeError, ValueError) as error:  # no such user, name too long, ...
        problem = f"cannot be looked up ({error})"
    if problem is not None:
        raise FaultError(
            fault(
                "executable_unusable",
                Phase.STAGE,
                f"ServingSpec.local_process.executable: {executable!r} {problem}.",
            )
        )
    return path.absolute()


def _environment(program: Program, extra: Mapping[str, str], home: Path) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
    environment |= {"HOME": str(home), "TMPDIR": str(home)}
    if program.embedded:
        # The same packages as here, however they came to be importable.
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    return environment | dict(extra)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
