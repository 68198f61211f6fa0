"""Do intervals hold when a run is repeated?

    PYTHONPATH=scripts python benchmarks/repeatability.py [--runs 7] [--configfile FILE]

Measures a config several times, from new records each time, and prints for each case how its runs
and their intervals agree. Of perfect 95 % intervals, 95 of 100 hold the value of all runs; an
interval of one run holds the value of another run 83 times of 100, since that varies too; and two
runs are called different 5 times of 100. Ends with status 1 where a target is missed.

Needs a machine on which nothing else runs. `--keep` takes tables that were made before.
"""

import argparse
import itertools
import math
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sdbench.tables.files import read_rows
from sdbench.tables.schemas import NOISE, RACES, RESULTS

ROOT = Path(__file__).parent.parent
CONFIG = Path(__file__).with_suffix(".yaml")
TABLES = {"results": ("latency_s", "latency_ci_low_s", "latency_ci_high_s"),
          "races": ("ratio", "ratio_ci_low", "ratio_ci_high")}  # fmt: skip
"""Table -> the columns of a value and its interval."""
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


def measure(configfile: Path, tables: Path, number: int) -> None:
    """Measure once more, and keep the tables."""
    results = ROOT / yaml.safe_load(configfile.read_text(encoding="utf-8"))["pathvars"]["results"]
    for folder in ("records", "races"):
        shutil.rmtree(results / folder, ignore_errors=True)
    tables_of_run = results.relative_to(ROOT) / "tables"
    targets = [str(tables_of_run / f"{name}.csv") for name in (*TABLES, "noise")]
    # Tables that are there would be enough for Snakemake, without the records below them.
    again = ["--forcerun", "measure_sweep", "race_denoisers"]
    command = ["snakemake", "--cores", "all", *targets, *again, "--configfile", str(configfile)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    tables.mkdir(parents=True, exist_ok=True)
    for target in targets:
        kept = tables / f"{number}-{Path(target).name}"
        shutil.copyfile(ROOT / target, kept)
        shutil.copyfile(ROOT / f"{target}.sha256", f"{kept}.sha256")


def read_runs(tables: Path) -> dict[str, list[Value]]:
    """Return what each run found, by what was measured."""
    found: dict[str, list[Value]] = {}
    for name, (value, low, high) in TABLES.items():
        schema = {"results": RESULTS, "races": RACES}[name]
        for table in sorted(tables.glob(f"*-{name}.csv")):
            for row in read_rows(table, schema):
                if row["status"] == "ok" and row.get("campaign") is None and row[low] is not None:
                    label = f"{row['backend']} {row['precision']}, batch {row['batch_size']}"
                    label = f"race of {label}" if name == "races" else label
                    found.setdefault(label, []).append(Value(row[value], row[low], row[high]))
    return found


def follow(tables: Path) -> dict[str, float]:
    """Return for each case the correlation over runs of its logarithm with that of the fixed work
    that its job timed."""
    cases: dict[str, list[tuple[float, float]]] = {}
    for table in sorted(tables.glob("*-noise.csv")):
        works = {row["backend"]: row["reference_s"] for row in read_rows(table, NOISE)}
        results = table.with_name(table.name.replace("noise", "results"))
        for row in read_rows(results, RESULTS):
            if row["status"] == "ok":
                pair = math.log(row["latency_s"]), math.log(works[row["backend"]])
                cases.setdefault(f"{row['backend']} {row['precision']}", []).append(pair)
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


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--configfile", type=Path, default=CONFIG)
    parser.add_argument("--keep", type=Path, default=ROOT / "results/repeatability/kept")
    given = parser.parse_args()
    if given.keep == parser.get_default("keep"):
        for number in range(given.runs):
            measure(given.configfile, given.keep, number)
    totals: dict[str, list[tuple[int, int]]] = {name: [] for name in TARGETS}
    heads = ("what", "values", "half-width", "largest / smallest", "hold that of all",
             "pairs that hold the other", "called different")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n|" + " --- |" * len(heads))
    for label, runs in read_runs(given.keep).items():
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
    status = 0
    said = {
        "all": "intervals hold the value of all runs",
        "pairs": "ordered pairs hold each other's value",
        "ones": "races of a variant against itself hold 1",
        "false": "pairs of runs are called different",
    }
    for name, target in TARGETS.items():
        hits, count = (sum(part) for part in zip(*totals[name], strict=True))
        missed = hits / count > target if name == "false" else hits / count < target
        most = "at most" if name == "false" else "at least"
        print(f"{hits} of {count} ({hits / count:.0%}; {most} {target:.0%}) {said[name]}")
        status |= missed
    for label, correlation in follow(given.keep).items():
        print(f"{label}: correlation of runs with the fixed work {correlation:.2f}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
