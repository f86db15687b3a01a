"""Makes the pictures of the report's page from reports of the example pipeline.

    make demo BROKEN=1 && make demo
    .venv/bin/python -m docs.screenshots demo-output

Needs Chromium, and Pillow to keep the files small.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from infra_validator.report import PAGE_NAME
from tests.report_page.browser import Page, find_browser, open_browser

IMAGES = Path(__file__).parent / "images"
_WIDTH = 1080


def main(demo: Path) -> None:
    """Takes them of the newest reports."""
    program = find_browser()
    if program is None:
        sys.exit("There is no Chromium.")
    with open_browser(program) as browser:
        page = browser.new_page()
        page.show(_newest(demo / "penguin-broken"), width=_WIDTH)
        _save(page, "report-not-blessed", 0, _bottom(page, "#timeline"))
        page.show(_newest(demo / "penguin"), width=_WIDTH)
        _save(page, "report-blessed", 0, _bottom(page, "#requests"))


def _newest(pipeline: Path) -> str:
    found = pipeline.resolve().rglob(PAGE_NAME)
    return max(found, key=lambda path: path.stat().st_mtime).as_uri()


def _bottom(page: Page, selector: str) -> int:
    box = f"document.querySelector('{selector}').getBoundingClientRect()"
    return int(page.value(f"scrollY + {box}.bottom"))


def _save(page: Page, name: str, top: int, bottom: int) -> None:
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.screenshot(Path(file.name))
        picture = Image.open(io.BytesIO(Path(file.name).read_bytes()))
    shown = picture.crop((0, top, _WIDTH, bottom + 24)).convert("RGB").quantize(96)
    IMAGES.mkdir(exist_ok=True)
    shown.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
