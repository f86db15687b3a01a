"""Files of requests that are not what they should be, and what is chosen of those that are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from infra_validator.faults import Blame, FaultError
from infra_validator.files import Gfile
from infra_validator.requests.build import choose_signatures
from infra_validator.requests.from_json import read_json
from infra_validator.requests.from_log import Taken, read_log
from infra_validator.saved_model.reader import Model, Signature, TensorSpec
from infra_validator.tfrecord import write_records

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
FLOATS = TensorSpec("DT_FLOAT", (None, 2))
TEXTS = TensorSpec("DT_STRING", (None,))

MODEL = Model(
    {
        one.name: one
        for one in (
            Signature("serving_default", PREDICT, {"x": FLOATS, "t": TEXTS}),
            Signature("single", PREDICT, {"x": FLOATS}),
            Signature("classify", CLASSIFY, {"inputs": TEXTS}),
            Signature("handle", PREDICT, {"h": TensorSpec("DT_RESOURCE", ())}),
            Signature("other", "custom/method", {"x": FLOATS}),
            Signature("nothing", PREDICT, {}),
            Signature("__saved_model_init_op", "", {}),
        )
    },
    SimpleNamespace(),
)


def predict_log(signature: str = "", rows: int = 1) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "recorded"
    request.model_spec.version.value = 7
    request.model_spec.signature_name = signature
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([[1.0, 2.0]] * rows))
    return log.SerializeToString()


def session_log() -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.request.SetInParent()
    return log.SerializeToString()


def empty_log() -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.SetInParent()
    return log.SerializeToString()


def without_tasks() -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.multi_inference_log.request.SetInParent()
    return log.SerializeToString()


def write_log(path: Path, *records: bytes) -> str:
    with path.open("wb") as file:
        write_records(file, records)
    return str(path)


def refused(read: Callable[[], Any]) -> str:
    with pytest.raises(FaultError) as caught:
        read()
    found = caught.value.fault
    assert (found.category, found.blame) == ("request_file_invalid", Blame.DATA)
    return found.summary


def test_takes_no_more_records_than_wanted(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", predict_log("a"), predict_log("b", 3), predict_log())
    with Path(path).open("ab") as file:
        file.write(b"broken, and never read")
    taken = read_log(Gfile(), path, None, 2)
    assert [(one.signature, one.batch_size) for one in taken.drafts] == [("a", 1), ("b", 3)]
    chosen = read_log(Gfile(), path, {"serving_default"}, 1)
    assert [one.signature for one in chosen.drafts] == ["serving_default"]
    assert chosen.drafts[0].description == "x: DT_FLOAT [1, 2]"


def test_what_is_no_request_is_skipped_and_counted(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", session_log(), predict_log(), session_log())
    taken = read_log(Gfile(), path, None, 9)
    assert isinstance(taken, Taken)
    assert (len(taken.drafts), taken.skipped) == (1, {"session_run_log": 2})


@pytest.mark.parametrize(
    ("records", "wanted", "said"),
    [
        ([], None, "holds no request"),
        ([predict_log("a")], {"b"}, "no request to b"),
        ([predict_log(), b"\xff\xff"], None, "record 2 is not a PredictionLog"),
        ([b""], None, "record 1 is not a PredictionLog"),
        ([empty_log()], None, "record 1 (predict_log) holds no request"),
        ([without_tasks()], None, "record 1 (multi_inference_log) asks no signature"),
        ([session_log()], None, "no request that can be sent"),
    ],
)
def test_a_log_that_is_not_one(
    tmp_path: Path, records: list[bytes], wanted: Any, said: str
) -> None:
    path = write_log(tmp_path / "log", *records)
    summary = refused(lambda: read_log(Gfile(), path, wanted, 9))
    assert said in summary
    assert f"RequestSpec.prediction_log_file: {path}: " in summary


def test_a_log_that_is_no_record_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a,b\n1,2\n3,4\n5,6\n")
    summary = refused(lambda: read_log(Gfile(), str(tmp_path / "log"), None, 9))
    assert "not a readable TFRecord file: record 1: " in summary


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere")
    assert "no such file" in refused(lambda: read_log(Gfile(), path, None, 9))
    assert "no such file" in refused(lambda: read_json(Gfile(), path, MODEL, None, 9))


ROW = {"x": [1, 2], "t": "a"}


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("{", "line 1: not JSON"),
        (json.dumps({"instances": [ROW]}) + '\n{"inst', "line 2: not JSON"),
        ("5", "request 1: not a request: no JSON object"),
        ("[]", "holds no request"),
        ([{"instances": [ROW]}, 7], "request 2: not a request"),
        ({}, 'exactly one of "instances", "inputs"'),
        ({"instances": [ROW], "inputs": ROW}, "exactly one of"),
        ({"instances": []}, "a list of at least one"),
        ({"instance": [ROW]}, "a request has no 'instance'"),
        ({"signature_name": 3, "instances": [ROW]}, '"signature_name" is no text'),
        ({"instances": [ROW, {"x": [1, 2]}]}, "instance 2: it has no 't'"),
        ({"instances": [{**ROW, "z": 1}]}, "instance 1: it has 'z', which is no input"),
        ({"instances": [[1, 2]]}, "several inputs, so they must be named: t, x"),
        (
            {"instances": [{"x": [1], "t": "a"}]},
            "'x' is of shape [1, 1], and takes DT_FLOAT [?, 2]",
        ),
        ({"instances": [ROW, {"x": [1], "t": "a"}]}, "'x' holds lists of unequal length"),
        ({"inputs": {"x": [["a", 1]], "t": ["a"]}}, "'x' holds a text that is no number"),
        ({"inputs": {"x": [[1, 2]], "t": [1]}}, "'t' holds a number, where texts"),
        ({"signature_name": "handle", "inputs": 1}, "DT_RESOURCE"),
        ({"signature_name": "other", "inputs": 1}, "cannot be asked"),
        ({"signature_name": "classify", "instances": ["a"]}, 'is asked by "examples"'),
        ({"signature_name": "classify", "examples": []}, "a list of at least one"),
        ({"signature_name": "classify", "examples": [1]}, "example 1 is no object"),
        ({"signature_name": "classify", "examples": [{"a": None}]}, "feature 'a' holds null"),
        ({"signature_name": "classify", "examples": [{"a": [[1.5]]}]}, "'a' holds lists in a list"),
        ('{"inputs": 1, "inputs": 2}', "not a request: an object has 'inputs' twice"),
        (
            json.dumps({"instances": [ROW]}) + '\n{"a": 1, "a": 1}',
            "line 2: not a request: an object",
        ),
        ({"signature_name": "single", "examples": [{}]}, 'by "instances" or "inputs"'),
        ("[" * 100_000, "nested too deeply"),
        (f"{json.dumps({'instances': [ROW]})}\n{'[' * 100_000}", "line 2: not a request: it is"),
        ('{"inputs": %s}' % ("9" * 5000), "too many digits"),
        (f"{json.dumps({'instances': [ROW]})}\n{'9' * 5000}", "line 2: not a request: a number"),
        ({"inputs": {"x": [[0.5, 10**400]], "t": ["a"]}}, "'x' holds numbers beyond the range"),
        ({"inputs": {"t": ["a"], "x": nested(99)}}, "'x' holds lists nested"),
        ({"inputs": {"x": [[1, 2]], "t": ["\ud800"]}}, "'t' holds a text with half a surrogate"),
        ({"signature_name": "classify", "examples": [{"\ud800": 1}]}, "is no name of a feature"),
    ],
)
def test_a_json_file_that_is_none_of_requests(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "requests.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    summary = refused(lambda: read_json(Gfile(), str(path), MODEL, None, 9))
    assert said in summary
    assert f"RequestSpec.json_file: {path}: " in summary


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    path.write_bytes(b'{"a": "\xff"}')
    assert "UTF-8, at byte 7" in refused(lambda: read_json(Gfile(), str(path), MODEL, None, 9))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_on_a_line_may_hold_any_character(tmp_path: Path, end: str) -> None:
    """Python takes some of them for the end of a line; JSON does not."""
    path = tmp_path / "requests.json"
    line = json.dumps({"instances": [{**ROW, "t": "a\u2028b\x85c"}]}, ensure_ascii=False)
    path.write_bytes(f"{line}{end}{end}{line}".encode())
    drafts = read_json(Gfile(), str(path), MODEL, None, 9)
    assert [one.message.inputs["t"].string_val[0].decode() for one in drafts] == [
        "a\u2028b\x85c"
    ] * 2


def test_a_signature_that_the_model_lacks_is_its_own_fault(tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    path.write_text(json.dumps({"signature_name": "singel", "inputs": [[1, 2]]}))
    with pytest.raises(FaultError, match="Is 'single' meant") as caught:
        read_json(Gfile(), str(path), MODEL, None, 9)
    assert caught.value.fault.blame == Blame.MODEL


def test_chosen_of_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    body = {"signature_name": "single", "inputs": [[1, 2]]}
    path.write_text(json.dumps([{"instances": [ROW]}, body, body]))
    read = lambda wanted, limit: read_json(Gfile(), str(path), MODEL, wanted, limit)  # noqa: E731
    assert [one.signature for one in read({"single"}, 9)] == ["single", "single"]
    assert [one.signature for one in read(None, 2)] == ["serving_default", "single"]


def test_one_word_chooses_all_that_take_requests() -> None:
    notes: list[str] = []
    chosen = choose_signatures(MODEL, ["*"], notes)
    assert [one.name for one in chosen] == ["classify", "handle", "serving_default", "single"]
    assert len(notes) == 2
    assert "'nothing' was not asked: it has no inputs" in notes[0]
    assert "custom/method" in notes[1]
    assert not any("__saved_model" in note for note in notes)


def test_a_signature_that_only_initialises_is_never_asked() -> None:
    with pytest.raises(FaultError, match="initialises the model"):
        choose_signatures(MODEL, ["__saved_model_init_op"], [])
    with pytest.raises(FaultError, match="no signature that takes requests"):
        choose_signatures(Model({}, None), ["*"], [])
