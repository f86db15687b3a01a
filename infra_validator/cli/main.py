"""The command line's entry point."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from infra_validator.cli import exits
from infra_validator.cli.doctor import doctor
from infra_validator.cli.inspect import inspect
from infra_validator.cli.report import report
from infra_validator.cli.validate import validate
from infra_validator.cli.wording import in_options
from infra_validator.specs import SpecError
from infra_validator.text import printable
from infra_validator.version import __version__

_EPILOG = """\b
Shell completion, for bash (zsh and fish likewise):
  eval "$(_INFRA_VALIDATOR_COMPLETE=bash_source infra-validator)"
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="infra-validator")
def cli() -> None:
    """Find out whether a model can be served, before it is pushed.

    A real model server loads the model and answers requests made from your
    examples; where it cannot, the reason is told.
    """


for command in (validate, inspect, report, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line, and ends the process with its exit code.

    Args:
        arguments: the words after the program's name; None for those of this
            process.
    """
    _quieten_libraries()
    try:
        code = cli.main(arguments, prog_name="infra-validator", standalone_mode=False)
        sys.stdout.flush()
    except SpecError as error:
        click.echo(f"Error: {printable(in_options(str(error)))}", err=True)
        code = exits.USAGE
    except click.ClickException as error:
        error.show()
        code = exits.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Given up before anything was started.", err=True)
        code = exits.of_signal(2)
    except BrokenPipeError:
        # Whoever read the result has gone; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exits.of_signal(13)
    except Exception:
        # A defect; Python's own exit code would be taken for a model that is not blessed.
        traceback.print_exc()
        code = exits.UNDETERMINED
    sys.exit(code if isinstance(code, int) else exits.SUCCESS)


def _quieten_libraries() -> None:
    """What TensorFlow and others say of themselves while they load is no concern here."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
