"""The executor: artifacts in, blessing out, as Pusher and TFX expect them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.components.base import base_executor
from tfx.types import standard_artifacts
from tfx.utils import path_utils

import infra_validator as iv
from infra_validator.executor import Executor, ValidationFailedError
from infra_validator.specs import to_json
from infra_validator.tfrecord import read_records
from tests.conftest import example_bytes, write_split

pytestmark = pytest.mark.usefixtures("leaves_nothing")

_LIMIT_SECONDS = 120
REPORT_FILES = {"infra_validation_report.json", "infra_validation_report.html"}

SERVING = iv.ServingSpec(
    tensorflow_serving=iv.TensorFlowServing(), local_process=iv.LocalProcessConfig()
)
REQUESTS = iv.RequestSpec(tensorflow_serving=iv.TensorFlowServingRequestSpec(), num_examples=3)


class Run:
    """One execution: its artifacts and folders."""

    def __init__(self, folder: Path) -> None:
        self.blessing = standard_artifacts.InfraBlessing()
        self.blessing.uri = str(folder / "blessing")
        (folder / "blessing").mkdir()
        self.working_dir = folder / "stateful"
        self.executor = Executor(
            base_executor.BaseExecutor.Context(
                tmp_dir=str(folder / "tmp"),
                unique_id="1",
                stateful_working_dir=str(self.working_dir),
            )
        )

    def do(
        self,
        model_uri: Path | str,
        split: Path | None = None,
        serving: iv.ServingSpec = SERVING,
        validation: iv.ValidationSpec | None = None,
        requests: iv.RequestSpec | None = REQUESTS,
        model: Any = None,
        examples: Any = None,
    ) -> None:
        if model is None:
            model = standard_artifacts.Model()
        model.uri = str(model_uri)
        inputs: dict[str, Any] = {"model": [model]}
        if split is not None:
            examples = examples or standard_artifacts.Examples()
            examples.uri = str(split.parent)
            examples.split_names = json.dumps([split.name.removeprefix("Split-")])
            inputs["examples"] = [examples]
        specs = {
            "serving_spec": serving,
            "validation_spec": validation,
            "request_spec": requests,
        }
        self.executor.Do(
            inputs,
            {"blessing": [self.blessing]},
            {key: to_json(spec) for key, spec in specs.items() if spec is not None},
        )

    @property
    def files(self) -> set[str]:
        return {path.name for path in Path(self.blessing.uri).iterdir()}

    @property
    def report(self) -> dict[str, Any]:
        uri = self.blessing.get_string_custom_property("report_uri")
        report: dict[str, Any] = json.loads(Path(uri).read_text())
        return report

    def failed_report(self, error: BaseException) -> dict[str, Any]:
        """The report of a failed execution, at the place that the exception's text names."""
        place = Path(str(error).rpartition("Report: ")[2])
        assert place.parent == self.working_dir
        report: dict[str, Any] = json.loads(place.read_text())
        return report


@pytest.fixture
def execution(tmp_path: Path) -> Run:
    return Run(tmp_path)


@pytest.fixture
def model_uri(saved_model: Path, tmp_path: Path) -> Path:
    """A Model artifact's folder, laid out as Trainer does; the SavedModel may be changed."""
    shutil.copytree(saved_model, tmp_path / "model" / "Format-Serving")
    return tmp_path / "model"


def test_a_good_model_is_blessed_as_pusher_reads_it(
    execution: Run, model_uri: Path, split: Path
) -> None:
    execution.do(model_uri, split)
    assert execution.files == {"INFRA_BLESSED", *REPORT_FILES}
    assert (Path(execution.blessing.uri) / "INFRA_BLESSED").read_bytes() == b""
    assert execution.blessing.get_int_custom_property("blessed") == 1
    assert not execution.blessing.has_custom_property("has_model")
    assert execution.blessing.get_string_custom_property("verdict") == "blessed"
    report = execution.report
    assert report["schema_version"] == 1
    assert report["mode"] == "LOAD_AND_QUERY"
    attempt = report["binaries"][0]["attempts"][0]
    assert [phase["phase"] for phase in attempt["phases"]] == ["start", "load", "query", "stop"]
    assert all(request["seconds"] > 0 for request in attempt["requests"])
    assert len(attempt["requests"]) == 3
    assert attempt["server"]["server"] == "embedded model server"


def test_properties_are_text_and_whole_numbers_only(
    execution: Run, model_uri: Path, split: Path
) -> None:
    execution.do(model_uri, split)
    kinds = {
        value.WhichOneof("value")
        for value in execution.blessing.mlmd_artifact.custom_properties.values()
    }
    assert kinds == {"string_value", "int_value"}


def test_make_warmup_stamps_a_copy_and_leaves_the_model_alone(
    execution: Run, model_uri: Path, split: Path
) -> None:
    before = snapshot(model_uri)
    requests = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(), num_examples=3, make_warmup=True
    )
    execution.do(model_uri, split, requests=requests)
    assert execution.blessing.get_int_custom_property("has_model") == 1
    stamped = Path(path_utils.stamped_model_path(execution.blessing.uri))
    with Path(path_utils.warmup_file_path(str(stamped))).open("rb") as file:
        assert len(list(read_records(file))) == 3
    shutil.rmtree(stamped / "assets.extra")
    assert snapshot(stamped) == snapshot(model_uri / "Format-Serving")
    assert snapshot(model_uri) == before


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_stamped_model_is_served_with_its_warm_up(
    tmp_path: Path, model_uri: Path, split: Path
) -> None:
    (tmp_path / "first").mkdir()
    first = Run(tmp_path / "first")
    requests = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(), num_examples=3, make_warmup=True
    )
    first.do(model_uri, split, requests=requests)
    again = tmp_path / "again"
    shutil.copytree(path_utils.stamped_model_path(first.blessing.uri), again / "Format-Serving")
    (tmp_path / "second").mkdir()
    second = Run(tmp_path / "second")
    second.do(again, split)
    attempt = second.report["binaries"][0]["attempts"][0]
    assert attempt["warm_up_records"] == 3
    assert "warm-up" in [phase["phase"] for phase in attempt["phases"]]


@pytest.mark.parametrize("layout", ["old", "estimator"])
def test_older_layouts_of_the_model_artifact_are_found(
    execution: Run, saved_model: Path, split: Path, tmp_path: Path, layout: str
) -> None:
    model = standard_artifacts.Model()
    if layout == "old":
        shutil.copytree(saved_model, tmp_path / "model" / "serving_model_dir")
        model.mlmd_artifact.state = metadata_store_pb2.Artifact.LIVE
        model.set_string_custom_property("tfx_version", "0.28.0")
    else:
        shutil.copytree(
            saved_model, tmp_path / "model" / "Format-Serving" / "export" / "name" / "1234"
        )
    execution.do(tmp_path / "model", split, model=model)
    assert execution.files == {"INFRA_BLESSED", *REPORT_FILES}


def test_a_model_that_is_stored_remotely_is_staged_once(
    execution: Run, saved_model: Path, split: Path
) -> None:
    from infra_validator.files import Gfile, copy_tree

    copy_tree(Gfile(), str(saved_model), "ram://models/a/Format-Serving", lambda: None)
    execution.do("ram://models/a", split)
    assert execution.report["verdict"] == "blessed"


def test_an_estimator_export_with_two_models_is_not_blessed(
    execution: Run, saved_model: Path, tmp_path: Path
) -> None:
    for version in ("1", "2"):
        shutil.copytree(
            saved_model, tmp_path / "model" / "Format-Serving" / "export" / "name" / version
        )
    execution.do(tmp_path / "model", requests=None)
    assert execution.files == {"INFRA_NOT_BLESSED", *REPORT_FILES}
    assert "exactly one exported model" in execution.report["reason"]


@pytest.mark.parametrize("count", [0, 2])
def test_anything_but_one_model_fails_with_a_report(
    execution: Run, model_uri: Path, count: int
) -> None:
    models = [standard_artifacts.Model() for _ in range(count)]
    for model in models:
        model.uri = str(model_uri)
    with pytest.raises(ValidationFailedError, match=f"holds {count}: .* Choose one with") as raised:
        execution.executor.Do(
            {"model": models},
            {"blessing": [execution.blessing]},
            {"serving_spec": to_json(SERVING)},
        )
    assert execution.files == set()
    report = json.loads(Path(str(raised.value).rpartition("Report: ")[2]).read_text())
    assert report["fault"]["category"] == "configuration_invalid"
    assert report["model"] == ", ".join([str(model_uri)] * count)


def test_tags_say_nothing_on_a_platform_without_images(execution: Run, model_uri: Path) -> None:
    serving = iv.ServingSpec(
        tensorflow_serving=iv.TensorFlowServing(tags=["2.8.2", "latest"]),
        local_process=iv.LocalProcessConfig(),
    )
    execution.do(model_uri, serving=serving, requests=None)
    assert len(execution.report["binaries"]) == 1
    assert "tensorflow/serving:2.8.2" in execution.report["notes"][0]


def drop_folder(model: Path) -> None:
    shutil.rmtree(model)


def empty_folder(model: Path) -> None:
    shutil.rmtree(model)
    model.mkdir()


def truncate_graph(model: Path) -> None:
    graph = model / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])


def drop_variables(model: Path) -> None:
    shutil.rmtree(model / "variables")


def drop_variables_data(model: Path) -> None:
    for path in (model / "variables").glob("*.data-*"):
        path.unlink()


def rename_an_op(model: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    definition = graph.meta_graphs[0].graph_def
    for node in definition.node:
        if node.op == "VarHandleOp":
            node.op = "FancyVariable"
    (model / "saved_model.pb").write_bytes(graph.SerializeToString())


@pytest.mark.parametrize(
    ("breakage", "category", "started"),
    [
        (drop_folder, "model_missing", False),
        (empty_folder, "model_missing", False),
        (truncate_graph, "model_unreadable", False),
        (drop_variables, "variables_unreadable", True),
        (drop_variables_data, "variables_unreadable", True),
        (rename_an_op, "op_missing", True),
    ],
)
def test_a_broken_model_is_not_blessed_with_the_reason(
    execution: Run,
    model_uri: Path,
    split: Path,
    breakage: Callable[[Path], None],
    category: str,
    started: bool,
) -> None:
    breakage(model_uri / "Format-Serving")
    execution.do(model_uri, split)
    assert execution.files == {"INFRA_NOT_BLESSED", *REPORT_FILES}
    assert execution.blessing.get_int_custom_property("blessed") == 0
    report = execution.report
    assert (report["verdict"], report["fault"]["category"]) == ("not_blessed", category)
    assert execution.blessing.get_string_custom_property("reason") == report["reason"]
    assert execution.blessing.get_string_custom_property("fault_blame") == "model"
    assert [len(binary["attempts"]) for binary in report["binaries"]] == [1] * started


def test_a_signature_that_does_not_exist_is_not_blessed(
    execution: Run, model_uri: Path, split: Path
) -> None:
    requests = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(signature_names=["absent"])
    )
    execution.do(model_uri, split, requests=requests)
    assert execution.files == {"INFRA_NOT_BLESSED", *REPORT_FILES}
    assert "'absent'" in execution.report["reason"]
    assert "serving_default" in execution.report["reason"]


def test_a_request_that_the_model_refuses_is_not_blessed_and_not_shown(
    execution: Run, model_uri: Path, tmp_path: Path
) -> None:
    split = write_split(tmp_path / "Split-eval", [example_bytes(secret_income=123456.0)])
    execution.do(model_uri, split)
    report = json.dumps(execution.report)
    assert execution.report["fault"]["category"] == "request_failed"
    assert execution.report["fault"]["evidence"]["grpc_code"] == "INVALID_ARGUMENT"
    assert "secret_income" not in report


def not_examples(split: Path) -> None:
    shutil.rmtree(split)
    write_split(split, [b"name,income\n", b"\xff\xfe"])


def empty_split(split: Path) -> None:
    shutil.rmtree(split)
    write_split(split, [])


def no_files(split: Path) -> None:
    shutil.rmtree(split)
    split.mkdir()


def corrupt_file(split: Path) -> None:
    for path in split.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)


def not_tfrecord(split: Path) -> None:
    for path in split.iterdir():
        path.write_text("a,b,c\n1,2,3\n" * 10)


@pytest.mark.parametrize(
    ("breakage", "category"),
    [
        (not_examples, "examples_unfit"),
        (empty_split, "examples_missing"),
        (no_files, "examples_missing"),
        (corrupt_file, "examples_unreadable"),
        (not_tfrecord, "examples_unreadable"),
    ],
)
def test_unusable_examples_fail_the_execution_with_a_report(
    execution: Run,
    model_uri: Path,
    tmp_path: Path,
    breakage: Callable[[Path], None],
    category: str,
) -> None:
    split = write_split(
        tmp_path / "examples" / "Split-train", (example_bytes(x=float(n)) for n in range(20))
    )
    breakage(split)
    everything = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(), num_examples=20
    )
    with pytest.raises(ValidationFailedError) as caught:
        execution.do(model_uri, split, requests=everything)
    report = execution.failed_report(caught.value)
    assert report["fault"]["category"] == category
    assert report["fault"]["blame"] == "data"
    assert str(caught.value).startswith(report["reason"])
    assert execution.files == set()
    assert not execution.blessing.has_custom_property("blessed")


def test_a_configuration_that_cannot_work_here_fails_the_execution(
    execution: Run, model_uri: Path
) -> None:
    serving = iv.ServingSpec(
        tensorflow_serving=iv.TensorFlowServing(),
        local_process=iv.LocalProcessConfig(executable="/no/such/server"),
    )
    with pytest.raises(ValidationFailedError, match=r"local_process\.executable"):
        execution.do(model_uri, serving=serving)
    assert execution.files == set()


@pytest.mark.parametrize("fail", [False, True])
def test_an_undetermined_outcome_does_what_the_spec_asks(
    execution: Run, model_uri: Path, stand_in: str, fail: bool
) -> None:
    serving = iv.ServingSpec(
        tensorflow_serving=iv.TensorFlowServing(env={"STAND_IN_FAULT": "exit_at_start"}),
        local_process=iv.LocalProcessConfig(executable=stand_in),
    )
    validation = iv.ValidationSpec(fail_execution_when_undetermined=fail)
    if fail:
        with pytest.raises(ValidationFailedError) as caught:
            execution.do(model_uri, serving=serving, validation=validation)
        assert execution.failed_report(caught.value)["verdict"] == "undetermined"
        assert execution.files == set()
    else:
        execution.do(model_uri, serving=serving, validation=validation)
        assert execution.files == {"INFRA_NOT_BLESSED", *REPORT_FILES}
        assert execution.blessing.get_string_custom_property("verdict") == "undetermined"
        assert "fail_execution_when_undetermined" in execution.blessing.get_string_custom_property(
            "fault_hint"
        )


def test_half_a_query_loads_only_and_says_so(execution: Run, model_uri: Path, split: Path) -> None:
    execution.do(model_uri, split, requests=None)
    assert execution.report["mode"] == "LOAD_ONLY"
    assert execution.report["verdict"] == "blessed"
    assert "no request_spec" in execution.report["notes"][0]


def test_fewer_examples_than_asked_for_are_noted(
    execution: Run, model_uri: Path, split: Path
) -> None:
    requests = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(), num_examples=100
    )
    execution.do(model_uri, split, requests=requests)
    assert execution.report["notes"] == [
        "The split 'train' holds only 20 examples; 100 were asked for."
    ]


def test_values_of_environment_variables_stay_out_of_the_report(
    execution: Run, model_uri: Path
) -> None:
    serving = iv.ServingSpec(
        tensorflow_serving=iv.TensorFlowServing(env={"TOKEN": "very-secret"}),
        local_process=iv.LocalProcessConfig(),
    )
    execution.do(model_uri, serving=serving, requests=None)
    text = json.dumps(execution.report)
    assert "TOKEN" in text
    assert "very-secret" not in text


EXECUTE = textwrap.dedent(
    """
    import sys, threading
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import infra_validator as iv
    from infra_validator.waiting import Cancelled
    from tests.component.test_executor import Run

    serving = iv.ServingSpec(
        tensorflow_serving=iv.TensorFlowServing(
            env={"STAND_IN_FAULT": sys.argv[6], "STAND_IN_TRACE": sys.argv[4]}),
        local_process=iv.LocalProcessConfig(executable=sys.argv[3]))

    def execute():
        try:
            run.do(sys.argv[2], Path(sys.argv[8]), serving=serving)
        except Cancelled as error:
            print("cancelled:", error, run.files)
            sys.exit(9)

    run = Run(Path(sys.argv[5]))
    if sys.argv[7] == "main":
        execute()
    else:
        thread = threading.Thread(target=execute)
        thread.start()
        thread.join()
    """
)


class Validator:
    """An execution in a process of its own, whose server has been started."""

    def __init__(
        self, model: Path, split: Path, stand_in: str, folder: Path, fault: str, thread: str
    ) -> None:
        trace = folder / "pids"
        (folder / "run").mkdir()
        self.folder = folder / "run"
        root = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-c", EXECUTE, root, str(model), stand_in, str(trace)),
                *(str(self.folder), fault, thread, str(split)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        limit = time.monotonic() + _LIMIT_SECONDS
        while not trace.exists():
            assert self.process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)

    def end_by(self, number: signal.Signals) -> str:
        """Sends a signal and waits; returns the output."""
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=_LIMIT_SECONDS)
        assert list((self.folder / "blessing").iterdir()) == []
        return output


@pytest.mark.parametrize("fault", ["never_ready", "hang_on_request"])
def test_sigterm_ends_the_execution_and_is_no_fault_of_the_model(
    model_uri: Path, split: Path, stand_in: str, tmp_path: Path, fault: str
) -> None:
    validator = Validator(model_uri, split, stand_in, tmp_path, fault, "main")
    output = validator.end_by(signal.SIGTERM)
    assert validator.process.returncode == 9
    assert "cancelled: the validator was told to end (SIGTERM) set()" in output


def test_a_sigterm_while_the_server_is_being_stopped_is_not_swallowed(
    model_uri: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    """The verdict is known by then; all the same nothing may be blessed."""
    told = tmp_path / "told"
    slow = tmp_path / "slow"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" != --version ] && exec "{stand_in}" "$@"\n'
        f'while [ ! -e "{told}" ]; do sleep 0.05; done\n'
    )
    slow.chmod(0o755)
    code = EXECUTE.replace(
        "run = Run(",
        "import os, signal\n"
        "from infra_validator.runners.local_process import LocalProcessRunner as R\n"
        "stop = R.stop\n"
        "def stop_late(self):\n"
        f"    open({str(told)!r}, 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    stop(self)\n"
        "R.stop = stop_late\n"
        "run = Run(",
    ).replace('env={"STAND_IN_FAULT": sys.argv[6], ', "env={")
    (tmp_path / "run").mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, str(Path(__file__).parents[2]), str(model_uri)),
            *(str(slow), str(tmp_path / "pids"), str(tmp_path / "run"), "", "main", str(split)),
        ],
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
    )
    assert done.returncode == 9, done.stderr[-2000:]
    assert "cancelled: the validator was told to end (SIGTERM) set()" in done.stdout


def test_two_validations_in_one_process_do_not_disturb_each_other(
    saved_model: Path, split: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved_model, tmp_path / "good" / "Format-Serving")
    shutil.copytree(saved_model, tmp_path / "bad" / "Format-Serving")
    (tmp_path / "bad" / "Format-Serving" / "saved_model.pb").write_bytes(b"\x08")

    def execute(name: str) -> str:
        folder = tmp_path / f"run {name}"
        folder.mkdir()
        run = Run(folder)
        run.do(tmp_path / name.split()[0], split)
        return str(run.blessing.get_string_custom_property("verdict"))

    names = [f"{kind} {number}" for number in range(3) for kind in ("good", "bad")]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        verdicts = dict(zip(names, pool.map(execute, names), strict=True))
    assert verdicts == {
        name: "blessed" if name.startswith("good") else "not_blessed" for name in names
    }


@pytest.mark.skipif(os.getuid() != 0, reason="gives up the rights of root for a while")
@pytest.mark.parametrize("hidden", ["model", "examples"])
def test_what_may_not_be_looked_at_is_nobodys_fault_but_the_storages(
    saved_model: Path, tmp_path: Path, hidden: str
) -> None:
    from infra_validator.faults import FaultError
    from infra_validator.files import Gfile
    from infra_validator.requests.examples import Examples, take_records
    from infra_validator.saved_model.reader import check_is_saved_model

    for folder in tmp_path.parents:
        if folder.stat().st_mode & 0o005 != 0o005 and folder != Path("/"):
            folder.chmod(0o755)
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    shutil.copytree(saved_model, closed / "model")
    write_split(closed / "Split-train", [example_bytes(x=1.0)])
    closed.chmod(0o700)

    def look() -> None:
        if hidden == "model":
            check_is_saved_model(Gfile(), str(closed / "model"))
        else:
            take_records(Gfile(), Examples({"t": str(closed / "Split-train")}), None, 1)

    os.setresuid(65534, 65534, 0)
    try:
        with pytest.raises(FaultError) as caught:
            look()
    finally:
        os.setresuid(0, 0, 0)
    assert caught.value.fault.category == "storage_denied"


def test_an_unexpected_error_leaves_a_report(
    execution: Run, model_uri: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra_validator.runners.local_process import LocalProcessPlatform

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(LocalProcessPlatform, "prepare", broken)
    with pytest.raises(ValidationFailedError, match="ZeroDivisionError: a defect") as caught:
        execution.do(model_uri, requests=None)
    report = execution.failed_report(caught.value)
    assert report["fault"]["category"] == "internal_error"
    assert report["configuration"]["serving_spec"] == {
        "local_process": {},
        "tensorflow_serving": {},
    }


def test_the_verdict_its_hint_and_the_report_are_in_the_log(
    execution: Run, model_uri: Path, split: Path, caplog: pytest.LogCaptureFixture
) -> None:
    requests = iv.RequestSpec(
        tensorflow_serving=iv.TensorFlowServingRequestSpec(signature_names=["serving_defalt"])
    )
    execution.do(model_uri, split, requests=requests)
    [line] = [
        record.getMessage() for record in caplog.records if "Not blessed" in record.getMessage()
    ]
    assert "Is 'serving_default' meant?" in line
    assert execution.report["fault"]["hint"] in line
    assert execution.blessing.get_string_custom_property("report_uri") in line


def test_an_interrupt_from_the_keyboard_ends_the_execution_at_once(
    model_uri: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    validator = Validator(model_uri, split, stand_in, tmp_path, "never_ready", "main")
    validator.end_by(signal.SIGINT)
    assert validator.process.returncode == -signal.SIGINT


@pytest.mark.parametrize("fault", ["never_ready", "hang_on_request"])
def test_sigterm_leaves_nothing_where_it_cannot_be_handled(
    model_uri: Path,
    split: Path,
    stand_in: str,
    tmp_path: Path,
    fault: str,
    leaves_nothing: Callable[[], set[str]],
) -> None:
    """In a thread that is not the main one no handler can be set: the process just ends."""
    validator = Validator(model_uri, split, stand_in, tmp_path, fault, "other")
    validator.end_by(signal.SIGTERM)
    assert validator.process.returncode == -signal.SIGTERM
    limit = time.monotonic() + _LIMIT_SECONDS
    while leaves_nothing():
        assert time.monotonic() < limit
        time.sleep(0.01)
