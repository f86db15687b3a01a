"""The report as a page: one HTML file that needs nothing else.

No script and nothing from elsewhere; a content security policy in the page says
so to the browser. All text is somebody else's until it is escaped: the template
library escapes every value, and characters that cannot be seen are made visible.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from importlib import resources
from typing import TYPE_CHECKING, Any

from infra_validator.report_page.view import view_of
from infra_validator.text import printable

if TYPE_CHECKING:
    import jinja2

    from infra_validator.report import Report

_FRAME_PIXELS = 720


def render(report: Report) -> str:
    """The page, as text to be written in UTF-8."""
    from markupsafe import Markup

    css = _style()
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    own_style = Markup(css)  # noqa: S704 - the package's own file
    page: str = _template().render(view_of(report), css=own_style, style_digest=digest)
    return page


def render_frame(report: Report) -> str:
    """The page in a frame, in which neither its style nor anything else leaves it."""
    return (
        f'<div><iframe sandbox title="Infra validation report" srcdoc="'
        f'{html.escape(render(report))}" style="width: 100%; height: {_FRAME_PIXELS}px; '
        f'border: 0; resize: vertical"></iframe></div>'
    )


@functools.cache
def _style() -> str:
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


@functools.cache
def _template() -> jinja2.Template:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("infra_validator", "report_page"),
        autoescape=True,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("page.html.jinja")


def _finalize(value: Any) -> Any:
    """What every value passes on its way into the page, before it is escaped."""
    if hasattr(value, "__html__"):  # of a macro: it has passed already
        return value
    return "" if value is None else printable(str(value))
