"""The report for a terminal, by rich."""

from __future__ import annotations

from typing import Any

from infra_validator.report import Report, Verdict
from infra_validator.text import printable

_STYLES = {
    Verdict.BLESSED: "green",
    Verdict.NOT_BLESSED: "red",
    Verdict.UNDETERMINED: "yellow",
}


def to_rich(report: Report) -> Any:
    """What rich prints: the report's short text in a frame of the verdict's colour."""
    from rich.panel import Panel
    from rich.text import Text

    title, _, rest = str(report).partition("\n")
    text = Text(title, style="bold")
    text.append(f"\n{rest}", style="not bold")
    style = _STYLES[report.verdict]
    return Panel(text, border_style=style, title=Text(printable(report.platform)), expand=False)
