"""The 95 % interval of a number that was measured in several launches.

Two processes that run the same program differ by more than two calls in one of them: in where their
memory lies, on which cores they run, and in what minute. So a launch is one observation, the median
of its samples, and the interval is Student's of the launches' logarithms: speeds differ by factors.
Source: Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013.

Launches of one job are a minute or two of one run. What changes over more than that is in none of
them, and comes on top (`drift_half`).
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


def launch_interval(launches: Sequence[float], drift: float = 0.0) -> Interval:
    """Return the geometric mean of what each launch found, above 0, and its interval; with what
    `drift_half` returned, as an interval of what any job would find."""
    logs = [math.log(value) for value in launches]
    mean = statistics.fmean(logs)
    if len(logs) < FEWEST:
        return Interval(math.exp(mean), None, None)
    half = math.hypot(_reach(logs) / math.sqrt(len(logs)), drift)
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def drift_half(jobs: Sequence[float]) -> float | None:
    """Return half the width of a 95 % interval, of a logarithm, for what differs between jobs.

    All jobs time the same fixed work in each of their blocks. Its spread over them stands for that
    of any work. What differs by chance within a job is in it as well.

    Args:
        jobs: of each job of a device, what it found for the fixed work, above 0.

    Returns:
        None where there are too few jobs.
    """
    return None if len(jobs) < FEWEST else _reach([math.log(value) for value in jobs])


def _reach(logs: Sequence[float]) -> float:
    """Return half the width of the 95 % interval for one more of the same."""
    return _T[min(len(logs) - 1 - 2, len(_T) - 1)] * statistics.stdev(logs)
