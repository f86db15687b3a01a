"""The browser, and reports of real validations to look at with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra_validator.report import Report
from tests.conftest import _required
from tests.report_page.browser import Page, find_browser, open_browser
from tests.report_page.real_reports import make_reports


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """A tab of a real browser."""
    program = find_browser()
    if program is None:
        _required("REQUIRE_BROWSER", "there is no Chromium")
    assert program is not None
    with open_browser(program) as browser:
        yield browser.new_page()


@pytest.fixture(scope="session")
def real_reports(tmp_path_factory: pytest.TempPathFactory, saved_model: Path) -> dict[str, Report]:
    """Of real validations, by what is special of them."""
    return make_reports(tmp_path_factory.mktemp("reports"), saved_model)
