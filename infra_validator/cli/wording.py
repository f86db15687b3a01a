"""Says in the command line's words what the package says in those of its specs. Pure.

The package names fields of the specs and arguments of `infra_validator.validate`,
as pipelines and reports need it. Whoever uses the command line has options.
"""

from __future__ import annotations

import functools
import re

from infra_validator.cli.spec_options import FIELD_OPTIONS

_FIELD = re.compile(r"\b(Serving|Validation|Request)Spec((?:\.[a-z]\w*)+)(\[[^\]]*\](?:\.\w+)*)?")
_ARGUMENT = re.compile(r"^(model_dir|examples|stamped_model)(?=: )")
_TWICE = re.compile(r"(--[a-z-]+)(?:(?:,| or| and|, or|, and) \1\b(?!-))+")

_SERVING = "serving_spec.tensorflow_serving"
_OPTIONS = {
    **{option.path: option.flag for option in FIELD_OPTIONS},
    f"{_SERVING}.image_name": "--image",
    f"{_SERVING}.tags": "--image",
    f"{_SERVING}.digests": "--image",
    f"{_SERVING}.env": "--env",
    f"{_SERVING}.config_files": "--config-file",
    "serving_spec.custom_platform.name": "--platform",
    "request_spec.prediction_log_file": "--requests",
    "request_spec.json_file": "--requests",
    "request_spec.from_signature": "--from-signature",
    "request_spec.keep_failed_request": "--keep-failed-request",
    "request_spec.make_warmup": "--stamped-model",
}
_ARGUMENTS = {
    "model_dir": "MODEL_DIR",
    "examples": "--examples",
    "stamped_model": "--stamped-model",
}


def in_options(text: str) -> str:
    """The text with the options that set what it names; any field else as `--set` knows it."""
    changed = _ARGUMENT.sub(lambda match: _ARGUMENTS[match[1]], text)
    changed = _FIELD.sub(_option, changed)
    return text if changed == text else _TWICE.sub(r"\1", changed)


def _option(match: re.Match[str]) -> str:
    kind, below, place = match[1], match[2], match[3] or ""
    field = f"{kind.lower()}_spec{below}"
    if not any(f"{field}.".startswith(f"{known}.") for known in _known_fields()):
        return match[0]
    option = _OPTIONS.get(field)
    if option is None:
        return f"{field}{place} (see --set)"
    return option if place[1:-1].isdigit() or not place else f"{option} {place[1:-1]}"


@functools.cache
def _known_fields() -> frozenset[str]:
    from infra_validator.spec_text import field_paths

    return frozenset(path.rstrip(".") for path in field_paths() if "." in path)
