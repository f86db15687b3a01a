"""Small things about text."""

from __future__ import annotations

_SHOWN_CHARACTERS = 300


def first_line(text: str | None) -> str:
    """The first line of a message, cut where it is long, for use in a sentence.

    Control characters are left out: a server may print anything.
    """
    line = (text or "").strip().partition("\n")[0].strip()
    line = "".join(letter for letter in line if letter.isprintable())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + " …"
