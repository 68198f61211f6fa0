"""What a fresh process for a variant costs: forked after the imports, or spawned.

    python benchmarks/process_start.py

Prints the seconds of the imports, and for each way of starting the median and range of the seconds
from the start of a process until it has done nothing and ended.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 7


def start(send: Callable[[Any], None]) -> None:
    """Do what a process needs before it measures: the imports, which a fork has already."""
    import sdbench.backends.pytorch
    import sdbench.measure.sweep

    send(len(sys.modules))
    del sdbench


def main() -> None:
    """Time both ways in turns."""
    begin = time.perf_counter()
    import sdbench.backends.pytorch
    import sdbench.measure.sweep
    from sdbench.runtime import processes

    print(f"imports: {time.perf_counter() - begin:.2f} s")
    spent: dict[str, list[float]] = {"fork": [], "spawn": []}
    for _ in range(ROUNDS):
        for way, seconds in spent.items():
            processes.START = way
            begin = time.perf_counter()
            processes.run_in_subprocess(start)
            seconds.append(time.perf_counter() - begin)
    for way, seconds in spent.items():
        median = statistics.median(seconds)
        print(f"{way}: {median:.3f} s ({min(seconds):.3f} to {max(seconds):.3f})")
    del sdbench


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent / "scripts"))
    main()
