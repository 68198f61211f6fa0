"""What does one busy process cost PyTorch on all cores, and what helps?

    PYTHONPATH=scripts python benchmarks/busy_neighbour.py [--rounds 3]

Times a call of `shapes`, alone and next to a process that keeps one core busy, with settings that
leave that process alone, each in a process of its own and in turns. OpenMP's threads meet after
every operation, and those that come first spin until the one that lost its core is back.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORES = len(os.sched_getaffinity(0))
SETTINGS: dict[str, tuple[int, dict[str, str]]] = {
    "all cores": (CORES, {}),
    "all cores, OMP_WAIT_POLICY=passive": (CORES, {"OMP_WAIT_POLICY": "passive"}),
    "one core less": (max(1, CORES - 1), {}),
}
CALL = """
import statistics, sys, time
from pathlib import Path
import torch
from sdbench import backends
from sdbench.cases.case import Case, Device, Variant

threads, model = int(sys.argv[1]), sys.argv[2]
generation = {"prompt": "a red circle", "steps": 5, "scheduler": "ddim", "guidance": 4.0,
              "height": 64, "width": 64, "seed": 0}
variant = Variant("m", "cpu", "pytorch", "fp32", "none")
case = Case(variant, 1, generation, Device("cpu", threads=threads))
engine = backends.load(case, Path(model), None)
latents = engine.latents(generation, 1)
samples = []
for _ in range(6):
    begin = time.perf_counter()
    engine.generate(generation, latents)
    samples.append(time.perf_counter() - begin)
print(statistics.median(samples[1:]))
"""


def call_s(threads: int, more: dict[str, str]) -> float:
    """Return the seconds of a call, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")} | more
    command = [sys.executable, "-c", CALL, str(threads), str(ROOT / "resources/models/shapes")]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(run.stdout.split()[-1])


def main() -> None:
    """Print the seconds of each setting, alone and next to a busy process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[tuple[str, bool], list[float]] = {}
    for _ in range(rounds):
        for busy in (False, True):
            other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
            try:
                for name, setting in SETTINGS.items():
                    found.setdefault((name, busy), []).append(call_s(*setting))
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
    print(f"{CORES} cores; seconds of a call, medians of {rounds} processes")
    for name in SETTINGS:
        alone, beside = (statistics.median(found[name, busy]) for busy in (False, True))
        print(
            f"{name}: alone {alone:.3f}, next to a busy process {beside:.3f} ({beside / alone:.1f})"
        )


if __name__ == "__main__":
    main()
