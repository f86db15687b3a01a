"""What files of requests share: how they are opened, and how a broken one is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO

from infra_validator.faults import FaultError, Phase, fault
from infra_validator.files import FileSystem, storage_errors, storage_fault

FIELD = "RequestSpec"


@contextlib.contextmanager
def open_requests(files: FileSystem, field: str, uri: str) -> Iterator[IO[bytes]]:
    """Opens a file of requests for reading.

    Args:
        files: where it lies.
        field: the field of RequestSpec that names it.
        uri: where it is.

    Raises:
        FaultError: "request_file_invalid" if there is none, "storage_failed" or
            "storage_denied" if it cannot be read.
    """
    try:
        with storage_errors(), files.open(uri, "rb") as file:
            yield file
    except FileNotFoundError:
        raise invalid(field, uri, "there is no such file") from None
    except OSError as error:
        raise storage_fault(
            f"{FIELD}.{field}: the file of requests cannot be read: {uri}", Phase.STAGE, error
        ) from error


def invalid(field: str, uri: str, problem: str) -> FaultError:
    """The fault of a file that is not what it should be."""
    return FaultError(
        fault("request_file_invalid", Phase.STAGE, f"{FIELD}.{field}: {uri}: {problem}.")
    )
