"""A device in use: that of a case, what it says of itself, and what else uses it."""

import socket
from typing import Any

from sdbench.cases.case import Case
from sdbench.devices.limits import usable_cores
from sdbench.devices.machine import busy_cores, is_gpu_model
from sdbench.devices.platforms import PLATFORMS, platform_of
from sdbench.runtime.errors import UnsupportedError, WrongDeviceError

import torch

WEIGHTS = {
    "fp32": torch.float32,
    "tf32": torch.float32,  # a mode of the matrix product, not a storage format
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""What the weights are loaded in."""


def torch_device(case: Case) -> torch.device:
    """Return the device of a case; `UnsupportedError` if this machine does not have it,
    `WrongDeviceError` if it is a GPU of another model than the config promises."""
    platform, index = PLATFORMS[case.device.kind], case.device.index
    missing = platform.why_missing(index)
    if missing is not None:
        raise UnsupportedError(
            f"device {case.variant.device!r} is {platform.kind.upper()} device {index}: {missing}"
        )
    device = platform.device(index)
    promised, found = case.device.gpu_model, platform.name(device)
    if not is_gpu_model(promised, found):
        raise WrongDeviceError(
            f"device {case.variant.device!r} has gpu_model {promised!r}, but found "
            f"{found!r} on {socket.gethostname()}"
        )
    return device


def refuse_emulation(arithmetic: str, device: torch.device) -> None:
    """Raise `UnsupportedError` if a device has no instructions for a precision."""
    reason = platform_of(device).why_not(arithmetic, device)
    if reason is not None:
        raise UnsupportedError(reason)


def threads(case: Case) -> int:
    """Return the number of threads of each operation on the CPU."""
    return case.device.threads or usable_cores()


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return `device_name`, and of a GPU `gpu`, what its platform knows of it."""
    platform = platform_of(device)
    facts = platform.facts(device)
    return {"device_name": platform.name(device)} | ({"gpu": facts} if facts else {})


def probe_contention(device: torch.device) -> dict[str, Any]:
    """Return what else keeps processors or the GPU busy: `busy_cores` and `gpu_processes`."""
    return {"busy_cores": busy_cores(), "gpu_processes": platform_of(device).others(device)}
