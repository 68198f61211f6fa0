"""The device's own peaks: its fastest matrix product and convolution in a precision, its fastest
copy.

A peak is the best that was seen, and not a median: whatever disturbs a sample makes it slower.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sdbench.devices.device import WEIGHTS, refuse_emulation
from sdbench.devices.platforms import platform_of, set_tf32
from sdbench.measure.latency import time_call

import torch

SIDES = (512, 1024, 2048, 4096, 8192, 16384)
"""Sides of the square matrices. A GPU needs large ones, a slow device takes too long for them."""
IMAGES = (2, 8, 32, 128)
"""Images of a convolution, the first as many as guidance has of one."""
CHANNELS, PIXELS = 640, 32
"""Of the convolutions: from so many channels to as many, so many pixels high and wide, as in the
middle of Stable Diffusion's UNet."""
LONG_S = 0.05  # larger sizes are not tried once the best sample of one took as long
SAMPLES, DURATION_S = 10, 0.5  # of each size at least so many, which fill at least so many seconds
COPIED_BYTES = 2**29  # far more than caches hold


def product_peak(device: torch.device, precision: str) -> dict[str, Any]:
    """Measure the fastest product of two square matrices of normal numbers: 2 n^3 operations.

    Returns:
        `tflops` (10^12 operations a second) of the best sample, the `side` n of its matrices, and
        all samples: `samples_s`, seconds by side.

    Raises:
        UnsupportedError: if the device would emulate the precision.
    """
    normal = _normal_numbers(device, precision)

    def calls(side: int) -> Iterator[Callable[[], object]]:
        left, right = normal(side, side), normal(side, side)
        yield partial(torch.mm, left, right, out=torch.empty_like(left))

    return _best(device, calls, {side: 2 * side**3 for side in SIDES}, "side")


def convolution_peak(device: torch.device, precision: str) -> dict[str, Any]:
    """Measure the fastest convolution of 3 x 3 with normal numbers, in either layout of memory.

    Its operations are those of the textbook, as in what networks take: a library that needs fewer
    is so much faster here too.

    Returns:
        `tflops` (10^12 operations a second) of the best sample, the `images` that it had, and all
        samples: `samples_s`, seconds by images.

    Raises:
        UnsupportedError: if the device would emulate the precision.
    """
    normal = _normal_numbers(device, precision)

    def calls(images: int) -> Iterator[Callable[[], object]]:
        image, kernel = normal(images, CHANNELS, PIXELS, PIXELS), normal(CHANNELS, CHANNELS, 3, 3)
        for layout in (torch.contiguous_format, torch.channels_last):
            laid_out = (each.contiguous(memory_format=layout) for each in (image, kernel))
            yield partial(torch.conv2d, *laid_out, padding=1)

    flop = 2 * 3**2 * CHANNELS**2 * PIXELS**2
    return _best(device, calls, {images: images * flop for images in IMAGES}, "images")


def _normal_numbers(device: torch.device, precision: str) -> Callable[..., torch.Tensor]:
    """Return what makes a tensor of a shape. Of zeros a product takes less power, and may run at a
    higher clock."""
    refuse_emulation(precision, device)
    set_tf32(precision == "tf32")
    generator = torch.Generator(device).manual_seed(0)
    return partial(torch.randn, generator=generator, device=device, dtype=WEIGHTS[precision])


def _best(
    device: torch.device,
    calls: Callable[[int], Iterator[Callable[[], object]]],
    flop: Mapping[int, int],
    size_name: str,
) -> dict[str, Any]:
    """Sample the calls of rising sizes, whose operations are `flop`; return the best rate."""
    samples: dict[int, list[float]] = {}
    for size in flop:
        samples[size] = [seconds for call in calls(size) for seconds in _sample(call, device)]
        if min(samples[size]) >= LONG_S:
            break
    rate, size = max((flop[size] / min(s) / 1e12, size) for size, s in samples.items())
    by_size = {str(size): times for size, times in samples.items()}
    return {"tflops": rate, size_name: size, "samples_s": by_size}


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
