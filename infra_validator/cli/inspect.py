"""infra-validator inspect: what a SavedModel says of itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from infra_validator.cli import exits
from infra_validator.cli.completion import complete_folders
from infra_validator.text import count, size

if TYPE_CHECKING:
    from infra_validator.saved_model.inspection import Inspection, MetaGraphInspection
    from infra_validator.saved_model.reader import TensorSpec

_PLAIN_WIDTH = 100

_EPILOG = """\b
Examples:
  infra-validator inspect exported/model
  infra-validator inspect gs://bucket/model --json

\b
Exit codes:
  0  the model was read, whatever was found in it
  1  the model cannot be read
  2  wrong usage, or there is no such folder
  3  the storage cannot be read
"""


@click.command(epilog=_EPILOG, short_help="Show what a model says of itself.")
@click.argument("model_dir", metavar="MODEL_DIR", shell_complete=complete_folders)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(model_dir: str, as_json: bool) -> int:
    """Show signatures, ops that servers lack, warm-up requests, versions and sizes of a SavedModel.

    MODEL_DIR is found as by "infra-validator validate". Nothing of the model is
    run. An op is looked for in the TensorFlow that is installed here; the server may
    have another version, or more ops.
    """
    from infra_validator.cli.interruption import postponed_interrupt
    from infra_validator.cli.native_stderr import silenced
    from infra_validator.faults import Blame, FaultError
    from infra_validator.files import Gfile
    from infra_validator.places import find_model
    from infra_validator.saved_model.inspection import inspect_model
    from infra_validator.saved_model.op_registry import registered_ops
    from infra_validator.text import printable

    # Before the first file is read, since that imports TensorFlow as well.
    with postponed_interrupt(), silenced():
        version, ops = _tensorflow_version(), registered_ops()
    files = Gfile()
    place = find_model(files, model_dir)
    try:
        found = inspect_model(files, place.uri, ops, version)
    except FaultError as error:
        click.echo(f"Error: {printable(error.fault.summary)}", err=True)
        is_models = error.fault.blame == Blame.MODEL
        return exits.NOT_BLESSED if is_models else exits.UNDETERMINED
    except OSError as error:
        click.echo(f"Error: the model cannot be read: {printable(str(error))}", err=True)
        return exits.UNDETERMINED
    if as_json:
        click.echo(found.to_json(), nl=False)
    else:
        if place.note is not None:
            click.echo(printable(place.note), err=True)
        _show(found)
    return exits.SUCCESS


def _tensorflow_version() -> str:
    import tensorflow as tf

    return str(tf.__version__)


def _show(found: Inspection) -> None:
    from rich.console import Console

    from infra_validator.saved_model.inspection import problems

    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    console.print(_text(found.model, style="bold"), soft_wrap=True)
    console.print(_facts(found))
    for graph in found.meta_graphs:
        console.print(_signatures(graph))
    for problem in problems(found):
        console.print(_text(f"! {problem}", style="yellow"))


def _facts(found: Inspection) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for label, value in _lines(found):
        table.add_row(_text(label), _text(value))
    return table


def _lines(found: Inspection) -> list[tuple[str, str]]:
    lines = []
    for graph in found.meta_graphs:
        lines.append(
            (
                f"MetaGraph {', '.join(graph.tags) or '(no tags)'}",
                f"written by TensorFlow {graph.tensorflow_version or '(unknown)'}; graph format "
                f"{graph.producer}, readable from {graph.min_consumer} on; {graph.nodes} nodes, "
                f"{graph.functions} functions",
            )
        )
    if found.warm_up is None:
        lines.append(("Warm-up", "none"))
    else:
        asked = ", ".join(f"{number} {kind}" for kind, number in found.warm_up.requests.items())
        records = count(found.warm_up.records, "request")
        lines.append(("Warm-up", f"{records} ({asked or 'none readable'})"))
    sizes = ", ".join(
        f"{kind} {size(part.size)} in {count(part.count, 'file')}"
        for kind, part in found.files.items()
    )
    total = sum(part.size for part in found.files.values())
    lines.append(("Size", f"{size(total)}: {sizes}"))
    return lines


def _signatures(graph: MetaGraphInspection) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("signature", "method", "", "name", "dtype", "shape"):
        table.add_column(heading, overflow="fold")
    for signature in graph.signatures:
        first = (signature.name, signature.method.removeprefix("tensorflow/serving/"))
        for direction, tensors in (("in", signature.inputs), ("out", signature.outputs)):
            for row in _rows(tensors):
                table.add_row(*map(_text, (*first, direction, *row)))
                first, direction = ("", ""), ""
        if first[0]:
            table.add_row(*map(_text, (*first, "", "", "", "")))
    return table


def _rows(tensors: Mapping[str, TensorSpec]) -> list[tuple[str, str, str]]:
    return [
        (key, spec.dtype.removeprefix("DT_").lower(), _shape(spec.shape))
        for key, spec in tensors.items()
    ]


def _shape(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "any"
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _text(content: str, style: str = "") -> Any:
    from rich.text import Text

    from infra_validator.text import printable

    return Text(printable(content), style=style)
