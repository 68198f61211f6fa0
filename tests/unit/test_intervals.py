"""The interval over launches."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from sdbench.analysis.estimates import Estimate, apart, estimate, quotient
from sdbench.records.intervals import FEWEST, drift_half, launch_interval


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


def test_intervals_with_drift_hold_what_other_jobs_find() -> None:
    """Jobs that differ by more than their launches, and the fixed work with them: by simulation.
    The launches alone hold the truth of few runs."""
    random, hits, without = np.random.default_rng(0), 0, 0
    for _ in range(400):
        works = np.exp(random.normal(0, 0.1, 4) + random.normal(0, 0.02, 4)).tolist()
        launches = np.exp(random.normal(0, 0.1) + random.normal(0, 0.05, 5)).tolist()
        drift = drift_half(works)
        assert drift is not None
        for wider in (0.0, drift):
            _, low, high = launch_interval(launches, wider)
            assert low is not None and high is not None
            hits += bool(wider) and low <= 1.0 <= high
            without += not wider and low <= 1.0 <= high
    assert without / 400 < 0.6
    assert 0.92 <= hits / 400 <= 0.99


def test_fewer_than_three_jobs_say_nothing_of_drift() -> None:
    assert drift_half([1.0, 2.0]) is None
    assert drift_half([1.0] * FEWEST) == 0


def test_what_one_job_measured_in_turns_has_no_drift_between_it() -> None:
    low, high = (math.exp(sign * math.hypot(0.03, 0.2)) for sign in (-1, 1))
    rows: list[dict[str, Any]] = [
        {"model": "m", "device": "d", "backend": backend, "drift": 0.2, "latency_s": factor,
         "latency_ci_low_s": factor * low, "latency_ci_high_s": factor * high}
        for backend, factor in (("a", 1.0), ("a", 1.1), ("b", 1.1))
    ]  # fmt: skip
    one, same, other = (estimate(row, "latency_s") for row in rows)
    assert apart(one, same) and not apart(one, other)
    assert quotient(same, one).half == pytest.approx(math.hypot(0.03, 0.03))
    assert quotient(other, one).half == pytest.approx(math.hypot(0.03, 0.03, 0.2, 0.2))
    # Launches that are slow together are so side by side.
    turns = (1.0, 1.2, 0.9, 1.1, 1.0)
    for row, factors in zip(rows, ((1,) * 5, (1, 1.01, 1, 0.99, 1), (1,) * 5), strict=True):
        row["latency_launches_s"] = " ".join(
            f"{row['latency_s'] * one * factor:.6g}"
            for one, factor in zip(turns, factors, strict=True)
        )
    beside = quotient(*(estimate(row, "latency_s") for row in rows[1::-1]))
    assert beside.value == pytest.approx(1.1, rel=1e-3)
    assert beside.half == pytest.approx(0.0088, rel=0.02)
    # So do their reciprocals and multiples.
    rates = [each.map(lambda seconds: 60 / seconds) for each in (one, same, other)]
    assert apart(rates[0], rates[1]) and not apart(rates[0], rates[2])


def test_what_has_no_interval_is_its_number() -> None:
    assert apart(Estimate(1.0), Estimate(1.2, 1.1, 1.3))
    assert not apart(Estimate(1.15), Estimate(1.2, 1.1, 1.3))
    assert apart(Estimate(0.0), Estimate(1e9)) and not apart(Estimate(0.0), Estimate(0.0))
