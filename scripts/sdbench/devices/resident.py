"""Resident memory of this process, as Linux tells it; None where another system tells nothing."""

import contextlib
import ctypes
import gc
from pathlib import Path

PROC = Path("/proc")


def resident_bytes() -> int | None:
    """Return the bytes of this process that are in memory now, whoever allocated them."""
    return field("self/status", "VmRSS")


def reset_peak() -> None:
    """Let the high-water mark of resident memory begin again from what is resident now."""
    # man 5 proc: writing 5 resets it. getrusage's cannot be reset, and a child inherits it.
    with contextlib.suppress(FileNotFoundError):  # no Linux; where it may not, that is an error
        (PROC / "self/clear_refs").write_text("5")


def trim_heap() -> None:
    """Give freed memory back to the system, so that what was done before is not counted."""
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def rss_after_gc() -> int | None:
    """Return the bytes resident once all that is free has been given back."""
    gc.collect()
    trim_heap()
    return resident_bytes()


def field(file: str, name: str) -> int | None:
    """Return a field of a file of /proc that has one in each line, in bytes."""
    with contextlib.suppress(OSError):
        for line in (PROC / file).read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return int(value.split()[0]) * 1024
    return None
