"""The status of a case that failed, and the reason, which tables show."""

import traceback

from sdbench.runtime.errors import UnsupportedError, UserError, one_line

import torch

OUT_OF_MEMORY = (
    "out of memory",  # CUDA, cuBLAS, Metal
    "out_of_device_memory",  # Level Zero
    "out_of_host_memory",
    "can't allocate memory",  # torch's CPU allocator
    "failed to allocate memory",  # ONNX Runtime
    "bad allocation",  # ONNX Runtime
    "std::bad_alloc",
    "[errno 12]",  # Python
    "(os error 12)",  # safetensors, tokenizers
    "could not create a primitive",  # oneDNN
    "could not create a memory object",  # oneDNN
    "_status_alloc_failed",  # cuBLAS, cuDNN
    "cannot map zero-fill pages",  # the loader of shared libraries
)
"""What engines say where memory did not suffice, in lower case."""


def status_from_error(error: Exception) -> tuple[str, str]:
    """Return the status and the reason that an exception stands for."""
    if isinstance(error, UnsupportedError):
        return "unsupported", str(error)
    if isinstance(error, UserError):
        return "error", str(error)
    reason = one_line(error)
    if is_out_of_memory(error):
        return "oom", f"out of memory: {reason}"
    traceback.print_exception(error)
    return "error", f"{type(error).__name__}: {reason}"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception, or one that it was raised from or after, means that memory did not
    suffice: where it runs out while a CUDA graph is recorded, another error hides the first."""
    led_here: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in led_here:
        led_here.append(cause)
        cause = cause.__cause__ or cause.__context__
    return any(
        isinstance(one, (MemoryError, torch.OutOfMemoryError))
        or any(sign in str(one).lower() for sign in OUT_OF_MEMORY)
        for one in led_here
    )
