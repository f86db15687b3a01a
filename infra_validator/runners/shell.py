"""Commands as text for a shell. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from infra_validator.text import printable


def join_lines(parts: Sequence[str]) -> str:
    """One command over several lines, a part on each."""
    return " \\\n  ".join(parts)


def comment(text: str) -> str:
    """A comment of one line, whatever is in the text."""
    return "# " + printable(" ".join(text.splitlines()))


def quote(text: str, variables: Mapping[str, str] | None = None) -> str:
    """The text as one word of a shell.

    Args:
        text: what the word is to be.
        variables: texts to be written as a variable: text to the variable's name.
    """
    for value, name in (variables or {}).items():
        if value in text:
            pieces = [shlex.quote(piece) if piece else "" for piece in text.split(value)]
            return f'"${name}"'.join(pieces)
    return shlex.quote(text)
