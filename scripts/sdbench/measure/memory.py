"""Memory of one call, by every counter that the device has."""

import contextlib
import resource
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from sdbench.cases.case import Case
from sdbench.devices.device import torch_device
from sdbench.devices.limits import memory_left_bytes, ulimit_bytes
from sdbench.devices.machine import budget_bytes, machine_bytes
from sdbench.devices.platforms import platform_of
from sdbench.devices.resident import field, resident_bytes
from sdbench.measure.contention import ContentionError
from sdbench.models.computed import ERROR, Peaks, certain_bytes, way_key
from sdbench.models.weights import Components, device_bytes, host_bytes, weight_bytes
from sdbench.runtime.errors import UnsupportedError

import torch

COUNTERS = (
    "loaded_bytes",
    "resident_peak_bytes",
    "resident_above_load_bytes",
    "peak_allocated_bytes",
    "peak_reserved_bytes",
    "reserved_after_run_bytes",
    "nvml_process_bytes",
)
"""Every counter that a record may hold; one that the device does not have is None."""


def measure_memory(
    call: Callable[[], object], device: torch.device, loaded_bytes: int | None
) -> dict[str, int | None]:
    """Run one call, which must have run before, and read the counters that saw its peak.

    On a CPU the resident peak of the process, absolute and above `loaded_bytes`, just after
    loading. On a GPU torch's own peaks, its reservation after the call (what the 2022 post called
    memory), and what the driver says that this process holds, whatever the engine.
    """
    platform = platform_of(device)
    platform.reset_memory(device)
    call()
    platform.synchronize(device)
    return read_memory(device, loaded_bytes)


def read_memory(device: torch.device, loaded_bytes: int | None) -> dict[str, int | None]:
    """Read the counters; peaks are those since the platform's `reset_memory`. Nothing is run."""
    counters: dict[str, int | None] = dict.fromkeys(COUNTERS)
    counters |= platform_of(device).memory(device)
    peak = counters["resident_peak_bytes"]
    if peak is not None and loaded_bytes is not None:
        counters["loaded_bytes"] = loaded_bytes
        counters["resident_above_load_bytes"] = max(0, peak - loaded_bytes)
    return counters


class TooSmallError(UnsupportedError):
    """The weights take more memory than there is where they must be; the message has both."""


def check_weights_fit(
    case: Case,
    components: Components,
    granted_bytes: int | None = None,
    peaks: Peaks = MappingProxyType({}),
) -> None:
    """Refuse a model whose weights cannot fit where `case` has them, by their shapes alone, or a
    call of which cannot fit, by `peaks`, which are of its device and backend.

    Raises:
        TooSmallError: if the device, or the machine where weights wait in it, has less memory.
        ContentionError: if the device has enough, of which others hold too much.
    """
    how = (components, case.variant.precision, case.variant.switches)
    waiting, there = host_bytes(*how), min(machine_bytes(), granted_bytes or machine_bytes())
    if waiting > there:
        raise TooSmallError(
            f"the weights take {_gigabytes(waiting)} of host memory, but only "
            f"{_gigabytes(there)} are available"
        )
    device = torch_device(case)
    weights, at_once = sum(weight_bytes(*how).values()), device_bytes(*how)
    wanted = f"the weights take {_gigabytes(weights)}"
    if at_once < weights:  # with offload
        wanted += f", of which {_gigabytes(at_once)} must be on the GPU at the same time"
    budget = budget_bytes(case.device, granted_bytes)
    if budget is not None and at_once > budget:
        raise TooSmallError(f"{wanted}, but the memory budget is {_gigabytes(budget)}")
    info = platform_of(device).memory_info(device)
    if info is None:
        return
    free, total = info
    if at_once > total:
        raise TooSmallError(f"{wanted}, but the GPU has {_gigabytes(total)}")
    if certain_bytes(peaks, case.variant) > total:
        peak = _gigabytes(peaks[way_key(case.variant)])
        raise TooSmallError(
            f"one image takes {peak} (computed, {ERROR:.0%} less at best), but the GPU has "
            f"{_gigabytes(total)}"
        )
    if at_once > free:
        pids = " and ".join(str(process["pid"]) for process in platform_of(device).others(device))
        raise ContentionError(
            f"{wanted}, but only {_gigabytes(free)} of the GPU's {_gigabytes(total)} are free: "
            f"{f'process {pids} holds' if pids else 'other processes hold'} the rest"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.4g} GB"


class OverBudgetError(MemoryError):
    """A call ran, and needed more than the device's budget."""


def refuse_above(budget: int | None, memory: Mapping[str, int | None]) -> None:
    """Raise `OverBudgetError` if the resident peak that was counted is above a budget in bytes."""
    peak = memory["resident_peak_bytes"]
    if budget is not None and peak is not None and peak > budget:
        raise OverBudgetError(
            f"the resident peak of {peak / 1e9:.2f} GB is above the budget of {budget / 1e9:.2f} GB"
        )


@contextlib.contextmanager
def memory_limit(budget: int | None) -> Iterator[None]:
    """Let an allocation fail that would take this process far above `budget` bytes resident.

    The kernel bounds the data that a process may map, of which allocators leave a part untouched:
    the limit is half again the budget's room above what is resident now, and never more than the
    machine and the container have available, so that they neither swap nor kill, or than the shell
    allows. `refuse_above` says what is above the budget itself. None sets no limit, nor does a
    system without /proc.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    held, mapped = resident_bytes(), field("self/status", "VmData")
    available = field("meminfo", "MemAvailable")
    if budget and held and mapped and available:
        left = memory_left_bytes()
        more = min((budget - held) * 3 // 2, available, available if left is None else left)
        wanted = mapped + max(0, more)
        allowed = ulimit_bytes(resource.RLIMIT_DATA) or wanted
        resource.setrlimit(resource.RLIMIT_DATA, (min(wanted, allowed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
