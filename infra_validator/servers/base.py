"""The contract of a serving binary."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from infra_validator.clients.base import Client
from infra_validator.faults import Fault


@dataclasses.dataclass(frozen=True)
class LogFacts:
    """What a server's log tells.

    Attributes:
        fatal: a fault that the server will not recover from, though it runs on.
        warm_up_records: how many warm-up requests were replayed; None if none were.
        warm_up_seconds: how long that took.
        no_warm_up: whether it says that it found no warm-up requests with the model.
        notes: lines that the user of the report should see.
    """

    fatal: Fault | None = None
    warm_up_records: int | None = None
    warm_up_seconds: float | None = None
    no_warm_up: bool = False
    notes: tuple[str, ...] = ()


class ServingBinary(Protocol):
    """A model server at a version: what to launch, how to read its log, how to ask it.

    Knows nothing of where it runs.
    """

    @property
    def name(self) -> str:
        """What the report calls it: the image's reference, or the program's name."""

    @property
    def image(self) -> str | None:
        """The image's reference, or None where no image is used."""

    @property
    def program(self) -> str:
        """The name of its program, to look up on PATH where no image is used."""

    @property
    def embedded_module(self) -> str:
        """The Python module that stands in where there is no such program."""

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables that it is to be given."""

    @property
    def config_files(self) -> Mapping[str, bytes]:
        """Configuration files to carry to it: flag to content."""

    @property
    def container_port(self) -> int:
        """The port on which its image listens."""

    def container_environment(self, base: str) -> dict[str, str]:
        """What its image must be told by the environment, `env` included.

        Args:
            base: folder below which the model lies as `model_layout` says.
        """

    def container_arguments(self, config_files: Mapping[str, str]) -> list[str]:
        """What is appended to the image's entry point.

        Args:
            config_files: flag to where its file is in the container.
        """

    def model_layout(self) -> str:
        """Where the model must lie below the base folder: a relative path."""

    def process_arguments(
        self, *, base: Path, socket: Path, config_files: Mapping[str, Path]
    ) -> list[str]:
        """The arguments with which the program serves the model on a unix socket only.

        Args:
            base: folder below which the model lies as `model_layout` says.
            socket: path of the socket to make.
            config_files: flag to where its file was put.
        """

    def read_version(self, output: str) -> dict[str, str]:
        """Versions, from what the program prints for --version, or from its log."""

    def read_log(self, log: str) -> LogFacts:
        """What its log tells, at any time."""

    def diagnose_exit(self, exit_code: int, reason: str, log: str) -> Fault:
        """Why it ended before it was ready.

        Args:
            exit_code: 128 + N where signal N ended it.
            reason: what the platform says.
            log: its whole output.
        """

    def diagnose_crash(self, exit_code: int, reason: str, log: str, asked: str) -> Fault:
        """Why it ended while it answered; `asked` says what."""

    def diagnose_timeout(self, seconds: float, log: str) -> Fault:
        """Why it was not ready in time."""

    def connect(self, endpoint: str, wake: Callable[[], None]) -> Client:
        """A client for a server that may not listen yet."""
