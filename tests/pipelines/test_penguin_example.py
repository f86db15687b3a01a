"""The example that `make demo` runs, as a user runs it: in a process of its own, in both forms."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("tensorflow_model_analysis") is None:
    pytest.skip("needs the full TFX distribution", allow_module_level=True)

_RUN = Path(__file__).parents[2] / "examples" / "penguin" / "run.py"
_RUN_SECONDS = 240
_PR_SET_CHILD_SUBREAPER = 36
_COMPONENTS = ["CsvExampleGen", "Trainer", "Evaluator", "InfraValidator", "Pusher"]
_SAME_MODEL = {
    component: "COMPLETE" if component in {"InfraValidator", "Pusher"} else "CACHED"
    for component in _COMPONENTS
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run of the example.

    Attributes:
        home: the folder of the pipeline.
        code: the exit code.
        lines: standard output.
        errors: standard error.
        survivors: processes that it left behind.
        states: component to its execution's last state, of this run.
        artifacts: type to artifact, of this run.
        total_artifacts: how many artifacts there are, of all runs.
    """

    home: Path
    code: int
    lines: list[str]
    errors: str
    survivors: list[str]
    states: dict[str, str]
    artifacts: dict[str, Any]
    total_artifacts: int

    def fact(self, label: str) -> str:
        """What the summary says behind a label."""
        summary = "\n".join(self.lines[self.lines.index("") + 1 :])
        found = re.search(rf"^  {label} +(.*(?:\n {{12,}}.*)*)", summary, re.MULTILINE)
        assert found is not None, f"no {label!r} in:\n{summary}"
        return " ".join(found.group(1).split())

    def headline(self) -> str:
        """The first line of the summary."""
        return self.lines[self.lines.index("") + 1]

    def report(self) -> Any:
        """The report that lies in the blessing."""
        path = Path(self.artifacts["InfraBlessing"].uri) / "infra_validation_report.json"
        return json.loads(path.read_text())


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def healthy(output: Path) -> Run:
    return _run(output, "penguin")


@pytest.fixture(scope="module")
def healthy_again(healthy: Run, output: Path) -> Run:
    return _run(output, "penguin")


@pytest.fixture(scope="module")
def broken(output: Path) -> Run:
    return _run(output, "penguin-broken", "--broken", "--platform", "local_process")


@pytest.fixture(scope="module")
def healthy_on_docker(
    healthy: Run, model_server_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    output = _known_from(healthy, tmp_path_factory.mktemp("docker"))
    return _run(output, "penguin", *_on_docker(model_server_image))


@pytest.fixture(scope="module")
def broken_on_docker(
    broken: Run, model_server_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    output = _known_from(broken, tmp_path_factory.mktemp("docker"))
    return _run(output, "penguin-broken", "--broken", *_on_docker(model_server_image))


@pytest.fixture(scope="module")
def healthy_on_kubernetes(
    healthy: Run, kubernetes_namespace: Any, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    output = _known_from(healthy, tmp_path_factory.mktemp("kubernetes"))
    arguments = ["--platform", "kubernetes", "--image", ":".join(kubernetes_namespace.image)]
    return _run(output, "penguin", *arguments)


def test_a_healthy_model_is_blessed_and_pushed(healthy: Run) -> None:
    assert healthy.code == 0, healthy.errors
    assert healthy.states == dict.fromkeys(_COMPONENTS, "COMPLETE")
    assert _property(healthy, "ModelBlessing", "blessed") == 1
    assert _property(healthy, "InfraBlessing", "blessed") == 1
    assert _property(healthy, "PushedModel", "pushed") == 1
    [pushed] = (healthy.home / "pushed").iterdir()
    assert (pushed / "saved_model.pb").is_file()


def test_the_report_of_a_healthy_model(healthy: Run) -> None:
    report = healthy.report()
    assert report["verdict"] == "blessed"
    assert report["mode"] == "LOAD_AND_QUERY"
    assert report["fault"] is None
    [binary] = report["binaries"]
    [attempt] = binary["attempts"]
    assert len(attempt["requests"]) == 10
    assert all(request["seconds"] > 0 for request in attempt["requests"])


def test_the_summary_of_a_healthy_model(healthy: Run) -> None:
    [server] = [binary["attempts"][-1]["server"] for binary in healthy.report()["binaries"]]
    [pushed] = (healthy.home / "pushed").iterdir()
    assert healthy.headline() == "BLESSED, pushed"
    assert healthy.fact("Reason") == healthy.report()["reason"]
    assert re.fullmatch(r"content with the model \(accuracy [01]\.\d+\)", healthy.fact("Evaluator"))
    assert server["server"] in healthy.fact("Served by")
    assert all(version in healthy.fact("Served by") for version in server["versions"].values())
    assert re.fullmatch(
        r"10 sent \(Predict serving_default\), 10 answered, p50 [\d.]+ ms, max [\d.]+ ms",
        healthy.fact("Requests"),
    )
    assert re.search(r"load [\d.]+, query [\d.]+", healthy.fact("Phases"))
    assert "  Cache" not in "\n".join(healthy.lines)
    # Paths are shown as seen from where the command ran.
    assert healthy.home.parent / healthy.fact("Pushed to") == pushed
    page = healthy.home.parent / healthy.fact("Report")
    assert healthy.report()["reason"] in page.read_text()


def test_the_progress_tells_each_component_and_nothing_else(healthy: Run) -> None:
    told = healthy.lines[1 : healthy.lines.index("")]
    assert [line.split()[0] for line in told] == _COMPONENTS
    assert all(re.search(r" \d+\.\d s$", line) for line in told)
    # TensorFlow 2.21 says this when it is loaded, whatever its log level.
    errors = re.sub("WARNING: All log messages before absl::InitializeLog.*", "", healthy.errors)
    assert "WARNING" not in errors
    assert "Warning" not in errors


def test_a_second_run_is_served_from_the_cache(healthy: Run, healthy_again: Run) -> None:
    assert healthy_again.code == 0, healthy_again.errors
    assert healthy_again.states == dict.fromkeys(_COMPONENTS, "CACHED")
    assert healthy_again.total_artifacts == healthy.total_artifacts
    assert len(list((healthy.home / "pushed").iterdir())) == 1
    assert all(line.endswith(" cached") for line in healthy_again.lines[1:6])


def test_the_summary_of_a_second_run_is_about_the_same_artifacts(
    healthy: Run, healthy_again: Run
) -> None:
    assert healthy_again.headline() == "BLESSED, pushed"
    for label in ("Reason", "Evaluator", "Served by", "Requests", "Phases", "Pushed to", "Report"):
        assert healthy_again.fact(label) == healthy.fact(label)
    assert healthy_again.fact("Cache") == "the result of an earlier run was taken"


def test_a_broken_model_is_neither_blessed_nor_pushed(broken: Run) -> None:
    assert broken.code == 0, broken.errors
    assert broken.states == dict.fromkeys(_COMPONENTS, "COMPLETE")
    assert _property(broken, "ModelBlessing", "blessed") == 1
    assert _property(broken, "InfraBlessing", "blessed") == 0
    assert _property(broken, "PushedModel", "pushed") == 0
    assert not (broken.home / "pushed").exists()


def test_the_report_of_a_broken_model(broken: Run) -> None:
    report = broken.report()
    assert report["verdict"] == "not_blessed"
    assert report["fault"]["blame"] == "model"
    assert "PyFunc" in report["fault"]["summary"] + report["fault"]["detail"]


def test_the_summary_of_a_broken_model(broken: Run) -> None:
    assert broken.headline() == "NOT BLESSED, not pushed"
    assert broken.fact("Reason") == " ".join(broken.report()["reason"].split())
    assert broken.fact("What to do") == " ".join(broken.report()["fault"]["hint"].split())
    assert broken.fact("Evaluator").startswith("content with the model")
    assert broken.fact("Pushed to") == "nowhere"


def test_a_healthy_model_is_blessed_and_pushed_on_docker(
    healthy_on_docker: Run, model_server_image: str, docker_client: Any
) -> None:
    run = healthy_on_docker
    assert run.code == 0, run.errors
    assert run.states == _SAME_MODEL
    assert run.headline() == "BLESSED, pushed"
    [pushed] = (run.home / "pushed").iterdir()
    assert (pushed / "saved_model.pb").is_file()
    assert run.report()["platform"] == "local_docker"
    assert run.fact("Served by").startswith(f"{model_server_image} (")
    assert run.fact("Served by").endswith(" on local_docker")
    assert f"id {docker_client.images.get(model_server_image).id}" in run.fact("Image")
    assert run.fact("Requests").startswith("10 sent (Predict serving_default), 10 answered")


def test_a_broken_model_is_neither_blessed_nor_pushed_on_docker(
    broken: Run, broken_on_docker: Run
) -> None:
    run = broken_on_docker
    assert run.code == 0, run.errors
    assert run.states == _SAME_MODEL
    assert run.headline() == "NOT BLESSED, not pushed"
    assert run.fact("Reason") == broken.fact("Reason")
    assert run.fact("What to do") == broken.fact("What to do")
    assert not (run.home / "pushed").exists()


def test_a_healthy_model_is_blessed_and_pushed_on_kubernetes(
    healthy_on_kubernetes: Run, kubernetes_namespace: Any
) -> None:
    run = healthy_on_kubernetes
    assert run.code == 0, run.errors
    assert run.states == _SAME_MODEL
    assert run.headline() == "BLESSED, pushed"
    [pushed] = (run.home / "pushed").iterdir()
    assert (pushed / "saved_model.pb").is_file()
    assert run.fact("Served by").endswith(" on kubernetes")
    assert "sha256:" in run.fact("Image")
    [binary] = run.report()["binaries"]
    for attempt in binary["attempts"]:
        server = attempt["server"]
        assert kubernetes_namespace.find_pod(server["namespace"], server["pod"]) is None


@pytest.mark.parametrize("form", ["healthy_on_docker", "broken_on_docker"])
def test_no_container_is_left_behind(
    form: str, request: pytest.FixtureRequest, docker_client: Any
) -> None:
    [binary] = request.getfixturevalue(form).report()["binaries"]
    names = [attempt["server"]["container"] for attempt in binary["attempts"]]
    assert names
    for name in names:
        assert docker_client.containers.list(all=True, filters={"name": name}) == []


@pytest.mark.parametrize("image", ["tensorflow/serving", "registry:5000/serving", ":tag"])
def test_an_image_without_tag_and_digest_is_refused(tmp_path: Path, image: str) -> None:
    done = subprocess.run(
        [sys.executable, str(_RUN), "--output", str(tmp_path), "--image", image],
        capture_output=True,
        text=True,
        timeout=_RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert f"argument --image: {image!r} has neither a tag nor a digest" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "form", ["healthy", "healthy_again", "broken", "healthy_on_docker", "broken_on_docker"]
)
def test_nothing_is_left_behind(form: str, request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(form).survivors == []


def _known_from(run: Run, output: Path) -> Path:
    """The output folder, with the cache of a run elsewhere, so that nothing is trained again."""
    home = output / run.home.name
    home.mkdir()
    shutil.copy(run.home / "metadata.sqlite", home)
    return output


def _on_docker(image: str) -> list[str]:
    return ["--platform", "local_docker", "--image", image]


def _run(output: Path, name: str, *arguments: str) -> Run:
    children = _children()
    _adopt_orphans(True)
    try:
        done = subprocess.run(
            [sys.executable, str(_RUN), "--output", str(output), *arguments],
            cwd=output,
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
        survivors = _children() - children
    finally:
        _adopt_orphans(False)
    states, artifacts, total = _read_metadata(output / name / "metadata.sqlite")
    return Run(
        home=(output / name).resolve(),
        code=done.returncode,
        lines=done.stdout.splitlines(),
        errors=done.stderr,
        survivors=[command for command in map(_command, sorted(survivors)) if command],
        states=states,
        artifacts=artifacts,
        total_artifacts=total,
    )


def _adopt_orphans(on: bool) -> None:
    """Makes processes that outlive their parent the children of this one, so that none hides."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def _children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


def _command(pid: int) -> str:
    """The command line of a child; empty if it has ended, which is then taken note of."""
    if os.waitpid(pid, os.WNOHANG)[0] == pid:
        return ""
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def _read_metadata(path: Path) -> tuple[dict[str, str], dict[str, Any], int]:
    """States by component and artifacts by type, of the last run; and how many artifacts in all."""
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    store = MetadataStore(config)
    run = max(store.get_contexts_by_type("pipeline_run"), key=lambda context: context.id)
    executions = store.get_executions_by_context(run.id)
    events = store.get_events_by_execution_ids([execution.id for execution in executions])
    made = store.get_artifacts_by_id(
        [event.artifact_id for event in events if event.type == mlmd.Event.OUTPUT]
    )
    states = {
        execution.type.rsplit(".", 1)[-1]: mlmd.Execution.State.Name(execution.last_known_state)
        for execution in sorted(executions, key=lambda execution: execution.id)
    }
    return states, {artifact.type: artifact for artifact in made}, len(store.get_artifacts())


def _property(run: Run, artifact_type: str, name: str) -> int:
    return int(run.artifacts[artifact_type].custom_properties[name].int_value)
