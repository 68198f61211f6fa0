"""The largest batch is exact, whatever the prediction, and a good prediction is cheap."""

import random
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sdbench.measure.batch_prediction import find_largest, predict_largest

BASE, SLOPE = 4_000_000, 300_000
"""A made-up network: bytes that it takes whatever the batch, and bytes that each image adds."""


def peak_bytes(batch_size: int) -> int:
    return BASE + SLOPE * batch_size


def device(truth: int) -> tuple[Callable[[int], int | None], list[int]]:
    """A device on which `truth` is the largest batch, and the list of what was tried on it."""
    tried: list[int] = []

    def try_batch(size: int) -> int | None:
        tried.append(size)
        return peak_bytes(size) if size <= truth else None

    return try_batch, tried


@given(
    truth=st.integers(0, 300),
    measured=st.sets(st.integers(1, 8), max_size=4),
    limit=st.integers(0, 10**9),
    cap=st.integers(1, 400),
)
def test_the_answer_is_the_largest(truth: int, measured: set[int], limit: int, cap: int) -> None:
    """Whatever is known before, and however wrong the limit is that the device is said to have."""
    peaks = {size: peak_bytes(size) for size in measured if size <= min(truth, cap)}
    runs = max(peaks, default=0)
    try_batch, tried = device(truth)
    largest, probes = find_largest(try_batch, peaks, limit, runs, cap + 1)
    assert largest == min(truth, cap)
    assert tried == [probe["batch_size"] for probe in probes]
    assert len(tried) == len(set(tried)), "a size was tried twice"
    assert all(runs < size <= cap for size in tried)
    assert len(tried) <= 20


@pytest.mark.parametrize("truth", [9, 27, 28, 131, 700])
def test_a_straight_line_takes_two_probes_and_a_cap_one(truth: int) -> None:
    try_batch, _ = device(truth)
    peaks = {size: peak_bytes(size) for size in (1, 2, 4, 8)}
    limit = peak_bytes(truth) + SLOPE // 2
    assert len(find_largest(try_batch, peaks, limit, 8, 4097)[1]) == 2
    largest, probes = find_largest(device(1000)[0], peaks, 10**9, 8, 65)
    assert (largest, len(probes)) == (64, 1)


def test_a_counter_that_wavers_takes_four_at_most_nine_times_of_ten() -> None:
    """Peaks that waver by 0.2 %, on devices of which the largest batch is from 9 to some 200."""
    random.seed(0)
    counts = []
    for _ in range(300):
        truth = random.randint(9, 200)

        def wavering(size: int) -> int:
            return int(peak_bytes(size) * random.gauss(1, 0.002))

        limit = peak_bytes(truth) + random.randrange(SLOPE)
        peaks = {size: wavering(size) for size in (1, 2, 4, 8)}
        answer, probes = find_largest(
            lambda n, truth=truth: wavering(n) if n <= truth else None,  # type: ignore[misc]
            peaks,
            limit,
            8,
            4097,
        )
        assert answer == truth
        counts.append(len(probes))
    assert sum(count <= 4 for count in counts) >= 270


def test_without_a_prediction_it_takes_far_more() -> None:
    """What doubling and bisection cost: memory that does not grow predicts nothing."""
    found, probes = find_largest(lambda n: BASE if n <= 131 else None, {}, 10**9, 1, 1025)
    assert found == 131
    assert len(probes) > 8


def test_the_prediction_is_a_straight_line() -> None:
    peaks = {1: 2_000, 2: 3_000, 4: 5_000}
    assert predict_largest(peaks, 10_000) == 9
    assert predict_largest(peaks, 5_999) == 4
    assert predict_largest(peaks, 100) == 1
    # It does not trust two sizes side by side, and there is none without a slope.
    assert predict_largest({4: 5_000, 8: 9_000, 9: 9_001}, 20_000) == 22
    for flat in ({}, {4: 100}, {1: 100, 2: 100}, {1: 100, 2: 90}):
        assert predict_largest(flat, 1000) is None
