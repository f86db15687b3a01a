"""Configuration files: protos in text form."""

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from infra_validator.model_server.status import invalid_argument
from infra_validator.model_server.storage import filesystem_error


def read_text_proto(path: str, message: Any) -> Any:
    """Parses the file into ``message`` and returns it.

    Raises:
        StatusError: the file cannot be read or parsed.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise filesystem_error(error) from error
    try:
        return text_format.Parse(text, message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise invalid_argument(f"Invalid protobuf file: '{path}'") from error
