"""The device's own peaks: its fastest matrix product in a precision, its fastest copy.

A peak is the best that was seen, and not a median: whatever disturbs a sample makes it slower.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from sdbench.devices.device import WEIGHTS, refuse_emulation
from sdbench.devices.platforms import platform_of, set_tf32
from sdbench.measure.latency import time_call

import torch

SIDES = (512, 1024, 2048, 4096, 8192, 16384)
"""Sides of the square matrices. A GPU needs large ones, a slow device takes too long for them."""
LONG_S = 0.05  # larger matrices are not tried once the best product took as long
SAMPLES, DURATION_S = 10, 1.0  # of each size at least so many, which fill at least so many seconds
COPIED_BYTES = 2**29  # far more than caches hold


def product_peak(device: torch.device, precision: str) -> dict[str, Any]:
    """Measure the fastest product of two square matrices of normal numbers: 2 n^3 operations.

    Returns:
        `tflops` (10^12 operations a second) of the best sample, the `side` n of its matrices, and
        all samples: `samples_s`, seconds by side.
    """
    dtype = WEIGHTS[precision]
    refuse_emulation(precision, device)
    set_tf32(precision == "tf32")
    generator = torch.Generator(device).manual_seed(0)
    samples: dict[int, list[float]] = {}
    for side in SIDES:
        # Of zeros a product takes less power, and may run at a higher clock.
        left, right = (
            torch.randn(side, side, generator=generator, device=device, dtype=dtype)
            for _ in range(2)
        )
        samples[side] = _sample(partial(torch.mm, left, right, out=torch.empty_like(left)), device)
        if min(samples[side]) >= LONG_S:
            break
    rate, side = max((2 * side**3 / min(s) / 1e12, side) for side, s in samples.items())
    by_side = {str(side): times for side, times in samples.items()}
    return {"tflops": rate, "side": side, "samples_s": by_side}


def copy_peak(device: torch.device) -> dict[str, Any]:
    """Measure the fastest copy within the device's memory: `gb_per_s` (10^9 bytes a second, those
    read plus those written), and all samples: `samples_s`, seconds by bytes that were copied."""
    # Ones: pages that nobody has written to yet are all one and the same.
    source = torch.ones(COPIED_BYTES // 4, device=device)
    target = torch.ones_like(source)
    times = _sample(lambda: target.copy_(source), device)
    gb_per_s = 2 * COPIED_BYTES / min(times) / 1e9
    return {"gb_per_s": gb_per_s, "samples_s": {str(COPIED_BYTES): times}}


def _sample(call: Callable[[], object], device: torch.device) -> list[float]:
    """Return the seconds of each call, after one that is not counted."""
    wait = partial(platform_of(device).synchronize, device)
    times: list[float] = []
    with torch.inference_mode():
        time_call(call, wait)
        while len(times) < SAMPLES or sum(times) < DURATION_S:
            times.append(time_call(call, wait))
    return times
