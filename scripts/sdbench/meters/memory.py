"""Memory of one call, by every counter that the device has."""

import contextlib
import ctypes
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench import nvml
from sdbench.backends.engine import gpu_uuid

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


def resident_bytes() -> int:
    """Return the bytes of this process that are in memory now, whoever allocated them."""
    return _field("/proc/self/status", "VmRSS")


def measure_memory(
    call: Callable[[], object], device: torch.device, loaded_bytes: int
) -> dict[str, int | None]:
    """Run one call and read the counters that saw its peak.

    Args:
        call: what is run; it must have run before, so that nothing is set up on the way.
        device: where it runs.
        loaded_bytes: `resident_bytes()` when the model had just been loaded.

    Returns:
        All of `COUNTERS`. On a CPU the resident-set high-water mark of the process (reset before
        the call), absolute and above `loaded_bytes`: it sees every engine's allocations. On CUDA
        torch's own peaks, its reservation after the call (what the 2022 post called memory), and
        what the driver says that this process holds, which sees every engine.
    """
    counters: dict[str, int | None] = dict.fromkeys(COUNTERS)
    if device.type == "cpu":
        trim_heap()
        # man 5 proc: writing 5 resets the high-water mark. getrusage's cannot be reset, and a
        # child inherits it.
        Path("/proc/self/clear_refs").write_text("5")
        call()
        peak = _field("/proc/self/status", "VmHWM")
        counters["loaded_bytes"] = loaded_bytes
        counters["resident_peak_bytes"] = peak
        counters["resident_above_load_bytes"] = max(0, peak - loaded_bytes)
    else:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        counters["peak_allocated_bytes"] = torch.cuda.max_memory_allocated(device)
        counters["peak_reserved_bytes"] = torch.cuda.max_memory_reserved(device)
        counters["reserved_after_run_bytes"] = torch.cuda.memory_reserved(device)
        counters["nvml_process_bytes"] = nvml.process_bytes(gpu_uuid(device))
    return counters


class OverBudgetError(MemoryError):
    """A call ran, and needed more than the device's budget."""


def refuse_above(budget: int | None, memory: Mapping[str, int | None]) -> None:
    """Refuse what `measure_memory` counted if its resident peak is above a budget in bytes.

    Raises:
        OverBudgetError: if it is.
    """
    peak = memory["resident_peak_bytes"]
    if budget is not None and peak is not None and peak > budget:
        raise OverBudgetError(
            f"a resident peak of {peak / 1e9:.2f} GB is above the budget of {budget / 1e9:.2f} GB"
        )


@contextlib.contextmanager
def memory_limit(budget: int | None) -> Iterator[None]:
    """Let an allocation fail that would take this process far above `budget` bytes resident.

    The kernel bounds the data that a process may map, of which allocators leave a part untouched:
    the limit is half again the budget's room above what is resident now, and never more than the
    machine has available. `refuse_above` says what is above the budget itself; this sees to it that
    the machine neither swaps nor kills meanwhile. A failed allocation is an exception that
    `is_out_of_memory` knows. None sets no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if budget is not None:
        room = max(0, budget - resident_bytes())
        mapped = _field("/proc/self/status", "VmData")
        more = min(room * 3 // 2, _field("/proc/meminfo", "MemAvailable"))
        resource.setrlimit(resource.RLIMIT_DATA, (mapped + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that memory did not suffice, on any device and engine."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return any(
        sign in text
        for sign in (
            "out of memory",  # CUDA, cuBLAS
            "can't allocate memory",  # torch's CPU allocator
            "failed to allocate memory",  # ONNX Runtime
            "bad allocation",  # ONNX Runtime
            "std::bad_alloc",
            "could not create a primitive",  # oneDNN
            "could not create a memory object",  # oneDNN
            "_status_alloc_failed",  # cuBLAS, cuDNN
            "cannot map zero-fill pages",  # the loader of shared libraries
        )
    )


def budget_bytes(device: Mapping[str, Any], granted: int | None = None) -> int | None:
    """Return the bytes that a process may hold resident on a device of the config.

    The config's `memory_budget_gb` on a CPU; where it is 0, half of the machine's memory, or of the
    `granted` bytes that a cluster gives the job; None on a GPU, which has a limit of its own.
    """
    if device["kind"] != "cpu":
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(device["memory_budget_gb"] * 1e9) or min(machine, granted or machine) // 2


def trim_heap() -> None:
    """Give freed memory back to the system, so that what was done before is not counted."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _field(file: str, field: str) -> int:
    """Return a field of a file of /proc that has one in each line, in bytes."""
    for line in Path(file).read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise KeyError(field)
