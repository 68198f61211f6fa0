"""The largest batch that fits: predicted from small ones, then tried."""

from collections.abc import Callable, Mapping
from typing import Any

PREDICTED = 4
"""Probes that may follow a prediction. After these, memory is no straight line."""


def predict_largest(peaks: Mapping[int, int], limit_bytes: int) -> int | None:
    """Predict the largest batch that stays within a limit.

    Memory grows linearly with the batch once its activations are the peak: a straight line through
    the largest batch that was measured and the largest of at most half its size. Two that are
    nearer to each other would make much of the counter's noise.

    Args:
        peaks: peak bytes by batch size.
        limit_bytes: what the device has for this process.

    Returns:
        The batch size, at least 1; None if no two such sizes have been measured or the peak does
        not grow with them.
    """
    large = max(peaks, default=0)
    small = max((size for size in peaks if size <= large / 2), default=0)
    if not small:
        return None
    slope = (peaks[large] - peaks[small]) / (large - small)
    if slope <= 0:
        return None
    return max(1, int(large + (limit_bytes - peaks[large]) / slope))


def find_largest(
    try_batch: Callable[[int], int | None],
    peaks: Mapping[int, int],
    limit_bytes: int,
    runs: int,
    fails: int,
) -> tuple[int, list[dict[str, Any]]]:
    """Find the largest batch that fits, exactly.

    A batch that is tried and fits tells its peak, and the next prediction is made from nearer by. A
    right one takes two probes, it and the next one up. Predictions that go on being wrong are given
    up for steps that double, and then halve.

    Args:
        try_batch: runs a batch of this size; returns its peak bytes, None if it does not fit.
        peaks: peak bytes of batch sizes that are known to run.
        limit_bytes: what the device has for this process.
        runs: a size that is known to run (0 if none is).
        fails: a size that is known not to run, or the first that is not to be tried.

    Returns:
        The size n such that n runs and n + 1 does not or may not be tried, and each probe made:
        `batch_size`, whether it `fits`, and its `peak_bytes` (None where it does not fit).
    """
    known, probes = dict(peaks), list[dict[str, Any]]()
    step = 0
    while fails - runs > 1:
        predicted = predict_largest(known, limit_bytes) if len(probes) < PREDICTED else None
        if predicted is not None and (not probes or runs < predicted < fails):
            size = min(max(predicted, runs + 1), fails - 1)
        else:
            failed = bool(probes) and not probes[-1]["fits"]
            # A prediction is wrong by a share of how far it reached.
            step = 2 * step or max(1, (fails - runs) // 16 if failed else 1)
            size = fails - step if failed else runs + step
            if not runs < size < fails:
                size = (runs + fails) // 2
        peak = try_batch(size)
        probes.append({"batch_size": size, "fits": peak is not None, "peak_bytes": peak})
        if peak is None:
            fails = size
        else:
            runs = size
            known[size] = peak
    return runs, probes
