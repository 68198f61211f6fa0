"""What a device in use says of itself, and what else uses it."""

from typing import Any

from sdbench.backends.engine import Engine
from sdbench.cases.case import Case
from sdbench.meters.contention import busy_cores
from sdbench.platforms import platform_of

import torch


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return `device_name`, and of a GPU `gpu`, what its platform knows of it."""
    platform = platform_of(device)
    facts = platform.facts(device)
    return {"device_name": platform.name(device)} | ({"gpu": facts} if facts else {})


def describe_engine(engine: Engine, case: Case) -> dict[str, Any]:
    """Return threads and the switches that are in force, as they are, not as they were asked."""
    return {
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


def look_around(device: torch.device) -> dict[str, Any]:
    """Return what else keeps processors or the GPU busy: `busy_cores` and `gpu_processes`."""
    return {"busy_cores": busy_cores(), "gpu_processes": platform_of(device).others(device)}
