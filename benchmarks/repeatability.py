"""Do intervals hold when a run is repeated?

    PYTHONPATH=scripts python benchmarks/repeatability.py [--runs 7] [--configfile FILE] [--resume]

Measures a config several times, from new records each time, and prints for each case how its runs
and their intervals agree, and the same for the ratios of two variants of one job, and of two jobs.
Of perfect 95 % intervals, 95 of 100 hold the value of all runs; an interval of one run holds the
value of another run 83 times of 100, since that varies too; and two runs are called different 5
times of 100. Ends with status 1 where a target is missed.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from sdbench.analysis.estimates import Estimate, apart, quotient
from sdbench.records.archive import unpack
from sdbench.records.intervals import drift_half, launch_interval
from sdbench.records.record import REFERENCE, Record, read_indexed
from sdbench.runtime.files import read_json
from sdbench.runtime.processes import time_left_s

ROOT = Path(__file__).parent.parent
CONFIG = Path(__file__).with_suffix(".yaml")
RACE = "race of "
TARGETS = {"pairs": 0.75, "all": 0.85, "ones": 0.9, "false": 0.05}


def holds(estimate: Estimate, value: float) -> bool:
    """Tell whether a value lies in an interval."""
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= value <= estimate.high


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


def read_jobs(archive: Path) -> Iterator[tuple[list[Record], list[float]]]:
    """Yield of each job of a run its records that are ok, and the seconds of the fixed work in each
    of its blocks; of races none."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder))
        for index in sorted(Path(folder).glob("r*/*/*/*/index.json")):
            records = [one for _, one in read_indexed(index) if one["status"] == "ok"]
            timed = index.with_name(REFERENCE)
            blocks = read_json(timed)["blocks"] if timed.exists() else []
            yield records, [statistics.median(block) for block in blocks if block]


def label_of(record: Record) -> str:
    """Return what was measured."""
    variant, size = record["case"]["variant"], record["case"]["batch_size"]
    race = RACE if "reference" in record else ""
    return f"{race}{variant['backend']} {variant['precision']}, batch {size}"


def value_of(record: Record, drift: float) -> Estimate:
    """Return the latency of a record, or the ratio of a race, in which nothing drifts."""
    median, launches = statistics.median, record["launches"]
    if "reference" in record:
        runs = ("challenger_run", "reference_run")
        pairs = [[median(launch[run]["evaluation_s"]) for run in runs] for launch in launches]
        return Estimate(*launch_interval([ours / theirs for ours, theirs in pairs]))
    medians = [median(one["latency"]["samples_s"]) for one in launches]
    shared = (record["case"]["variant"]["backend"],), drift, tuple(medians)
    return Estimate(*launch_interval(medians, drift), False, *shared)


def read_run(archive: Path) -> dict[str, Estimate]:
    """Return what a run found that has an interval, by what was measured."""
    jobs = list(read_jobs(archive))
    drift = drift_half([launch_interval(work).value for _, work in jobs if work])
    found = {label_of(one): value_of(one, drift or 0.0) for records, _ in jobs for one in records}
    return {label: value for label, value in found.items() if value.half is not None}


def ratios(run: Mapping[str, Estimate]) -> dict[str, dict[str, Estimate]]:
    """Return the ratios of all pairs that a run found, those of one job and those of two."""
    found: dict[str, dict[str, Estimate]] = {"one job": {}, "two jobs": {}}
    values = [item for item in run.items() if not item[0].startswith(RACE)]
    for (name, one), (other_name, other) in itertools.combinations(values, 2):
        jobs = "one job" if one.job == other.job else "two jobs"
        found[jobs][f"{name} / {other_name}"] = quotient(one, other)
    return found


def shares(runs: Sequence[Estimate]) -> dict[str, tuple[int, int]]:
    """Return how many of how many intervals hold what they should."""
    overall = math.exp(statistics.fmean(math.log(run.value) for run in runs))
    ordered, pairs = list(itertools.permutations(runs, 2)), list(itertools.combinations(runs, 2))
    return {
        "all": (sum(holds(run, overall) for run in runs), len(runs)),
        "pairs": (sum(holds(one, other.value) for one, other in ordered), len(ordered)),
        "ones": (sum(holds(run, 1.0) for run in runs), len(runs)),
        "false": (sum(apart(*pair) for pair in pairs), len(pairs)),
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


def by_name(runs: Iterable[Mapping[str, Estimate]]) -> dict[str, list[Estimate]]:
    """Return what runs found, by its name. Two runs share no job."""
    found: dict[str, list[Estimate]] = {}
    for run in runs:
        for name, value in run.items():
            found.setdefault(name, []).append(replace(value, job=()))
    return found


def tell(keep: Path) -> int:
    """Print how runs that were kept agree; return the exit status."""
    runs = [read_run(archive) for archive in sorted(keep.glob("*.tar.gz"))]
    totals: dict[str, list[tuple[int, int]]] = {name: [] for name in TARGETS}
    heads = ("what", "values", "half-width", "largest / smallest", "hold that of all",
             "pairs that hold the other", "called different")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for label, values in by_name(runs).items():
        counted = shares(values)
        for name in TARGETS:
            if (name == "ones") <= label.startswith(RACE):
                totals[name].append(counted[name])
        print_row(label, " ".join(f"{one.value:.3g}" for one in values), [values])
    for jobs in ("one job", "two jobs"):
        of_pairs = list(by_name(ratios(run)[jobs] for run in runs).values())
        if of_pairs:  # a config with one job has none of two
            print_row(f"ratios of two variants of {jobs}", f"{len(of_pairs)} ratios", of_pairs)
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


def print_row(label: str, values: str, found: Sequence[Sequence[Estimate]]) -> None:
    """Print how the runs of something agree, or those of several things together."""
    counted = [shares(runs) for runs in found]
    sums = {
        name: [sum(part) for part in zip(*(each[name] for each in counted), strict=True)]
        for name in ("all", "pairs", "false")
    }
    halves = [run.half or 0.0 for runs in found for run in runs]
    spread = max(max(one.value for one in runs) / min(one.value for one in runs) for runs in found)
    cells = [
        label,
        values,
        f"{math.expm1(statistics.fmean(halves)):.0%}",
        f"{spread:.2f}",
        *(f"{hits} of {count}" for hits, count in sums.values()),
    ]
    print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
