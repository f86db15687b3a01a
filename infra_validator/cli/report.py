"""infra-validator report: show a report again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from infra_validator.cli import exits
from infra_validator.cli.validate import show
from infra_validator.specs import SpecError

_EPILOG = """\b
Examples:
  infra-validator report out/infra_validation_report.json
  infra-validator report out/infra_validation_report.json --html page.html
  infra-validator validate exported/model --json | infra-validator report -
"""


@click.command(epilog=_EPILOG, short_help="Show a report again.")
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--html",
    "page",
    metavar="OUT",
    type=click.Path(dir_okay=False),
    help="Write the report as an HTML page instead; - for standard output.",
)
def report(file: str, page: str | None) -> int:
    """Show the report in FILE, which a validation wrote as JSON; - for standard input."""
    from infra_validator.report import Report, ReportError

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        found = Report.from_json(content)
    except (OSError, ReportError) as error:
        raise SpecError(f"{file}: {error}") from None
    if page is None:
        show(found)
    elif page == "-":
        click.echo(found.to_html(), nl=False)
    else:
        try:
            Path(page).write_text(found.to_html(), encoding="utf-8")
        except OSError as error:
            raise SpecError(f"--html {page}: {error.strerror}.") from None
    return exits.SUCCESS
