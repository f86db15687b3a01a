"""Standard output: how wide it is, and whether it takes colours."""

from __future__ import annotations

import os
import shutil

import click

_MAX_COLUMNS = 100


def columns() -> int:
    """Columns to fill at most; where there is no terminal, as many as read well."""
    known = shutil.get_terminal_size((_MAX_COLUMNS, 24)).columns
    return min(known or _MAX_COLUMNS, _MAX_COLUMNS)  # a terminal may not know its own width


def echo(text: str) -> None:
    """Prints text that may have colours; without them where nobody could or would see any."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    click.echo(text, color=False if plain else None)
