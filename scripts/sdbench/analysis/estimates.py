"""Numbers with the interval that they may lie in, and whether two can be told apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ENDS = {
    "latency_s": ("latency_ci_low_s", "latency_ci_high_s"),
    "images_per_minute": ("images_per_minute_ci_low", "images_per_minute_ci_high"),
}
"""Column -> those of its interval."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; without one, `low` and `high` are None.

    `counted`: the number was read off a counter once, as memory is. It has no interval, and is
    judged as it is.
    """

    value: float
    low: float | None = None
    high: float | None = None
    counted: bool = False

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """Return the estimate of a monotonic function of the number."""
        if self.low is None or self.high is None:
            return Estimate(function(self.value), counted=self.counted)
        low, high = sorted(map(function, (self.low, self.high)))
        return Estimate(function(self.value), low, high)


def estimate(row: Mapping[str, Any], column: str) -> Estimate:
    """Return a number of a row of RESULTS or PUBLISHED, with its interval where it has one."""
    low, high = (row.get(end) for end in ENDS.get(column, ("", "")))
    return Estimate(row[column], low, high)


def apart(one: Estimate, other: Estimate) -> bool:
    """Return whether two numbers can be told apart: whether their intervals do not overlap. What
    has no interval, such as what others published, is taken as its number alone."""
    (low, high), (other_low, other_high) = (
        (e.value, e.value) if e.low is None or e.high is None else (e.low, e.high)
        for e in (one, other)
    )
    return high < other_low or other_high < low
