"""The engine where it sends requests and makes warm-up: real servers, and ones that go wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from infra_validator.faults import Phase
from infra_validator.files import Gfile, copy_tree
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.report import FAILED_REQUEST_FILE_NAME, ModelRole, Report, Verdict
from infra_validator.runners.local_process import LocalProcessPlatform
from infra_validator.tfrecord import read_records, write_records
from infra_validator.validation import engine
from infra_validator.waiting import Cancellation, Cancelled
from tests.conftest import example_bytes, write_split
from tests.engine import faulty
from tests.engine.helpers import run

pytestmark = pytest.mark.usefixtures("leaves_nothing")

WARM_UP = "assets.extra/tf_serving_warmup_requests"


@pytest.fixture(autouse=True)
def _no_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_RETRY_WAIT", lambda _: 0)


def limits(**fields: Any) -> pb.ValidationSpec:
    return pb.ValidationSpec(
        **{"num_tries": 1, "max_loading_time_seconds": 60, "request_timeout_seconds": 30} | fields
    )


def content(path: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(path)): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in path.rglob("*")
        if file.is_file()
    }


def records(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(read_records(file))


# Sending.


def test_requests_are_under_way_together_up_to_the_limit(
    saved_model: Path, split: Path, stand_in: str
) -> None:
    """The server answers none of them before four have come, but for the first."""
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_AT_ONCE": "4"},
        num_examples=9,
        limits=limits(max_parallel_requests=4),
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    [attempt] = report.binaries[0].attempts
    assert [request.number for request in attempt.requests] == list(range(1, 10))
    assert all(request.seconds is not None for request in attempt.requests)


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_failure_says_which_request_and_why(
    saved_model: Path, split: Path, stand_in: str, at_once: int
) -> None:
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_REFUSE": "3" if at_once == 1 else "3,4,5,6,7,8,9"},
        num_examples=9,
        limits=limits(max_parallel_requests=at_once),
    )
    found = report.fault
    assert found is not None
    assert (found.category, found.phase) == ("request_failed", Phase.QUERY)
    [attempt] = report.binaries[0].attempts
    [number] = attempt.failed_requests
    assert found.summary.startswith(
        f"Request {number} (Predict to the signature 'serving_default', "
        "examples: DT_STRING [1]) failed: INVALID_ARGUMENT: refused: number "
    )
    assert found.evidence.grpc_code == "INVALID_ARGUMENT"
    unanswered = [request.number for request in attempt.requests if request.seconds is None]
    assert number == min(unanswered)
    assert len(attempt.requests) <= 3 + at_once


@pytest.mark.parametrize(("at_once", "suspects"), [(1, (4,)), (3, (2, 3, 4))])
def test_the_requests_that_may_have_killed_the_server_are_named(
    saved_model: Path, split: Path, stand_in: str, at_once: int, suspects: tuple[int, ...]
) -> None:
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={
            "STAND_IN_FAULT": "exit_on_request",
            "STAND_IN_FAULT_FROM": "4" if at_once == 1 else "2",
            "STAND_IN_AT_ONCE": str(at_once),
        },
        num_examples=9,
        limits=limits(max_parallel_requests=at_once),
        request_fields={"keep_failed_request": True},
    )
    assert report.fault is not None
    assert report.fault.category == "server_crashed"
    named = "request 4" if at_once == 1 else "one of the requests 2, 3, 4"
    assert f"while answering {named}" in report.reason
    assert report.binaries[0].attempts[0].failed_requests == suspects
    kept = report.attachments[FAILED_REQUEST_FILE_NAME]
    assert len(list(read_records(_Bytes(kept)))) == len(suspects)


def test_a_server_that_quotes_a_request_does_not_bring_it_into_the_report(
    saved_model: Path, split: Path, tmp_path: Path
) -> None:
    """It does so in its answer, cut to a kilobyte, and in its log."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["examples"].CopyFrom(tf.make_tensor_proto([b"hunter2\n" * 1000]))
    path = tmp_path / "recorded"
    with path.open("wb") as file:
        write_records(file, [log.SerializeToString()])
    report = run(saved_model, split=split, request_fields={"prediction_log_file": str(path)})
    assert "Could not parse example input, value: '(not shown)" in report.reason
    tail = "\n".join(report.binaries[0].attempts[-1].log_tail)
    assert "Could not parse example input" in tail
    assert not any(b"hunter2" in content for content in report.files().values())


def test_a_model_that_refuses_made_up_values_is_told_how_else_to_be_asked(tmp_path: Path) -> None:
    def positive(x: Any) -> Any:
        tf.debugging.assert_positive(x)
        return {"y": x}

    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.positive = tf.function(positive, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": module.positive})
    split = write_split(tmp_path / "split", [example_bytes(x=1.0)])
    made_up = run(tmp_path / "model", split=split, request_fields={"from_signature": True})
    assert made_up.fault is not None
    assert (made_up.verdict, made_up.fault.category) == (Verdict.NOT_BLESSED, "request_failed")
    assert "RequestSpec.prediction_log_file" in made_up.fault.hint
    assert run(tmp_path / "model", split=split, num_examples=1).verdict == Verdict.BLESSED


def test_each_request_has_a_deadline_of_its_own(
    saved_model: Path, split: Path, stand_in: str
) -> None:
    started = time.monotonic()
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_FAULT": "hang_on_request", "STAND_IN_FAULT_FROM": "2"},
        num_examples=9,
        limits=limits(max_parallel_requests=4, request_timeout_seconds=1),
    )
    assert report.fault is not None
    assert report.fault.category == "request_timeout"
    assert "request 2 " in report.fault.summary
    assert report.binaries[0].attempts[0].failed_requests == (2,)
    assert time.monotonic() - started < 10


def test_cancellation_leaves_no_call_running(saved_model: Path, split: Path, stand_in: str) -> None:
    cancellation = Cancellation()

    def create(task: Any) -> Any:
        runner = local.create_runner(task)

        def logs() -> str:
            text: str = ask()
            if "hanging" in text:
                cancellation.cancel("enough")
            return text

        ask, runner.logs = runner.logs, logs  # type: ignore[method-assign]
        poll = runner.poll

        def polled() -> Any:
            logs()
            return poll()

        runner.poll = polled  # type: ignore[method-assign]
        return runner

    local = LocalProcessPlatform({"executable": stand_in})
    with pytest.raises(Cancelled):
        run(
            saved_model,
            split=split,
            platform=faulty.FaultyPlatform([create]),
            env={"STAND_IN_FAULT": "hang_on_request", "STAND_IN_FAULT_FROM": "2"},
            num_examples=9,
            limits=limits(max_parallel_requests=4),
            cancellation=cancellation,
        )


class _Bytes:
    """A file in memory, of which only what TFRecord needs."""

    def __new__(cls, content: bytes) -> Any:
        import io

        return io.BytesIO(content)


def test_the_failed_request_is_kept_where_that_is_asked_for(
    saved_model: Path, split: Path, stand_in: str
) -> None:
    given: dict[str, Any] = {
        "split": split,
        "executable": stand_in,
        "env": {"STAND_IN_REFUSE": "3"},
        "num_examples": 5,
    }
    report = run(saved_model, **given, request_fields={"keep_failed_request": True})
    [record] = read_records(_Bytes(report.attachments[FAILED_REQUEST_FILE_NAME]))
    log = prediction_log_pb2.PredictionLog.FromString(record)
    assert log.predict_log.request.inputs["examples"].string_val[0] == example_bytes(x=2.0)
    assert any(FAILED_REQUEST_FILE_NAME in note for note in report.notes)
    assert FAILED_REQUEST_FILE_NAME in report.to_json()
    without = run(saved_model, **given)
    assert without.fault == report.fault
    assert without.attachments == {}
    assert FAILED_REQUEST_FILE_NAME not in without.to_json()


def test_nothing_is_kept_of_what_failed_before_any_request(
    saved_model: Path, split: Path, stand_in: str
) -> None:
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_FAULT": "exit_while_loading"},
        request_fields={"keep_failed_request": True},
    )
    assert report.fault is not None
    assert report.attachments == {}


# Warm-up.


def test_the_stamped_model_is_itself_loaded_before_it_is_blessed(
    saved_model: Path, split: Path, tmp_path: Path
) -> None:
    before = content(saved_model)
    target = tmp_path / "blessing" / "stamped_model"
    report = run(
        saved_model,
        split=split,
        num_examples=4,
        make_warmup=True,
        stamp_uri=str(target),
        limits=limits(),
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    first, second = report.binaries[0].attempts
    assert (first.model, first.warm_up_records, len(first.requests)) == (
        ModelRole.CANDIDATE,
        None,
        4,
    )
    assert (second.model, second.warm_up_records, len(second.requests)) == (
        ModelRole.STAMPED,
        4,
        1,
    )
    assert [attempt.number for attempt in (first, second)] == [1, 2]
    assert len(records(target / WARM_UP)) == report.warm_up_records_written == 4
    assert report.warm_up is not None
    assert report.warm_up.records == 4
    assert report.warm_up.bytes == (target / WARM_UP).stat().st_size
    [compared] = report.warm_up.first_requests
    assert compared.binary == report.binaries[0].name
    assert compared.seconds_without == first.requests[0].seconds
    assert compared.seconds_with == second.requests[0].seconds
    assert any("personal data" in note for note in report.notes)
    assert content(saved_model) == before


@pytest.mark.parametrize("own", ["file", "symbolic link", "hard link"])
def test_a_model_that_brings_warm_up_is_left_as_it_is(
    saved_model: Path, split: Path, tmp_path: Path, own: str
) -> None:
    earlier = tmp_path / "earlier"
    run(
        saved_model,
        split=split,
        num_examples=2,
        make_warmup=True,
        stamp_uri=str(earlier),
        limits=limits(),
    )
    kept = tmp_path / "kept"
    if own != "file":
        (earlier / WARM_UP).rename(kept)
        if own == "symbolic link":
            (earlier / WARM_UP).symlink_to(kept)
        else:
            (earlier / WARM_UP).hardlink_to(kept)
    for path in [*earlier.rglob("*"), earlier]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = content(earlier)
    target = tmp_path / "stamped"
    report = run(
        earlier,
        split=split,
        num_examples=5,
        make_warmup=True,
        stamp_uri=str(target),
        limits=limits(),
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    assert [attempt.warm_up_records for attempt in report.binaries[0].attempts] == [2, 5]
    assert content(earlier) == before
    assert len(records(target / WARM_UP)) == 5
    assert len(records(earlier / WARM_UP)) == 2


def test_no_more_warm_up_than_a_server_takes(saved_model: Path, tmp_path: Path) -> None:
    split = write_split(tmp_path / "Split-train", (example_bytes(x=1.0) for _ in range(1500)))
    target = tmp_path / "stamped"
    report = run(
        saved_model,
        split=split,
        num_examples=1500,
        make_warmup=True,
        stamp_uri=str(target),
        limits=limits(max_parallel_requests=8),
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    assert report.warm_up_records_written == 1000
    assert report.binaries[0].attempts[-1].warm_up_records == 1000
    assert len(records(target / WARM_UP)) == 1000
    assert any(note.startswith("Of 1500 requests, 1000 were") for note in report.notes)


def test_every_signature_and_batch_size_has_its_share_of_the_warm_up(
    saved_model: Path, split: Path, tmp_path: Path
) -> None:
    target = tmp_path / "stamped"
    report = run(
        saved_model,
        split=split,
        signatures=("serving_default", "raw"),
        num_examples=12,
        make_warmup=True,
        stamp_uri=str(target),
        limits=limits(max_parallel_requests=4),
        request_fields={"batch_sizes": [1, 3], "max_warmup_records": 8},
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    shares: dict[tuple[str, int], int] = {}
    for record in records(target / WARM_UP):
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        [tensor] = request.inputs.values()
        kind = (request.model_spec.signature_name, tensor.tensor_shape.dim[0].size)
        shares[kind] = shares.get(kind, 0) + 1
    assert shares == {
        (signature, size): 2 for signature in ("serving_default", "raw") for size in (1, 3)
    }
    assert report.warm_up is not None
    assert [first.signature for first in report.warm_up.first_requests] == [
        "serving_default",
        "raw",
    ]
    assert report.binaries[0].attempts[-1].warm_up_records == 8


def test_a_kept_request_can_be_sent_again_from_its_file(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    """To debug with: against another server, or a mended model."""
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_REFUSE": "3"},
        num_examples=5,
        request_fields={"keep_failed_request": True},
    )
    kept = tmp_path / FAILED_REQUEST_FILE_NAME
    kept.write_bytes(report.attachments[FAILED_REQUEST_FILE_NAME])
    again = run(
        saved_model,
        split=split,
        limits=limits(),
        request_fields={"prediction_log_file": str(kept)},
    )
    assert again.verdict == Verdict.BLESSED, again.reason
    [request] = again.binaries[0].attempts[0].requests
    assert request.signature == "serving_default"


def test_the_users_limit_is_kept(saved_model: Path, split: Path, tmp_path: Path) -> None:
    report = run(
        saved_model,
        split=split,
        num_examples=9,
        make_warmup=True,
        stamp_uri=str(tmp_path / "stamped"),
        limits=limits(),
        request_fields={"max_warmup_records": 3},
    )
    assert report.warm_up_records_written == 3
    assert report.binaries[0].attempts[-1].warm_up_records == 3


def stamp_with_stand_in(
    saved_model: Path,
    split: Path,
    stand_in: str,
    target: str | Path,
    *,
    loading_seconds: int = 60,
    **env: str,
) -> Report:
    return run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_WARM_UP": "1", **env},
        num_examples=3,
        make_warmup=True,
        stamp_uri=str(target),
        limits=limits(max_loading_time_seconds=loading_seconds),
        request_fields={"keep_failed_request": True},
    )


@pytest.mark.parametrize(
    ("fault", "category", "phase", "verdict"),
    [
        ("exit_while_loading", "warm_up_failed", Phase.WARM_UP, Verdict.NOT_BLESSED),
        ("never_ready_after_loading_began", "warm_up_failed", Phase.WARM_UP, Verdict.NOT_BLESSED),
        ("refuse_request", "warm_up_failed", Phase.QUERY, Verdict.NOT_BLESSED),
        ("exit_on_request", "warm_up_failed", Phase.QUERY, Verdict.NOT_BLESSED),
        ("killed_while_loading", "server_killed", Phase.LOAD, Verdict.UNDETERMINED),
        ("other_service", "server_incompatible", Phase.LOAD, Verdict.UNDETERMINED),
    ],
)
def test_a_server_that_fails_only_with_warm_up_keeps_the_model_from_being_blessed(
    saved_model: Path,
    split: Path,
    stand_in: str,
    tmp_path: Path,
    fault: str,
    category: str,
    phase: Phase,
    verdict: Verdict,
) -> None:
    target = tmp_path / "blessing" / "stamped_model"
    report = stamp_with_stand_in(
        saved_model,
        split,
        stand_in,
        target,
        # Long enough for a server to say that it loads, and for the one before to be ready.
        loading_seconds=10 if fault.startswith("never") else 60,
        STAND_IN_FAULT=fault,
    )
    assert report.verdict == verdict
    assert report.fault is not None
    assert (report.fault.category, report.fault.phase) == (category, phase)
    first, second = report.binaries[0].attempts
    assert (first.fault, first.model) == (None, ModelRole.CANDIDATE)
    assert (second.fault is not None, second.model) == (True, ModelRole.STAMPED)
    if category == "warm_up_failed":
        assert report.reason.startswith("The model was loaded and answered, but fails with these")
        assert "make_warmup" in report.fault.hint
    assert report.warm_up_records_written is None
    assert report.warm_up is not None
    assert report.warm_up.records == 3
    assert not any("holds the requests" in note for note in report.notes)
    assert not target.exists()
    assert bool(report.attachments) == (phase == Phase.QUERY)


@pytest.mark.parametrize(
    ("log", "replayed"),
    [
        ("Number of warmup records read: 2. Elapsed time (microseconds): 7.", 2),
        ("No warmup data file found at /models/m/1/assets.extra/x", 0),
    ],
)
def test_a_server_that_replays_something_else_was_not_given_the_stamped_model(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path, log: str, replayed: int
) -> None:
    target = tmp_path / "stamped"
    report = stamp_with_stand_in(saved_model, split, stand_in, target, STAND_IN_LOG=log)
    assert report.fault is not None
    assert report.fault.category == "model_not_delivered"
    assert f"replayed {replayed} warm-up requests where 3 were written" in report.reason
    assert report.verdict == Verdict.UNDETERMINED
    assert not target.exists()


def test_a_server_that_says_nothing_of_warm_up_makes_a_note(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    report = stamp_with_stand_in(saved_model, split, stand_in, tmp_path / "stamped")
    assert report.verdict == Verdict.BLESSED
    assert "does not say that it replayed them" in report.binaries[0].attempts[1].notes[0]


def test_a_fault_that_passes_is_tried_again_with_the_stamped_model(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    local = LocalProcessPlatform({"executable": stand_in})
    platform = faulty.FaultyPlatform(
        [local.create_runner, faulty.FailsAtStart, local.create_runner]
    )
    report = run(
        saved_model,
        split=split,
        platform=platform,
        make_warmup=True,
        stamp_uri=str(tmp_path / "stamped"),
        limits=limits(num_tries=2),
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    assert [
        (attempt.number, attempt.model.value, attempt.fault is None)
        for attempt in report.binaries[0].attempts
    ] == [(1, "candidate", True), (2, "stamped", False), (3, "stamped", True)]
    assert (tmp_path / "stamped" / WARM_UP).exists()


def test_every_serving_binary_must_load_the_stamped_model(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    local = LocalProcessPlatform({"executable": stand_in})
    create = local.create_runner
    platform = faulty.FaultyPlatform([create, create, create, faulty.NeverReady])
    report = run(
        saved_model,
        split=split,
        images=("1", "2"),
        platform=platform,
        make_warmup=True,
        stamp_uri=str(tmp_path / "stamped"),
        limits=limits(max_loading_time_seconds=8, max_parallel_servers=1),
    )
    assert [binary.verdict for binary in report.binaries] == [
        Verdict.BLESSED,
        Verdict.UNDETERMINED,
    ]
    assert report.reason.startswith("tensorflow/serving:2: ")
    assert not (tmp_path / "stamped").exists()
    assert report.warm_up is not None
    assert [compared.binary for compared in report.warm_up.first_requests] == [
        "tensorflow/serving:1"
    ]


def test_a_model_that_fails_is_not_stamped_at_all(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    (tmp_path / "stamped").mkdir()
    (tmp_path / "stamped" / "somebody's").touch()
    report = run(
        saved_model,
        split=split,
        executable=stand_in,
        env={"STAND_IN_FAULT": "refuse_request"},
        make_warmup=True,
        stamp_uri=str(tmp_path / "stamped"),
    )
    assert report.verdict == Verdict.NOT_BLESSED
    assert report.warm_up is None
    assert (tmp_path / "stamped" / "somebody's").exists()


@pytest.mark.parametrize("place", ["", "/", "/inner", "/..", "/inner/.."])
def test_the_stamped_model_cannot_lie_in_the_model(
    saved_model: Path, split: Path, place: str
) -> None:
    before = content(saved_model)
    report = run(saved_model, split=split, make_warmup=True, stamp_uri=f"{saved_model}{place}")
    assert report.fault is not None
    assert report.fault.category == "configuration_invalid"
    assert report.binaries == ()
    assert content(saved_model) == before


def test_a_place_that_cannot_hold_the_stamped_model_is_told_before_any_server_starts(
    saved_model: Path, split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # root may write everywhere but where nobody can
        real = os.access
        monkeypatch.setattr(
            os, "access", lambda p, mode: real(p, mode) and (mode == os.F_OK or p != locked)
        )
    for parent, why in [("file", "file is no folder"), ("locked", "locked may not be written to")]:
        target = tmp_path / parent / "not there" / "stamped"
        report = run(saved_model, split=split, make_warmup=True, stamp_uri=str(target))
        assert report.fault is not None
        assert (report.fault.category, report.fault.phase) == ("storage_denied", Phase.STAGE)
        assert report.reason == f"The model with warm-up requests cannot be written: {target}."
        assert why in report.fault.detail
        assert report.binaries == ()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "locked"]


def test_a_storage_that_cannot_take_the_stamped_model_is_told_before_any_server_starts(
    saved_model: Path, split: Path
) -> None:
    report = run(saved_model, split=split, make_warmup=True, stamp_uri="nosuch://bucket/stamped")
    assert report.fault is not None
    assert (report.fault.category, report.fault.phase) == ("storage_denied", Phase.STAGE)
    assert report.binaries == ()


@pytest.fixture
def remote(tmp_path: Path) -> str:
    """A folder of a file system that no server can see: TensorFlow's in memory."""
    return f"ram:/{tmp_path}"


def test_a_remote_artifact_gets_the_stamped_model_that_was_loaded(
    saved_model: Path, split: Path, remote: str
) -> None:
    copy_tree(Gfile(), str(saved_model), f"{remote}/model", lambda: None)
    report = run(
        f"{remote}/model",
        split=split,
        make_warmup=True,
        stamp_uri=f"{remote}/blessing/stamped_model",
        limits=limits(),
    )
    assert report.verdict == Verdict.BLESSED, report.reason
    assert report.binaries[0].attempts[-1].warm_up_records == 3
    with Gfile().open(f"{remote}/blessing/stamped_model/{WARM_UP}", "rb") as file:
        assert len(list(read_records(file))) == 3
    assert not Gfile().exists(f"{remote}/model/{WARM_UP}")
    assert Gfile().exists(f"{remote}/blessing/stamped_model/saved_model.pb")


def test_nothing_stays_in_a_remote_artifact_without_a_blessing(
    saved_model: Path, split: Path, stand_in: str, remote: str
) -> None:
    target = f"{remote}/blessing/stamped_model"
    report = stamp_with_stand_in(
        saved_model, split, stand_in, target, STAND_IN_FAULT="exit_while_loading"
    )
    assert report.fault is not None
    assert report.fault.category == "warm_up_failed"
    assert not Gfile().exists(f"{target}/saved_model.pb")
    assert not Gfile().isdir(target)


class _WhileWriting(Gfile):
    """Does something when a certain remote file is about to be written."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self.name, self.action = name, action

    def open(self, path: Any, mode: str = "r") -> Any:
        if "w" in mode and str(path).startswith("ram:") and str(path).endswith(self.name):
            self.action()
        return super().open(path, mode)


def test_a_remote_artifact_that_cannot_be_written_ends_it(
    saved_model: Path, split: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise PermissionError("the bucket is read-only")

    monkeypatch.setattr("tests.engine.helpers.Gfile", lambda: _WhileWriting("requests", refuse))
    report = run(
        saved_model,
        split=split,
        make_warmup=True,
        stamp_uri=f"{remote}/stamped",
        limits=limits(),
    )
    assert report.fault is not None
    assert (report.fault.category, report.fault.phase) == ("storage_denied", Phase.WARM_UP)
    assert report.verdict == Verdict.UNDETERMINED
    assert not Gfile().isdir(f"{remote}/stamped")


def test_cancellation_while_the_stamped_model_is_written_leaves_none_of_it(
    saved_model: Path, split: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancellation = Cancellation()
    monkeypatch.setattr(
        "tests.engine.helpers.Gfile",
        lambda: _WhileWriting(".index", lambda: cancellation.cancel("enough")),
    )
    with pytest.raises(Cancelled):
        run(
            saved_model,
            split=split,
            make_warmup=True,
            stamp_uri=f"{remote}/stamped",
            limits=limits(),
            cancellation=cancellation,
        )
    assert not Gfile().isdir(f"{remote}/stamped")


@pytest.mark.parametrize("fault", ["never_ready", "hang_on_request"])
def test_cancellation_while_the_stamped_model_is_tried_leaves_none_of_it(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path, fault: str
) -> None:
    cancellation = Cancellation()
    target = tmp_path / "stamped"
    local = LocalProcessPlatform({"executable": stand_in})
    whole = []

    def create(task: Any) -> Any:
        if task.model.uri == str(target):
            whole.append((target / WARM_UP).exists())
            threading.Timer(1.0, cancellation.cancel, ["enough"]).start()
        return local.create_runner(task)

    with pytest.raises(Cancelled):
        run(
            saved_model,
            split=split,
            platform=faulty.FaultyPlatform([create]),
            env={"STAND_IN_WARM_UP": "1", "STAND_IN_FAULT": fault},
            make_warmup=True,
            stamp_uri=str(target),
            limits=limits(),
            cancellation=cancellation,
        )
    assert whole == [True]
    assert not target.exists()


def test_an_unexpected_error_leaves_no_stamped_model(
    saved_model: Path, split: Path, stand_in: str, tmp_path: Path
) -> None:
    class Buggy(faulty.NeverReady):
        def poll(self) -> Any:
            raise ZeroDivisionError

    local = LocalProcessPlatform({"executable": stand_in})
    with pytest.raises(ZeroDivisionError):
        run(
            saved_model,
            split=split,
            platform=faulty.FaultyPlatform([local.create_runner, Buggy]),
            make_warmup=True,
            stamp_uri=str(tmp_path / "stamped"),
        )
    assert not (tmp_path / "stamped").exists()
