import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.text import first_line, printable, shortened


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, ""),
        ("", ""),
        (" \n\t\n", ""),
        ("one", "one"),
        ("  one  \n two", "one"),
        ("\n\none\ntwo", "one"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 300 + " …"),
    ],
)
def test_first_line(text: str | None, line: str) -> None:
    assert first_line(text) == line


@given(st.text())
def test_is_one_short_line(text: str) -> None:
    line = first_line(text)
    assert "\n" not in line
    assert len(line) <= 302


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain Größe 模型 שלום 🎉", "plain Größe 模型 שלום 🎉"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("a\0b", "a␀b"),
        ("\x1b[31m", "␛[31m"),
        ("\r", "␍"),
        ("\x7f\x9b", "⟨U+007F⟩⟨U+009B⟩"),
        ("\u202egpj.exe", "⟨U+202E⟩gpj.exe"),
        ("\u2066\u2069\u200f\u061c", "⟨U+2066⟩⟨U+2069⟩⟨U+200F⟩⟨U+061C⟩"),
        ("\u200b\ufeff\u00ad", "⟨U+200B⟩⟨U+FEFF⟩⟨U+00AD⟩"),
        ("\u2028\u2029\x85", "⟨U+2028⟩⟨U+2029⟩⟨U+0085⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_what_cannot_be_seen_is_shown(text: str, seen: str) -> None:
    assert printable(text) == seen
    assert printable(seen) == seen


def test_what_is_cut_says_so() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "abc …"
