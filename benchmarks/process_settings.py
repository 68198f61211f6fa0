"""What decides how fast a process is, and how much it differs from the next one?

    PYTHONPATH=scripts python benchmarks/process_settings.py [--rounds 10] [--busy-rounds 3]

Times a call of `shapes` by PyTorch, each time in a new process, with settings in turns: on all
cores as it is, threads bound to cores, huge pages, threads that sleep while they wait, one core
less. Prints for each its seconds, what it saves, how much processes differ, and what a busy
neighbour costs: OpenMP's threads meet after every operation, and those that come first spin until
the one that lost its core is back. Then: do clocks follow, and do two cores share one (SMT)?

Needs a machine on which nothing else runs.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from sdbench.records.intervals import launch_interval

ROOT = Path(__file__).parent.parent
CORES = sorted(os.sched_getaffinity(0))
AS_IT_IS = "as it is"
SETTINGS: dict[str, tuple[int, dict[str, str]]] = {
    AS_IT_IS: (len(CORES), {}),
    "threads bound to cores": (len(CORES), {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores"}),
    "huge pages": (len(CORES), {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}),
    "waiting threads sleep": (len(CORES), {"OMP_WAIT_POLICY": "passive"}),
    "one core less": (max(1, len(CORES) - 1), {}),
}
CALL = """
import statistics, sys, time
from pathlib import Path
import torch
from sdbench import backends
from sdbench.cases.case import Case, Device, Variant

def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin

threads, model = int(sys.argv[1]), sys.argv[2]
generation = {"prompt": "a red circle", "steps": 5, "scheduler": "ddim", "guidance": 4.0,
              "height": 64, "width": 64, "seed": 0}
variant = Variant("m", "cpu", "pytorch", "fp32", "none")
case = Case(variant, 1, generation, Device("cpu", threads=threads))
engine = backends.load(case, Path(model), None)
latents = engine.latents(generation, 1)
samples = [seconds(lambda: engine.generate(generation, latents)) for _ in range(8)]
loops = [seconds(lambda: sum(range(2_000_000))) for _ in range(8)]
print(statistics.median(samples[1:]), statistics.median(loops))
"""
PRODUCT = """
import os, time, torch
os.sched_setaffinity(0, {CORE})
torch.set_num_threads(1)
a = torch.rand(512, 512)
end, samples = time.monotonic() + 3, []
while time.monotonic() < end:
    begin = time.perf_counter()
    a @ a
    samples.append(time.perf_counter() - begin)
print(sorted(samples)[len(samples) // 2])
"""
BUSY = "while True: pass"


class Launch(NamedTuple):
    """What one process took, in seconds: a call, and a loop of integers in one thread."""

    call_s: float
    loop_s: float


def launch(threads: int, more: dict[str, str]) -> Launch:
    """Return what a new process takes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")} | more
    command = [sys.executable, "-c", CALL, str(threads), str(ROOT / "resources/models/shapes")]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return Launch(*map(float, run.stdout.split()[-2:]))


def launch_all(rounds: int, *, busy: bool) -> dict[str, list[Launch]]:
    """Return what processes of each setting took, one of each in every round."""
    found: dict[str, list[Launch]] = {name: [] for name in SETTINGS}
    other = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        for i in range(rounds):
            for name in list(SETTINGS)[:: 1 - 2 * (i % 2)]:
                found[name].append(launch(*SETTINGS[name]))
    finally:
        if other is not None:
            other.kill()
            other.wait()
    return found


def spread(values: list[float]) -> float:
    """Return the standard deviation of the logarithms."""
    return statistics.stdev(map(math.log, values))


def product_s(cores: list[int]) -> float:
    """Return the seconds of a product on the first of some cores, while all of them do the same."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PRODUCT.replace("CORE", str(core))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in cores
    ]
    first, *_ = [float(run.communicate()[0]) for run in runs]
    return first


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--busy-rounds", type=int, default=3)
    given = parser.parse_args()
    alone = launch_all(given.rounds, busy=False)
    beside = launch_all(given.busy_rounds, busy=True)
    print(f"{len(CORES)} cores, {given.rounds} processes of each setting")
    print("| setting | call, s | of as it is | processes differ by | next to a busy process |")
    print("| --- | --- | --- | --- | --- |")
    plain = [one.call_s for one in alone[AS_IT_IS]]
    for name, launches in alone.items():
        calls = [one.call_s for one in launches]
        ratio, low, high = launch_interval([a / b for a, b in zip(calls, plain, strict=True)])
        interval = "" if low is None else f" ({low:.2f} to {high:.2f})"
        slower = statistics.median(one.call_s for one in beside[name]) / statistics.median(calls)
        print(
            f"| {name} | {statistics.median(calls):.3f} | {ratio:.2f}{interval} "
            f"| {spread(calls):.1%} | {slower:.1f} times |"
        )
    loops = [one.loop_s for one in alone[AS_IT_IS]]
    correlation = statistics.correlation(list(map(math.log, plain)), list(map(math.log, loops)))
    print(
        f"clocks: a loop in one thread differs by {spread(loops):.1%} between processes; its "
        f"correlation with the call is {correlation:.2f}"
    )
    if len(CORES) > 1:
        ones, twos = zip(
            *[(product_s(CORES[:1]), product_s(CORES[:2])) for _ in range(3)], strict=True
        )
        slower = statistics.median(twos) / statistics.median(ones)
        print(f"SMT: a product takes {slower:.2f} times as long while the next core does the same")


if __name__ == "__main__":
    main()
