"""Exit codes in words."""

from __future__ import annotations

import signal


def exit_reason(code: int) -> str:
    """What an exit code says; 128 + N stands for signal N, as in a shell."""
    if code > 128 and code - 128 in set(signal.Signals):
        return f"signal {signal.Signals(code - 128).name}"
    return f"exit code {code}"
