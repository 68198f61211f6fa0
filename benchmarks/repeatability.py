"""Do intervals hold when a run is repeated?

    PYTHONPATH=scripts python benchmarks/repeatability.py [--runs 7] [--configfile FILE] [--resume]

Measures a config several times, from new records each time, and prints for each case how its runs
and their intervals agree. Of perfect 95 % intervals, 95 of 100 hold the value of all runs; an
interval of one run holds the value of another run 83 times of 100, since that varies too; and two
runs are called different 5 times of 100. Ends with status 1 where a target is missed.

Needs a machine on which nothing else runs. The records of each run are kept as an archive, such as
`make records` leaves; `--resume` goes on after those that are there, and `--runs 0 --resume` only
reads them.
"""

import argparse
import itertools
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sdbench.measure.intervals import launch_interval
from sdbench.records.archive import unpack
from sdbench.records.record import REFERENCE, Record, read_indexed
from sdbench.runtime.files import read_json
from sdbench.runtime.processes import time_left_s

ROOT = Path(__file__).parent.parent
CONFIG = Path(__file__).with_suffix(".yaml")
TARGETS = {"pairs": 0.75, "all": 0.85, "ones": 0.9, "false": 0.05}


class Value(NamedTuple):
    """What one run found."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Tell whether a value lies in the interval."""
        return self.low <= value <= self.high

    @property
    def half(self) -> float:
        """Half the width of the interval of the logarithm."""
        return math.log(self.high / self.low) / 2


def differ(one: Value, other: Value) -> bool:
    """Tell whether two runs would be called different, as findings judge two rows."""
    return abs(math.log(one.value / other.value)) > math.hypot(one.half, other.half)


def measure(configfile: Path, results: Path, archive: Path) -> bool:
    """Measure once more into a folder of results, and keep the archive of it; tell whether it was
    made, which it is not where the time of the run is over before (`SDBENCH_DEADLINE`)."""
    for folder in ("records", "races"):
        shutil.rmtree(ROOT / results / folder, ignore_errors=True)
    made = ROOT / results / "records.tar.gz"
    made.unlink(missing_ok=True)
    command = ["snakemake", "--cores", "all", "--nolock", "--configfile", str(configfile), "--"]
    subprocess.run([*command, "pack_records"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    if time_left_s() == 0:
        return False
    archive.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, archive)
    return True


def read_jobs(keep: Path) -> Iterator[tuple[list[Record], list[list[float]]]]:
    """Yield of each job of each run its records that are ok, and the fixed work that it timed, in
    seconds, block by block; of races no work."""
    for archive in sorted(keep.glob("*.tar.gz")):
        with tempfile.TemporaryDirectory() as folder:
            unpack(archive, Path(folder))
            for index in sorted(Path(folder).glob("r*/*/*/*/index.json")):
                records = [one for _, one in read_indexed(index) if one["status"] == "ok"]
                timed = index.with_name(REFERENCE)
                yield records, read_json(timed)["blocks"] if timed.exists() else []


def label_of(record: Record) -> str:
    """Return what was measured."""
    variant, size = record["case"]["variant"], record["case"]["batch_size"]
    race = "race of " if "reference" in record else ""
    return f"{race}{variant['backend']} {variant['precision']}, batch {size}"


def value_of(record: Record) -> Value | None:
    """Return the latency of a record, or the ratio of a race; None without an interval."""
    median, launches = statistics.median, record["launches"]
    if "reference" in record:
        runs = ("challenger_run", "reference_run")
        pairs = [[median(launch[run]["evaluation_s"]) for run in runs] for launch in launches]
        interval = launch_interval([ours / theirs for ours, theirs in pairs])
    else:
        interval = launch_interval([median(one["latency"]["samples_s"]) for one in launches])
    value, low, high = interval
    return None if low is None or high is None else Value(value, low, high)


def read_runs(keep: Path) -> dict[str, list[Value]]:
    """Return what each run found, by what was measured."""
    found: dict[str, list[Value]] = {}
    for records, _ in read_jobs(keep):
        for record in records:
            if value := value_of(record):
                found.setdefault(label_of(record), []).append(value)
    return found


def follow(keep: Path) -> dict[str, float]:
    """Return for each case the correlation over runs of its logarithm with that of the fixed work
    that its job timed."""
    cases: dict[str, list[tuple[float, float]]] = {}
    for records, blocks in read_jobs(keep):
        work = [statistics.median(block) for block in blocks if block]
        for record in records if work else ():
            if value := value_of(record):
                pair = math.log(value.value), math.log(launch_interval(work).value)
                cases.setdefault(label_of(record), []).append(pair)
    return {
        label: statistics.correlation(*zip(*pairs, strict=True))
        for label, pairs in cases.items()
        if len(pairs) > 2
    }


def shares(runs: Sequence[Value]) -> dict[str, tuple[int, int]]:
    """Return how many of how many intervals hold what they should."""
    overall = math.exp(statistics.fmean(math.log(run.value) for run in runs))
    ordered, pairs = list(itertools.permutations(runs, 2)), list(itertools.combinations(runs, 2))
    return {
        "all": (sum(run.holds(overall) for run in runs), len(runs)),
        "pairs": (sum(one.holds(other.value) for one, other in ordered), len(ordered)),
        "ones": (sum(run.holds(1.0) for run in runs), len(runs)),
        "false": (sum(differ(*pair) for pair in pairs), len(pairs)),
    }


def measure_again(configfile: Path, results: Path, keep: Path, runs: int) -> None:
    """Measure until there are so many runs, or the time is too short for another."""
    longest_s = 0.0
    for number in range(len(list(keep.glob("*.tar.gz"))), runs):
        begin, left_s = time.monotonic(), time_left_s()
        if left_s is not None and left_s < longest_s:
            break
        if not measure(configfile, results, keep / f"{number:03}.tar.gz"):
            break
        longest_s = max(longest_s, time.monotonic() - begin)


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--configfile", type=Path, default=CONFIG)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    told = yaml.safe_load(given.configfile.read_text(encoding="utf-8"))
    results = Path(told["pathvars"]["results"])
    keep = ROOT / results / "kept"
    if not given.resume:
        shutil.rmtree(keep, ignore_errors=True)
    measure_again(given.configfile, results, keep, given.runs)
    return tell(keep)


def tell(keep: Path) -> int:
    """Print how runs that were kept agree; return the exit status."""
    totals: dict[str, list[tuple[int, int]]] = {name: [] for name in TARGETS}
    heads = ("what", "values", "half-width", "largest / smallest", "hold that of all",
             "pairs that hold the other", "called different")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for label, runs in read_runs(keep).items():
        counted: Mapping[str, Any] = shares(runs)
        for name in TARGETS:
            if (name == "ones") <= label.startswith("race"):
                totals[name].append(counted[name])
        values = [run.value for run in runs]
        cells = [
            label,
            " ".join(f"{value:.3g}" for value in values),
            f"{100 * (math.exp(statistics.fmean(run.half for run in runs)) - 1):.0f} %",
            f"{max(values) / min(values):.2f}",
            *("{} of {}".format(*counted[name]) for name in ("all", "pairs", "false")),
        ]
        print("| " + " | ".join(cells) + " |")
    if not any(totals.values()):
        print("no run has an interval: nothing to compare")
        return 1
    status = 0
    said = {
        "all": "intervals hold the value of all runs",
        "pairs": "ordered pairs hold each other's value",
        "ones": "races of a variant against itself hold 1",
        "false": "pairs of runs are called different",
    }
    for name, target in TARGETS.items():
        if not any(count for _, count in totals[name]):
            continue  # no race, or one run
        hits, count = (sum(part) for part in zip(*totals[name], strict=True))
        missed = hits / count > target if name == "false" else hits / count < target
        most = "at most" if name == "false" else "at least"
        print(f"{hits} of {count} ({hits / count:.0%}; {most} {target:.0%}) {said[name]}")
        status |= missed
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
