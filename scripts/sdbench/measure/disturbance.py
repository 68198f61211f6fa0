"""What else the processors did while samples were taken. Read between samples, never in one."""

import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.devices.limits import throttled_s

STAT = Path("/proc/stat")
STOLEN_SHARE = 0.05
"""Of a processor's time, which the host may give to other machines."""
DISAGREE = 1.25
"""By which factor single calls and calls back to back of one launch may differ."""
JITTER_S = 0.01
"""Seconds that a call may take longer by for no reason: it was put aside once."""


@dataclass(frozen=True)
class Reading:
    """Seconds since some moment: of the clock, of this job's processors what was used by others,
    stolen by the host, held back by a limit; and how often this process was put aside."""

    at_s: float
    others_s: float | None
    stolen_s: float | None
    throttled_s: float
    switches: int


def read_usage() -> Reading:
    """Read the counters of Linux (man 5 proc, /proc/stat; `throttled_s`); None where the
    system has none."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    busy, stolen = _processors(STAT)
    others = None if busy is None else busy - own.ru_utime - own.ru_stime
    return Reading(time.perf_counter(), others, stolen, throttled_s(), own.ru_nivcsw)


def _processors(stat: Path) -> tuple[float | None, float | None]:
    """Return the seconds that the processors that this process may use were busy, and stolen."""
    try:
        mine = os.sched_getaffinity(0)
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
        rows = [
            [int(ticks) for ticks in line[1:9]]
            for line in lines
            if line[0].startswith("cpu") and line[0][3:].isdecimal() and int(line[0][3:]) in mine
        ]
    except (OSError, ValueError, AttributeError):
        return None, None
    second = os.sysconf("SC_CLK_TCK")
    # user, nice, system, irq, softirq; guest time is in user time already.
    busy = sum(row[i] for row in rows for i in (0, 1, 2, 5, 6))
    return busy / second, sum(row[7] for row in rows) / second


@dataclass
class Usage:
    """The readings before, between and after the samples of a launch."""

    readings: list[Reading] = field(default_factory=lambda: [read_usage()])

    def read(self) -> None:
        """Read once more."""
        self.readings.append(read_usage())

    def as_dict(self) -> dict[str, Any]:
        """Return `seconds` from the first to the last reading; for each stretch between two the
        seconds of processors `others_s` and `stolen_s`, `throttled_s`, and the involuntary context
        `switches`. The counters of processors move in steps of ten milliseconds."""
        pairs = list(zip(self.readings, self.readings[1:], strict=False))

        def differences(name: str) -> list[float] | None:
            if getattr(self.readings[0], name) is None:
                return None
            return [
                round(max(0.0, getattr(end, name) - getattr(begin, name)), 6)
                for begin, end in pairs
            ]

        return {
            "seconds": self.readings[-1].at_s - self.readings[0].at_s,
            **{name: differences(name) for name in ("others_s", "stolen_s", "throttled_s")},
            "switches": [end.switches - begin.switches for begin, end in pairs],
        }


def busy_others(usage: dict[str, Any]) -> float | None:
    """Return how many processors others used, on average; None where that is not known."""
    return None if usage["others_s"] is None else sum(usage["others_s"]) / usage["seconds"]


def disturbances(launch: dict[str, Any], max_busy_cores: float) -> list[str]:
    """Return what disturbed a launch, a line for each; none if nothing did.

    Args:
        launch: as a record holds it.
        max_busy_cores: the config's: processors that others may use.
    """
    usage, found = launch["usage"], []
    others = busy_others(usage)
    if others is not None and others > max_busy_cores:
        found.append(f"others used {others:.2f} cores")
    if usage["stolen_s"] is not None:
        stolen = sum(usage["stolen_s"]) / usage["seconds"]
        if stolen > STOLEN_SHARE:
            found.append(f"the host took {stolen:.2f} cores away")
    throttled = sum(usage["throttled_s"] or [0.0]) / usage["seconds"]
    if throttled > STOLEN_SHARE:
        found.append(f"a limit of the container held it back for {throttled:.0%} of the time")
    for process in launch["gpu_processes"]:
        found.append(f"process {process['pid']} computed on the GPU")
    found += contradictions(launch)
    return found


def contradictions(launch: dict[str, Any]) -> list[str]:
    """Return which passes of a launch contradict each other."""
    if launch["throughput"] is None:
        return []
    samples, intervals = sorted(launch["latency"]["samples_s"]), launch["throughput"]["intervals_s"]
    single, back_to_back = samples[len(samples) // 2], sum(intervals) / len(intervals)
    short, long = sorted((single, back_to_back))
    if long <= max(DISAGREE * short, short + JITTER_S):
        return []
    return [f"single calls took {single:.3g} s, calls back to back {back_to_back:.3g} s"]
