"""Reports in which every text is written by somebody who means ill."""

from __future__ import annotations

import dataclasses

from infra_validator.faults import Evidence, Phase, fault
from infra_validator.report import (
    SCHEMA_VERSION,
    AttemptReport,
    BinaryReport,
    Mode,
    PhaseReport,
    Report,
    RequestReport,
    Verdict,
)

TEXTS = {
    "script": "<script>document.title='OWNED'</script>",
    "end of style": "</style></title></pre><h1 id=owned>owned</h1>",
    "quotes": "\" onload=\"document.title='OWNED'\" x='",
    "image": "<img src=https://example.invalid/x.png onerror=\"document.title='OWNED'\">",
    "style": "<link rel=stylesheet href=https://example.invalid/x.css><style>*{display:none}</style>",
    "template": "{{7*7}}{% raw %}${7*7}{# x #}",
    "frame": "<iframe src=https://example.invalid></iframe><base href=https://example.invalid>",
    "address": "javascript:document.title='OWNED'",
    "comment": "<!-- ]]> --> &lt;b&gt; &amp;#60;",
    "bidi": "safe\u202e\u2066gnp.live\u2069\u202c\u200b\ufeff",
    "zero": "a\0b",
    "terminal": "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J",
    "invalid": "lone \ud800 and \udcff",
    "separators": "one\u2028two\u2029three\x85four\r\nfive",
    "long": "W" * 3000,
    "long path": "/x" * 1500,
    "emoji": "👩\u200d🔬 Größe שלום 模型",
}


def hostile_report(text: str) -> Report:
    """A report with the text wherever there may be somebody else's."""
    found = fault(
        "request_failed",
        Phase.QUERY,
        text,
        detail=f"detail {text}",
        hint=f"hint {text}",
        evidence=Evidence(137, text, text, (text, f"event {text}")),
    )
    found = dataclasses.replace(found, category=text)
    attempt = AttemptReport(
        number=1,
        server={
            "server": text,
            "versions": {text: text},
            "command": [text, f"--flag={text}"],
            "reproduce": text,
            "manifest": {text: [text]},
            text: text,
            "of_a_platform": {text: {text: [1, None, text]}},
        },
        phases=(PhaseReport(Phase.LOAD, 0.1, 0.5), PhaseReport(Phase.QUERY, 0.6, 0.1)),
        requests=(
            RequestReport(1, text, text, text, 0.01),
            RequestReport(2, text, text, text, None),
        ),
        warm_up_records=1,
        notes=(text,),
        fault=found,
        log_tail=("before", text, "after"),
    )
    return Report(
        schema_version=SCHEMA_VERSION,
        infra_validator_version=text,
        verdict=Verdict.NOT_BLESSED,
        reason=text,
        mode=Mode.LOAD_AND_QUERY,
        model=text,
        platform=text,
        started_at=text,
        seconds=1.0,
        configuration={text: {text: text}},
        notes=(text,),
        phases=(PhaseReport(Phase.STAGE, 0.0, 0.1),),
        binaries=(
            BinaryReport(text, Verdict.NOT_BLESSED, (attempt,)),
            BinaryReport(f"{text}2", Verdict.NOT_BLESSED, (attempt,)),
        ),
        fault=found,
    )
