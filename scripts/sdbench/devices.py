"""What a device in use says of itself, and what else uses it."""

import os
from typing import Any

from sdbench import nvml
from sdbench.backends.engine import Engine, gpu_uuid
from sdbench.cases import Case
from sdbench.machine import cpu_mhz
from sdbench.meters.contention import busy_cores
from sdbench.meters.energy import Counter, rapl_energy_j

import torch


def describe_engine(engine: Engine, case: Case) -> dict[str, Any]:
    """Return the device and the switches that are in force, as they are, not as they were asked."""
    facts: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "switches": {
            "weights_dtype": str(engine.dtype).removeprefix("torch."),
            "autocast_dtype": engine.autocast and str(engine.autocast).removeprefix("torch."),
            "compile_mode": engine.compile_mode,
            "attention": case.variant.attention,
            "scheduler": type(engine.pipeline.scheduler).__name__,
            **engine.switches,
        },
    }
    if engine.device.type == "cuda":
        properties = torch.cuda.get_device_properties(engine.device)
        facts["device_name"] = properties.name
        facts["gpu"] = nvml.describe_gpu(gpu_uuid(engine.device)) | {
            "memory_bytes": properties.total_memory,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts


def look_around(device: torch.device) -> dict[str, Any]:
    """Return what else keeps processors or the GPU busy: `busy_cores` and `gpu_processes`."""
    on_gpu = []
    if device.type == "cuda":
        torch.zeros(1, device=device)  # the driver lists this process too from now on
        on_gpu = nvml.foreign_processes(gpu_uuid(device))
    return {"busy_cores": busy_cores(), "gpu_processes": on_gpu}


def energy_counter(device: torch.device) -> Counter:
    """Return the counter of the energy that a device uses."""
    if device.type == "cuda":
        uuid = gpu_uuid(device)
        return Counter("nvml", lambda: nvml.total_energy_j(uuid))
    return Counter("rapl", rapl_energy_j)


def device_state(device: torch.device) -> dict[str, Any]:
    """Return what may drift while a case is measured: a GPU's clocks, a machine's load."""
    if device.type == "cuda":
        return nvml.gpu_state(gpu_uuid(device))
    return {"load_1min": os.getloadavg()[0], "cpu_mhz": cpu_mhz()}
