"""What the page shows, without a browser."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra_validator.faults import Evidence, Phase, fault
from infra_validator.report import (
    FAILED_REQUEST_FILE_NAME,
    AttemptReport,
    FirstRequestReport,
    PhaseReport,
    Report,
    RequestReport,
    Verdict,
    WarmUpReport,
)
from infra_validator.report_page.charts import latency_view, timeline_view
from infra_validator.report_page.numbers import LogAxis, duration, linear_ticks, percentile
from infra_validator.report_page.view import decisive_line, view_of
from tests.report_page.hostile import hostile_report
from tests.unit.test_report import make_report


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 µs"),
        (0.0000004, "0 µs"),
        (0.0001234, "123 µs"),
        (0.0005, "0.50 ms"),
        (0.00999, "9.99 ms"),
        (0.0099951, "10.0 ms"),
        (0.0999, "99.9 ms"),
        (0.09996, "100 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (12.34, "12.3 s"),
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (3601, "60 min 1 s"),
        (float("nan"), "?"),
        (float("inf"), "?"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([1.0], 50, 1.0),
        ([1.0], 99, 1.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0], 51, 2.0),
        ([float(n) for n in range(1, 101)], 50, 50.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 1001)], 90, 900.0),
    ],
)
def test_percentiles_are_values_that_were_seen(
    values: list[float], percent: float, expected: float
) -> None:
    assert percentile(values, percent) == expected


@given(st.floats(1e-6, 1e7))
def test_ticks_of_time_are_few_round_and_within(end: float) -> None:
    ticks = linear_ticks(end)
    assert ticks[0] == 0
    assert ticks[-1] <= end * (1 + 1e-9)
    assert 3 <= len(ticks) <= 7
    assert re.fullmatch(r"[125]", f"{ticks[1]:e}"[0])


@pytest.mark.parametrize("end", [0.0, -1.0, float("inf"), float("nan")])
def test_an_axis_without_an_end_has_a_beginning(end: float) -> None:
    assert linear_ticks(end) == [0.0]


@given(st.floats(1e-6, 1e6), st.floats(1, 1e6))
def test_a_logarithmic_axis_holds_its_values(low: float, ratio: float) -> None:
    axis = LogAxis(low, low * ratio)
    places = [axis.place(value) for value in (low, low * ratio, axis.low, axis.high)]
    assert all(-0.001 <= place <= 1.001 for place in places)
    assert (places[2], places[3]) == (pytest.approx(0), pytest.approx(1))
    ticks = axis.ticks()
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)
    assert all(-0.001 <= axis.place(tick) <= 1.001 for tick in ticks)


def report_of(*seconds: float | None) -> Report:
    requests = tuple(
        RequestReport(number, "s", "Predict", f"x: DT_FLOAT [{number}]", value)
        for number, value in enumerate(seconds, 1)
    )
    report = make_report()
    [binary] = report.binaries
    attempt = dataclasses.replace(binary.attempts[0], requests=requests)
    return dataclasses.replace(report, binaries=(dataclasses.replace(binary, attempts=(attempt,)),))


def test_every_answer_is_drawn_once() -> None:
    few = latency_view(report_of(*(0.001 * n for n in range(1, 10))))
    assert few is not None
    [group] = few["groups"]
    assert len(group["dots"]) == 9
    assert group["bars"] == []
    many = latency_view(report_of(*([0.001] * 500), *(0.002 + n / 1e5 for n in range(500))))
    assert many is not None
    [group] = many["groups"]
    assert group["dots"] == []
    assert max(height for _, _, height in group["bars"]) == many["plot_height"]
    assert dict(group["stats"])["max"] == "6.99 ms"
    assert [mark["name"] for mark in group["marks"]] == ["p50", "p90", "p99"]
    assert group["carried"] == ["x: DT_FLOAT [1]", "x: DT_FLOAT [2]", "and 998 other shapes"]


@pytest.mark.parametrize("seconds", [(), (None,), (0.0,), (-1.0,), (1e-9, 1e9), (0.1, 0.1)])
def test_odd_times_are_drawn(seconds: tuple[float | None, ...]) -> None:
    report = report_of(*seconds)
    view = latency_view(report)
    assert (view is None) == (not seconds)
    assert "<svg" in report.to_html()


def test_requests_without_an_answer_are_counted_not_drawn() -> None:
    view = latency_view(report_of(0.5, None))
    assert view is not None
    [group] = view["groups"]
    assert (group["sent"], group["answered"], len(group["dots"])) == (2, 1, 1)
    assert group["failed"] == ["no. 2 (x: DT_FLOAT [2])"]


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], "2 requests to the signature s; 1 answered"),
        ([(0.1, 0.1)], "4 requests to the signature s, on 2 servers; 3 answered"),
        ([()], "2 requests to the signature s, on 1 of 2 servers; 1 answered"),
    ],
)
def test_what_was_asked_counts_the_servers_that_were_asked(
    others: list[tuple[float, ...]], told: str
) -> None:
    reports = [report_of(0.5, None), *(report_of(*seconds) for seconds in others)]
    binaries = tuple(report.binaries[0] for report in reports)
    view = view_of(dataclasses.replace(reports[0], binaries=binaries))
    asked = {label: text for label, text, _ in view["asked"]}
    assert asked["Asked"] == f"to load, and to answer {told}"


def test_the_failed_phase_is_marked() -> None:
    found = fault("request_failed", Phase.QUERY, "It failed.")
    attempt = AttemptReport(
        1,
        {},
        (PhaseReport(Phase.LOAD, 0.0, 1.0), PhaseReport(Phase.QUERY, 1.0, 1.0)),
        (),
        None,
        (),
        found,
        (),
    )
    again = dataclasses.replace(attempt, number=2)
    report = make_report(found)
    binary = dataclasses.replace(report.binaries[0], attempts=(attempt, again))
    view = timeline_view(dataclasses.replace(report, binaries=(binary,), seconds=2.0))
    validation, first, second = view["rows"]
    assert validation["failed"] == ""
    assert [part["failed"] for part in first["segments"]] == [False, True]
    assert [(part["x"], part["width"]) for part in first["segments"]] == [(0, 50), (50, 50)]
    assert (first["attempt"], second["attempt"]) == ("attempt 1", "attempt 2")


@pytest.mark.parametrize(
    ("log", "line", "found"),
    [
        (["a", "b: c", "d"], "b: c", 1),
        (["x b: c y", "b: c", "z"], "b: c", 1),
        (["due to error: message", "z"], "NOT_FOUND: message", 0),
        (["a"], "not there", None),
        (["a"], "CODE: ", None),
        (["a"], "", None),
        (["a"], None, None),
        ([], "a", None),
    ],
)
def test_the_decisive_line_is_found(log: list[str], line: str | None, found: int | None) -> None:
    fault_ = fault("op_missing", Phase.LOAD, "s", evidence=Evidence(log_line=line))
    assert decisive_line(log, fault_) == found
    assert decisive_line(log, None) is None


def test_facts_that_this_version_does_not_know_are_shown() -> None:
    """As another branch, or a platform of somebody else's, may add them."""

    @dataclasses.dataclass(frozen=True)
    class LaterAttempt(AttemptReport):
        first_request: dict[str, float] = dataclasses.field(default_factory=dict)

    @dataclasses.dataclass(frozen=True)
    class LaterReport(Report):
        failed_request_file: str | None = None
        stamped: tuple[AttemptReport, ...] = ()
        nothing: str | None = None

    report = make_report()
    values = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
    attempt = report.binaries[0].attempts[0]
    later = LaterAttempt(
        **{field.name: getattr(attempt, field.name) for field in dataclasses.fields(attempt)},
        first_request={"without": 0.5, "with": 0.1},
    )
    binary = dataclasses.replace(report.binaries[0], attempts=(later,))
    page = LaterReport(
        **(values | {"binaries": (binary,)}),
        failed_request_file="request.pbtxt",
        stamped=(attempt,),
    ).to_html()
    assert "Failed request file" in page
    assert "request.pbtxt" in page
    assert "Stamped" in page
    assert "First request" in page
    assert "Nothing" not in page
    assert "Further facts" not in report.to_html()


@pytest.mark.parametrize(
    ("without", "with_", "said"),
    [
        (0.5, 0.1, "5.0 times quicker"),
        (0.1, 5.0, "50 times slower"),
        (0.1, 0.12, "about the same"),
        (0.1, None, "–"),  # noqa: RUF001
        (None, 0.1, "–"),  # noqa: RUF001
        (0.0, float("nan"), "–"),  # noqa: RUF001
    ],
)
@pytest.mark.parametrize("written", [3, None])
def test_warm_up_has_a_table(
    without: float | None, with_: float | None, said: str, written: int | None
) -> None:
    warm_up = WarmUpReport(3, 2048, (FirstRequestReport("s", "rank", without, with_),))
    report = dataclasses.replace(make_report(), warm_up=warm_up, warm_up_records_written=written)
    [row] = view_of(report)["warm_up"]["rows"]
    assert row["change"] == said
    page = html.unescape(report.to_html())
    assert "3 requests as warm-up (2.0 KiB)" in page
    assert ("removed again" in page) == (written is None)


def test_kept_files_and_failed_requests_are_named() -> None:
    report = make_report()
    attempt = dataclasses.replace(report.binaries[0].attempts[0], failed_requests=(7, 8))
    binary = dataclasses.replace(report.binaries[0], attempts=(attempt,))
    files = {FAILED_REQUEST_FILE_NAME: b"", "<b>": b""}
    page = dataclasses.replace(report, binaries=(binary,), attachments=files).to_html()
    assert "one of the requests no. 7, 8" in page
    assert "treat it as you treat these" in page
    assert "&lt;b&gt;" in page
    assert "Further facts" not in page


def test_what_kubectl_applies() -> None:
    report = make_report()
    attempt = report.binaries[0].attempts[0]

    def page(manifest: Any) -> str:
        server = {**attempt.server, "manifest": manifest}
        binary = dataclasses.replace(
            report.binaries[0], attempts=(dataclasses.replace(attempt, server=server),)
        )
        return html.unescape(dataclasses.replace(report, binaries=(binary,)).to_html())

    assert 'kubectl apply -f - <<\'END_OF_MANIFEST\'\n{\n  "kind": "Pod"\n}\n' in page(
        {"kind": "Pod"}
    )
    assert "<<'END_OF_MANIFEST'\nkind: Pod\nEND_OF_MANIFEST" in page("kind: Pod\n")
    assert "kubectl" not in page(None)


def test_a_command_of_words_is_quoted() -> None:
    assert view_of(make_report())["binaries"][0]["attempts"][0]["reproduce"] == "a --b=c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["server", "versions", "command", "reproduce", "manifest", "other"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, JSON), st.text())
def test_a_platform_may_tell_anything(server: dict[str, Any], text: str) -> None:
    report = hostile_report(text)
    [binary, _] = report.binaries
    attempt = dataclasses.replace(binary.attempts[0], server=server)
    page = dataclasses.replace(
        report, binaries=(dataclasses.replace(binary, attempts=(attempt,)),)
    ).to_html()
    page.encode()
    assert not re.search("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


@pytest.mark.parametrize("verdict", Verdict)
def test_the_verdict_is_a_word_and_a_sign(verdict: Verdict) -> None:
    page = make_report(verdict=verdict).to_html()
    assert f'<body class="{verdict.value}">' in page
    assert f"</span>{verdict.value.replace('_', ' ').capitalize()}</p>" in page


def test_nothing_is_asked_of_elsewhere() -> None:
    page = make_report().to_html()
    assert not re.search(r"https?:|url\(|@import|src=|<script|javascript:| style=| on\w+=", page)
    assert "default-src 'none'" in page


def test_a_report_as_text() -> None:
    found = fault("request_failed", Phase.QUERY, "It \x1b[31mfailed.", hint="Do it.")
    report = make_report(found, reason=found.summary)
    assert str(report).splitlines() == [
        "Not blessed: It ␛[31mfailed.",
        "What to do: Do it.",
        "Model: /model",
        "s: not blessed, 1 attempt, the last with warm-up",
    ]


def test_a_report_in_rich() -> None:
    rich_console = pytest.importorskip("rich.console")
    console = rich_console.Console(width=60, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(make_report(reason="[red]no markup[/red] \x1b]0;x\x07"))
    text = console.export_text()
    assert "Not blessed: [red]no markup[/red] ␛]0;x␇" in text


@pytest.mark.parametrize(
    ("key", "value", "fact"),
    [
        ("pod_ip", "10.0.0.1", ("Pod IP", "10.0.0.1")),
        ("image_id", "sha256:0", ("Image ID", "sha256:0")),
        ("sent_bytes", 1234567, ("Sent", "1.2 MiB")),
        ("start_seconds", 0.5, ("Start", "500 ms")),
        ("sent_bytes", "many", ("Sent bytes", "many")),
        ("ready_bytes", True, ("Ready bytes", "true")),
    ],
)
def test_what_platforms_tell_reads_well(key: str, value: Any, fact: tuple[str, str]) -> None:
    report = make_report()
    [binary] = report.binaries
    attempt = dataclasses.replace(binary.attempts[0], server={key: value})
    shown = dataclasses.replace(
        report, binaries=(dataclasses.replace(binary, attempts=(attempt,)),)
    )
    [view] = view_of(shown)["binaries"]
    assert fact in view["attempts"][0]["facts"]


@pytest.mark.parametrize(("failed", "told"), [((2,), 0), ((1, 2), 1)])
def test_the_request_that_failed_is_named_once(failed: tuple[int, ...], told: int) -> None:
    report = report_of(0.5, None)
    [binary] = report.binaries
    attempt = dataclasses.replace(binary.attempts[0], failed_requests=failed)
    shown = dataclasses.replace(
        report, binaries=(dataclasses.replace(binary, attempts=(attempt,)),)
    )
    [view] = view_of(shown)["binaries"]
    labels = [label for label, _ in view["attempts"][0]["facts"]]
    assert labels.count("The fault is about") == told
    group = latency_view(shown)["groups"][0]  # type: ignore[index]
    assert [text for text in group["failed"] if "no. 2" in text]
