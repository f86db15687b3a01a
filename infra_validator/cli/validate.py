"""infra-validator validate: serve a model, ask it, say what came of it."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from infra_validator.cli import exits
from infra_validator.cli.completion import complete_files, complete_folders
from infra_validator.cli.spec_options import FIELD_OPTIONS, read_specs, spec_options
from infra_validator.cli.wording import in_options
from infra_validator.specs import SpecError

if TYPE_CHECKING:
    from infra_validator.report import Report

_SPEC_PARAMETERS = frozenset(
    {"spec_file", "assignments", "platform", "images", "variables", "config_files"}
    | {"examples", "requests_file", "from_signature", "keep_failed_request"}
    | {option.name for option in FIELD_OPTIONS}
)

_PLACES = {"examples": "--examples", "stamped_model": "--stamped-model", "report_dir": "--report"}

_EPILOG = """\b
Examples:
  infra-validator validate exported/model
  infra-validator validate exported/model --examples data/eval.tfrecord --num-examples 20
  infra-validator validate exported/model --from-signature --batch-size 1 --batch-size 32
  infra-validator validate gs://bucket/model --platform local_docker \\
      --image tensorflow/serving:2.16.1 --image tensorflow/serving:2.17.1 \\
      --set serving_spec.local_docker.memory=4g --report out
  infra-validator validate exported/model --spec production.json --json > report.json

\b
Exit codes:
  0    blessed: the model was served
  1    not blessed: the model's own fault
  2    wrong usage: options, configuration, or files that they name (examples, requests)
       that cannot be used, found before any server was started
  3    undetermined: something else failed, most often the infrastructure, so that
       nothing can be said of the model
  130  interrupted by Ctrl-C (129, 143: by SIGHUP, SIGTERM); nothing is left running

All fields of the specs, with their defaults: docs/protos.md.
"""


@click.command(epilog=_EPILOG, short_help="Serve a model and say whether it can be served.")
@click.argument("model_dir", metavar="MODEL_DIR", shell_complete=complete_folders)
@click.option(
    "--examples",
    metavar="PATH",
    shell_complete=complete_files,
    help="What to ask the model with: a TFX Examples artifact, a folder of TFRecord files, one "
    "such file, or a pattern of file names. Without it, --requests or --from-signature the model "
    "is only loaded.",
)
@spec_options
@click.option(
    "--stamped-model",
    metavar="DIR",
    type=click.Path(),
    help="Where to put a copy of a blessed model with the requests as warm-up. It is validated "
    "too. The requests are stored with it, as they are.",
)
@click.option(
    "--report",
    "report_dir",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="A folder for the report, as JSON and as an HTML page; made if it is not there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-v", "--verbose", is_flag=True, help="Show the log instead of the progress.")
def validate(model_dir: str, **given: Any) -> int:
    """Serve the model in MODEL_DIR with a real model server, ask it, and say what came of it.

    MODEL_DIR is the folder of a SavedModel, a local path or a URI that TensorFlow
    reads, such as gs://…. The folder of a TFX Model artifact is taken too. In a
    folder of numbered versions, as TensorFlow Serving is pointed to, the newest is
    validated.

    The result goes to standard output, the progress to standard error.
    """
    from infra_validator import api

    for name, option in _PLACES.items():
        if given[name] == "":
            raise SpecError(f"{option}: empty; name a place, or leave the option away.")
    specs = read_specs({name: given[name] for name in _SPEC_PARAMETERS})
    if given["stamped_model"] is not None:
        specs.request_spec.make_warmup = True
    arguments: dict[str, Any] = {
        name: getattr(specs, name) if specs.HasField(name) else None
        for name in ("serving_spec", "validation_spec", "request_spec")
    }
    parsed = api.parse_specs(**arguments, with_examples=given["examples"] is not None)
    api.check_stamping(parsed, given["stamped_model"])
    folder = None if given["report_dir"] is None else _make_folder(given["report_dir"])
    arguments |= {"examples": given["examples"], "stamped_model": given["stamped_model"]}
    report = _run(model_dir, arguments, quiet=given["quiet"], verbose=given["verbose"])
    place = None if folder is None else _write(report, folder)
    if given["as_json"]:
        click.echo(report.to_json(), nl=False)
    else:
        show(report, place, in_options)
    code = exits.of_report(report)
    lost = folder is not None and place is None
    # Whoever asked for a report, and goes on, relies on it.
    return exits.UNDETERMINED if lost and code == exits.BLESSED else code


def _run(model_dir: str, arguments: dict[str, Any], *, quiet: bool, verbose: bool) -> Report:
    from infra_validator import api
    from infra_validator.cli.interruption import Interruption, postponed_interrupt
    from infra_validator.cli.native_stderr import copy_of_stderr, silenced
    from infra_validator.cli.progress import shown
    from infra_validator.waiting import Cancelled

    _send_log_to(sys.stderr if verbose else None)
    interruption = Interruption()
    try:
        with copy_of_stderr() as stream, shown(stream, quiet=quiet or verbose) as observer:
            # Takes seconds, in which nothing is started yet.
            with postponed_interrupt(), silenced():
                import tensorflow  # noqa: F401

            with interruption.watched():
                return api.validate(
                    model_dir,
                    **arguments,
                    cancellation=interruption.cancellation,
                    observer=observer,
                )
    except Cancelled as error:
        click.echo(f"Given up: {error}. Nothing is left running.", err=True)
        raise SystemExit(exits.of_signal(interruption.signal or 0)) from None


class _PrintableFormatter(logging.Formatter):
    """Server and model have a say in what is logged."""

    def format(self, record: logging.LogRecord) -> str:
        from infra_validator.text import printable

        return printable(in_options(super().format(record)))


def _send_log_to(stream: TextIO | None) -> None:
    """Has the package's log written to a stream, or nowhere."""
    logger = logging.getLogger("infra_validator")
    logger.propagate = False
    handler = logging.NullHandler() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


def _make_folder(path: str) -> Path:
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--report {path}: the folder cannot be made: {error.strerror}.") from None
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SpecError(
            f"--report {path}: nothing can be written there: {error.strerror}."
        ) from None
    return folder


def _write(report: Report, folder: Path) -> Path | None:
    """Writes the report and what belongs beside it; returns where the page is, if it is there."""
    from infra_validator.report import PAGE_NAME

    try:
        for name, content in report.files().items():
            (folder / name).write_bytes(content)
    except OSError as error:
        from infra_validator.text import printable

        words = printable(f"the report cannot be written to {folder}: {error.strerror}.")
        click.echo(f"Error: {words}", err=True)
        return None
    return folder / PAGE_NAME


def show(report: Report, place: Path | None = None, words: Callable[[str], str] = str) -> None:
    """Prints a report for a person.

    Args:
        report: the report.
        place: where its page is.
        words: what to make of its sentences.
    """
    from infra_validator.cli.output import columns, echo
    from infra_validator.report import Verdict
    from infra_validator.report_summary import headline, summary
    from infra_validator.text import printable

    colour = {Verdict.BLESSED: "green", Verdict.NOT_BLESSED: "red"}.get(report.verdict, "yellow")
    more = [] if place is None else [("Report", printable(str(place)))]
    echo(click.style(headline(report), fg=colour, bold=True))
    echo("\n" + summary(report, columns(), more, words))
