"""For what other processes do, which takes a while."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(
    condition: Callable[[], object], seconds: float = 20.0, what: str = "it has happened"
) -> None:
    """Wait until a condition holds, and fail if it does not within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Tell whether there is such a process, and it has not ended."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def children_of(pid: int) -> list[int]:
    """Return the processes that a process began; none, where it has ended."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    with contextlib.suppress(OSError):
        return [int(child) for task in tasks for child in task.read_text().split()]
    return []
