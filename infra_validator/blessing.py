"""From a report to the InfraBlessing artifact, as Pusher reads it."""

from __future__ import annotations

import os

from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from infra_validator import report as reports
from infra_validator.keys import (
    BLESSED_FILE,
    BLESSED_PROPERTY,
    HAS_MODEL_PROPERTY,
    NOT_BLESSED_FILE,
)
from infra_validator.report import Report, Verdict
from infra_validator.text import printable

_MAX_PROPERTY_CHARACTERS = 1000
_PLACES = {"report_uri", "report_page_uri"}


def publish(report: Report, blessing: types.Artifact) -> str:
    """Writes marker file, report and properties; returns where the report is.

    Only text and whole numbers: Kubeflow Pipelines v2 carries no other
    properties.
    """
    place = write_report(report, blessing.uri)
    blessed = report.verdict == Verdict.BLESSED
    marker = BLESSED_FILE if blessed else NOT_BLESSED_FILE
    io_utils.write_string_file(os.path.join(blessing.uri, marker), "")  # noqa: PTH118
    blessing.set_int_custom_property(BLESSED_PROPERTY, int(blessed))
    if report.warm_up_records_written is not None:
        blessing.set_int_custom_property(HAS_MODEL_PROPERTY, 1)
    properties = {
        "verdict": report.verdict.value,
        "reason": report.reason,
        "mode": report.mode.value,
        "report_uri": place,
        "report_page_uri": _page_path(blessing.uri),
        "infra_validator_version": report.infra_validator_version,
        "platform": report.platform,
        "serving_binaries": ", ".join(_describe_servers(report)),
        "requests": f"{_count_answered(report)} answered",
        "seconds": f"{report.seconds:.3f}",
    }
    if report.fault is not None:
        properties |= {
            "fault_phase": report.fault.phase.value,
            "fault_category": report.fault.category,
            "fault_blame": report.fault.blame.value,
            "fault_hint": report.fault.hint,
        }
    for key, value in properties.items():
        shown = value if key in _PLACES else printable(value)[:_MAX_PROPERTY_CHARACTERS]
        blessing.set_string_custom_property(key, shown)
    return place


def write_report(report: Report, folder: str) -> str:
    """Writes the report, and what belongs beside it, into a folder; returns where its JSON is."""
    fileio.makedirs(folder)
    for name, content in report.files().items():
        with fileio.open(os.path.join(folder, name), "wb") as file:  # noqa: PTH118
            file.write(content)
    return os.path.join(folder, reports.FILE_NAME)  # noqa: PTH118


def _page_path(folder: str) -> str:
    return os.path.join(folder, reports.PAGE_NAME)  # noqa: PTH118


def _describe_servers(report: Report) -> list[str]:
    """Each serving binary with the versions that are known."""
    described = []
    for binary in report.binaries:
        server = binary.attempts[-1].server
        versions = " ".join(f"{name} {v}" for name, v in server.get("versions", {}).items())
        described.append(f"{server.get('server', binary.name)} {versions}".strip())
    return described


def _count_answered(report: Report) -> int:
    return sum(
        request.seconds is not None
        for binary in report.binaries
        for request in binary.asking_attempt.requests
    )
