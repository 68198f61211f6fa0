"""Counters of energy: joules since some moment in the past, where a device counts them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Linux' interface to RAPL: Documentation/power/powercap/powercap.rst."""


@dataclass(frozen=True)
class Counter:
    """A counter of energy: what it is, and how it is read, in joules; None where it cannot be."""

    source: str
    read: Callable[[], float | None]


def spent_j(before: float | None, after: float | None) -> float | None:
    """Return the joules between two readings; None if one is missing, or the counter began again,
    as RAPL's does when it is full."""
    return None if before is None or after is None or after < before else after - before


def rapl_energy_j(powercap: Path = POWERCAP) -> float | None:
    """Return the joules that all processor packages counted; None without RAPL or a right to it."""
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
