"""Names that the component, its executor and TFX agree on; they are TFX's own."""

from __future__ import annotations

from collections.abc import Mapping

MODEL_KEY = "model"
EXAMPLES_KEY = "examples"
BLESSING_KEY = "blessing"
SERVING_SPEC_KEY = "serving_spec"
VALIDATION_SPEC_KEY = "validation_spec"
REQUEST_SPEC_KEY = "request_spec"

BLESSED_PROPERTY = "blessed"
HAS_MODEL_PROPERTY = "has_model"
BLESSED_FILE = "INFRA_BLESSED"
NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"

LOAD_ONLY_NOTES: Mapping[tuple[bool, bool], str] = {
    (True, False): (
        "InfraValidator has examples but no request_spec, so the model is only loaded and not "
        "asked; give a request_spec to have it asked."
    ),
    (False, True): (
        "InfraValidator is told how to ask (request_spec), but has no examples to ask with, so the "
        "model is only loaded; give examples to have it asked, or set "
        "RequestSpec.from_signature."
    ),
}
"""What to say when only one of (examples, request_spec) is given."""
