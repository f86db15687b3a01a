"""Requests of every source through the executor: what a pipeline's author gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts

import infra_validator as iv
from infra_validator.executor import ValidationFailedError
from tests.component.test_executor import Run
from tests.conftest import example_bytes, write_split
from tests.requests import models

pytestmark = pytest.mark.usefixtures("leaves_nothing")


@pytest.fixture
def execution(tmp_path: Path) -> Run:
    return Run(tmp_path)


def sent(execution: Run) -> list[dict[str, Any]]:
    attempt = execution.report["binaries"][0]["attempts"][0]
    requests: list[dict[str, Any]] = attempt["requests"]
    return requests


def model_of(saved_model: Path, tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "Format-Serving").symlink_to(saved_model)
    return tmp_path / "model"


def requests(**fields: Any) -> iv.RequestSpec:
    names = fields.pop("signature_names", [])
    serving = iv.TensorFlowServingRequestSpec(signature_names=names)
    return iv.RequestSpec(tensorflow_serving=serving, **fields)


def test_a_model_without_data_gets_a_smoke_query(
    execution: Run, saved_model: Path, tmp_path: Path
) -> None:
    spec = requests(signature_names=["*"], from_signature=True, batch_sizes=[1, 4])
    execution.do(model_of(saved_model, tmp_path), requests=spec)
    report = execution.report
    assert (report["verdict"], report["mode"]) == ("blessed", "LOAD_AND_QUERY")
    assert [one["description"] for one in sent(execution)] == [
        "x: DT_FLOAT [1, 1] (made up)",
        "x: DT_FLOAT [4, 1] (made up)",
        "examples: DT_STRING [1] (made up)",
        "examples: DT_STRING [4] (made up)",
    ]
    assert report["notes"] == []


def test_both_signatures_are_asked_with_examples_of_several_spans(
    execution: Run, saved_model: Path, tmp_path: Path
) -> None:
    artifacts = []
    for span in (1, 2):
        uri = tmp_path / f"span-{span}"
        write_split(uri / "Split-train", (example_bytes(x=float(span)) for _ in range(2)))
        artifact = standard_artifacts.Examples()
        artifact.uri = str(uri)
        artifact.split_names = json.dumps(["train"])
        artifact.set_string_custom_property("file_format", "tfrecords_gzip")
        artifacts.append(artifact)
    spec = requests(signature_names=["*"], num_examples=4, batch_sizes=[4])
    do_with(execution, model_of(saved_model, tmp_path), artifacts, spec)
    assert [one["description"] for one in sent(execution)] == [
        "x: DT_FLOAT [4, 1]",
        "examples: DT_STRING [4]",
    ]


def do_with(execution: Run, model_uri: Path, artifacts: list[Any], spec: iv.RequestSpec) -> None:
    from infra_validator.specs import to_json
    from tests.component.test_executor import SERVING

    model = standard_artifacts.Model()
    model.uri = str(model_uri)
    execution.executor.Do(
        {"model": [model], "examples": artifacts},
        {"blessing": [execution.blessing]},
        {"serving_spec": to_json(SERVING), "request_spec": to_json(spec)},
    )


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ([{"file_format": "parquet"}], "stored as parquet"),
        (
            [{"payload_format": "FORMAT_PROTO"}, {"payload_format": "FORMAT_TF_EXAMPLE"}],
            "several payload formats",
        ),
    ],
)
def test_examples_that_cannot_be_read_as_one_fail_the_execution(
    execution: Run, saved_model: Path, tmp_path: Path, properties: Any, said: str
) -> None:
    artifacts = []
    for given in properties:
        artifact = standard_artifacts.Examples()
        artifact.uri = str(tmp_path / "examples")
        artifact.split_names = json.dumps(["train"])
        for name, value in given.items():
            artifact.set_string_custom_property(name, value)
        artifacts.append(artifact)
    with pytest.raises(ValidationFailedError, match=said):
        do_with(execution, model_of(saved_model, tmp_path), artifacts, requests())


def test_recorded_traffic_that_the_model_cannot_answer_is_its_own_fault(
    execution: Run, saved_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "requests.json"
    path.write_text(json.dumps({"signature_name": "gone", "inputs": {"x": [[1.0]]}}))
    execution.do(model_of(saved_model, tmp_path), requests=requests(json_file=str(path)))
    assert execution.report["verdict"] == "not_blessed"
    assert execution.report["fault"]["category"] == "signature_missing"


def test_a_warm_up_of_one_model_is_sent_to_the_next(
    execution: Run, saved_model: Path, split: Path, tmp_path: Path
) -> None:
    model = model_of(saved_model, tmp_path)
    execution.do(model, split, requests=requests(make_warmup=True, num_examples=3))
    [warm_up] = Path(execution.blessing.uri).rglob("tf_serving_warmup_requests")
    (tmp_path / "again").mkdir()
    again = Run(tmp_path / "again")
    again.do(model, requests=requests(prediction_log_file=str(warm_up)))
    assert [one["description"] for one in sent(again)] == ["examples: DT_STRING [1]"] * 3


def test_warm_up_of_every_kind_of_request_is_proven(execution: Run, tmp_path: Path) -> None:
    models.save_tf1(tmp_path / "exported")
    model = model_of(tmp_path / "exported" / "1", tmp_path)
    spec = requests(
        signature_names=["serving_default", "classify", "regress"],
        from_signature=True,
        make_warmup=True,
        batch_sizes=[1, 2],
    )
    spec.tensorflow_serving.multi_inference = True
    execution.do(model, requests=spec)
    assert execution.report["verdict"] == "blessed", execution.report["reason"]
    assert [one["method"] for one in sent(execution)] == [
        *["Predict"] * 2,
        *["Classify"] * 2,
        *["Regress"] * 2,
        *["MultiInference"] * 2,
    ]
    assert execution.report["warm_up_records_written"] == 8
