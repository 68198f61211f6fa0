"""The largest batch that fits: predicted from small ones, then tried."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

PREDICTED = 4
"""Probes that may follow a prediction. After these, memory is no straight line."""


class Line(NamedTuple):
    """Peak bytes as a straight line over the batch size."""

    sizes: tuple[int, int]  # the batch sizes that it goes through
    peak_bytes: int  # at the larger one
    image_bytes: float  # what each image adds, more than 0

    def at(self, size: int) -> float:
        """Return the peak bytes of a batch of `size`; of 0, what is there without any image."""
        return self.peak_bytes + self.image_bytes * (size - self.sizes[1])

    def within(self, limit_bytes: float) -> int:
        """Return the largest batch that stays within a limit; 0 or less where none does."""
        return math.floor(self.sizes[1] + (limit_bytes - self.peak_bytes) / self.image_bytes)


def fit_line(peaks: Mapping[int, int]) -> Line | None:
    """Fit a line to peak bytes by batch size; None without two sizes or where the peak is flat.

    Memory grows linearly once activations are the peak. The line goes through the largest batch and
    the largest of at most half its size: two nearer ones would make much of the counter's noise.
    """
    large = max(peaks, default=0)
    small = max((size for size in peaks if size <= large / 2), default=0)
    if not small or peaks[large] <= peaks[small]:
        return None
    return Line((small, large), peaks[large], (peaks[large] - peaks[small]) / (large - small))


def predict_largest(peaks: Mapping[int, int], limit_bytes: int) -> int | None:
    """Predict the largest batch within a limit, at least 1, from peak bytes by batch size; None if
    `fit_line` finds none."""
    line = fit_line(peaks)
    return line and max(1, line.within(limit_bytes))


DECIDING = ("peak_reserved_bytes", "resident_peak_bytes", "reserved_after_run_bytes")
"""The counters that decide whether a batch fits, the first that a device has. Where no peak is
counted, what the allocator holds after the call has to do."""


def deciding_counter(memory: Mapping[str, float | None]) -> str | None:
    """Return the counter that decides whether a batch fits, of those of `measure.memory`."""
    return next((counter for counter in DECIDING if memory.get(counter)), None)


def beyond_allocator(memory: Mapping[str, float | None]) -> int:
    """Return the bytes that the driver counts for this process and torch's allocator does not: the
    CUDA context. 0 where the driver does not tell."""
    driver, allocator = memory.get("nvml_process_bytes"), memory.get("reserved_after_run_bytes")
    return int(max(0, (driver or 0) - (allocator or 0)))


def device_peak_bytes(memory: Mapping[str, float | None], allocator_sees_all: bool) -> int | None:
    """Return the bytes of the device that the process held at its peak, whatever took them.

    What PyTorch's allocator had reserved at most, and what the driver counts beyond that: the CUDA
    context, and an engine's own allocator. PyTorch's tensors alone would rank `compile` and ONNX
    Runtime as nearly free, without the pools of CUDA graphs and ONNX Runtime's arena. Where the
    driver does not tell, nothing is known of an engine that allocates otherwise than by PyTorch.
    """
    reserved = memory.get("peak_reserved_bytes")
    unknown = not allocator_sees_all and memory.get("nvml_process_bytes") is None
    return None if reserved is None or unknown else int(reserved) + beyond_allocator(memory)


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
