"""Small things about text."""

from __future__ import annotations

import re
import unicodedata

_SHOWN_CHARACTERS = 300
_PLAIN_NAME = re.compile(r"[\w./-]{1,100}")

# Invisible, or about layout rather than content: control, format (with those that turn the
# direction of writing), surrogates, private use, line and paragraph separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_CONTROL_PICTURES = 0x2400
_JOINERS = {0x200C, 0x200D}  # which some scripts and emoji are written with


def first_line(text: str | None) -> str:
    """The first line of a message, cut where it is long, for use in a sentence.

    Control characters are left out: a server may print anything.
    """
    line = (text or "").strip().partition("\n")[0].strip()
    line = "".join(letter for letter in line if letter.isprintable())
    return shortened(line, _SHOWN_CHARACTERS)


def shortened(line: str, characters: int) -> str:
    """A line, cut where it is longer, with a sign that it was."""
    return line if len(line) <= characters else f"{line[:characters]} …"


def printable(text: str) -> str:
    """The text with every character seen: what is not a letter is shown by its number.

    Somebody else's text can then neither steer a terminal, turn the direction
    of writing, nor fail to be encoded. Line ends and tabs stay.
    """
    return "".join(letter if letter in "\n\t" else _seen(letter) for letter in text)


def is_plain_name(text: str) -> bool:
    """Whether a text is no more than a name: of a field, a variable, a label, a file."""
    return _PLAIN_NAME.fullmatch(text) is not None


def is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8; one with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def count(number: int, thing: str) -> str:
    """ "1 request", "2 requests"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def size(amount: float) -> str:
    """Bytes in a unit that suits, as in "1.5 MiB"."""
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def _seen(letter: str) -> str:
    number = ord(letter)
    if number < 0x20:
        return chr(_CONTROL_PICTURES + number)
    if unicodedata.category(letter) not in _UNSEEN or number in _JOINERS:
        return letter
    return f"⟨U+{number:04X}⟩"
