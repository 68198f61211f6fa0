"""Numbers with the interval that they may lie in, and whether two can be told apart."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdbench.records.intervals import launch_interval

ENDS = {
    "latency_s": ("latency_ci_low_s", "latency_ci_high_s"),
    "images_per_minute": ("images_per_minute_ci_low", "images_per_minute_ci_high"),
}
"""Column -> those of its interval."""
LAUNCHES = {
    "latency_s": "latency_launches_s",
    "images_per_minute": "images_per_minute_launches",
}
"""Column -> that of what each launch found."""
_JOB = ("model", "device", "backend")
"""The columns that rows of one job share."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; without one, `low` and `high` are None.

    `counted`: the number was read off a counter once, as memory is. It has no interval, and is
    judged as it is. `job`: the model, device and backend of the job that measured it; `drift`: what
    `drift_half` returned, and the interval has in it; `launches`: what each launch found.
    """

    value: float
    low: float | None = None
    high: float | None = None
    counted: bool = False
    job: tuple[str, ...] = ()
    drift: float = 0.0
    launches: tuple[float, ...] = ()

    @property
    def half(self) -> float | None:
        """Half the width of the interval of the logarithm; None without one."""
        if self.low is None or self.high is None:
            return None
        return math.log(self.high / self.low) / 2

    def steady(self) -> "Estimate":
        """Return it as it would be without drift."""
        if not self.half:
            return self
        reach = math.exp(math.sqrt(max(0.0, self.half**2 - self.drift**2)))
        return replace(self, low=self.value / reach, high=self.value * reach, drift=0.0)

    def map(self, function: Callable[[float], float]) -> "Estimate":
        """Return the estimate of a monotonic function of the number. If that is no factor or
        reciprocal, compare it with no other."""
        value = function(self.value)
        if self.low is None or self.high is None:
            return Estimate(value, counted=self.counted)
        low, high = sorted(map(function, (self.low, self.high)))
        launches = tuple(map(function, self.launches))
        return replace(self, value=value, low=low, high=high, launches=launches)


def estimate(row: Mapping[str, Any], column: str) -> Estimate:
    """Return a number of a row of RESULTS or PUBLISHED, with its interval where it has one."""
    low, high = (row.get(end) for end in ENDS.get(column, ("", "")))
    return Estimate(
        row[column],
        low,
        high,
        job=tuple(row.get(name) or "" for name in _JOB),
        drift=row.get("drift") or 0.0,
        launches=tuple(map(float, (row.get(LAUNCHES.get(column, "")) or "").split())),
    )


def quotient(above: Estimate, below: Estimate) -> Estimate:
    """Return the ratio of two positive numbers.

    The logarithms of two independent numbers have intervals whose halves add in squares. Two of one
    job have no drift between them: its launches take turns, and what drifts meets both alike. With
    as many launches each, the interval is over the ratios of those that are side by side.
    """
    if above.job and above.job == below.job:
        if above.launches and len(above.launches) == len(below.launches):
            pairs = zip(above.launches, below.launches, strict=True)
            return Estimate(*launch_interval([one / other for one, other in pairs]))
        above, below = above.steady(), below.steady()
    value = above.value / below.value
    if above.half is None or below.half is None:
        return Estimate(value)
    reach = math.exp(math.hypot(above.half, below.half))
    return Estimate(value, value / reach, value * reach)


def apart(one: Estimate, other: Estimate) -> bool:
    """Return whether two numbers, 0 or more, can be told apart: whether the interval of their ratio
    leaves out 1. What has no interval, such as what others published, is taken as its number."""
    if one.value in (0, math.inf) or other.value in (0, math.inf):
        return one.value != other.value
    ratio = quotient(
        *(e if e.half is not None else replace(e, low=e.value, high=e.value) for e in (one, other))
    )
    assert ratio.low is not None and ratio.high is not None
    return not ratio.low <= 1 <= ratio.high
