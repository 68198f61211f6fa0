"""Joules of one call, where the device counts them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.meters.latency import time_call

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Counter:
    """A counter of energy: what it is, and how it is read, in joules; None where it cannot be."""

    source: str
    read: Callable[[], float | None]


def measure_energy(
    call: Callable[[], object],
    synchronize: Callable[[], None],
    counter: Counter,
    duration_s: float,
) -> dict[str, Any] | None:
    """Repeat a call and read an energy counter before and after.

    Args:
        call: what is repeated; it must have run before.
        synchronize: waits for the device.
        counter: NVML's counts the whole GPU; RAPL's all processor packages and everything that
            they do, not this process alone.
        duration_s: the calls take at least this long together: the counters move in steps of some
            tens of milliseconds.

    Returns:
        `source`, `calls`, `duration_s` and `energy_j`, all calls together; None where nothing
        counts.
    """
    before = counter.read()
    if before is None:
        return None
    calls, spent = 0, 0.0
    while calls == 0 or spent < duration_s:
        spent += time_call(call, synchronize)
        calls += 1
    after = counter.read()
    if after is None or after < before:  # RAPL's counter begins again when it is full
        return None
    energy_j = after - before
    return {"source": counter.source, "calls": calls, "duration_s": spent, "energy_j": energy_j}


def rapl_energy_j(powercap: Path = POWERCAP) -> float | None:
    """Return the joules that all processor packages counted; None without RAPL or the right to it.

    Source: Linux' powercap interface, Documentation/power/powercap/powercap.rst.
    """
    try:
        packages = [
            zone
            for zone in powercap.glob("intel-rapl:*")
            if (zone / "name").read_text(encoding="ascii").startswith("package")
        ]
        joules = [int((zone / "energy_uj").read_text(encoding="ascii")) / 1e6 for zone in packages]
    except (OSError, ValueError):
        return None
    return sum(joules) if joules else None
