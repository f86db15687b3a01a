import dataclasses
import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra_validator.faults import Evidence, Fault, Phase, fault
from infra_validator.report import (
    FILE_NAME,
    SCHEMA_VERSION,
    AttemptReport,
    BinaryReport,
    FirstRequestReport,
    Mode,
    ModelRole,
    PhaseReport,
    Report,
    RequestReport,
    Verdict,
    WarmUpReport,
)


def make_report(found: Fault | None = None, **fields: Any) -> Report:
    attempt = AttemptReport(
        number=1,
        server={"server": "s", "command": ["a", "--b=c"], "versions": {"Library": "2.16.1"}},
        phases=(PhaseReport(Phase.WARM_UP, 0.5, 0.25),),
        requests=(
            RequestReport(1, "serving_default", "Predict", "x: DT_STRING [1]", 0.001),
            RequestReport(2, "serving_default", "Predict", "x: DT_STRING [1]", None),
        ),
        warm_up_records=3,
        notes=("unknown argument: --x",),
        fault=found,
        log_tail=("first", "größe"),
        model=ModelRole.STAMPED,
        failed_requests=(2,),
    )
    values = {
        "schema_version": SCHEMA_VERSION,
        "infra_validator_version": "0.1.0",
        "verdict": Verdict.NOT_BLESSED,
        "reason": "Because.",
        "mode": Mode.LOAD_AND_QUERY,
        "model": "/model",
        "platform": "local_process",
        "started_at": "2026-07-01T10:00:00+00:00",
        "seconds": 1.5,
        "configuration": {"serving_spec": {"model_name": "m"}, "request_spec": None},
        "notes": ("a note",),
        "phases": (PhaseReport(Phase.CONFIGURE, 0.0, 0.1), PhaseReport(Phase.STAGE, 0.1, 0.2)),
        "binaries": (BinaryReport("s", Verdict.NOT_BLESSED, (attempt,)),),
        "fault": found,
    }
    return Report(**(values | fields))


def test_the_json_says_it_all_in_plain_values() -> None:
    found = fault(
        "request_failed",
        Phase.QUERY,
        "It failed.",
        detail="why",
        hint="do",
        evidence=Evidence(255, "INTERNAL", "line", ("pulled", "started")),
    )
    as_json = {
        "phase": "query",
        "category": "request_failed",
        "blame": "model",
        "transient": False,
        "summary": "It failed.",
        "detail": "why",
        "hint": "do",
        "evidence": {
            "exit_code": 255,
            "grpc_code": "INTERNAL",
            "log_line": "line",
            "events": ["pulled", "started"],
        },
    }
    warm_up = WarmUpReport(7, 700, (FirstRequestReport("s", "serving_default", 0.5, None),))
    attachments = {"kept.tfrecord": b"content"}
    report = make_report(found, warm_up=warm_up, attachments=attachments)
    assert "content" not in report.to_json() + repr(report)
    assert json.loads(report.to_json()) == {
        "schema_version": 1,
        "infra_validator_version": "0.1.0",
        "verdict": "not_blessed",
        "reason": "Because.",
        "mode": "LOAD_AND_QUERY",
        "model": "/model",
        "platform": "local_process",
        "started_at": "2026-07-01T10:00:00+00:00",
        "seconds": 1.5,
        "configuration": {"serving_spec": {"model_name": "m"}, "request_spec": None},
        "notes": ["a note"],
        "phases": [
            {"phase": "configure", "started": 0.0, "seconds": 0.1},
            {"phase": "stage", "started": 0.1, "seconds": 0.2},
        ],
        "binaries": [
            {
                "name": "s",
                "verdict": "not_blessed",
                "attempts": [
                    {
                        "number": 1,
                        "server": {
                            "server": "s",
                            "command": ["a", "--b=c"],
                            "versions": {"Library": "2.16.1"},
                        },
                        "phases": [{"phase": "warm-up", "started": 0.5, "seconds": 0.25}],
                        "requests": [
                            {
                                "number": 1,
                                "signature": "serving_default",
                                "method": "Predict",
                                "description": "x: DT_STRING [1]",
                                "seconds": 0.001,
                            },
                            {
                                "number": 2,
                                "signature": "serving_default",
                                "method": "Predict",
                                "description": "x: DT_STRING [1]",
                                "seconds": None,
                            },
                        ],
                        "warm_up_records": 3,
                        "notes": ["unknown argument: --x"],
                        "fault": as_json,
                        "log_tail": ["first", "größe"],
                        "model": "stamped",
                        "failed_requests": [2],
                    }
                ],
            }
        ],
        "fault": as_json,
        "warm_up_records_written": None,
        "warm_up": {
            "records": 7,
            "bytes": 700,
            "first_requests": [
                {
                    "binary": "s",
                    "signature": "serving_default",
                    "seconds_without": 0.5,
                    "seconds_with": None,
                }
            ],
        },
        "attachments": ["kept.tfrecord"],
    }


def test_holds_no_names_of_python() -> None:
    found = fault("request_failed", Phase.QUERY, "It failed.")
    text = make_report(found).to_json()
    assert not re.search(r"Phase|Verdict|Mode|Role|Blame|<|None|True|False", text)
    assert text.endswith("}\n")


def test_the_json_is_in_the_order_of_the_fields() -> None:
    assert list(json.loads(make_report().to_json())) == [
        field.name for field in dataclasses.fields(Report)
    ]


def test_a_report_without_a_fault_says_so() -> None:
    read = json.loads(make_report(warm_up_records_written=7).to_json())
    assert read["fault"] is None
    assert read["binaries"][0]["attempts"][0]["fault"] is None
    assert read["warm_up_records_written"] == 7


@given(st.text(), st.lists(st.text()).map(tuple))
def test_any_text_survives(reason: str, notes: tuple[str, ...]) -> None:
    text = make_report(reason=reason, notes=notes).to_json()
    read = json.loads(text.encode())
    assert (read["reason"], tuple(read["notes"])) == (reason, notes)


def test_the_file_is_called_what_it_is() -> None:
    assert FILE_NAME.endswith(".json")
