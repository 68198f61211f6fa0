"""What follows from numbers and their intervals for a claim."""

import math
from collections.abc import Sequence

from sdbench.analysis.estimates import Estimate, estimate, quotient
from sdbench.tables.files import Row

import scipy.stats

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "cannot be said"


def ratio(above: Row, below: Row, column: str) -> Estimate:
    """Return the ratio of a column of two rows, with its interval.

    Args:
        above: numerator; a row of RESULTS or PUBLISHED.
        below: denominator.
        column: `latency_s` or `images_per_minute`.
    """
    return quotient(*(_notched(estimate(row, column), row, column) for row in (above, below)))


_QUARTILES = {"latency_s": ("latency_q1_s", "latency_q3_s")}


def _notched(known: Estimate, row: Row, column: str) -> Estimate:
    """Return a published median with the interval that its quartiles make, where it has none."""
    q1, q3 = (row.get(end) for end in _QUARTILES.get(column, ("", "")))
    if known.half is not None or not (q1 and q3) or (row.get("n") or 0) < 6:
        return known
    # McGill, Tukey and Larsen 1978.
    reach = math.exp(1.57 * float(q3 - q1) / math.sqrt(row["n"]) / known.value)
    return Estimate(known.value, known.value / reach, known.value * reach)


def judge(estimate: Estimate, low: float, high: float) -> tuple[str, str]:
    """Say whether a number lies between `low` and `high`, by its whole interval; by itself if it
    was counted.

    Returns:
        A verdict, and the reason where it is not `holds`.
    """
    least, most = estimate.low, estimate.high
    if estimate.counted:
        least = most = estimate.value
    if least is None or most is None:
        return UNDECIDED, "too few measurements for an interval"
    if low <= least and most <= high:
        return HOLDS, ""
    if least > high:
        return FAILS, "above the claimed range"
    if most < low:
        return FAILS, "below the claimed range"
    return UNDECIDED, "the interval is only partly in the claimed range: measure longer"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Return Spearman's rank correlation with its 95 % interval after Bonett and Wright 2000."""
    rho = float(scipy.stats.spearmanr(first, second).statistic)
    if len(first) < 4 or not math.isfinite(rho):
        return Estimate(rho)
    error = math.sqrt((1 + rho**2 / 2) / (len(first) - 3))
    middle = math.atanh(max(-0.999999, min(0.999999, rho)))
    return Estimate(rho, math.tanh(middle - 1.96 * error), math.tanh(middle + 1.96 * error))
