"""Keep a process that forks from touching a GPU while it imports libraries.

Each variant is measured in a fresh process. Forking one after the imports takes milliseconds;
spawning one repeats the imports, 3 to 7 seconds each time (benchmarks/process_start.py). But a
process that has asked CUDA, ROCm or Level Zero for its devices spoils every fork of it: "Cannot
re-initialize CUDA in forked subprocess". With those builds of PyTorch importing diffusers is
enough: it asks `torch.accelerator.is_available()`, and torchao asks whether Triton has a GPU.

So devices are hidden while the libraries are imported, as with PyTorch's CPU build, and shown when
a process asks for one of its own (`sdbench.devices.platforms`). One that measures the CPU never
asks: `compile` leaves the machine's GPU alone.

What a library concluded meanwhile must not last: every cached function of a module or class that
asked is asked again, and so is Dynamo, which lists devices once. What is kept otherwise, such as in
a variable or a cached property, stays. tests/cuda_build/test_forks.py lists the modules that asked
while they were imported, each with the reason why what it remembers does no harm.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch

_HIDDEN: list[tuple[Any, str, Callable[..., Any], Callable[..., Any]]] = []
"""Module, name of a function, the function itself, and what stands in its place."""
_ASKED: set[tuple[str, str]] = set()
"""Module and name of every function on the way from an import to a question about devices."""


def hide_devices() -> None:
    """Have PyTorch say that there is no GPU, until `show_devices`. No device is touched."""
    if sys.platform == "darwin" or _HIDDEN:
        return  # Metal's processes are spawned: see `processes.START`
    for module in (torch.cuda, torch.xpu, torch.accelerator):
        _replace(module, "is_available", False)
        _replace(module, "device_count", 0)


def show_devices() -> None:
    """Have PyTorch tell of GPUs again, and let libraries ask again what they asked before."""
    if not _HIDDEN:
        return
    while _HIDDEN:
        module, name, original, stand_in = _HIDDEN.pop()
        if getattr(module, name) is stand_in:  # a test may have put its own there
            setattr(module, name, original)
    for module_name, function in _ASKED:
        _forget(module_name, function)
    _ASKED.clear()
    # Dynamo lists the devices when it is first asked for one; else it would know no cuda:0.
    if dynamo := sys.modules.get("torch._dynamo.device_interface"):
        dynamo._device_initialized = False  # type: ignore[attr-defined]
    # How grouped queries are passed to SDPA, which differs on Intel's GPUs.
    if attention := sys.modules.get("transformers.integrations.sdpa_attention"):
        attention._is_torch_xpu_available = torch.xpu.is_available()  # type: ignore[attr-defined]


def asked_at_import() -> frozenset[str]:
    """Return the modules that asked for devices, while these were hidden, as they were imported."""
    return frozenset(module for module, function in _ASKED if function == "<module>")


def _replace(module: Any, name: str, answer: Any) -> None:
    original = getattr(module, name)

    @functools.wraps(original)
    def none(*_args: Any, **_kwargs: Any) -> Any:
        frame: FrameType | None = inspect.currentframe()
        while frame := frame and frame.f_back:
            function = frame.f_code.co_qualname
            _ASKED.add((frame.f_globals.get("__name__", ""), function))
            if function == "<module>":
                break
        return answer

    setattr(module, name, none)
    _HIDDEN.append((module, name, original, none))


def _forget(module_name: str, function: str) -> None:
    found: Any = sys.modules.get(module_name)
    for part in function.split("."):
        found = getattr(found, part, None)
    while found is not None:
        if hasattr(found, "cache_clear"):
            found.cache_clear()
        found = getattr(found, "__wrapped__", None)
