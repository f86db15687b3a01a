"""What the command line calls what the package names."""

from __future__ import annotations

import re

import pytest

from infra_validator.cli.wording import _ARGUMENTS, _OPTIONS, in_options
from infra_validator.faults import CATEGORIES
from infra_validator.spec_text import field_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RequestSpec.split_name: no split 'x'.", "--split: no split 'x'."),
        ("Raise ValidationSpec.num_tries.", "Raise --num-tries."),
        ("RequestSpec.batch_sizes[0]: 0", "--batch-size: 0"),
        ("ServingSpec.tensorflow_serving.config_files['a']: b", "--config-file 'a': b"),
        (
            "Set ServingSpec.local_docker.memory to 4g.",
            "Set serving_spec.local_docker.memory (see --set) to 4g.",
        ),
        (
            "ServingSpec.kubernetes.pod_patch.spec.volumes[2]: no",
            "serving_spec.kubernetes.pod_patch.spec.volumes[2] (see --set): no",
        ),
        ("no folder: /data/ServingSpec.v1/model", "no folder: /data/ServingSpec.v1/model"),
        ("unknown argument: --port or --port", "unknown argument: --port or --port"),
        (
            "ServingSpec.local_docker.ulimits[0].name: no",
            "serving_spec.local_docker.ulimits[0].name (see --set): no",
        ),
        ("(RequestSpec.json_file, RequestSpec.prediction_log_file)", "(--requests)"),
        ("RequestSpec.from_signature or RequestSpec.json_file", "--from-signature or --requests"),
        ("examples: there is nothing at x", "--examples: there is nothing at x"),
        ("model_dir: no folder: /model_dir: x", "MODEL_DIR: no folder: /model_dir: x"),
        ("the examples: none", "the examples: none"),
        ("--set serving_spec.local_docker.memory: x", "--set serving_spec.local_docker.memory: x"),
        ("a RequestSpec has no such field", "a RequestSpec has no such field"),
    ],
)
def test_fields_become_options(text: str, expected: str) -> None:
    assert in_options(text) == expected
    assert in_options(expected) == expected


def test_the_options_and_the_fields_are_there() -> None:
    from infra_validator.cli.validate import validate

    flags = {flag for parameter in validate.params for flag in parameter.opts}
    assert set(_OPTIONS.values()) <= flags
    assert {_ARGUMENTS["examples"], _ARGUMENTS["stamped_model"]} <= flags
    assert _OPTIONS.keys() <= {path.rstrip(".") for path in field_paths()}


@pytest.mark.parametrize("name", CATEGORIES)
def test_hints_name_fields_so_that_they_are_found(name: str) -> None:
    said = in_options(CATEGORIES[name].hint)
    assert not re.search(r"(Serving|Validation|Request)Spec\.", said)
    known = {path.rstrip(".") for path in field_paths()}
    for path in re.findall(r"([a-z_.]+[a-z]) \(see --set\)", said):
        parent = path.rpartition(".")[0]
        # Of messages of the Kubernetes API only the beginning of the path is known.
        assert path in known or parent in known, path
