from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from infra_validator.tensorflow_errors import (
    find_missing_op,
    hide_content,
    hide_content_of_log,
)

PYTHON = "tf.py_function"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("", None),
        ("Op type 'x' is known", None),
        ("Could not find variable dense/kernel", None),
        (
            "Op type not registered 'Custom>Op' in binary running on host. Make sure the Op and "
            "Kernel are registered in the binary running in this process.",
            "Custom>Op",
        ),
        (
            "No OpKernel was registered to support Op 'Unheard' used by {{node x}} with "
            "these attrs: []",
            "Unheard",
        ),
        ("two lines\nOp type not registered 'A' in binary", "A"),
    ],
)
def test_finds_the_op_that_the_server_does_not_have(message: str, name: str | None) -> None:
    missing = find_missing_op(message)
    assert (missing and missing.name) == name
    assert missing is None or missing.hint is None


@pytest.mark.parametrize("name", ["PyFunc", "PyFuncStateless", "EagerPyFunc"])
def test_knows_what_to_do_about_ops_of_python(name: str) -> None:
    missing = find_missing_op(f"Op type not registered '{name}' in binary running on host.")
    assert missing is not None
    assert PYTHON in (missing.hint or "")


PREFIX = "2026-01-02 03:04:05.678901: W tensorflow/core/framework/op_kernel.cc:1839] "


@pytest.mark.parametrize(
    "quoted",
    [
        "Could not parse example input, value: 'hunter2'",
        "Could not parse example input, value: 'it's\n hunter2 [[' hunter2",  # cut on its way
        "Could not parse example input, value: 'hunter2...TRUNCATED",
        "StringToNumberOp could not correctly convert string: hunter2\nhunter2",
        "Field 3 in record is not a valid int32: hunter2",
        'Cannot parse tensor from proto: 1 {\n  1: "hunter2"\n}',
    ],
)
@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("", "\n\t [[{{node ParseExample}}]]"), (PREFIX, f"\n{PREFIX}and so on")],
)
def test_hides_what_a_server_quotes_of_requests(quoted: str, before: str, after: str) -> None:
    hidden = hide_content(before + quoted + after)
    assert "hunter2" not in hidden
    assert hidden.startswith(before + quoted[:15])
    assert hidden.endswith("(not shown)" + after)


@pytest.mark.parametrize(
    "record",
    [
        "hunter2",
        "",
        "a from hunter2\n{ \x00 }, }",
        "from /hunter2",
        "x from https://a.b/c hunter2",
        "from /hunter2 from /hunter2",
    ],
)
@pytest.mark.parametrize("base", ["/models/m a/1", "gs://bucket/m/1"])
def test_hides_a_record_of_a_warm_up_file_but_not_its_path(record: str, base: str) -> None:
    before = "due to error: INVALID_ARGUMENT: Failed to parse warmup record: "
    after = f" from {base}/assets.extra/tf_serving_warmup_requests}}, }}"
    assert hide_content(before + record + after) == f"{before}(not shown){after}"
    cut = hide_content(f"{before}{record}\n{FAILED}")
    assert cut == f"{before}(not shown)\n{FAILED}"


def test_hides_an_index_but_not_what_is_right() -> None:
    assert hide_content("indices[0,3] = -31337 is not in [0, 2)") == (
        "indices[0,3] = (not shown) is not in [0, 2)"
    )


QUOTES: dict[str, Callable[[], Any]] = {
    "ParseExample": lambda: tf.io.parse_example(["hunter2"], {"a": tf.io.VarLenFeature("int64")}),
    "DecodeCSV": lambda: tf.io.decode_csv(["hunter2"], [[0.0]]),
    "StringToNumber": lambda: tf.strings.to_number(["hunter2"]),
    "ParseTensor": lambda: tf.io.parse_tensor("hunter2", tf.float32),
    "ParseTensor of fields": lambda: tf.io.parse_tensor(b"\x0a\x07hunter2", tf.float32),
    "DecodeJSONExample": lambda: tf.io.decode_json_example(['{"features": "hunter2" no']),
    "Substr": lambda: tf.strings.substr(["hunter2"], 100, 1),
    "Gather": lambda: tf.gather([1, 2], [31337]),
    "GatherNd": lambda: tf.gather_nd([[1, 2]], [[0, 31337]]),
    "ScatterNd": lambda: tf.scatter_nd([[31337]], [1.0], [3]),
    "UnsortedSegmentSum": lambda: tf.math.unsorted_segment_sum([1.0], [31337], 3),
    "SparseSegmentSum": lambda: tf.sparse.segment_sum([1.0], [31337], [0]),
    "DynamicPartition": lambda: tf.dynamic_partition([1.0], [31337], 2),
    "SparseToDense": lambda: tf.sparse.to_dense(tf.SparseTensor([[0, 31337]], [1.0], [1, 5])),
    "SparseTensorDenseMatMul": lambda: tf.sparse.sparse_dense_matmul(
        tf.SparseTensor([[0, 31337]], [1.0], [1, 5]), tf.ones([5, 1])
    ),
}


@pytest.mark.parametrize("name", QUOTES)
def test_hides_what_the_ops_themselves_quote(name: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        QUOTES[name]()
    said = caught.value.message
    quoted = ("hunter2", base64.b64encode(b"hunter2").decode(), "31337")
    if not any(text in said for text in quoted):
        pytest.skip(f"TensorFlow {tf.__version__} quotes nothing here")
    hidden = hide_content(said)
    assert not any(text in hidden for text in quoted)
    assert "(not shown)" in hidden
    assert hide_content(hidden) == hidden


@pytest.mark.parametrize("text", ["", "Op type not registered 'A'", "{{node a}} dims [1,2]"])
def test_hides_nothing_else(text: str) -> None:
    assert hide_content(text) == text


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("SentencepieceOp", "tensorflow-text"),
        ("WhitespaceTokenizeWithOffsets", "tensorflow-text"),
        ("SimpleMLInferenceOpWithHandle", "tensorflow-decision-forests"),
        ("IO>ReadableInit", "tensorflow-io"),
    ],
)
def test_knows_the_package_that_an_op_is_likely_of(name: str, package: str) -> None:
    missing = find_missing_op(f"Op type not registered '{name}' in binary running on host.")
    assert missing is not None
    assert package in (missing.hint or "")


STARTED = "2026-01-02 03:04:05.6: I server.cc:1] up\n"
FAILED = "2026-01-02 03:04:06.7: E x.cc:1] no\n"


@pytest.mark.parametrize("filler", ["hunter2" * 150_000, "hunter2\n" * 2000], ids=["one", "many"])
@pytest.mark.parametrize(
    "after", [FAILED, "\t [[{{node ParseExample}}]]\n" + FAILED], ids=["line", "node"]
)
def test_a_quoted_text_whose_beginning_is_cut_off_goes_as_well(filler: str, after: str) -> None:
    shown = hide_content_of_log(f"{filler}\n{after}and the rest\n")
    assert shown == f"{after}and the rest\n"


def test_the_first_line_of_a_cut_log_is_not_shown_whoever_wrote_it() -> None:
    assert hide_content_of_log("hunter2" * 150_000) == ""
    assert hide_content_of_log("hunter2" * 150_000 + "\nend\n") == "end\n"


def test_a_log_that_is_whole_stays() -> None:
    assert hide_content_of_log("libx.so: cannot open\n") == "libx.so: cannot open\n"
    whole = STARTED * 20_000
    assert hide_content_of_log(whole) == whole
    assert "hunter2" not in hide_content_of_log(whole + "could not parse, value: 'hunter2'")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "assertion failed: [only negative x] [Condition x < y did not hold element-wise:] "
            "[x (ParseExample:0) = ] [[0.5 0.2]...] [y (y:0) = ] [0]\n\t [[{{node a}}]]",
            "assertion failed: [only negative x] [Condition x < y did not hold element-wise:] "
            "(not shown)\n\t [[{{node a}}]]",
        ),
        (
            'assertion failed: [] [Condition x == y did not hold element-wise:] [x = ] ["Ada]"]',
            "assertion failed: [] [Condition x == y did not hold element-wise:] (not shown)",
        ),
        ("assertion failed: [Ada Lovelace] [12]", "assertion failed: (not shown)"),
        (
            "assertion failed: [Ada] [Condition] [critical]\nthe next line",
            "assertion failed: (not shown)\nthe next line",
        ),
        ("Assertion failed: x > 0", "Assertion failed: x > 0"),
    ],
)
def test_the_tensors_of_an_assertion_are_not_shown(said: str, shown: str) -> None:
    assert hide_content(said) == shown
    assert hide_content(shown) == shown
