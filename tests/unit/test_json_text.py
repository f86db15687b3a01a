"""JSON is read strictly, and what is said of it holds nothing that stands there."""

from __future__ import annotations

import pytest

from infra_validator.json_text import JsonTextError, load_json


def test_reads_what_json_is() -> None:
    assert load_json('{"a": [1, 2.5, null, true, {"a": "\u00e4"}]}') == {
        "a": [1, 2.5, None, True, {"a": "\u00e4"}]
    }
    assert load_json(b'\xef\xbb\xbf"\xc3\xa4"') == "\u00e4"


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ('{"a":\n hunter2}', "not JSON at column 2: Expecting value", 2),
        ("", "not JSON at column 1: Expecting value", 1),
        (b'"\xff hunter2"', "not a text in UTF-8, at byte 1", None),
        ('{"a": "hunter2", "a": "b"}', "an object has 'a' twice", None),
        ('{"a.b/c-d": "hunter2", "a.b/c-d": ""}', "an object has 'a.b/c-d' twice", None),
        ('{"A=hunter2": "", "A=hunter2": ""}', "an object has a name twice", None),
        ("[" * 100_000, "it is nested too deeply", None),
        ("9" * 5000, "a number in it has too many digits", None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_told(text: str, said: str, line: int | None) -> None:
    with pytest.raises(JsonTextError) as caught:
        load_json(text)
    assert (str(caught.value), caught.value.line) == (said, line)
