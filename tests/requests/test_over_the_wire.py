"""Requests of every source, made for real models and answered by the embedded server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from infra_validator import config
from infra_validator.faults import FaultError
from infra_validator.files import Gfile
from infra_validator.proto import infra_validator_pb2 as pb
from infra_validator.requests.build import Made, make_requests
from infra_validator.requests.examples import Examples
from infra_validator.requests.request import Request, to_warmup_record
from infra_validator.tfrecord import write_records
from tests.conftest import example_bytes, write_split
from tests.model_server.embedded_server_process import running
from tests.requests import models

PNG = tf.io.encode_png(np.zeros((2, 2, 3), np.uint8)).numpy()
COUNT = 6


def record(number: int) -> bytes:
    """An example that fits every signature; what varies in length varies with the number."""
    feature = {
        "vector": [float(number), 1.0, 2.0],
        "count": [number],
        "scores": [0.5] * number,
        "words": [b"w%d" % i for i in range(number % 4)],
        "image": [PNG],
        "flag": [number % 2],
        "name": [b"n"],
        "length": [3],
    }
    example = tf.train.Example()
    for name, values in feature.items():
        target = example.features.feature[name]
        if any(isinstance(value, bytes) for value in values) or name == "words":
            target.bytes_list.value.extend(values)
        elif any(isinstance(value, float) for value in values) or name == "scores":
            target.float_list.value.extend(values)
        else:
            target.int64_list.value.extend(values)
    return example.SerializeToString()


class Served:
    """A model on a server."""

    def __init__(self, folder: Path, client: Any, examples: Examples | None) -> None:
        self.folder = folder
        self.client = client
        self.examples = examples

    def make(self, *, query: bool = True, serving: Any = None, **fields: Any) -> Made:
        spec = {"tensorflow_serving": serving or {}, **fields}
        parsed = config.parse(
            pb.ServingSpec(
                tensorflow_serving=pb.TensorFlowServing(), local_process=pb.LocalProcessConfig()
            ),
            None,
            _message(spec),
            query=query,
        )
        assert parsed.requests is not None
        return make_requests(
            Gfile(),
            str(self.folder / "1"),
            "m",
            parsed.requests,
            self.examples if query else None,
        )

    def answer(self, request: Request) -> dict[str, Any]:
        response = self.client.call(request.method.value, request.message)
        outputs = getattr(response, "outputs", {})
        return {name: tf.make_ndarray(tensor) for name, tensor in outputs.items()}

    def ask(self, name: str, **fields: Any) -> list[tuple[Request, dict[str, Any]]]:
        serving = {"signature_names": [name], **fields.pop("serving", {})}
        made = self.make(serving=serving, **fields)
        return [(request, self.answer(request)) for request in made.requests]


def _message(spec: dict[str, Any]) -> pb.RequestSpec:
    from infra_validator.specs import to_message

    return to_message(spec, pb.RequestSpec, "request_spec")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    base = tmp_path_factory.mktemp("examples")
    splits = {}
    for split in ("train", "eval"):
        folder = write_split(base / f"Split-{split}", map(record, range(COUNT)), shards=2)
        splits[split] = str(folder)
    return Examples(splits)


def serve(base: Path, examples: Examples) -> Iterator[Served]:
    with running(base) as (client, server):
        yield Served(base, client, examples)
        assert server.process.poll() is None, server.log
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, examples: Examples) -> Iterator[Served]:
    yield from serve(models.save_zoo(tmp_path_factory.mktemp("zoo")), examples)


@pytest.fixture(scope="module")
def keras(tmp_path_factory: pytest.TempPathFactory, examples: Examples) -> Iterator[Served]:
    yield from serve(models.save_keras(tmp_path_factory.mktemp("keras")), examples)


@pytest.fixture(scope="module")
def tf1(tmp_path_factory: pytest.TempPathFactory, examples: Examples) -> Iterator[Served]:
    yield from serve(models.save_tf1(tmp_path_factory.mktemp("tf1")), examples)


# The files' order is by shard: even records first.
ORDER = [0, 2, 4, 1, 3, 5]


def test_features_feed_inputs_by_name_in_every_batch_size(zoo: Served) -> None:
    asked = zoo.ask("dense", num_examples=COUNT, batch_sizes=[1, 4])
    assert [request.batch_size for request, _ in asked] == [1] * COUNT + [4, 4]
    expected = [number + 10 + 200 + number for number in ORDER]
    assert [float(answer["y"][0]) for _, answer in asked[:COUNT]] == expected
    assert asked[-2][1]["y"].tolist() == expected[:4]
    assert asked[-1][1]["y"].tolist() == [*expected[4:], *expected[:2]]
    assert asked[-1][0].description == "count: DT_INT32 [4], vector: DT_FLOAT [4, 3]"


def test_a_batch_size_fixed_at_export_is_kept(zoo: Served) -> None:
    [(request, answer)] = zoo.ask("fixed_batch")
    assert request.batch_size == 4
    assert answer["y"].tolist() == [number + 3 for number in ORDER[:4]]
    assert answer["flag"].tolist() == [[bool(number % 2)] for number in ORDER[:4]]


def test_other_batch_sizes_than_the_fixed_one_are_left_out(zoo: Served) -> None:
    made = zoo.make(serving={"signature_names": ["fixed_batch"]}, batch_sizes=[1, 4])
    assert [request.batch_size for request in made.requests] == [4]
    assert any("exactly 4 examples" in note for note in made.notes)
    with pytest.raises(FaultError, match="takes exactly 4 examples at a time"):
        zoo.make(serving={"signature_names": ["fixed_batch"]}, batch_sizes=[1, 2])


def test_a_signature_without_batch_dimension_gets_one_example(zoo: Served) -> None:
    asked = zoo.ask("one_example", num_examples=2)
    assert [request.description for request, _ in asked] == [
        "count: DT_INT64 [], vector: DT_FLOAT [3]"
    ] * 2
    assert [float(answer["y"]) for _, answer in asked] == [3.0, 7.0]


def test_constants_fill_what_no_feature_does(zoo: Served) -> None:
    asked = zoo.ask(
        "with_constants",
        serving={"input_constants": {"training": True, "weights": [5, 6]}},
        num_examples=2,
        batch_sizes=[2],
    )
    [(request, answer)] = asked
    assert answer["y"].tolist() == [3.0, 5.0]
    assert answer["training"].tolist() is True
    assert answer["weights"].tolist() == [[5, 6], [5, 6]]
    assert "training: DT_BOOL []" in request.description


def test_a_ragged_input_is_filled_by_its_components(zoo: Served) -> None:
    names = {"signature_names": ["ragged"]}
    made = zoo.make(serving=names, num_examples=3, batch_sizes=[3])
    [request] = made.requests
    assert request.description == (
        "count: DT_INT64 [3], scores: DT_FLOAT [6], scores_1: DT_INT64 [4]"
    )
    answer = zoo.answer(request)
    assert answer["y"].tolist() == [0.0, 1.0, 2.0]
    assert answer["count"].tolist() == [0, 2, 4]


def test_a_sparse_input_is_filled_by_its_components(zoo: Served) -> None:
    [(request, answer)] = zoo.ask("sparse", num_examples=4, batch_sizes=[4])
    assert answer["y"].tolist() == [
        [b"w%d" % i for i in range(number % 4)] + [b""] * (5 - number % 4) for number in ORDER[:4]
    ]
    assert "words_2: DT_INT64 [2]" in request.description


def test_components_that_a_model_names_itself(zoo: Served) -> None:
    [(_, answer)] = zoo.ask("named_components", num_examples=3, batch_sizes=[3])
    assert answer["y"].tolist() == [0.0, 1.0, 2.0]


def test_images_go_as_bytes_and_not_as_examples(zoo: Served) -> None:
    [(_, answer)] = zoo.ask("images", num_examples=2, batch_sizes=[2])
    assert answer["y"].tolist() == [2, 2, 2, 3]


@pytest.mark.parametrize("name", ["serialized", "one_by_one"])
def test_serialized_examples_feed_a_single_string_input(zoo: Served, name: str) -> None:
    [(request, answer)] = zoo.ask(name, num_examples=3, batch_sizes=[3])
    assert request.description == "examples: DT_STRING [3]"
    assert len(answer["y"]) == 3


def test_a_mapping_says_which_feature_feeds_an_input(zoo: Served) -> None:
    [(_, answer)] = zoo.ask("dense", serving={"input_features": {"count": "length"}})
    assert answer["y"].tolist() == [213.0]


def test_every_split_is_asked_with_one_word(zoo: Served) -> None:
    made = zoo.make(split_names=["*"], num_examples=2)
    assert len(made.requests) == 4
    assert len(zoo.make(split_names=["eval"], num_examples=9).requests) == COUNT


def test_keras_is_asked_by_its_inputs(keras: Served) -> None:
    [(request, answer)] = keras.ask("serving_default", num_examples=3, batch_sizes=[3])
    assert request.description == "count: DT_FLOAT [3, 1], vector: DT_FLOAT [3, 3]"
    [(_, values)] = answer.items()
    assert values.shape == (3, 2)


def test_classify_and_regress_take_several_examples(tf1: Served) -> None:
    names = ["classify", "regress"]
    made = tf1.make(
        serving={"signature_names": names, "multi_inference": True},
        num_examples=3,
        batch_sizes=[1, 3],
    )
    assert [(request.method.value, request.batch_size) for request in made.requests] == [
        *[("Classify", 1)] * 3,
        ("Classify", 3),
        *[("Regress", 1)] * 3,
        ("Regress", 3),
        *[("MultiInference", 1)] * 3,
        ("MultiInference", 3),
    ]
    responses = [tf1.client.call(one.method.value, one.message) for one in made.requests]
    regressed = responses[7].result.regressions
    assert [one.value for one in regressed] == [number + 3 for number in ORDER[:3]]
    both = responses[-1].results
    assert len(both[0].classification_result.classifications) == 3
    assert list(both[1].regression_result.regressions) == list(regressed)
    assert made.requests[-1].signature == "classify, regress"


def test_all_signatures_with_one_word(tf1: Served) -> None:
    with pytest.raises(FaultError) as caught:
        tf1.make(serving={"signature_names": ["*"]})
    assert "'words'" in caught.value.fault.summary  # TF1's sparse tensors cannot be fed


def test_every_signature_of_a_module_is_asked(zoo: Served) -> None:
    constants = {"training": False, "weights": [1, 2]}
    made = zoo.make(serving={"signature_names": ["*"], "input_constants": constants})
    asked = {request.signature for request in made.requests}
    assert len(asked) == 12
    for request in made.requests:
        if request.signature != "sequences":  # takes other records than these
            zoo.answer(request)


# Made from the signature alone.


def test_everything_is_answered_with_made_up_values(zoo: Served) -> None:
    made = zoo.make(
        query=False,
        from_signature=True,
        serving={"signature_names": ["*"]},
        batch_sizes=[1, 3, 4],
    )
    sizes: dict[str, list[int]] = {}
    for request in made.requests:
        sizes.setdefault(request.signature, []).append(request.batch_size)
        zoo.answer(request)
    assert sizes.pop("fixed_batch") == [4]
    assert sizes.pop("one_example") == [1]
    assert set(map(tuple, sizes.values())) == {(1, 3, 4)}
    assert len(sizes) == 10
    assert made.requests[0].description.endswith(" (made up)")


def test_made_up_values_feed_keras(keras: Served) -> None:
    made = keras.make(query=False, from_signature=True)
    [request] = made.requests
    keras.answer(request)


def test_made_up_examples_feed_tf1(tf1: Served) -> None:
    made = tf1.make(
        query=False,
        from_signature=True,
        batch_sizes=[2],
        serving={
            "signature_names": ["serving_default", "classify", "regress", "raw"],
            "multi_inference": True,
        },
    )
    assert made.notes == ()
    for request in made.requests:
        response = tf1.client.call(request.method.value, request.message)
        assert response.ByteSize()
    assert len(made.requests) == 5


# Files of requests.


def test_recorded_traffic_is_sent_as_it_is(tf1: Served, tmp_path: Path) -> None:
    made = tf1.make(
        serving={
            "signature_names": ["serving_default", "classify", "regress"],
            "multi_inference": True,
        },
        num_examples=2,
    )
    path = tmp_path / "log"
    with path.open("wb") as file:
        write_records(file, map(to_warmup_record, made.requests))
    again = tf1.make(query=False, prediction_log_file=str(path))
    assert [one.message for one in again.requests] == [one.message for one in made.requests]
    assert [one.description for one in again.requests] == [one.description for one in made.requests]
    for request in again.requests:
        tf1.client.call(request.method.value, request.message)
    chosen = tf1.make(
        query=False,
        prediction_log_file=str(path),
        num_examples=1,
        serving={"signature_names": ["regress"]},
    )
    assert [one.signature for one in chosen.requests] == ["regress"]


@pytest.mark.parametrize("field", ["prediction_log_file", "json_file"])
def test_a_chosen_signature_that_a_file_does_not_ask_is_told(
    tf1: Served, tmp_path: Path, field: str
) -> None:
    path = tmp_path / "requests"
    if field == "json_file":
        path.write_text(json.dumps({"signature_name": "raw", "instances": [[1, 2, 3]]}))
    else:
        made = tf1.make(serving={"signature_names": ["raw"]}, from_signature=True, query=False)
        with path.open("wb") as file:
            write_records(file, map(to_warmup_record, made.requests))
    made = tf1.make(
        query=False, serving={"signature_names": ["raw", "classify"]}, **{field: str(path)}
    )
    assert [request.signature for request in made.requests] == ["raw"]
    assert made.notes == (
        "The signature 'classify' was not asked: no request to it was taken from the file.",
    )


@pytest.mark.parametrize("fields", [{}, {"batch_sizes": [2]}])
def test_for_a_constant_no_more_examples_are_read(tmp_path: Path, fields: dict[str, Any]) -> None:
    """The third record lacks the feature, which matters to nobody."""
    module = tf.Module()
    module.masked = tf.function(
        lambda x, mask: {"y": x * tf.reduce_sum(mask)},
        input_signature=[
            tf.TensorSpec([None], tf.float32, name="x"),
            tf.TensorSpec([5], tf.float32, name="mask"),
        ],
    )
    tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": module.masked})
    features: list[dict[str, float]] = [{"x": 1.0}, {"x": 2.0}, {"z": 3.0}, {"x": 4.0}]
    split = write_split(tmp_path / "split", [example_bytes(**one) for one in features])
    made = Served(tmp_path, None, Examples({"train": str(split)})).make(
        serving={"input_constants": {"mask": [1, 1, 1, 0, 0]}}, **fields
    )
    assert [request.batch_size for request in made.requests] == fields.get("batch_sizes", [1])


@pytest.mark.parametrize("field", ["json_file", "from_signature"])
def test_a_signature_of_any_name_is_known_to_be_asked(tmp_path: Path, field: str) -> None:
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.same = tf.function(lambda x: {"y": x}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "1"), {"one, two": module.same})
    (tmp_path / "file").write_text('{"signature_name": "one, two", "inputs": [1]}')
    source = {"json_file": str(tmp_path / "file"), "from_signature": True}[field]
    made = Served(tmp_path, None, None).make(
        query=False, serving={"signature_names": ["one, two"]}, **{field: source}
    )
    assert [request.signature for request in made.requests] == ["one, two"]
    assert made.notes == ()


def test_requests_in_the_form_of_the_rest_api(zoo: Served, tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    rows = [{"vector": [1, 2, 3], "count": 4}, {"vector": [0.5, 0, 0], "count": 0}]
    image = {"b64": base64.b64encode(PNG).decode()}
    requests = [
        {"signature_name": "dense", "instances": rows},
        {"inputs": {"vector": [[1, 2, 3]], "count": [4]}},
        {"signature_name": "images", "instances": [image, image]},
        {"signature_name": "images", "inputs": [image]},
        {"signature_name": "one_example", "inputs": {"vector": [1, 2, 3], "count": 1}},
    ]
    path.write_text(json.dumps(requests))
    made = zoo.make(query=False, json_file=str(path))
    answers = [zoo.answer(request)["y"].tolist() for request in made.requests]
    assert answers == [[325.0, 0.5], [325.0], [2, 2, 2, 3], [1, 2, 2, 3], 7.0]
    assert [one.batch_size for one in made.requests] == [2, 1, 2, 1, 1]
    path.write_text("\n".join(map(json.dumps, requests)))
    lines = zoo.make(query=False, json_file=str(path))
    assert [one.message for one in lines.requests] == [one.message for one in made.requests]


def test_examples_in_the_form_of_the_rest_api(tf1: Served, tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    body = {
        "signature_name": "regress",
        "context": {"vector": [1.5, 0.0, 0.0]},
        "examples": [{"count": 1}, {"vector": [1.0, 2.5, 3.0], "count": 2}],
    }
    path.write_text(json.dumps(body))
    [request] = tf1.make(query=False, json_file=str(path)).requests
    result = tf1.client.call(request.method.value, request.message).result
    assert [one.value for one in result.regressions] == [1.5, 6.5]


def test_an_input_with_a_default_is_left_out_where_nothing_feeds_it(
    tf1: Served, tmp_path: Path
) -> None:
    path = tmp_path / "requests.json"
    path.write_text(
        json.dumps({"signature_name": "with_default", "instances": [{"vector": [0, 1, 2]}]})
    )
    name = "with_default"
    asked = [
        *tf1.ask(name),
        *tf1.ask(name, query=False, from_signature=True),
        *tf1.ask(name, query=False, json_file=str(path)),
    ]
    assert [sorted(request.message.inputs) for request, _ in asked] == [["vector"]] * 3
    assert [answer["y"].tolist() for _, answer in asked] == [[3.5], [0.5], [3.5]]
    [(_, answer)] = tf1.ask(name, serving={"input_constants": {"bias": 2}})
    assert answer["y"].tolist() == [5.0]


def test_a_mapped_feature_that_is_not_there_is_no_default(tf1: Served) -> None:
    serving = {"signature_names": ["with_default"], "input_features": {"bias": "nowhere"}}
    with pytest.raises(FaultError, match="no feature 'nowhere'"):
        tf1.make(serving=serving)


def test_resources_and_sparse_tensors_of_tensorflow_1_cannot_be_fed(tf1: Served) -> None:
    for name, said in (("handle", "DT_RESOURCE"), ("coo", "sparse or composite tensor")):
        for more in ({}, {"query": False, "from_signature": True}):
            with pytest.raises(FaultError, match=said):
                tf1.make(serving={"signature_names": [name]}, **more)
