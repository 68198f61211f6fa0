"""What this process may use of the machine: by its affinity, its container and its shell."""

import os
import resource
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
CPUS = Path("/sys/devices/system/cpu")
NUMA_MAPS = Path("/proc/self/numa_maps")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def groups(controller: str) -> Iterator[Path]:
    """Yield the control groups that bind this process: its own, and those that contain it.

    Both versions are looked at (man 7 cgroups). In most containers only the root can be seen, which
    is their own group, whatever `OWN` calls it.
    """
    try:
        lines = [line.split(":", 2) for line in OWN.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    for _, controllers, group in lines:
        if not controllers or controller in controllers.split(","):
            root = CGROUPS / controller if controllers else CGROUPS
            inner = root / group.lstrip("/")
            folders = (inner, *inner.parents)
            yield from (folder for folder in folders if folder.is_relative_to(root))


def read(path: Path | str) -> str:
    """Return the text of a file of the kernel's; the empty one where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def cpu_quota() -> float | None:
    """Return how many processors the container may keep busy on average; None for any number."""
    known = []
    for group in groups("cpu"):
        quota, period = (read(group / "cpu.max") or "max 0").split()
        if quota == "max":
            quota, period = (read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota not in ("", "-1"):
            known.append(int(quota) / int(period))
    return min(known, default=None)


def memory_limit_bytes() -> int | None:
    """Return the bytes of memory that the container may hold; None for any number."""
    return min((limit for limit, _ in _memory()), default=None)


def memory_left_bytes() -> int | None:
    """Return how many more bytes the container may hold; None for any number."""
    return min((limit - held for limit, held in _memory()), default=None)


def _memory() -> Iterator[tuple[int, int]]:
    """Yield the limit of each group that has one, and what it holds, but for what the kernel only
    remembers of files: it takes that back before it kills."""
    for group in groups("memory"):
        limit = read(group / "memory.max") or read(group / "memory.limit_in_bytes")
        # Version 1 writes no limit as the largest number of pages.
        if limit.isdecimal() and int(limit) < 2**60:
            held = read(group / "memory.current") or read(group / "memory.usage_in_bytes")
            stat = dict(line.split() for line in read(group / "memory.stat").splitlines())
            files = stat.get("total_inactive_file") or stat.get("inactive_file") or 0
            yield int(limit), int(held or 0) - int(files)


def throttled_s() -> float:
    """Return for how long the kernel has held this process's group back for its quota."""
    for group in groups("cpu"):
        stat = dict(line.split() for line in read(group / "cpu.stat").splitlines())
        for name, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
            if name in stat:
                return int(stat[name]) / unit
    return 0.0


def affinity() -> list[int] | None:
    """Return the numbers of the processors that this process may use; None where the system binds
    none to some."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def usable_cores() -> int:
    """Return how many threads can run at once: more would only wait for each other."""
    bound, quota = affinity(), cpu_quota()
    cores = os.cpu_count() or 1 if bound is None else len(bound)
    return cores if quota is None else max(1, min(cores, int(quota)))


def physical_cores() -> int | None:
    """Return how many cores the usable processors are on: two of one core are slower than two of
    two. None where the system does not tell."""
    siblings = [read(CPUS / f"cpu{cpu}/topology/thread_siblings_list") for cpu in affinity() or ()]
    return len(set(siblings)) if all(siblings) and siblings else None


def memory_policy() -> str:
    """Return on which NUMA nodes memory is taken, such as `bind:0` of `numactl`; empty where the
    system does not tell."""
    try:
        with NUMA_MAPS.open(encoding="utf-8", errors="replace") as file:
            return next(file).split()[1]
    except (OSError, StopIteration):
        return ""


def ulimit_bytes(kind: int) -> int | None:
    """Return the soft limit that the shell set for `RLIMIT_DATA` or `RLIMIT_AS`; None for none."""
    soft, _ = resource.getrlimit(kind)
    return None if soft == resource.RLIM_INFINITY else soft


def describe_limits() -> dict[str, Any]:
    """Return all of these, as a record has them; `affinity` as `taskset` writes it, and for
    which memory the kernel uses huge pages."""
    return {
        "affinity": _ranges(affinity() or []),
        "priority": os.nice(0),
        "memory_policy": memory_policy(),
        "huge_pages": read(HUGE_PAGES).partition("[")[2].partition("]")[0],
        "cpu_quota": cpu_quota(),
        "memory_bytes": memory_limit_bytes(),
        "data_bytes": ulimit_bytes(resource.RLIMIT_DATA),
        "address_space_bytes": ulimit_bytes(resource.RLIMIT_AS),
    }


def _ranges(numbers: list[int]) -> str:
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
