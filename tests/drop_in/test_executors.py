"""Side by side: both executors on one Docker engine, with the same artifacts and specs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tfx.types.artifact import Artifact

from tests.drop_in.sides import (
    Left,
    examples_artifact,
    execute,
    model_artifact,
    numbers,
)

pytestmark = pytest.mark.usefixtures("leaves_nothing")

BLESSED, NOT_BLESSED, FAILED = "blessed", "not blessed", "failed"

# Enough for a server on a machine that has much else to do.
LIMITS = {"max_loading_time_seconds": 200, "num_tries": 1}
# TFX's component tries a model that cannot be loaded until its limit; ours ends at once.
SHORT = {"max_loading_time_seconds": 7, "num_tries": 1}
QUERY = {"tensorflow_serving": {}, "num_examples": 3}


@dataclasses.dataclass(frozen=True)
class Case:
    """What both are given, and how they end.

    Attributes:
        end: how TFX's component ends.
        ours: how ours ends, where the table of outcomes (docs/migrating.md) declares a
            difference; None: the same.
        model: which of the models.
        layout: as in `model_artifact`.
        query: whether examples are given.
        splits: the examples.
        serving: merged into the serving spec, a level deep; None removes.
    """

    end: str
    ours: str | None = None
    model: str = "good"
    layout: str = "Format-Serving"
    query: bool = True
    splits: Mapping[str, list[bytes]] = dataclasses.field(
        default_factory=lambda: {"train": numbers(1, 2, 3, 4), "eval": numbers(7, 8)}
    )
    serving: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    validation: Any = dataclasses.field(default_factory=lambda: LIMITS)
    request: Any = dataclasses.field(default_factory=lambda: QUERY)


def query(**fields: Any) -> dict[str, Any]:
    """A request spec that makes a warm-up, so that the requests can be compared."""
    return {**QUERY, "make_warmup": True, **fields}


CASES = {
    # Good models, all ways to ask.
    "load only": Case(BLESSED, query=False, request=None),
    "examples but no request spec": Case(BLESSED, request=None),
    "request spec but no examples": Case(BLESSED, query=False),
    "load and query": Case(BLESSED),
    "defaults": Case(BLESSED, validation=None, request={"tensorflow_serving": {}}),
    "warm-up": Case(BLESSED, request=query()),
    "warm-up, one example": Case(BLESSED, request=query(num_examples=0)),
    "warm-up, more than there are": Case(BLESSED, request=query(num_examples=9)),
    "warm-up, another split": Case(BLESSED, request=query(split_name="eval")),
    "warm-up, a signature": Case(
        BLESSED, request=query(tensorflow_serving={"signature_names": ["serving_default"]})
    ),
    "warm-up, all methods": Case(
        BLESSED,
        model="classifies",
        request=query(
            tensorflow_serving={"signature_names": ["serving_default", "classify", "regress"]}
        ),
    ),
    "warm-up, tag set": Case(
        BLESSED, model="classifies", request=query(tensorflow_serving={"tag_set": ["serve"]})
    ),
    "warm-up without examples": Case(BLESSED, query=False, request=query()),
    # Layouts.
    "old layout": Case(BLESSED, layout="serving_model_dir", request=query()),
    "estimator's layout": Case(BLESSED, layout="estimator", request=query()),
    # The serving spec and the validation spec.
    "model name": Case(BLESSED, serving={"model_name": "mine"}, request=query()),
    "two tags": Case(BLESSED, serving={"tensorflow_serving": {"tags": ["a", "b"]}}),
    "one of two tags fails": Case(
        NOT_BLESSED,
        serving={"tensorflow_serving": {"tags": ["a", "fails"]}},
        validation=SHORT,
    ),
    "host address": Case(BLESSED, serving={"local_docker": {"host_ip_address": "127.0.0.1"}}),
    "engine's address": Case(
        BLESSED,
        serving={
            "local_docker": {
                "client_base_url": "unix:///var/run/docker.sock",
                "client_timeout_seconds": 30,
            }
        },
    ),
    "engine's API version": Case(BLESSED, serving={"local_docker": {"client_api_version": "1.41"}}),
    "several tries": Case(BLESSED, validation={"num_tries": 3}),
    # Models that cannot be served.
    "no variables": Case(NOT_BLESSED, model="no variables", validation=SHORT),
    "no variables, load only": Case(
        NOT_BLESSED, model="no variables", query=False, request=None, validation=SHORT
    ),
    "truncated graph, load only": Case(
        NOT_BLESSED, model="truncated graph", query=False, request=None, validation=SHORT
    ),
    "no graph, load only": Case(
        NOT_BLESSED, model="no graph", query=False, request=None, validation=SHORT
    ),
    "nothing, load only": Case(
        NOT_BLESSED, model="nothing", query=False, request=None, validation=SHORT
    ),
    "cannot answer": Case(NOT_BLESSED, model="cannot answer"),
    "cannot answer, warm-up": Case(NOT_BLESSED, model="cannot answer", request=query()),
    "cannot answer, load only": Case(BLESSED, model="cannot answer", query=False, request=None),
    # The model's fault, seen while requests are built: declared.
    "truncated graph": Case(FAILED, NOT_BLESSED, model="truncated graph"),
    "no graph": Case(FAILED, NOT_BLESSED, model="no graph"),
    "no such signature": Case(
        FAILED,
        NOT_BLESSED,
        request=query(tensorflow_serving={"signature_names": ["serving_default", "absent"]}),
    ),
    "no such tag set": Case(
        FAILED, NOT_BLESSED, request=query(tensorflow_serving={"tag_set": ["absent"]})
    ),
    # The data's fault.
    "no such split": Case(FAILED, request=query(split_name="absent")),
    "no split": Case(FAILED, splits={}),
    "empty split": Case(FAILED, splits={"train": []}),
    "records that are no Examples": Case(
        NOT_BLESSED, FAILED, splits={"train": [b"\xff\xff no example"]}
    ),
    # The infrastructure's fault.
    "no such image": Case(
        NOT_BLESSED, serving={"tensorflow_serving": {"tags": ["absent"]}}, validation=SHORT
    ),
    "no engine": Case(
        NOT_BLESSED,
        serving={"local_docker": {"client_base_url": "unix:///nowhere/docker.sock"}},
        validation=SHORT,
    ),
    # A configuration that can never work: declared.
    "neither tag nor digest": Case(BLESSED, FAILED, serving={"tensorflow_serving": {"tags": []}}),
    "no platform": Case(NOT_BLESSED, FAILED, serving={"local_docker": None}, validation=SHORT),
    "no serving binary": Case(FAILED, serving={"tensorflow_serving": None}),
    "no kind of request": Case(FAILED, request={"num_examples": 1}),
    "no spec but text": Case(FAILED, request="{"),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def serving_spec(image: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "tensorflow_serving": {"image_name": image, "tags": ["a"]},
        "local_docker": {},
    }
    for key, value in changes.items():
        if value is None:
            del spec[key]
        elif isinstance(value, dict):
            spec[key] = {**spec[key], **value}
        else:
            spec[key] = value
    return spec


def both(
    folder: Path,
    image: str,
    case: Case,
    inputs: Callable[[Path], dict[str, list[Artifact]]],
) -> tuple[Left, Left]:
    """What each side leaves; each has artifacts of its own."""
    specs = {
        "serving_spec": serving_spec(image, case.serving),
        "validation_spec": case.validation,
        "request_spec": case.request,
    }
    found = [
        execute(whose, folder, inputs(folder / f"{whose} inputs"), specs)
        for whose in ("TFX", "ours")
    ]
    return found[0], found[1]


def test_both_leave_the_same(
    case: Case, image: str, models: Mapping[str, Path], tmp_path: Path
) -> None:
    def inputs(folder: Path) -> dict[str, list[Artifact]]:
        given = {"model": [model_artifact(folder / "model", models[case.model], case.layout)]}
        if case.query:
            given["examples"] = [examples_artifact(folder / "examples", **case.splits)]
        return given

    theirs, ours = both(tmp_path, image, case, inputs)
    assert theirs.end == case.end, theirs.error
    assert ours.end == (case.ours or case.end), ours.error
    if case.ours is None:
        assert ours.files_but_warm_up == theirs.files_but_warm_up
        assert ours.tfx_properties == theirs.properties
        same_requests(case, theirs.warm_up(tmp_path), ours.warm_up(tmp_path))
    if ours.end == BLESSED:
        assert ours.files["INFRA_BLESSED"] == b""
        assert ours.properties["blessed"] == ("int_value", 1)
    if ours.end == NOT_BLESSED:
        assert ours.files == {"INFRA_NOT_BLESSED": b""}
        assert ours.tfx_properties == {"blessed": ("int_value", 0)}
    if ours.end == FAILED:
        assert ours.files == {}
        assert ours.tfx_properties == {}


def same_requests(
    case: Case, theirs: list[tuple[str, bytes]], ours: list[tuple[str, bytes]]
) -> None:
    """The same requests but for the records: TFX's component shuffles them, ours takes the first.

    Where there are fewer than were asked for, TFX's asks some again, and ours says so.
    """
    if not theirs:
        assert not ours
        return
    split = case.splits[case.request.get("split_name", next(iter(case.splits)))]
    assert {record for _, record in theirs} <= set(split)
    methods = list(dict.fromkeys(request for request, _ in ours))
    assert methods == list(dict.fromkeys(request for request, _ in theirs))
    asked = case.request["num_examples"] or 1
    expected = split[:asked]
    assert len(theirs) == asked * len(methods)
    assert ours == [(request, record) for request in methods for record in expected]


@pytest.mark.parametrize(("several", "ours_ends"), [("model", FAILED), ("examples", BLESSED)])
def test_several_artifacts_in_one_input(
    several: str, ours_ends: str, image: str, models: Mapping[str, Path], tmp_path: Path
) -> None:
    """TFX's component fails on both; ours asks from several examples, and says what to do else."""

    def inputs(folder: Path) -> dict[str, list[Artifact]]:
        counts = {"model": 1, "examples": 1, several: 2}
        return {
            "model": [
                model_artifact(folder / f"model-{number}", models["good"])
                for number in range(counts["model"])
            ],
            "examples": [
                examples_artifact(folder / f"examples-{number}", train=numbers(number))
                for number in range(counts["examples"])
            ],
        }

    theirs, ours = both(tmp_path, image, Case(FAILED), inputs)
    assert (theirs.end, ours.end) == (FAILED, ours_ends)
    if ours.error is not None:
        assert "The input 'model' must hold exactly one artifact, but holds 2" in ours.error
        assert "ForEach" in ours.error


def test_requests_are_asked_for_with_the_digest_too(
    image: str, docker_client: Any, models: Mapping[str, Path], tmp_path: Path
) -> None:
    """An image of this machine alone has no digest, so both must fail to find it."""

    def inputs(folder: Path) -> dict[str, list[Artifact]]:
        return {"model": [model_artifact(folder / "model", models["good"])]}

    changes = {"tensorflow_serving": {"tags": [], "digests": [f"sha256:{'0' * 64}"]}}
    theirs, ours = both(
        tmp_path, image, Case(NOT_BLESSED, serving=changes, validation=SHORT), inputs
    )
    assert (theirs.end, ours.end) == (NOT_BLESSED, NOT_BLESSED)
    assert ours.properties["verdict"] == ("string_value", "undetermined")
