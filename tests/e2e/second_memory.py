"""A GPU of tests, with a memory of its own: second_memory.cpp, as PyTorch's module for its kind.

Whatever has installed it keeps it: do so in a process of its own.
"""

import contextlib
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils import cpp_extension

KIND = "xpu"
TOTAL_BYTES = 4 * 10**9
SOURCE = Path(__file__).with_suffix(".cpp")

counters = torch.ops.second_memory
"""`held()`, `peak()` and `reset_peak()`, in bytes; once it is installed."""


def build(folder: Path) -> Path:
    """Compile it into `folder`, and return the library."""
    library = folder / "second_memory.so"
    paths = [f"-I{path}" for path in cpp_extension.include_paths()]
    paths += [f"-L{path}" for path in cpp_extension.library_paths()]
    compiler = os.environ.get("CXX", "c++")
    command = [compiler, "-std=c++20", "-O0", "-shared", "-fPIC", *paths, str(SOURCE)]
    subprocess.run([*command, "-ltorch_cpu", "-lc10", "-o", str(library)], check=True)
    return library


class _Stream:
    """A stream that is always done: its copies are made at once."""

    def synchronize(self) -> None:
        pass


def install(library: Path) -> None:
    """Make this process one that has such a GPU: `torch.xpu` says what it holds."""
    torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    functions: dict[str, Any] = {
        "_initialized": True,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *_: "second memory",
        "get_device_properties": lambda *_: SimpleNamespace(
            name="second memory",
            uuid="0",
            driver_version="0",
            total_memory=TOTAL_BYTES,
            platform_name="tests",
            version="0",
            has_fp16=True,
            has_bfloat16_conversions=True,
        ),
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "mem_get_info": lambda *_: (TOTAL_BYTES - counters.held(), TOTAL_BYTES),
        "reset_peak_memory_stats": lambda *_: counters.reset_peak(),
        "max_memory_allocated": lambda *_: counters.peak(),
        "max_memory_reserved": lambda *_: counters.peak(),
        "memory_reserved": lambda *_: counters.held(),
        "Stream": _Stream,
        "stream": lambda _: contextlib.nullcontext(),
        "current_stream": lambda *_: _Stream(),
    }
    for name, function in functions.items():
        setattr(torch.xpu, name, function)
    # Pages are pinned by the driver of a GPU, and for its copies.
    torch.Tensor.pin_memory = lambda tensor, *_: tensor.clone()  # type: ignore[method-assign]
