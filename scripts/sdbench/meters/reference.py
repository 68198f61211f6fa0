"""A small fixed piece of work whose only purpose is to show how steady a machine is."""

from sdbench.meters.latency import time_call
from sdbench.platforms import platform_of

import torch

CALLS = 15
SIDE = 768
"""A product of two square matrices of this side and three convolutions: some 2 GFLOP a call, in
fp32, independent of any model, config or backend."""


def time_reference(device: torch.device) -> list[float]:
    """Return the seconds of `CALLS` calls of the fixed work, after three that are not counted."""
    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(SIDE, SIDE, generator=generator).to(device)
    picture = torch.randn(1, 32, 96, 96, generator=generator).to(device)
    kernel = torch.randn(32, 32, 3, 3, generator=generator).to(device)

    def work() -> None:
        torch.mm(matrix, matrix)
        for _ in range(3):
            torch.nn.functional.conv2d(picture, kernel, padding=1)

    def synchronize() -> None:
        platform_of(device).synchronize(device)

    with torch.inference_mode():
        for _ in range(3):
            work()
        return [time_call(work, synchronize) for _ in range(CALLS)]
