"""The interval over launches."""

import math

import numpy as np
import pytest
import scipy.stats

from sdbench.measure.intervals import FEWEST, launch_interval


@pytest.mark.parametrize("n", [3, 4, 5, 7, 10, 20, 28])
def test_it_is_students_of_the_logarithms(n: int) -> None:
    logs = np.random.default_rng(n).normal(0, 0.1, n)
    expected = scipy.stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    found = launch_interval(list(np.exp(logs)))
    assert found.value == pytest.approx(np.exp(logs.mean()))
    assert found.low is not None and found.high is not None
    ends = [math.log(found.low), math.log(found.high)]
    assert ends == pytest.approx([expected.low, expected.high], rel=1e-3)


def test_fewer_than_three_launches_have_none() -> None:
    assert list(launch_interval([2.0, 8.0])) == [pytest.approx(4.0), None, None]
    assert list(launch_interval([2.0] * FEWEST)) == pytest.approx([2.0, 2.0, 2.0])


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """Launches that differ, each with a few samples that differ less: by simulation."""
    random, hits = np.random.default_rng(0), 0
    for _ in range(400):
        launches = [
            np.median(np.exp(random.normal(0, 0.1) + random.normal(0, 0.03, 2))) for _ in range(5)
        ]
        _, low, high = launch_interval(launches)
        assert low is not None and high is not None
        hits += low <= 1.0 <= high
    assert 0.92 <= hits / 400 <= 0.98
