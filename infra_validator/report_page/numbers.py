"""Numbers as people read them, and axes for them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = (1.0, 2.0, 5.0)


def duration(seconds: float) -> str:
    """A time with its unit, to three digits at most."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 0.0005:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{_digits(seconds * 1e3)} ms"
    if seconds < 99.95:
        return f"{_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed (nearest rank).

    Args:
        ordered: values from the smallest to the largest, at least one.
        percent: above 0, up to 100.
    """
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def linear_ticks(end: float, count: int = 6) -> list[float]:
    """Round numbers from 0 up to `end`, not more than `count` steps."""
    if not 0 < end < math.inf:
        return [0.0]
    raw = end / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(base * power for base in (*_STEPS, 10.0) if base * power >= raw * (1 - 1e-9))
    return [index * step for index in range(int(end / step + 1e-9) + 1)]


class LogAxis:
    """A logarithmic axis between round numbers that enclose some values."""

    def __init__(self, low: float, high: float) -> None:
        """Encloses `low` and `high`, both above 0, with some room between its ends."""
        self.low = _round_below(low)
        self.high = _round_above(high)
        if self.high <= self.low * 1.001:
            self.low, self.high = _round_below(low * 0.7), _round_above(high * 1.4)

    def place(self, value: float) -> float:
        """Where the value is, from 0 to 1."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self, count: int = 6) -> list[float]:
        """Round numbers from end to end, not many more than `count`."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in (_STEPS, (1.0, 3.0), (1.0,)):
            found = [
                step * 10.0**power
                for power in powers
                for step in steps
                if self.low * 0.999 <= step * 10.0**power <= self.high * 1.001
            ]
            if len(found) <= count:
                break
        return found


def _round_below(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(
        step * factor
        for factor in (power / 10, power)
        for step in _STEPS
        if step * factor <= value * 1.0001
    )


def _round_above(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return min(
        step * factor
        for factor in (power, power * 10)
        for step in _STEPS
        if step * factor >= value * 0.9999
    )
