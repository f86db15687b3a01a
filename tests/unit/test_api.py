"""What the library function refuses and fills in before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import infra_validator as iv
from infra_validator import api
from infra_validator.specs import SpecError
from infra_validator.validation.progress import AttemptEnded, Event, PhaseBegan
from infra_validator.waiting import Cancellation, Cancelled


def test_what_is_not_given_is_filled_in() -> None:
    parsed = api.parse_specs(None, None, None, with_examples=True)
    assert parsed.platform.name == "local_process"
    assert parsed.requests is not None
    assert parsed.requests.num_examples == 1
    assert api.parse_specs(None, None, None, with_examples=False).requests is None
    some = api.parse_specs({"model_name": "m"}, None, {"num_examples": 4}, with_examples=True)
    assert (some.model_name, some.platform.name) == ("m", "local_process")
    assert some.requests is not None
    assert some.requests.num_examples == 4


def test_a_spec_of_the_caller_is_left_as_it_is() -> None:
    spec = iv.ServingSpec(model_name="m")
    api.parse_specs(spec, None, None, with_examples=False)
    assert spec == iv.ServingSpec(model_name="m")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"serving_spec": {"local_dcker": {}}}, "serving_spec"),
        ({"serving_spec": '{"local_docker": {}}'}, "neither tags nor digests"),
        ({"validation_spec": {"num_tries": -1}}, "ValidationSpec.num_tries"),
        ({"request_spec": 3}, "request_spec: expected a RequestSpec"),
        ({"stamped_model": ""}, "stamped_model: empty"),
        ({"stamped_model": "/new"}, "stamped_model: nothing would be put there"),
        ({"examples": "/e", "request_spec": {"make_warmup": True}}, "stamped_model: not given"),
        ({"examples": "/e", "stamped_model": "/new"}, "set RequestSpec.make_warmup as well"),
        ({"model_dir": "/nowhere"}, "model_dir: there is no such folder"),
        ({"examples": "/nowhere/x"}, "examples: there is nothing at"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        iv.validate(**{"model_dir": tmp_path, **given})
    assert said in str(caught.value)


@pytest.mark.usefixtures("leaves_nothing")
def test_the_observer_is_told_and_the_note_is_kept(saved_model: Path, tmp_path: Path) -> None:
    (tmp_path / "7").symlink_to(saved_model)
    seen: list[Event] = []
    report = iv.validate(
        tmp_path,
        request_spec={"num_examples": 2},
        validation_spec={"max_loading_time_seconds": 60},
        observer=seen.append,
    )
    assert report.verdict is iv.Verdict.BLESSED
    assert [note.partition(" ")[0] for note in report.notes] == [str(tmp_path), "InfraValidator"]
    began = [event for event in seen if isinstance(event, PhaseBegan)]
    assert {event.phase.value for event in began} >= {"configure", "stage", "load", "stop"}
    assert [event.limit for event in began if event.phase.value == "load"] == [60]
    assert [event.fault for event in seen if isinstance(event, AttemptEnded)] == [None]


@pytest.mark.usefixtures("leaves_nothing")
def test_it_can_be_given_up(saved_model: Path) -> None:
    cancellation = Cancellation()

    def give_up(event: Event) -> None:
        if isinstance(event, PhaseBegan) and event.phase.value == "load":
            cancellation.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        iv.validate(saved_model, cancellation=cancellation, observer=give_up)
