"""A small fixed piece of work whose only purpose is to show how steady a machine is."""

import functools
import math

from sdbench.devices.platforms import platform_of, set_tf32
from sdbench.measure.latency import time_call

import torch

WARM_UP, SAMPLES = 3, 15
"""Calls at the least that are not counted, and samples."""
SIDE = 768
"""A product of two square matrices of this side and three convolutions: some 2 GFLOP a call, in
fp32, independent of any model, config or backend. A fast GPU does it in 0.1 ms."""


def time_reference(device: torch.device) -> list[float]:
    """Return the seconds of a call of the fixed work, `SAMPLES` times, after a warm-up.

    The warm-up lasts until the device has raised its clocks (`Platform.ramp_s`), and the samples as
    long together, each the mean of several calls where a fast GPU would be done before that.
    """
    ramp_s = platform_of(device).ramp_s
    set_tf32(False)
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(SIDE, SIDE, generator=generator).to(device)
    image = torch.randn(1, 32, 96, 96, generator=generator).to(device)
    kernel = torch.randn(32, 32, 3, 3, generator=generator).to(device)
    calls = 1

    def work() -> None:
        for _ in range(calls):
            torch.mm(matrix, matrix)
            for _ in range(3):
                torch.nn.functional.conv2d(image, kernel, padding=1)

    synchronize = functools.partial(platform_of(device).synchronize, device)
    with torch.inference_mode():
        warm_up: list[float] = []
        while len(warm_up) < WARM_UP or sum(warm_up) < ramp_s:
            warm_up.append(time_call(work, synchronize))
        calls = max(1, math.ceil(ramp_s / SAMPLES / warm_up[-1]))
        return [time_call(work, synchronize) / calls for _ in range(SAMPLES)]
