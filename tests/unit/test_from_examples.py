import contextlib
from collections.abc import Sequence
from typing import Any

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    classification_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from infra_validator.faults import Blame, FaultError, Phase
from infra_validator.requests.drafts import number
from infra_validator.requests.examples import TF_EXAMPLE_FORMAT, Records
from infra_validator.requests.from_examples import Asked, ExampleSource, ModelFacts
from infra_validator.requests.request import Method, Request, to_warmup_record
from infra_validator.saved_model.reader import Signature, TensorSpec

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

BATCH_OF_STRINGS = TensorSpec("DT_STRING", (None,))


def example(text: str) -> tf.train.Example:
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
    return tf.train.Example(features=tf.train.Features(feature={"text": value}))


def signature(
    name: str = "serving_default", method: str = PREDICT, **inputs: TensorSpec
) -> Signature:
    return Signature(name, method, inputs or {"examples": BATCH_OF_STRINGS})


def build(
    signatures: Sequence[Signature],
    records: Sequence[bytes],
    payload_format: str = TF_EXAMPLE_FORMAT,
) -> list[Request]:
    source = ExampleSource(
        Records("train", tuple(records)), payload_format, Asked(num_examples=len(records))
    )
    made = [draft for one in signatures for draft in source.requests(one, ModelFacts(), [])]
    return number(made, "ranker")


def failure(*arguments: Any) -> FaultError:
    with pytest.raises(FaultError) as caught:
        build(*arguments)
    assert caught.value.fault.phase == Phase.STAGE
    return caught.value


@pytest.mark.parametrize(
    ("shape", "one_record"),
    [
        ((None,), lambda record: tf.make_tensor_proto([record])),
        ((1,), lambda record: tf.make_tensor_proto([record])),
        (None, lambda record: tf.make_tensor_proto([record])),
        ((), lambda record: tf.make_tensor_proto(record)),
    ],
)
def test_predict_carries_the_serialized_example(shape: Any, one_record: Any) -> None:
    record = example("a").SerializeToString()
    [request] = build([signature(examples=TensorSpec("DT_STRING", shape))], [record])
    expected = predict_pb2.PredictRequest()
    expected.model_spec.name = "ranker"
    expected.model_spec.signature_name = "serving_default"
    expected.inputs["examples"].CopyFrom(one_record(record))
    assert request.message == expected
    assert (request.number, request.signature, request.method) == (
        1,
        "serving_default",
        Method.PREDICT,
    )


def test_classify_carries_the_example() -> None:
    [request] = build([signature("c", CLASSIFY)], [example("a").SerializeToString()])
    expected = classification_pb2.ClassificationRequest()
    expected.model_spec.name = "ranker"
    expected.model_spec.signature_name = "c"
    expected.input.example_list.examples.append(example("a"))
    assert request.message == expected
    assert (request.signature, request.method) == ("c", Method.CLASSIFY)


def test_regress_carries_the_example() -> None:
    [request] = build([signature("r", REGRESS)], [example("a").SerializeToString()])
    expected = regression_pb2.RegressionRequest()
    expected.model_spec.name = "ranker"
    expected.model_spec.signature_name = "r"
    expected.input.example_list.examples.append(example("a"))
    assert request.message == expected
    assert (request.signature, request.method) == ("r", Method.REGRESS)


def test_asks_each_signature_with_each_record_in_order() -> None:
    records = [example(text).SerializeToString() for text in "ab"]
    requests = build([signature("p"), signature("c", CLASSIFY), signature("r", REGRESS)], records)
    assert [(request.number, request.signature, request.method.value) for request in requests] == [
        (1, "p", "Predict"),
        (2, "p", "Predict"),
        (3, "c", "Classify"),
        (4, "c", "Classify"),
        (5, "r", "Regress"),
        (6, "r", "Regress"),
    ]
    assert [request.message.inputs["examples"].string_val[0] for request in requests[:2]] == records
    assert [
        request.message.input.example_list.examples[0].SerializeToString()
        for request in requests[2:]
    ] == records * 2
    assert {request.message.model_spec.name for request in requests} == {"ranker"}
    assert all(
        request.message.model_spec.signature_name == request.signature for request in requests
    )


def test_the_description_says_what_but_not_the_content() -> None:
    requests = build(
        [
            signature("p"),
            signature("s", examples=TensorSpec("DT_STRING", ())),
            signature("c", CLASSIFY),
        ],
        [example("hunter2").SerializeToString()],
    )
    assert [request.description for request in requests] == [
        "examples: DT_STRING [1]",
        "examples: DT_STRING []",
        "1 tf.Example",
    ]
    assert not any("hunter2" in request.description for request in requests)


@pytest.mark.parametrize(
    "inputs",
    [
        {"a": BATCH_OF_STRINGS, "b": BATCH_OF_STRINGS},
        {"matrix": TensorSpec("DT_FLOAT", (None, 3))},
        {"ids": TensorSpec("DT_INT64", (None,))},
        {"numbers": TensorSpec("DT_FLOAT", None)},
        {"column": TensorSpec("DT_STRING", (None, 1))},
        {"grid": TensorSpec("DT_STRING", (None, None))},
        {"none_at_all": TensorSpec("DT_STRING", (0,))},
    ],
)
def test_a_signature_that_examples_cannot_feed_is_the_configurations_fault(
    inputs: dict[str, TensorSpec],
) -> None:
    error = failure([signature("odd", **inputs)], [example("a").SerializeToString()])
    assert (error.fault.category, error.fault.blame) == (
        "inputs_unmatched",
        Blame.CONFIGURATION,
    )
    assert "'odd'" in error.fault.summary
    assert all(f"{key}: {spec.dtype}" in error.fault.summary for key, spec in inputs.items())


@pytest.mark.parametrize(
    "odd",
    [
        Signature("odd", PREDICT, {}),
        Signature("odd", "", {"examples": BATCH_OF_STRINGS}),
        Signature("odd", "tensorflow/serving/other", {"examples": BATCH_OF_STRINGS}),
        Signature("odd", "custom", {}),
    ],
)
def test_a_signature_of_no_known_kind_is_the_configurations_fault(odd: Signature) -> None:
    error = failure([odd], [example("a").SerializeToString()])
    assert (error.fault.category, error.fault.blame) == (
        "signature_unsupported",
        Blame.CONFIGURATION,
    )
    assert "'odd'" in error.fault.summary


def test_one_signature_that_cannot_be_asked_is_enough() -> None:
    error = failure(
        [signature(), signature("raw", x=TensorSpec("DT_FLOAT", (None,)))],
        [example("a").SerializeToString()],
    )
    assert "'raw'" in error.fault.summary


NOT_EXAMPLES = [
    b"a,b,c\n1,2,3\n",
    b'{"a": 1}',
    b"\x00",
    b"\xff" * 8,
    b"hello",
    example("a").SerializeToString()[:-1],
    example("a").SerializeToString() + b"\x0a",
    example("a").SerializeToString() + b"\x00",
    example("a").SerializeToString() + b"\x0c",
    # Messages of another type: their content ends in fields that tf.Example has not.
    b"\x12\x03abc",
    b"\x08\x01\x10\x02",
    tf.make_tensor_proto([1.0, 2.0]).SerializeToString(),
]


@pytest.mark.parametrize("method", [PREDICT, CLASSIFY, REGRESS])
@pytest.mark.parametrize("record", NOT_EXAMPLES)
def test_a_record_that_is_no_example_is_the_datas_fault_and_counted(
    record: bytes, method: str
) -> None:
    good = example("a").SerializeToString()
    error = failure([signature(method=method)], [good, record, good])
    assert (error.fault.category, error.fault.blame) == ("examples_unfit", Blame.DATA)
    assert "Record 2 " in error.fault.summary
    shown = f"{error.fault.summary} {error.fault.detail} {error.fault.hint}"
    assert "abc" not in shown
    assert "hello" not in shown


@given(st.text(min_size=3))
def test_no_text_passes_for_an_example(text: str) -> None:
    record = text.encode(errors="surrogatepass")
    with contextlib.suppress(FaultError):
        build([signature()], [record])
        assert tf.train.Example.FromString(record).features.feature


FEATURES = st.one_of(
    st.lists(st.binary(max_size=5), max_size=3).map(
        lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    ),
    st.lists(st.floats(width=32), max_size=3).map(
        lambda value: tf.train.Feature(float_list=tf.train.FloatList(value=value))
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(
        lambda value: tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    ),
    st.just(tf.train.Feature()),
)


@given(
    st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"]), max_size=5), FEATURES).map(
        lambda features: tf.train.Example(features=tf.train.Features(feature=features))
    )
)
def test_any_example_is_taken_and_carried_as_it_is(given_example: tf.train.Example) -> None:
    record = given_example.SerializeToString()
    predict, classify = build([signature(), signature("c", CLASSIFY)], [record])
    assert list(predict.message.inputs["examples"].string_val) == [record]
    [carried] = classify.message.input.example_list.examples
    assert carried.SerializeToString(deterministic=True) == given_example.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("record", [b"", b"\x0a\x00"])
def test_an_example_may_be_empty(record: bytes) -> None:
    assert len(build([signature(), signature("c", CLASSIFY)], [record])) == 2


@pytest.mark.parametrize("payload_format", ["FORMAT_PROTO", "FORMAT_PARQUET", ""])
def test_other_payloads_are_carried_by_predict_unread(payload_format: str) -> None:
    [request] = build([signature()], [b"anything"], payload_format)
    assert list(request.message.inputs["examples"].string_val) == [b"anything"]


@pytest.mark.parametrize("method", [CLASSIFY, REGRESS])
def test_other_payloads_do_not_fit_where_examples_are_needed(method: str) -> None:
    error = failure([signature("c", method)], [b"anything"], "FORMAT_PROTO")
    assert (error.fault.category, error.fault.blame) == ("examples_unfit", Blame.DATA)
    assert "FORMAT_PROTO" in error.fault.summary
    assert "'c'" in error.fault.summary


@pytest.mark.parametrize(
    ("method", "field"),
    [(PREDICT, "predict_log"), (CLASSIFY, "classify_log"), (REGRESS, "regress_log")],
)
def test_a_warm_up_record_is_the_request_in_a_prediction_log(method: str, field: str) -> None:
    [request] = build([signature(method=method)], [example("a").SerializeToString()])
    log = prediction_log_pb2.PredictionLog.FromString(to_warmup_record(request))
    assert log.WhichOneof("log_type") == field
    assert getattr(log, field).request == request.message
    assert not getattr(log, field).HasField("response")
