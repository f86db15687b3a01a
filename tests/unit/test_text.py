import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.text import first_line


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
