"""A loaded model, as the request handlers see it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from infra_validator.model_server.capi import Library, Tensor
from infra_validator.model_server.signatures import Signature


class Runner(Protocol):
    """What runs the graph: the session itself, or the batching session around it."""

    def run(
        self, feeds: Sequence[tuple[str, Tensor]], fetches: Sequence[str], timeout_ms: int
    ) -> list[Tensor]:
        """Runs the graph; see :meth:`infra_validator.model_server.capi.Session.run`."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A MetaGraph in a session.

    Attributes:
        library: the runtime.
        session: runs the graph.
        signatures: by name.
        check_method_names: ``--enable_signature_method_name_check``.
    """

    library: Library
    session: Runner
    signatures: Mapping[str, Signature]
    check_method_names: bool


def read_signatures(meta_graph: Any) -> dict[str, Signature]:
    """Returns the signatures of a MetaGraphDef, by name."""
    definitions = meta_graph.signature_def
    return {name: Signature.from_proto(definitions[name]) for name in sorted(definitions)}
