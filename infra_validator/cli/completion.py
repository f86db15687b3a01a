"""What shells complete, beside commands and options."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class


def complete_files(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Leaves it to the shell to complete a file or folder."""
    return [CompletionItem(incomplete, type="file")]


def complete_folders(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Leaves it to the shell to complete a folder."""
    return [CompletionItem(incomplete, type="dir")]


class _Bash(BashComplete):
    """Sets no space after what is to be gone on with, such as `serving_spec.model_name=`."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)",
        "COMPREPLY+=($value)\n            [[ $value == *[=.] ]] && compopt -o nospace",
    )


add_completion_class(_Bash)
