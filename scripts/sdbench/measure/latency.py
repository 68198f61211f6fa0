"""Seconds of one call."""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

from sdbench.cases.measuring import Measuring


def time_call(call: Callable[[], object], synchronize: Callable[[], None]) -> float:
    """Return the seconds of one call. Nothing but the call and a synchronise is inside."""
    synchronize()
    begin = time.perf_counter()
    call()
    synchronize()
    return time.perf_counter() - begin


def sample_latency(
    call: Callable[[], object],
    synchronize: Callable[[], None],
    measuring: Measuring,
    warmed_s: Sequence[float] = (),
    ramp_s: float = 0.0,
    between: Callable[[], None] = lambda: None,
    taken_s: Sequence[float] = (),
) -> dict[str, Any]:
    """Time calls until there are enough of them and they have taken long enough.

    Args:
        call: what is timed.
        synchronize: waits until the device is done.
        measuring: how many samples, and how long.
        warmed_s: calls of the warm-up that were made before.
        ramp_s: how long the warm-up takes at the least, for the device to raise its clocks.
        between: called after the warm-up and after each sample.
        taken_s: samples that there are.

    Returns:
        `warmup_s` and `samples_s`, the seconds of each call in order.
    """
    warmup = list(warmed_s)
    while len(warmup) < measuring.warmup_calls or sum(warmup) < ramp_s:
        warmup.append(time_call(call, synchronize))
    samples = list(taken_s)
    # A collection in the middle of a call would be counted as the network's time.
    gc.collect()
    gc.disable()
    between()
    try:
        while not _enough(samples, measuring):
            samples.append(time_call(call, synchronize))
            between()
    finally:
        gc.enable()
    return {"warmup_s": warmup, "samples_s": samples}


def _enough(samples: list[float], measuring: Measuring) -> bool:
    spent_s, minimum = sum(samples), measuring.min_samples
    if spent_s >= measuring.max_duration_s:
        return len(samples) >= min(minimum, measuring.min_samples_capped)
    return len(samples) >= minimum and spent_s >= measuring.min_duration_s
