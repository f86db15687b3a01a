"""Where the SavedModel itself shows why it failed, or how far from fitting it is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from infra_validator.faults import Fault, FaultError, fault
from infra_validator.files import FileSystem
from infra_validator.saved_model.inspection import Inspection, inspect_model
from infra_validator.saved_model.op_registry import registered_ops
from infra_validator.tensorflow_errors import find_missing_op
from infra_validator.text import size

_MEMORY = frozenset({"memory_limit_exceeded", "out_of_memory", "server_killed"})
_SIZE_MATTERS = _MEMORY | {"load_timeout"}
_VERSION_MATTERS = frozenset(
    {"op_missing", "graph_version_mismatch", "model_load_failed", "server_crashed"}
)
_OF_FILES = frozenset({"model_load_failed", "variables_unreadable"})
_EXPLAINED = (
    _SIZE_MATTERS
    | _VERSION_MATTERS
    | {"tags_missing", "variables_unreadable", "asset_unreadable", "warm_up_failed"}
)
_NAMED_OPS = 10
_NUMBER = re.compile(r"\d+")


def explain(
    found: Fault,
    files: FileSystem,
    model: str,
    server_versions: Mapping[str, str],
) -> Fault:
    """The fault, its hint extended by what the model's own files say of the cause.

    The model is read only where it may tell something; where it cannot be read,
    the fault stays as it is.

    Args:
        found: the fault of a server that was given the model.
        files: where the model lies.
        model: the SavedModel's folder.
        server_versions: what the server says of itself, as the report has it.
    """
    if found.category not in _EXPLAINED:
        return found
    try:
        inspected = _inspect(files, model, _missing_ops(found))
    except FaultError as error:
        return _blame_graph(found, error.fault)
    except (OSError, ModuleNotFoundError):  # of another file, or without TensorFlow here
        return found
    sentences = list(say_of(found, inspected, server_versions))
    if not sentences:
        return found
    return dataclasses.replace(found, hint=" ".join([found.hint, *sentences]).strip())


def _blame_graph(found: Fault, unreadable: Fault) -> Fault:
    """A server's words do not always tell a truncated graph from truncated variables."""
    if unreadable.category != "model_unreadable" or found.category not in _OF_FILES:
        return found
    return fault(
        unreadable.category,
        found.phase,
        f"{unreadable.summary} {found.summary}",
        detail=found.detail,
        evidence=found.evidence,
    )


def _missing_ops(found: Fault) -> frozenset[str]:
    op = find_missing_op(found.detail)
    return frozenset() if op is None else frozenset({op.name})


def _inspect(files: FileSystem, model: str, missing: frozenset[str]) -> Inspection:
    # What the server does not have counts as foreign, even if the TensorFlow here has it.
    return inspect_model(files, model, registered_ops() - missing, "")


def say_of(found: Fault, model: Inspection, server_versions: Mapping[str, str]) -> Iterator[str]:
    """Sentences about the model that bear on the fault. Pure.

    Args:
        found: the fault.
        model: what the model says of itself, the server's missing ops foreign.
        server_versions: what the server says of itself.
    """
    if found.category == "op_missing":
        yield from _say_ops(model)
    if found.category in _VERSION_MATTERS:
        yield from _say_versions(found, model, server_versions)
    if found.category == "tags_missing":
        yield f"The model has the tags {_tag_sets(model)}."
    if found.category == "variables_unreadable" and "variables" not in model.files:
        yield "The model has no file in a folder variables."
    if found.category == "asset_unreadable" and "assets" not in model.files:
        yield "The model has no file in a folder assets."
    if found.category == "warm_up_failed" and model.warm_up is not None:
        yield from _say_warm_up(model)
    if found.category in _SIZE_MATTERS:
        yield _say_size(model)


def _say_ops(model: Inspection) -> Iterator[str]:
    for graph in model.meta_graphs:
        for op in graph.foreign_ops[:_NAMED_OPS]:
            owner = f" (of {op.package})" if op.package else ""
            yield (
                f"Signatures that need the op {op.name}{owner}: {_listed(op.signatures)}."
                if op.signatures
                else f"No signature needs the op {op.name}{owner}."
            )
        if len(graph.foreign_ops) > _NAMED_OPS:
            yield f"It has {len(graph.foreign_ops) - _NAMED_OPS} more ops of such a kind."
        told = {op.name for op in graph.foreign_ops[:_NAMED_OPS]}
        for call in graph.python_ops:
            if call.signatures and call.name not in told:
                yield f"Signatures that call Python by {call.name}: {_listed(call.signatures)}."


def _say_versions(
    found: Fault, model: Inspection, server_versions: Mapping[str, str]
) -> Iterator[str]:
    server = server_versions.get("Library") or server_versions.get("tensorflow") or ""
    for graph in model.meta_graphs:
        written = graph.tensorflow_version
        newer = server and written and _numbers(written) > _numbers(server)
        if newer:
            yield f"TensorFlow {written} wrote the model; the server's is the older {server}."
        if found.category == "graph_version_mismatch":
            by = f"TensorFlow {written}" if written and not newer else "it"
            yield (
                f"The model's graph was written by {by} in version {graph.producer} of the "
                f"graph's format, and says that version {graph.min_consumer} at least can read it."
            )


def _numbers(version: str) -> tuple[int, ...]:
    """Major and minor: what comes behind changes neither ops nor the format."""
    return tuple(int(number) for number in _NUMBER.findall(version)[:2])


def _tag_sets(model: Inspection) -> str:
    sets = ["+".join(graph.tags) or "(none)" for graph in model.meta_graphs]
    return ", ".join(sets) or "of no MetaGraph at all"


def _say_warm_up(model: Inspection) -> Iterator[str]:
    warm_up = model.warm_up
    assert warm_up is not None  # noqa: S101
    if warm_up.problem is not None:
        yield f"{warm_up.problem}."
    if warm_up.requests:
        asked = ", ".join(f"{count} {name}" for name, count in warm_up.requests.items())
        yield f"The warm-up file has {warm_up.records} requests: {asked}."


def _say_size(model: Inspection) -> str:
    parts = [
        f"{kind} {size(model.files[kind].size)}"
        for kind in ("variables", "graph", "assets")
        if kind in model.files
    ]
    total = sum(entry.size for entry in model.files.values())
    return (
        f"The model's files have {size(total)} ({', '.join(parts)}), and a server needs "
        "more than that in memory."
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
