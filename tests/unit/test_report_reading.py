import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_validator.faults import Evidence, Phase, fault
from infra_validator.report import SCHEMA_VERSION, Report, ReportError
from tests.unit.test_report import make_report

FOUND = fault(
    "request_failed", Phase.QUERY, "It failed.", evidence=Evidence(255, "INTERNAL", "x", ("a", "b"))
)


@pytest.mark.parametrize("report", [make_report(), make_report(FOUND)], ids=["blessed", "fault"])
def test_what_was_written_is_read(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report
    assert Report.from_json(report.to_json().encode()) == report


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_any_text_comes_back(reason: str, configuration: dict[str, str]) -> None:
    report = make_report(reason=reason, configuration=configuration)
    assert Report.from_json(report.to_json()) == report


def changed(**changes: Any) -> str:
    return json.dumps(json.loads(make_report(FOUND).to_json()) | changes)


def test_fields_of_a_later_version_are_passed_over() -> None:
    value = json.loads(make_report(FOUND).to_json())

    def add(part: Any) -> None:
        if isinstance(part, dict):
            for inner in list(part.values()):
                add(inner)
            part["of_a_later_version"] = {"a": [1]}
        elif isinstance(part, list):
            for inner in part:
                add(inner)

    add(value)
    read = Report.from_json(json.dumps(value))
    assert dataclasses.replace(
        read, configuration=make_report().configuration, binaries=()
    ) == dataclasses.replace(make_report(FOUND), binaries=())
    assert read.binaries[0].attempts[0].requests == make_report().binaries[0].attempts[0].requests


def test_fields_with_a_default_may_be_missing() -> None:
    value = json.loads(make_report().to_json())
    del value["warm_up_records_written"]
    assert Report.from_json(json.dumps(value)) == make_report()


def test_whole_numbers_do_for_seconds() -> None:
    read = Report.from_json(changed(seconds=3))
    assert read.seconds == 3.0
    assert isinstance(read.seconds, float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "This is no report: it is not JSON ("),
        ("<html>", "it is not JSON ("),
        (b"\xff\xfe\x00", "it is not JSON ("),
        ("[" * 100_000, "it is not JSON ("),
        ("[]", "it has no schema_version"),
        ("{}", "it has no schema_version"),
        ('{"schema_version": "1"}', "it has no schema_version"),
        ('{"schema_version": true}', "it has no schema_version"),
        ('{"schema_version": 1}', "schema_version 1: infra_validator_version is missing."),
        (
            '{"schema_version": 7, "infra_validator_version": "9.1"}',
            "The report has schema_version 7, this infra-validator reads up to "
            f"{SCHEMA_VERSION}; read it with infra-validator 9.1 or later.",
        ),
        (changed(verdict="maybe"), "verdict is not one of 'blessed', 'not_blessed'"),
        (changed(verdict=["blessed"]), "verdict is not one of"),
        (changed(reason=None), "reason is not a text: None"),
        (changed(seconds="1"), "seconds is not a number: '1'"),
        (changed(seconds=True), "seconds is not a number: True"),
        (changed(seconds=10**400), "seconds is not"),
        (changed(notes="a"), "notes is not a list: 'a'"),
        (changed(notes=["a", 1]), "notes[1] is not a text: 1"),
        (changed(configuration=[]), "configuration is not an object: []"),
        (changed(binaries=[{}]), "binaries[0].name is missing"),
        (changed(binaries=[3]), "binaries[0] is not an object: 3"),
        (changed(phases=[{"phase": "x", "started": 0, "seconds": 0}]), "phases[0].phase is not"),
        (changed(fault={"phase": "load"}), "fault.category is missing"),
        (changed(seconds=1.5).replace("1.5", "NaN"), "seconds is not a finite number: nan"),
        (changed(seconds=1.5).replace("1.5", "1e999"), "seconds is not a finite number: inf"),
        (changed(warm_up_records_written=1.5), "warm_up_records_written is not an integer: 1.5"),
    ],
)
def test_what_is_no_report_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(ReportError) as raised:
        Report.from_json(text)
    assert said in str(raised.value)
    assert len(str(raised.value)) < 400
