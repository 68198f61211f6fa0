"""The 95 % interval of a number that was measured in several launches.

Two processes that run the same program differ by more than two calls in one of them: in where their
memory lies, on which cores they run, and in what minute. So a launch is one observation, the median
of its samples, and the interval is Student's of the launches' logarithms: speeds differ by factors.
Source: Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.
"""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

FEWEST = 3
"""Launches from which there is an interval."""

_T = (
    *(4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930),
    *(2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484),
)
"""97.5 % of Student's distribution lies below, for 2, 3, ... degrees of freedom: the environments
of engines have no SciPy, with which a test compares these."""


class Interval(NamedTuple):
    """A value and the ends of its 95 % interval; None twice where there are too few launches."""

    value: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval as a share of the value; None without one."""
        return (
            None
            if self.low is None or self.high is None
            else (self.high - self.low) / (2 * self.value)
        )


def launch_interval(launches: Sequence[float]) -> Interval:
    """Return the geometric mean of what each launch found, above 0, and its interval."""
    logs = [math.log(value) for value in launches]
    mean = statistics.fmean(logs)
    if len(logs) < FEWEST:
        return Interval(math.exp(mean), None, None)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = _T[min(len(logs) - 1 - 2, len(_T) - 1)] * error
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
