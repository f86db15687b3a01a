import pytest

from infra_validator.faults import CATEGORIES, Blame, Fault, Phase, fault
from infra_validator.report import (
    AttemptReport,
    BinaryReport,
    FirstRequestReport,
    ModelRole,
    RequestReport,
    Verdict,
)
from infra_validator.servers.base import LogFacts
from infra_validator.validation.outcome import (
    blame_warm_up,
    compare_first_requests,
    deciding_fault,
    diagnose_replay,
    judge_binary,
    judge_fault,
    with_caching_hint,
    worth_trying_alone,
)

MODEL = "op_missing"
DATA = "examples_unfit"
CONFIGURATION = "server_flags_refused"
INFRASTRUCTURE = "connection_lost"
MEMORY = "out_of_memory"


def found(category: str | None) -> Fault | None:
    return None if category is None else fault(category, Phase.LOAD, f"because of {category}")


def attempts(*categories: str | None) -> tuple[AttemptReport, ...]:
    return tuple(
        AttemptReport(number, {}, (), (), None, (), found(category), ())
        for number, category in enumerate(categories, start=1)
    )


@pytest.mark.parametrize(
    ("category", "verdict"),
    [
        (None, Verdict.BLESSED),
        (MODEL, Verdict.NOT_BLESSED),
        (DATA, Verdict.UNDETERMINED),
        (CONFIGURATION, Verdict.UNDETERMINED),
        (INFRASTRUCTURE, Verdict.UNDETERMINED),
    ],
)
def test_only_the_models_own_fault_speaks_against_it(
    category: str | None, verdict: Verdict
) -> None:
    assert judge_fault(found(category)) == verdict


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_has_a_verdict(category: str) -> None:
    by_model = CATEGORIES[category].blame == Blame.MODEL
    expected = Verdict.NOT_BLESSED if by_model else Verdict.UNDETERMINED
    assert judge_fault(found(category)) == expected


@pytest.mark.parametrize(
    ("categories", "verdict"),
    [
        ([None], Verdict.BLESSED),
        ([INFRASTRUCTURE, None], Verdict.BLESSED),
        ([INFRASTRUCTURE, MODEL], Verdict.NOT_BLESSED),
        ([INFRASTRUCTURE, INFRASTRUCTURE], Verdict.UNDETERMINED),
        ([MEMORY, MODEL], Verdict.NOT_BLESSED),
    ],
)
def test_the_last_attempt_decides(categories: list[str | None], verdict: Verdict) -> None:
    tried = attempts(*categories)
    assert judge_binary("server", list(tried)) == BinaryReport("server", verdict, tried)


@pytest.mark.parametrize(
    ("binaries", "decided"),
    [
        ([], None),
        ([[None]], None),
        ([[None], [None]], None),
        ([[INFRASTRUCTURE, None]], None),
        ([[None], [MODEL]], (1, MODEL)),
        ([[INFRASTRUCTURE], [MODEL]], (1, MODEL)),
        ([[MODEL], ["tags_missing"]], (0, MODEL)),
        ([[None], [INFRASTRUCTURE], [MEMORY]], (1, INFRASTRUCTURE)),
        ([[MODEL, None], [INFRASTRUCTURE]], (1, INFRASTRUCTURE)),
        ([[MODEL, INFRASTRUCTURE]], (0, INFRASTRUCTURE)),
    ],
)
def test_a_fault_of_the_model_with_any_server_decides(
    binaries: list[list[str | None]], decided: tuple[int, str] | None
) -> None:
    judged = [
        judge_binary(f"server {index}", attempts(*categories))
        for index, categories in enumerate(binaries)
    ]
    expected = None if decided is None else (f"server {decided[0]}", found(decided[1]))
    assert deciding_fault(iter(judged)) == expected


@pytest.mark.parametrize(
    ("category", "hinted"),
    [(MODEL, False), (DATA, False), (CONFIGURATION, False), (INFRASTRUCTURE, True), (MEMORY, True)],
)
def test_the_hint_tells_of_caching_where_the_execution_succeeds_all_the_same(
    category: str, hinted: bool
) -> None:
    before = fault(category, Phase.LOAD, "It failed.", detail="d")
    after = with_caching_hint(before)
    field = "ValidationSpec.fail_execution_when_undetermined"
    assert (field in after.hint) is hinted
    assert after.hint.startswith(before.hint)
    assert (after.summary, after.detail, after.category) == ("It failed.", "d", category)
    if not hinted:
        assert after == before


@pytest.mark.parametrize(
    ("categories", "alone"),
    [
        ([None], False),
        ([MODEL], False),
        ([INFRASTRUCTURE], False),
        ([MEMORY], True),
        (["server_killed"], True),
        ([MEMORY, None], False),
        ([INFRASTRUCTURE, MEMORY], True),
    ],
)
def test_faults_of_memory_are_tried_again_alone(categories: list[str | None], alone: bool) -> None:
    assert worth_trying_alone(attempts(*categories)) is alone


@pytest.mark.parametrize(
    ("facts", "category", "noted"),
    [
        (LogFacts(warm_up_records=5), None, False),
        (LogFacts(warm_up_records=4), "model_not_delivered", False),
        (LogFacts(warm_up_records=6), "model_not_delivered", False),
        (LogFacts(no_warm_up=True), "model_not_delivered", False),
        (LogFacts(), None, True),
    ],
)
def test_a_server_must_replay_what_was_written(
    facts: LogFacts, category: str | None, noted: bool
) -> None:
    fault, notes = diagnose_replay(facts, 5)
    assert (None if fault is None else fault.category) == category
    assert bool(notes) == noted


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_speaks_against_the_stamped_model_is_its_warm_up(category: str) -> None:
    original = fault(category, Phase.LOAD, "It is so.", detail="why")
    judged = blame_warm_up(original)
    if original.blame != Blame.MODEL:
        assert judged == original
    else:
        assert (judged.category, judged.phase) == ("warm_up_failed", Phase.WARM_UP)
        assert judged.summary.endswith("It is so.")
        assert (judged.detail, judged.evidence) == ("why", original.evidence)


def test_first_requests_are_compared_by_binary_and_signature() -> None:
    def attempt(role: ModelRole, *seconds: float | None) -> AttemptReport:
        requests = tuple(
            RequestReport(number, f"s{number}", "Predict", "", second)
            for number, second in enumerate(seconds, start=1)
        )
        return AttemptReport(1, {}, (), requests, None, (), None, (), model=role)

    candidate, stamped = ModelRole.CANDIDATE, ModelRole.STAMPED
    assert compare_first_requests(
        [
            judge_binary(
                "a",
                [
                    attempt(candidate, 9.0),
                    attempt(candidate, 1.0, 2.0, 3.0),
                    attempt(stamped, 0.5, None),
                ],
            ),
            judge_binary("b", [attempt(candidate, 1.0)]),
            judge_binary("c", [attempt(candidate, 1.0), attempt(stamped)]),
        ]
    ) == (
        FirstRequestReport("a", "s1", 1.0, 0.5),
        FirstRequestReport("a", "s2", 2.0, None),
    )
