"""The page in a real browser: of real validations, and with texts that mean ill."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from infra_validator.report import Report
from tests.report_page.browser import Page
from tests.report_page.hostile import TEXTS, hostile_report

KINDS = (
    *("blessed", "blessed_by_three", "broken", "not_loaded", "unanswered", "undetermined"),
    *("crashed", "load_only", "warm_up", "thousand", "refused"),
)
VIEWS = {
    "desktop": {"width": 1280, "height": 900},
    "tablet": {"width": 801, "height": 1100},
    "phone": {"width": 390, "height": 844},
    "small phone": {"width": 320, "height": 568},
    "dark": {"width": 1280, "height": 900, "dark": True},
}
_TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e =>
  e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.skip, .unseen, thead, svg'))
  .map(e => e.tagName + '.' + e.className)"""
# Smallest contrast of text with what is behind it, as WCAG reckons.
_CONTRAST = """(() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .03928 ? v / 12.92
    : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; }
    return [255, 255, 255]; };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('body *:not(svg *)')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const lights = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const [a, b] = lights.sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, e.outerHTML.slice(0, 80)];
  }
  return worst; })()"""


def show(page: Page, report: Report, folder: Path, **view: int) -> str:
    """Writes the report's page and opens it; returns its address."""
    path = folder / "report.html"
    path.write_text(report.to_html(), encoding="utf-8")
    page.show(path.as_uri(), **view)
    return path.as_uri()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_quiet_closed_and_no_wider_than_the_screen(
    page: Page, real_reports: dict[str, Report], tmp_path: Path, kind: str, view: str
) -> None:
    address = show(page, real_reports[kind], tmp_path, **VIEWS[view])
    assert page.problems == []
    assert page.requested == [address]
    assert page.value("innerWidth") == VIEWS[view]["width"]
    assert page.value("document.documentElement.scrollWidth") == VIEWS[view]["width"]
    assert page.value(_TOO_WIDE) == []
    assert page.value("document.querySelector('h1').innerText") == real_reports[kind].reason


def test_the_kinds_are_all_there_are(real_reports: dict[str, Report]) -> None:
    assert set(KINDS) == set(real_reports)


@pytest.mark.parametrize("width", [1280, 801, 390])
def test_a_long_text_does_not_break_the_words_beside_it(
    page: Page, real_reports: dict[str, Report], tmp_path: Path, width: int
) -> None:
    binaries = []
    for binary in real_reports["blessed_by_three"].binaries:
        [attempt] = binary.attempts
        carried = "; ".join(f"a_feature_{n}: DT_INT64 [8, 256] (made up)" for n in range(20))
        requests = [dataclasses.replace(one, description=carried) for one in attempt.requests]
        attempt = dataclasses.replace(attempt, requests=tuple(requests))
        binaries.append(dataclasses.replace(binary, attempts=(attempt,)))
    report = dataclasses.replace(real_reports["blessed_by_three"], binaries=tuple(binaries))
    show(page, report, tmp_path, width=width)
    lines = """[...document.querySelectorAll('td.lead code, td.method, th')].map(e => {
      const range = document.createRange(); range.selectNodeContents(e.lastChild);
      return [e.textContent, range.getClientRects().length]; })"""
    broken = [(text, count) for text, count in page.value(lines) if count != 1]
    assert broken == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["blessed_by_three", "not_loaded", "undetermined"])
def test_texts_stand_out_from_what_is_behind_them(
    page: Page, real_reports: dict[str, Report], tmp_path: Path, kind: str, dark: bool
) -> None:
    show(page, real_reports[kind], tmp_path, width=1280, dark=dark)
    ratio, where = page.value(_CONTRAST)
    assert ratio >= 4.5, where
    background = page.value("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(15, 19, 26)") == dark


@pytest.mark.parametrize("view", ["desktop", "small phone"])
@pytest.mark.parametrize("name", TEXTS)
def test_hostile_text_stays_text(page: Page, tmp_path: Path, name: str, view: str) -> None:
    address = show(page, hostile_report(TEXTS[name]), tmp_path, **VIEWS[view])
    assert page.problems == []
    assert page.requested == [address]
    assert "OWNED" not in page.value("document.title").partition(":")[0]
    assert page.value("document.getElementById('owned')") is None
    assert page.value("document.querySelectorAll('script, img, iframe, link, base').length") == 0
    assert page.value("document.querySelectorAll('style').length") == 1
    assert page.value("document.documentElement.scrollWidth") == VIEWS[view]["width"]
    assert page.value("document.querySelectorAll('section.part').length") == 7
    attributes = page.value(
        "[...new Set([...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()))]"
    )
    assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_what_steers_the_reader_is_made_visible(page: Page, tmp_path: Path) -> None:
    show(page, hostile_report(TEXTS["bidi"]), tmp_path)
    assert page.value("document.querySelector('h1').innerText") == (
        "safe⟨U+202E⟩⟨U+2066⟩gnp.live⟨U+2069⟩⟨U+202C⟩⟨U+200B⟩⟨U+FEFF⟩."
    ).rstrip(".")
    show(page, hostile_report(TEXTS["terminal"]), tmp_path)
    assert page.value("document.querySelector('h1').innerText").startswith("␛[31mred␛[0m")


def test_the_policy_stops_what_escaping_would_have_missed(
    page: Page, real_reports: dict[str, Report], tmp_path: Path
) -> None:
    """The page with a script, a style and an image put into it by hand."""
    path = tmp_path / "broken.html"
    evil = "<script>document.title='OWNED'</script><img src=x.png><style>h1{display:none}</style>"
    path.write_text(real_reports["blessed"].to_html().replace("<main", f"{evil}<main"))
    page.show(path.as_uri())
    assert page.value("document.title").startswith("Blessed")
    assert page.value("getComputedStyle(document.querySelector('h1')).display") == "block"
    assert len(page.problems) >= 3


def test_a_page_can_be_heard_and_walked_through(
    page: Page, real_reports: dict[str, Report], tmp_path: Path
) -> None:
    """Landmarks, headings in order, table headers, and links that lead somewhere."""
    show(page, real_reports["not_loaded"], tmp_path)
    assert page.value("document.documentElement.lang") == "en"
    for tag in ("main", "header", "nav", "footer", "h1"):
        assert page.value(f"document.querySelectorAll('{tag}').length") >= 1, tag
    levels = page.value("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    dangling = "[...document.links].filter(a => !document.querySelector(a.getAttribute('href')))"
    assert page.value(f"{dangling}.length") == 0
    nameless = "[...document.querySelectorAll('section, nav, article, figure')].filter(e => "
    nameless += "!e.ariaLabel && !document.getElementById(e.getAttribute('aria-labelledby')))"
    assert page.value(f"{nameless}.length") == 0
    show(page, real_reports["thousand"], tmp_path)
    assert page.value("document.querySelectorAll('thead th[scope=col]').length") == 6
    assert page.value("document.querySelector('caption').textContent") == "Requests by signature"


def test_the_decisive_line_is_marked_and_led_to(
    page: Page, real_reports: dict[str, Report], tmp_path: Path
) -> None:
    show(page, real_reports["not_loaded"], tmp_path)
    assert "NOT_FOUND: Op type not registered 'FancyOp'" in page.value(
        "document.querySelector('mark').innerText"
    )
    page.value("document.querySelector('#fault a').click()")
    assert page.value("location.hash") == "#decisive-1-1"
    box = page.value(
        "(r => [r.top, r.bottom])(document.querySelector('mark').getBoundingClientRect())"
    )
    assert -1 <= box[0] < box[1] <= 901


def test_the_end_of_a_long_log_is_what_is_seen_first(
    page: Page, real_reports: dict[str, Report], tmp_path: Path
) -> None:
    show(page, real_reports["broken"], tmp_path)
    seen = """(log => [log.scrollHeight > log.clientHeight, [...log.querySelectorAll('.line')].pop()
      .getBoundingClientRect().bottom <= log.getBoundingClientRect().bottom + 1])
      (document.querySelector('pre.log'))"""
    assert page.value(seen) == [True, True]


def test_one_click_selects_the_whole_command(
    page: Page, real_reports: dict[str, Report], tmp_path: Path
) -> None:
    show(page, real_reports["blessed"], tmp_path)
    assert page.value("getComputedStyle(document.querySelector('pre.copy')).userSelect") == "all"
    attempt = real_reports["blessed"].binaries[0].attempts[0]
    assert page.value("document.querySelector('pre.copy').innerText") == attempt.server["reproduce"]


def test_the_page_prints(page: Page, real_reports: dict[str, Report], tmp_path: Path) -> None:
    show(page, real_reports["blessed_by_three"], tmp_path)
    page.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert page.problems == []


def test_the_frame_of_a_notebook_keeps_the_page_to_itself(
    page: Page, real_reports: dict[str, Report], tmp_path: Path
) -> None:
    html = real_reports["blessed"]._repr_html_()
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><h1>Notebook</h1>{html}", encoding="utf-8")
    page.show(path.as_uri())
    assert page.problems == []
    assert page.value("getComputedStyle(document.querySelector('h1')).fontWeight") == "700"
    assert page.value("document.querySelector('iframe').contentDocument") is None
    assert page.value("document.querySelector('iframe').clientHeight") == 720
