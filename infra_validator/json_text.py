"""JSON as people write it, read strictly. Pure."""

from __future__ import annotations

import collections
import json
from typing import Any

from infra_validator.text import is_plain_name


class JsonTextError(ValueError):
    """Raised for text that cannot be read; the message says why, without what stands there.

    Attributes:
        line: where the text stops being JSON; None if it is read as JSON, but not taken.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def load_json(text: str | bytes) -> Any:
    """Reads JSON; bytes are text in UTF-8.

    Raises:
        JsonTextError: if it is none, gives a name twice, is nested too deeply, or has
            a number of more digits than Python reads.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise JsonTextError(
            f"not JSON at column {error.colno}: {error.msg}", error.lineno
        ) from None
    except UnicodeDecodeError as error:
        raise JsonTextError(f"not a text in UTF-8, at byte {error.start}") from None
    except RecursionError:
        raise JsonTextError("it is nested too deeply") from None
    except JsonTextError:
        raise
    except ValueError:
        raise JsonTextError("a number in it has too many digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        [(twice, _)] = collections.Counter(name for name, _ in pairs).most_common(1)
        # With an equals sign in it, for one, a value may be part of a name.
        shown = repr(twice) if is_plain_name(twice) else "a name"
        raise JsonTextError(f"an object has {shown} twice")
    return made
