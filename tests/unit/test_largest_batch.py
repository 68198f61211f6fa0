"""The largest batch is exact, whatever the guess, and a good guess is cheap."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sdbench.meters.largest_batch import find_largest, predict_largest


@given(
    st.integers(0, 300),
    st.one_of(st.none(), st.integers(1, 1000)),
    st.integers(0, 8),
    st.integers(1, 400),
)
def test_the_answer_runs_and_the_next_does_not(
    truth: int, guess: int | None, runs: int, cap: int
) -> None:
    truth, runs = max(truth, runs), min(runs, cap)
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= truth

    largest, probes = find_largest(fits, guess, runs, cap + 1)
    assert largest == min(truth, cap)
    assert tried == [probe["batch_size"] for probe in probes]
    assert len(tried) == len(set(tried)), "a size was tried twice"
    assert all(runs < size <= cap for size in tried)
    assert len(tried) <= 20


@pytest.mark.parametrize("error", [-1, 0, 1])
def test_a_guess_that_is_right_within_one_takes_at_most_four_probes(error: int) -> None:
    for truth in (8, 27, 28, 131):
        _, probes = find_largest(truth.__ge__, truth + error, 4, 1025)
        assert len(probes) <= 4


def test_the_cap_takes_one_probe() -> None:
    largest, probes = find_largest(lambda _: True, 10_000, 8, 65)
    assert (largest, len(probes)) == (64, 1)


def test_doubling_and_bisection_take_far_more() -> None:
    _, probes = find_largest(lambda n: n <= 131, None, 1, 1025)
    assert len(probes) > 8


def test_the_prediction_is_a_straight_line() -> None:
    peaks = {1: 2_000, 2: 3_000, 4: 5_000}
    assert predict_largest(peaks, 10_000) == 9
    assert predict_largest(peaks, 5_999) == 4
    assert predict_largest(peaks, 100) == 1


@pytest.mark.parametrize("peaks", [{}, {4: 100}, {1: 100, 2: 100}, {1: 100, 2: 90}])
def test_there_is_no_prediction_without_a_slope(peaks: dict[int, int]) -> None:
    assert predict_largest(peaks, 1000) is None
