"""Which rights on a cluster are asked about."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra_validator.runners.kubernetes.rights import FROM_OUTSIDE, IN_A_STEP, Right, role_rules

DOCS = Path(__file__).parents[2] / "docs" / "platforms.md"


def granted(rules: Sequence[dict[str, Any]]) -> set[tuple[str, str]]:
    assert all(rule["apiGroups"] == [""] for rule in rules)
    return {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked(rights: Sequence[Right]) -> set[tuple[str, str]]:
    return {(right.resource, right.verb) for right in rights}


@pytest.mark.parametrize(
    ("role", "rights"),
    [("infra-validator-in-a-step", IN_A_STEP), ("infra-validator-from-outside", FROM_OUTSIDE)],
)
def test_what_is_asked_about_is_what_the_docs_say(role: str, rights: Sequence[Right]) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    [documented] = [
        found for found in map(yaml.safe_load, blocks) if found["metadata"]["name"] == role
    ]
    assert asked(rights) == granted(documented["rules"])
    welcome = {right.resource for right in rights if not right.needed}
    [text] = [block for block in blocks if role in block]
    assert welcome == set(re.findall(r"# Welcome, not needed.*\n.*\n +resources: \[(.*)\]", text))


def test_rules_are_those_of_a_role() -> None:
    lacking = [
        Right("pods", "list"),
        Right("pods/exec", "get"),
        Right("pods/exec", "create"),
        Right("pods/portforward", "get"),
        Right("pods/portforward", "create"),
    ]
    rules = json.loads(f"[{role_rules(lacking)}]")
    assert len(rules) == 2
    assert granted(rules) == asked(lacking)
    assert json.loads(f"[{role_rules(FROM_OUTSIDE)}]")
    assert role_rules([]) == ""
