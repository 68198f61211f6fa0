"""Where the time of a call goes, kernel by kernel, as torch's own profiler sees it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def profile_call(
    call: Callable[[], object], synchronize: Callable[[], None], device: torch.device
) -> profile:
    """Profile one call, with which the device must have finished before and is finished after.

    The profiler slows down what it looks at: its seconds are no latency.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    synchronize()
    profiler = profile(activities=activities)
    with profiler:
        call()
        synchronize()
    return profiler


def kernel_rows(events: Iterable[Any], device: torch.device) -> list[dict[str, Any]]:
    """Return a row for each kernel, the one that took most time first.

    Args:
        events: of the profiler, averaged by name (`key_averages`).
        device: on a GPU its kernels count, else the operators that the CPU ran.

    Returns:
        `kernel`, `calls`, `self_s` (seconds in it, and in nothing that it called) and `share` of
        the sum of these. Those that took no time are left out.
    """
    on_gpu = device.type == "cuda"
    kind = DeviceType.CUDA if on_gpu else DeviceType.CPU
    spent = [
        (event.self_device_time_total if on_gpu else event.self_cpu_time_total, event)
        for event in events
        if event.device_type == kind and not event.is_user_annotation
    ]
    total_us = sum(us for us, _ in spent)
    return [
        {"kernel": event.key, "calls": event.count, "self_s": us / 1e6, "share": us / total_us}
        for us, event in sorted(spent, key=lambda entry: -entry[0])
        if us
    ]
