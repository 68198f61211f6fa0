"""The largest batch that fits: predicted from small ones, then tried."""

from collections.abc import Callable, Mapping
from typing import Any


def predict_largest(peaks: Mapping[int, int], limit_bytes: int) -> int | None:
    """Predict the largest batch that stays within a limit.

    Memory grows linearly with the batch once its activations are the peak: a straight line through
    the two largest batches that were measured.

    Args:
        peaks: peak bytes by batch size.
        limit_bytes: what the device has for this process.

    Returns:
        The batch size, at least 1; None if two sizes have not been measured or the peak does not
        grow with them.
    """
    sizes = sorted(peaks)[-2:]
    if len(sizes) < 2:
        return None
    small, large = sizes
    slope = (peaks[large] - peaks[small]) / (large - small)
    if slope <= 0:
        return None
    return max(1, int(large + (limit_bytes - peaks[large]) / slope))


def find_largest(
    fits: Callable[[int], bool], guess: int | None, runs: int, fails: int
) -> tuple[int, list[dict[str, Any]]]:
    """Find the largest batch that fits, exactly.

    A right guess takes two probes, it and the next one up; a wrong one is bracketed in steps that
    double, then halved.

    Args:
        fits: tells whether a batch of this size runs.
        guess: where to look first; None to double from `runs`.
        runs: a size that is known to run (0 if none is).
        fails: a size that is known not to run, or the first that is not to be tried.

    Returns:
        The size n such that n runs and n + 1 does not or may not be tried, and each probe made:
        `batch_size` and whether it `fits`.
    """
    probes: list[dict[str, Any]] = []

    def probe(size: int) -> bool:
        nonlocal runs, fails
        fitting = fits(size)
        probes.append({"batch_size": size, "fits": fitting})
        if fitting:
            runs = max(runs, size)
        else:
            fails = min(fails, size)
        return fitting

    def between(size: int) -> int:
        return min(max(size, runs + 1), fails - 1)

    if fails - runs > 1:
        size = between(2 * runs if guess is None else guess)
        upward, step = probe(size), 1
        while fails - runs > 1:
            size = between(size + step if upward else size - step)
            if probe(size) != upward:
                break
            step *= 2
    while fails - runs > 1:
        probe((runs + fails) // 2)
    return runs, probes
