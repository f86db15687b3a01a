"""Which versions of the model there are, and which one a ModelSpec means.

tensorflow_serving/model_servers/server_core.cc and tensorflow_serving/core/manager.h.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from infra_validator.model_server.model import Model
from infra_validator.model_server.status import Code, StatusError, invalid_argument


@dataclasses.dataclass(frozen=True)
class Servable:
    """A version that is AVAILABLE.

    Attributes:
        version: its number.
        model: what runs it.
    """

    version: int
    model: Model


@dataclasses.dataclass(frozen=True)
class Servables:
    """All versions of the one model; nothing changes any more once they are loaded.

    Attributes:
        name: the model's.
        available: version → what was loaded.
        failed: version → why it did not load.
        labels: label → version; None before any configuration has set them.
    """

    name: str
    available: Mapping[int, Servable]
    failed: Mapping[int, StatusError]
    labels: Mapping[str, int] | None

    def find(self, spec: Any) -> Servable:
        """Returns the version that a request's ModelSpec asks for.

        Raises:
            StatusError: the spec is unfit, or there is no such model, version or label.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice is None:
            if spec.name != self.name or not self.available:
                raise StatusError(
                    Code.NOT_FOUND, f"Servable not found for request: Latest({spec.name})"
                )
            return self.available[max(self.available)]
        if choice == "version_label":
            if self.labels is None:
                raise StatusError(
                    Code.UNAVAILABLE, f"Model labels does not init yet.{spec.version_label}"
                )
            if spec.name != self.name or spec.version_label not in self.labels:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
            version = self.labels[spec.version_label]
        else:
            version = spec.version.value
        if spec.name != self.name or version not in self.available:
            raise StatusError(
                Code.NOT_FOUND,
                f"Servable not found for request: Specific({spec.name}, {version})",
            )
        return self.available[version]
