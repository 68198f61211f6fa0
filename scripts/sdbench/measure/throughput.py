"""Images per minute, and what they cost in energy: calls back to back, as a busy server makes them.

What lies between two calls counts, and Python collects its garbage when it likes.
"""

import itertools
import time
from collections.abc import Callable
from typing import Any

from sdbench.devices.energy import Counter, spent_j


def measure_throughput(
    call: Callable[[], object],
    synchronize: Callable[[], None],
    counter: Counter,
    duration_s: float,
) -> dict[str, Any]:
    """Make calls, which must have run before, one after the other until they took `duration_s`:
    longer than the steps in which the counter moves, which counts others' energy too.

    Returns:
        `intervals_s`: seconds from the start, or the end of the call before, to the end of each
        call; `energy`: `source` and the `energy_j` of all calls, None where nothing counts.
    """
    synchronize()
    before = counter.read()
    begin = time.perf_counter()
    ends: list[float] = []
    while not ends or ends[-1] - begin < duration_s:
        call()
        ends.append(time.perf_counter())
    synchronize()
    ends[-1] = time.perf_counter()
    joules = spent_j(before, counter.read())
    energy = None if joules is None else {"source": counter.source, "energy_j": joules}
    intervals = [end - last for last, end in itertools.pairwise([begin, *ends])]
    return {"intervals_s": intervals, "energy": energy}
