"""The contract of a client."""

from __future__ import annotations

from typing import Protocol

from infra_validator.requests.request import Request


class Call(Protocol):
    """A request that was sent."""

    def done(self) -> bool:
        """Whether it was answered, refused, or given up."""

    def result(self) -> float:
        """How long the answer took, in seconds. To be called once it is done.

        Raises:
            FaultError: if it was not answered well.
        """

    def lost_connection(self) -> bool:
        """Whether it failed because the connection broke."""

    def cancel(self) -> None:
        """Gives it up."""


class Client(Protocol):
    """Speaks a server's API. No method but `close` blocks; results come with a wake-up."""

    def ready(self) -> bool:
        """Whether the server says that the model is available.

        Raises:
            FaultError: if the server says that it never will be.
        """

    def send(self, request: Request, timeout: float) -> Call:
        """Sends a request, to be answered within that many seconds."""

    def close(self) -> None:
        """Gives up what is under way."""
