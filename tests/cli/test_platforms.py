"""infra-validator validate on real engines and clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra_validator.report import FILE_NAME, Report
from tests.cli.command import run
from tests.platforms.kubernetes_cluster import TestNamespace

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def test_a_broken_model_in_docker(
    python_model: Path, split: Path, tmp_path: Path, model_server_image: str
) -> None:
    done = run(
        *("validate", python_model, "--examples", split, "--report", tmp_path),
        *("--platform", "local_docker", "--image", model_server_image),
    )
    assert done.code == 1, done.out + done.err
    assert done.out.startswith("NOT BLESSED\n")
    assert "load (at most 300 s)" in done.err
    report = Report.from_json((tmp_path / FILE_NAME).read_text())
    assert report.fault is not None
    assert report.fault.category == "op_missing"
    assert "docker run" in report.binaries[0].attempts[0].server["reproduce"]


def test_a_good_model_in_a_pod(
    saved_model: Path, tmp_path: Path, kubernetes_namespace: TestNamespace
) -> None:
    done = run(
        *("validate", saved_model, "--from-signature", "--report", tmp_path),
        *("--platform", "kubernetes", "--image", ":".join(kubernetes_namespace.image)),
        *("--set", f"serving_spec.kubernetes.namespace={kubernetes_namespace.name}"),
    )
    assert done.code == 0, done.out + done.err
    report = Report.from_json((tmp_path / FILE_NAME).read_text())
    assert "kubectl apply" in report.binaries[0].attempts[0].server["reproduce"]
    assert kubernetes_namespace.pods() == []
