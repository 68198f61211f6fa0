"""What NVIDIA's driver says of a GPU, through its management library (NVML).

A GPU is named by its UUID: NVML counts all GPUs of the machine, torch only those it may see. Where
NVML is missing, or does not know a GPU (AMD's), answers are None or empty, and `describe_gpu` says
why. Of a slice of a GPU (MIG) it counts no energy and no clocks.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any

from sdbench.runtime.errors import one_line

import pynvml

POLICIES = {"power": 0, "thermal": 1, "reliability": 4}
"""Reasons for which the driver lowers clocks, by their numbers in `nvmlPerfPolicyType_t`."""


def _handle(uuid: str) -> Any:
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(uuid)


def _ask(question: Callable[..., Any], *args: Any) -> Any:
    with contextlib.suppress(pynvml.NVMLError):
        return question(*args)
    return None


def _processes(uuid: str) -> list[Any]:
    return _ask(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(_handle(uuid))) or []


def process_bytes(uuid: str) -> int | None:
    """Return the bytes that this process holds on the GPU; None where the driver does not say."""
    processes = _processes(uuid)
    own = [process for process in processes if process.pid == os.getpid()]
    # In a container the driver may know us by another pid; alone, we are still the one.
    if not own and len(processes) != 1:
        return None
    held: int | None = (own or processes)[0].usedGpuMemory
    return held


def foreign_processes(uuid: str) -> list[dict[str, Any]]:
    """Return pid and bytes of every process that computes on the GPU, but for this one, which must
    use it already, and its parent. In a container the driver may know this one by another pid: any
    one of the processes is then taken to be it."""
    processes = _processes(uuid)
    others = [process for process in processes if process.pid not in (os.getpid(), os.getppid())]
    if len(others) == len(processes):
        others = others[1:]
    return [{"pid": process.pid, "bytes": process.usedGpuMemory} for process in others]


def total_energy_j(uuid: str) -> float | None:
    """Return the joules that the GPU used since its driver was loaded; None before Volta."""
    return _thousandth(_ask(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(_handle(uuid))))


def describe_gpu(uuid: str) -> dict[str, Any]:
    """Return what does not change while a case is measured; None for what the GPU does not say.

    `nvml` is None, or says why NVML tells nothing of this GPU.
    """
    try:
        handle, reason = _handle(uuid), None
    except pynvml.NVMLError as error:
        handle, reason = None, one_line(error)
    ecc = _ask(pynvml.nvmlDeviceGetEccMode, handle)
    return {
        "uuid": uuid,
        "nvml": reason,
        "driver": _ask(pynvml.nvmlSystemGetDriverVersion),
        "power_limit_w": _thousandth(_ask(pynvml.nvmlDeviceGetPowerManagementLimit, handle)),
        "ecc": ecc[0] if ecc else None,
        "persistence_mode": _ask(pynvml.nvmlDeviceGetPersistenceMode, handle),
        "compute_mode": _ask(pynvml.nvmlDeviceGetComputeMode, handle),
    }


def is_exclusive(uuid: str) -> bool:
    """Tell whether the GPU takes one process at a time (compute mode Exclusive_Process)."""
    mode = _ask(lambda: pynvml.nvmlDeviceGetComputeMode(_handle(uuid)))
    return bool(mode == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)


def gpu_state(uuid: str) -> dict[str, Any]:
    """Return clocks in MHz, temperature in degrees Celsius, power in watts, the bit mask of reasons
    for which the clocks are held down now (nvmlClocksEventReasons), and by reason the seconds that
    they were held down since the driver was loaded, where the GPU counts them."""
    handle = _ask(_handle, uuid)
    state = {
        "sm_clock_mhz": _ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": _ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        "temperature_c": _ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        "power_w": _thousandth(_ask(pynvml.nvmlDeviceGetPowerUsage, handle)),
        "throttle_reasons": _ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle),
    }
    for name, policy in POLICIES.items():
        held = _ask(pynvml.nvmlDeviceGetViolationStatus, handle, policy)
        state[f"throttled_{name}_s"] = held and held.violationTime / 1e9
    return state


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000
