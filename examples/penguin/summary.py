"""What came of the last run, read from ML Metadata and from the validation's report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import tensorflow_model_analysis as tfma
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx import v1 as tfx

from infra_validator.report import FILE_NAME, PAGE_NAME, Report
from infra_validator.report_summary import headline, summary

_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The facts of a run.

    Attributes:
        report: what InfraValidator found out.
        page: where that lies as a page.
        reused: whether InfraValidator's result is that of an earlier run.
        evaluator_content: whether Evaluator blessed the model.
        metrics: what Evaluator measured, by name.
        pushed_to: where the model was pushed, or None.
    """

    report: Report
    page: Path
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
    blessing = Path(infra_blessing.uri)
    return Outcome(
        report=Report.from_json((blessing / FILE_NAME).read_bytes()),
        page=blessing / PAGE_NAME,
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
    more = [("Evaluator", _describe_evaluation(outcome))]
    if outcome.reused:
        more.append(("Cache", "the result of an earlier run was taken"))
    pushed = outcome.pushed_to
    more.append(("Pushed to", _shown(pushed) if pushed else "nowhere"))
    more.append(("Report", _shown(str(outcome.page))))
    title = f"{headline(outcome.report)}, {'pushed' if pushed else 'not pushed'}"
    return f"{title}\n\n{summary(outcome.report, _WIDTH, more)}"


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


def _describe_evaluation(outcome: Outcome) -> str:
    measured = ", ".join(f"{name} {value:.3f}" for name, value in outcome.metrics.items())
    if outcome.evaluator_content:
        return f"content with the model ({measured})"
    return f"NOT content with the model ({measured}), so it is not pushed whatever a server says"


def _shown(path: str) -> str:
    """As seen from here, where that is shorter."""
    return min(path, os.path.relpath(path), key=len)
