"""What a SavedModel says of itself: crafted protos, and real models."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from infra_validator.faults import FaultError
from infra_validator.files import Gfile
from infra_validator.saved_model.inspection import (
    Inspection,
    inspect_model,
    missing_variables,
    problems,
)
from infra_validator.saved_model.op_registry import package_of, registered_ops
from infra_validator.saved_model.reader import TensorSpec
from infra_validator.tfrecord import write_records


def record(data: bytes) -> bytes:
    file = io.BytesIO()
    write_records(file, [data])
    return file.getvalue()


def inspect(path: Path) -> Inspection:
    return inspect_model(Gfile(), str(path), registered_ops(), "2.x")


def test_the_registry_is_that_of_tensorflow() -> None:
    known = registered_ops()
    assert len(known) > 1000
    assert {"MatMul", "ParseExampleV2", "PyFunc"} <= known
    assert "CaseFoldUTF8" not in known


@pytest.mark.parametrize(
    ("op", "package"),
    [
        ("CaseFoldUTF8", "tensorflow-text"),
        ("SentencepieceTokenizeOp", "tensorflow-text"),
        ("TFText>FastWordpieceTokenizeWithOffsets", "tensorflow-text"),
        ("SimpleMLInferenceOpWithHandle", "tensorflow-decision-forests"),
        ("Addons>Resampler", "tensorflow-addons"),
        ("IO>KafkaReadableInit", "tensorflow-io"),
        ("MyOwnOp", None),
    ],
)
def test_an_op_of_another_package_is_known(op: str, package: str | None) -> None:
    assert op not in registered_ops()
    found = package_of(op)
    assert found is None if package is None else str(found).startswith(package)


def test_a_real_model_tells_all(saved_model: Path, tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "raw"
    other = prediction_log_pb2.PredictionLog()
    other.classify_log.request.model_spec.name = "m"
    with (model / "assets.extra" / "tf_serving_warmup_requests").open("wb") as file:
        write_records(file, [log.SerializeToString()] * 2 + [other.SerializeToString()])
    found = inspect(model)
    [graph] = found.meta_graphs
    assert graph.tags == ("serve",)
    assert graph.tensorflow_version == tf.__version__
    assert graph.producer > 1000
    assert 0 < graph.min_consumer < graph.producer
    assert [signature.name for signature in graph.signatures] == ["raw", "serving_default"]
    raw = graph.signatures[0]
    assert raw.method == "tensorflow/serving/predict"
    assert raw.inputs == {"x": TensorSpec("DT_FLOAT", (None, 1))}
    assert raw.outputs == {"y": TensorSpec("DT_FLOAT", (None, 1))}
    assert (graph.foreign_ops, graph.python_ops) == ((), ())
    assert graph.functions > 0
    assert found.warm_up is not None
    assert (found.warm_up.records, found.warm_up.problem) == (3, None)
    assert found.warm_up.requests == {"Predict raw": 2, "Classify serving_default": 1}
    sizes = {kind: part.size for kind, part in found.files.items()}
    assert set(sizes) == {"graph", "variables", "assets.extra"}
    assert sum(sizes.values()) == sum(
        path.stat().st_size for path in model.rglob("*") if path.is_file()
    )
    assert list(problems(found)) == []


def craft(path: Path) -> Path:
    """A graph whose signatures need ops in a function, behind a control input, and in none."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    graph = proto.meta_graphs.add()
    graph.meta_info_def.tags.append("train")
    for name, op, inputs in [
        ("a", "CaseFoldUTF8", []),
        ("b", "Identity", ["a:0"]),
        ("c", "helper", []),
        ("d", "Identity", ["^c"]),
        ("e", "If", []),
        ("f", "MyOwnOp", []),
        ("g", "Identity", ["g", "missing"]),
    ]:
        node = graph.graph_def.node.add(name=name, op=op)
        node.input.extend(inputs)
        if name == "e":
            node.attr["then_branch"].func.name = "branch"
            node.attr["more"].list.func.add().name = "nowhere"
    for name, op in [("helper", "branch"), ("branch", "EagerPyFunc")]:
        function = graph.graph_def.library.function.add()
        function.signature.name = name
        function.node_def.add(name="n", op=op)
    for name in "bdeg":
        graph.signature_def[name].outputs["y"].name = f"{name}:0"
    graph.signature_def["__saved_model_init_op"].outputs["y"].name = "f"
    path.mkdir()
    (path / "saved_model.pb").write_bytes(proto.SerializeToString())
    return path


def test_an_op_is_told_with_the_signatures_that_need_it(tmp_path: Path) -> None:
    found = inspect(craft(tmp_path / "model"))
    [graph] = found.meta_graphs
    assert [(op.name, op.count, op.signatures) for op in graph.foreign_ops] == [
        ("CaseFoldUTF8", 1, ("b",)),
        ("MyOwnOp", 1, ()),
    ]
    assert [(op.name, op.signatures) for op in graph.python_ops] == [("EagerPyFunc", ("d", "e"))]
    told = list(problems(found))
    assert any("d, e calls a Python function (EagerPyFunc)" in line for line in told)
    assert any("CaseFoldUTF8" in line and "tensorflow-text" in line for line in told)
    assert any("MyOwnOp" in line and "no signature needs it" in line for line in told)
    assert any("tag serve" in line for line in told)


@pytest.mark.parametrize(
    "content", [b"no record", b"\x00" * 16, record(b"\x0c")], ids=["text", "zeros", "no log"]
)
def test_a_broken_warm_up_file_is_a_problem(
    saved_model: Path, tmp_path: Path, content: bytes
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "tf_serving_warmup_requests").write_bytes(content)
    [told] = problems(inspect(model))
    assert "tf_serving_warmup_requests cannot be read to its end" in told


def test_what_is_no_model_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(FaultError) as caught:
        inspect(tmp_path)
    assert caught.value.fault.category == "model_missing"
    (tmp_path / "saved_model.pb").write_bytes(b"\x08")
    with pytest.raises(FaultError) as caught:
        inspect(tmp_path)
    assert caught.value.fault.category == "model_unreadable"


SHARDS = ["variables.data-00000-of-00003", "variables.data-00002-of-00003"]


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["variables.index", "variables.data-00000-of-00001"], []),
        (["variables.data-00000-of-00001"], ["variables.index"]),
        (["variables.index"], ["variables.data-00000-of-00001"]),
        (["variables.index", *SHARDS], ["variables.data-00001-of-00003"]),
        ([], ["variables.index", "variables.data-00000-of-00001"]),
    ],
)
def test_files_of_variables_that_are_missing_are_told(names: list[str], missing: list[str]) -> None:
    assert missing_variables(names) == missing


@pytest.mark.parametrize("removed", ["variables.index", "variables.data-00000-of-00001", ""])
def test_a_model_whose_variables_are_gone_says_so(
    saved_model: Path, tmp_path: Path, removed: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    assert inspect(model).missing_files == ()
    if removed:
        (model / "variables" / removed).unlink()
    else:
        shutil.rmtree(model / "variables")
    found = inspect(model)
    name = f"variables/{removed or 'variables.index'}"
    assert name in found.missing_files
    assert [text for text in problems(found) if f"there is no {name}" in text]
    assert name in json.loads(found.to_json())["missing_files"]


def test_a_model_without_variables_lacks_none(tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    proto.meta_graphs.add().meta_info_def.tags.append("serve")
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(proto.SerializeToString())
    assert inspect(tmp_path).missing_files == ()
