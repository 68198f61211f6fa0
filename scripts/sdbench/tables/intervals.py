"""The 95 % intervals of the numbers in tables: one method for each kind of number.

Percentiles of seeded bootstrap resamples (Efron 1979). There is none of fewer than six samples: not
even their whole range holds the median 95 times of 100.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.stats

FEWEST = 6
"""Samples from which there is an interval."""


def bootstrap_interval(
    samples: Sequence[float], statistic: Callable[..., Any]
) -> tuple[float | None, float | None]:
    """Return the interval of a statistic of samples; None twice where there are too few."""
    if len(samples) < FEWEST:
        return None, None
    if min(samples) == max(samples):
        return samples[0], samples[0]
    return _bootstrap((samples,), statistic)


def ratio_interval(
    above: Sequence[float] | Any, below: Sequence[float] | Any
) -> tuple[float | None, float | None]:
    """Return the interval of the ratio of two medians, of numbers taken in rounds.

    Rounds are resampled: what slowed both of a round stays in both.
    """
    if len(above) < FEWEST:
        return None, None
    return _bootstrap(
        (above, below),
        lambda one, other, axis: np.median(one, axis=axis) / np.median(other, axis=axis),
    )


def projected_interval(
    besides: Sequence[float], steps: Sequence[float], evaluations: int
) -> tuple[float | None, float | None]:
    """Return the interval of a whole call that was projected from short ones.

    Args:
        besides: for each short call, what it takes besides its steps.
        steps: what each of their steps takes.
        evaluations: steps of the whole call.
    """
    if len(steps) < FEWEST:
        return None, None
    return _bootstrap(
        (besides, steps),
        lambda one, many, axis: np.mean(one, axis=axis) + evaluations * np.mean(many, axis=axis),
        paired=False,
    )


def _bootstrap(
    data: tuple[Any, ...], statistic: Callable[..., Any], paired: bool = True
) -> tuple[float, float]:
    interval = scipy.stats.bootstrap(
        data,
        statistic,
        paired=paired and len(data) > 1,
        confidence_level=0.95,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)
