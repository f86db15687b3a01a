import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from infra_validator.faults import Blame, FaultError, Phase
from infra_validator.files import Gfile
from infra_validator.saved_model.reader import (
    Signature,
    TensorSpec,
    check_is_saved_model,
    read_signatures,
)

PREDICT = "tensorflow/serving/predict"
EXPECTED = {
    "serving_default": Signature(
        "serving_default", PREDICT, {"examples": TensorSpec("DT_STRING", (None,))}
    ),
    "classify": Signature(
        "classify",
        "tensorflow/serving/classify",
        {"inputs": TensorSpec("DT_STRING", (None,))},
    ),
    "regress": Signature(
        "regress", "tensorflow/serving/regress", {"inputs": TensorSpec("DT_STRING", (None,))}
    ),
    "scalar": Signature("scalar", PREDICT, {"example": TensorSpec("DT_STRING", ())}),
    "anything": Signature("anything", PREDICT, {"example": TensorSpec("DT_STRING", None)}),
    "raw": Signature(
        "raw",
        PREDICT,
        {
            "matrix": TensorSpec("DT_FLOAT", (None, 3)),
            "ids": TensorSpec("DT_INT64", (2, None, 4)),
        },
    ),
}


def failure(path: Path, tags: tuple[str, ...] = ("serve",), *names: str) -> FaultError:
    with pytest.raises(FaultError) as caught:
        read_signatures(Gfile(), str(path), tags, names or ("serving_default",))
    assert caught.value.fault.phase == Phase.STAGE
    return caught.value


def folder_with(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("name", EXPECTED)
def test_reads_a_signature(files: Any, saved_models: Path, form: str, name: str) -> None:
    path = str(saved_models / form)
    assert read_signatures(files, path, ["serve"], [name]) == [EXPECTED[name]]


def test_reads_signatures_in_the_order_asked_for(saved_models: Path) -> None:
    names = ["regress", "serving_default", "classify"]
    signatures = read_signatures(Gfile(), str(saved_models / "binary"), ["serve"], names)
    assert signatures == [EXPECTED[name] for name in names]


def test_reads_what_tf_module_saves(saved_models: Path) -> None:
    [signature] = read_signatures(
        Gfile(), str(saved_models / "module"), ["serve"], ["serving_default"]
    )
    assert signature == EXPECTED["serving_default"]


@pytest.mark.parametrize("tags", [("serve", "gpu"), ("gpu", "serve"), ("gpu", "serve", "gpu")])
def test_reads_the_graph_with_exactly_the_tags(saved_models: Path, tags: tuple[str, ...]) -> None:
    [signature] = read_signatures(Gfile(), str(saved_models / "binary"), tags, ["on_gpu"])
    assert signature.name == "on_gpu"
    assert "on_gpu" in failure(saved_models / "binary", tags).fault.summary


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("tags", [("gpu",), ("serve", "tpu"), ("Serve",), ()])
def test_other_tags_are_the_models_fault(
    saved_models: Path, form: str, tags: tuple[str, ...]
) -> None:
    error = failure(saved_models / form, tags)
    assert (error.fault.category, error.fault.blame) == ("tags_missing", Blame.MODEL)
    assert "gpu, serve" in error.fault.summary
    assert all(tag in error.fault.summary for tag in tags)


@pytest.mark.parametrize("names", [("serving_defualt",), ("serving_default", "on_gpu"), ("",)])
def test_a_signature_that_is_not_there_is_the_models_fault(
    saved_models: Path, names: tuple[str, ...]
) -> None:
    error = failure(saved_models / "binary", ("serve",), *names)
    assert (error.fault.category, error.fault.blame) == ("signature_missing", Blame.MODEL)
    assert repr(names[-1]) in error.fault.summary
    assert all(name in error.fault.summary for name in EXPECTED)


def test_a_graph_without_signatures_says_so(tmp_path: Path) -> None:
    model = saved_model_pb2.SavedModel()
    model.meta_graphs.add().meta_info_def.tags.append("serve")
    error = failure(folder_with(tmp_path, "saved_model.pb", model.SerializeToString()))
    assert error.fault.category == "signature_missing"
    assert "none" in error.fault.summary


def test_truncated_at_any_byte_is_the_models_fault(saved_models: Path, tmp_path: Path) -> None:
    content = (saved_models / "binary" / "saved_model.pb").read_bytes()
    sizes = [*range(40), *range(40, len(content), len(content) // 100), len(content) - 1]
    refused = 0
    for size in sizes:
        path = folder_with(tmp_path, "saved_model.pb", content[:size])
        with contextlib.suppress(DecodeError):
            if saved_model_pb2.SavedModel.FromString(content[:size]).meta_graphs:
                continue  # cut between two graphs, so the first is still whole
        error = failure(path)
        refused += 1
        assert (error.fault.category, error.fault.blame) == ("model_unreadable", Blame.MODEL)
        assert "saved_model.pb" in error.fault.summary
    assert refused >= len(sizes) - 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("saved_model.pb", b""),
        ("saved_model.pb", b"\x08\x01"),
        ("saved_model.pb", b"this is not a protocol buffer"),
        ("saved_model.pb", b"\xff" * 64),
        ("saved_model.pbtxt", b""),
        ("saved_model.pbtxt", b"saved_model_schema_version: 1\n"),
        ("saved_model.pbtxt", b"meta_graphs {"),
        ("saved_model.pbtxt", b"no_such_field: 1"),
        ("saved_model.pbtxt", b"\xff\xfe\x00 not UTF-8"),
    ],
)
def test_garbage_is_the_models_fault(tmp_path: Path, name: str, content: bytes) -> None:
    error = failure(folder_with(tmp_path, name, content))
    assert (error.fault.category, error.fault.blame) == ("model_unreadable", Blame.MODEL)
    assert "\n" not in error.fault.summary


def test_a_broken_text_form_is_called_by_its_own_name(tmp_path: Path) -> None:
    error = failure(folder_with(tmp_path, "saved_model.pbtxt", b"meta_graphs {"))
    assert "saved_model.pbtxt" in error.fault.summary


def test_the_binary_form_is_preferred_as_by_the_server(saved_models: Path, tmp_path: Path) -> None:
    shutil.copy(saved_models / "binary" / "saved_model.pb", tmp_path)
    (tmp_path / "saved_model.pbtxt").write_text("broken {")
    assert read_signatures(Gfile(), str(tmp_path), ["serve"], ["scalar"]) == [EXPECTED["scalar"]]


def test_a_dtype_that_is_not_known_here_is_no_error(saved_models: Path, tmp_path: Path) -> None:
    """A newer TensorFlow may have written it, and a newer server may know it."""
    content = (saved_models / "text" / "saved_model.pbtxt").read_text()
    model = text_format.Parse(content, saved_model_pb2.SavedModel())
    for graph in model.meta_graphs:
        for definition in graph.signature_def.values():
            for info in definition.inputs.values():
                info.dtype = 9999
    path = folder_with(tmp_path, "saved_model.pb", model.SerializeToString())
    [signature] = read_signatures(Gfile(), str(path), ["serve"], ["serving_default"])
    assert signature.inputs["examples"].shape == (None,)
    assert "9999" in signature.inputs["examples"].dtype


def test_a_split_saved_model_cannot_be_asked(tmp_path: Path) -> None:
    error = failure(folder_with(tmp_path, "saved_model.cpb", b"riegeli"))
    assert (error.fault.category, error.fault.blame) == (
        "signature_unsupported",
        Blame.CONFIGURATION,
    )
    check_is_saved_model(Gfile(), str(tmp_path))


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt", "saved_model.cpb"])
def test_a_folder_with_any_form_is_a_saved_model(files: Any, tmp_path: Path, name: str) -> None:
    check_is_saved_model(files, str(folder_with(tmp_path, name, b"")))


@pytest.mark.parametrize(
    ("name", "said"),
    [("empty", "holds no saved_model.pb"), ("none", "does not exist"), ("versioned", "holds no")],
)
def test_a_folder_without_one_is_the_models_fault(
    files: Any, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "versioned" / "1").mkdir(parents=True)
    (tmp_path / "versioned" / "1" / "saved_model.pb").touch()
    with pytest.raises(FaultError) as caught:
        check_is_saved_model(files, str(tmp_path / name))
    fault = caught.value.fault
    assert (fault.category, fault.blame) == ("model_missing", Blame.MODEL)
    assert said in fault.summary
    assert str(tmp_path / name) in fault.summary
    assert failure(tmp_path / name).fault.category == "model_missing"


def test_a_model_file_that_cannot_be_read_is_the_storages_fault(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").mkdir()
    error = failure(tmp_path)
    assert (error.fault.category, error.fault.blame) == ("storage_denied", Blame.INFRASTRUCTURE)
    assert not error.fault.transient


def test_a_file_system_that_is_not_known_is_the_storages_fault() -> None:
    with pytest.raises(FaultError) as caught:
        read_signatures(Gfile(), "nosuchscheme://bucket/model", ["serve"], ["serving_default"])
    assert caught.value.fault.category == "storage_denied"
    assert "nosuchscheme://bucket/model" in caught.value.fault.summary
