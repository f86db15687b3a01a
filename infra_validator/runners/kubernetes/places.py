"""Where the model is, as far as the server's Pod is concerned."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class StreamedModel:
    """The validator sends the model into the Pod."""


@dataclasses.dataclass(frozen=True)
class ClaimModel:
    """The model lies on a PersistentVolumeClaim.

    Attributes:
        claim: the claim's name.
        sub_path: the model's folder on it, relative; "" for the claim's root.
        read_only: whether the step's Pod has the volume itself read-only. Two Pods of
            one node that differ in this may not share a disk; the mount is read-only
            in any case.
    """

    claim: str
    sub_path: str
    read_only: bool = False


@dataclasses.dataclass(frozen=True)
class UriModel:
    """The server reads the model itself.

    Attributes:
        parent: URI of the folder that holds the model as its only version.
    """

    parent: str


ModelPlace = StreamedModel | ClaimModel | UriModel
