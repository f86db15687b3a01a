"""The candidate model: where it lies, and how it gets to this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from infra_validator.faults import Phase
from infra_validator.files import (
    FileSystem,
    copy_tree,
    local_path,
    storage_errors,
    storage_fault,
)


class ModelSource:
    """A model, staged at most once however many servers want it.

    Attributes:
        uri: the SavedModel's folder, a local path or a remote URI.
        check: raises `Cancelled` once the validation is given up.
    """

    def __init__(
        self,
        uri: str,
        files: FileSystem,
        staging: Path,
        check: Callable[[], None],
        *,
        copy: Path | None = None,
    ) -> None:
        """Stages nothing yet.

        Args:
            uri: the SavedModel's folder.
            files: the file system that can read it.
            staging: a local folder to stage a remote model below.
            check: called now and then while staging; what it raises ends it.
            copy: a copy on this machine, if there is one already.
        """
        self.uri = uri.rstrip("/")
        self._files = files
        self._staging = staging
        self.check = check
        self._lock = threading.Lock()
        self._path = local_path(self.uri) or copy

    def siblings(self) -> list[str]:
        """Names of what lies beside the model's folder.

        Raises:
            FaultError: "storage_failed" if that cannot be told.
        """
        parent, _, name = self.uri.rpartition("/")
        try:
            with storage_errors():
                found = [str(other).rstrip("/") for other in self._files.listdir(parent)]
        except OSError as error:
            raise storage_fault(
                f"The folder of the model cannot be read: {parent}", Phase.STAGE, error
            ) from error
        return [other for other in found if other != name]

    def local_path(self) -> Path:
        """The model's folder on this machine: its own, or a copy of a remote one.

        Raises:
            FaultError: "storage_failed" if a remote model cannot be staged.
        """
        with self._lock:
            if self._path is None:
                target = self._staging / "model"
                try:
                    copy_tree(self._files, self.uri, str(target), self.check)
                except OSError as error:
                    raise storage_fault(
                        f"The model cannot be copied to this machine: {self.uri}",
                        Phase.STAGE,
                        error,
                    ) from error
                self._path = target
            return self._path.absolute()

    def own_place(self) -> str:
        """Where the model really is: its local folder, or its URI where that is remote."""
        path = local_path(self.uri)
        return self.uri if path is None else str(path.absolute())
