"""Whether anything else uses the device, before it is measured."""

import time
from collections.abc import Callable
from typing import Any

from sdbench.cases.measuring import Watching


class ContentionError(Exception):
    """The device is not ours alone: the config ends the case for that, or there is no room."""


def watch(
    look: Callable[[], dict[str, Any]],
    watching: Watching,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Look whether anything else uses the device. If so, `fail` raises `ContentionError` at once,
    and `wait` after the wait. Return what was seen last, with `contended` and `waited_s`."""
    waited = 0.0
    while True:
        seen = look()
        pids = [process["pid"] for process in seen["gpu_processes"]]
        reasons = [f"process {pid} computes on the GPU" for pid in pids]
        if (seen["busy_cores"] or 0) > watching.max_busy_cores:
            reasons.insert(0, f"{seen['busy_cores']:.2f} cores are busy")
        if not reasons or watching.contention == "warn":
            return {**seen, "contended": bool(reasons), "waited_s": waited}
        if watching.contention == "fail" or waited >= watching.contention_wait_s:
            raise ContentionError(
                f"other processes use the device: {', '.join(reasons)}, after waiting {waited:g} s "
                "(measuring.contention in the config)"
            )
        sleep(5.0)
        waited += 5.0
