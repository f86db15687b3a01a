"""What came of the last run, read from ML Metadata and from the validation's report."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import v1 as tfx

_REPORT_FILE = "infra_validation_report.json"
_LABEL_WIDTH = 11
_WIDTH = 96

Report = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The facts of a run.

    Attributes:
        report: what InfraValidator found out.
        report_path: where that lies.
        reused: whether InfraValidator's result is that of an earlier run.
        evaluator_content: whether Evaluator blessed the model.
        metrics: what Evaluator measured, by name.
        pushed_to: where the model was pushed, or None.
    """

    report: Report
    report_path: str
    reused: bool
    evaluator_content: bool
    metrics: Mapping[str, float]
    pushed_to: str | None


def read_outcome(metadata: Path) -> Outcome:
    """Finds the artifacts of the last run, whether it made them or took them from the cache."""
    store = MetadataStore(
        tfx.orchestration.metadata.sqlite_metadata_connection_config(str(metadata))
    )
    made = _last_outputs(store)
    infra_blessing, execution = made["InfraBlessing"]
    pushed = made["PushedModel"][0]
    report_path = f"{infra_blessing.uri}/{_REPORT_FILE}"
    return Outcome(
        report=json.loads(Path(report_path).read_text()),
        report_path=report_path,
        reused=execution.last_known_state == mlmd.Execution.CACHED,
        evaluator_content=_flag(made["ModelBlessing"][0], "blessed"),
        metrics=_read_metrics(made["ModelEvaluation"][0].uri),
        pushed_to=(
            pushed.custom_properties["pushed_destination"].string_value
            if _flag(pushed, "pushed")
            else None
        ),
    )


def describe(outcome: Outcome) -> str:
    """The outcome as plain text for a person."""
    lines = [_headline(outcome), ""]
    for label, text in _facts(outcome):
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=f"  {label:<{_LABEL_WIDTH}} ",
            subsequent_indent=" " * (_LABEL_WIDTH + 3),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _last_outputs(
    store: MetadataStore,
) -> dict[str, tuple[mlmd.Artifact, mlmd.Execution]]:
    """The artifacts of the last run by type, each with the execution that gave it."""
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    executions = {execution.id: execution for execution in store.get_executions_by_context(run.id)}
    made_by = {
        event.artifact_id: executions[event.execution_id]
        for event in store.get_events_by_execution_ids(list(executions))
        if event.type == mlmd.Event.OUTPUT
    }
    return {
        artifact.type: (artifact, made_by[artifact.id])
        for artifact in store.get_artifacts_by_id(list(made_by))
    }


def _flag(artifact: mlmd.Artifact, name: str) -> bool:
    return artifact.custom_properties[name].int_value == 1


def _read_metrics(evaluation: str) -> dict[str, float]:
    measured = tfma.load_eval_result(evaluation).get_metrics_for_slice() or {}
    return {
        name: value["doubleValue"] for name, value in measured.items() if "doubleValue" in value
    }


def _headline(outcome: Outcome) -> str:
    verdict = {
        "blessed": "BLESSED",
        "not_blessed": "NOT BLESSED",
        "undetermined": "NOT BLESSED (undetermined: the model was not put to the test)",
    }[outcome.report["verdict"]]
    return f"{verdict}, {'pushed' if outcome.pushed_to else 'not pushed'}"


def _facts(outcome: Outcome) -> Iterator[tuple[str, str]]:
    report = outcome.report
    yield "Reason", report["reason"]
    if report["fault"] is not None:
        yield "What to do", report["fault"]["hint"]
    yield "Evaluator", _describe_evaluation(outcome)
    for binary in report["binaries"]:
        attempt = binary["attempts"][-1]
        yield "Served by", _describe_server(attempt["server"], report["platform"])
        if "image_id" in attempt["server"]:
            yield "Image", _describe_image(attempt["server"])
        yield "Requests", _describe_requests(attempt["requests"])
        yield "Phases", _describe_phases([*report["phases"], *attempt["phases"]])
    if not report["binaries"]:
        yield "Served by", "nothing; no server was started"
    yield "Validated", _describe_time(outcome)
    yield "Pushed to", _shown(outcome.pushed_to) if outcome.pushed_to else "nowhere"
    yield "Report", _shown(outcome.report_path)


def _describe_evaluation(outcome: Outcome) -> str:
    measured = ", ".join(f"{name} {value:.3f}" for name, value in outcome.metrics.items())
    if outcome.evaluator_content:
        return f"content with the model ({measured})"
    return f"NOT content with the model ({measured}), so it is not pushed whatever a server says"


def _describe_server(server: Mapping[str, Any], platform: str) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in server["versions"].items())
    return f"{server['server']} ({versions or 'version unknown'}) on {platform}"


def _describe_image(server: Mapping[str, Any]) -> str:
    """What was run, beyond doubt; an image that was built here has no digest."""
    return ", ".join([*server["image_digests"], f"id {server['image_id']}"])


def _describe_requests(requests: list[Mapping[str, Any]]) -> str:
    if not requests:
        return "none sent"
    methods = " and ".join(dict.fromkeys(f"{r['method']} {r['signature']}" for r in requests))
    seconds = [r["seconds"] for r in requests if r["seconds"] is not None]
    text = f"{len(requests)} sent ({methods}), {len(seconds)} answered"
    if seconds:
        p50, slowest = statistics.median(seconds) * 1000, max(seconds) * 1000
        text += f", p50 {p50:.1f} ms, max {slowest:.1f} ms"
    return text


def _describe_phases(phases: list[Mapping[str, Any]]) -> str:
    seconds: dict[str, float] = {}
    for phase in phases:
        seconds[phase["phase"]] = seconds.get(phase["phase"], 0) + phase["seconds"]
    return ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()) + " (seconds)"


def _describe_time(outcome: Outcome) -> str:
    report = outcome.report
    text = f"{report['started_at']}, in {report['seconds']:.2f} s"
    return f"{text}; the result was taken from the cache" if outcome.reused else text


def _shown(path: str) -> str:
    """As seen from here, where that is shorter."""
    return min(path, os.path.relpath(path), key=len)
