"""The blessing's files and properties, up to what ML Metadata gives back of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx.types import standard_artifacts

from infra_validator import blessing as blessings
from infra_validator.faults import Phase, fault
from infra_validator.report import FILE_NAME, PAGE_NAME, Report, Verdict
from tests.report_page.hostile import TEXTS, hostile_report
from tests.unit.test_report import make_report


def published(report: Report, folder: Path) -> dict[str, Any]:
    """The properties of the report's blessing, read back from a metadata store."""
    artifact = standard_artifacts.InfraBlessing()
    artifact.uri = str(folder)
    blessings.publish(report, artifact)
    store = metadata_store.MetadataStore(
        metadata_store_pb2.ConnectionConfig(
            sqlite=metadata_store_pb2.SqliteMetadataSourceConfig(
                filename_uri=str(folder.parent / "metadata.db")
            )
        )
    )
    artifact.mlmd_artifact.type_id = store.put_artifact_type(artifact.artifact_type)
    [number] = store.put_artifacts([artifact.mlmd_artifact])
    [read] = store.get_artifacts_by_id([number])
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in read.custom_properties.items()
    }


def test_the_reason_and_where_the_report_is(tmp_path: Path) -> None:
    folder = tmp_path / "blessing"
    report = make_report(fault("request_failed", Phase.QUERY, "It failed."), reason="It failed.")
    found = published(report, folder)
    assert found["reason"] == "It failed."
    assert found["fault_category"] == "request_failed"
    assert found["report_uri"] == str(folder / FILE_NAME)
    assert found["report_page_uri"] == str(folder / PAGE_NAME)
    assert Report.from_json((folder / FILE_NAME).read_text()) == report
    assert (folder / PAGE_NAME).read_text(encoding="utf-8") == report.to_html()


@pytest.mark.parametrize("name", TEXTS)
def test_properties_are_short_texts_and_whole_numbers_whatever_they_say(
    tmp_path: Path, name: str
) -> None:
    found = published(hostile_report(TEXTS[name]), tmp_path / "blessing")
    assert {type(value) for value in found.values()} == {int, str}
    for key, value in found.items():
        if isinstance(value, str):
            assert len(value) <= 1000
            assert "\0" not in value, key
            assert "\x1b" not in value, key
    assert found["blessed"] == 0
    assert found["verdict"] == "not_blessed"
    assert (tmp_path / "blessing" / PAGE_NAME).read_text(encoding="utf-8")


def test_a_blessed_model_has_no_fault(tmp_path: Path) -> None:
    found = published(make_report(verdict=Verdict.BLESSED), tmp_path / "blessing")
    assert found["blessed"] == 1
    assert not [name for name in found if name.startswith("fault")]
