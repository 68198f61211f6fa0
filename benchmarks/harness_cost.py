"""Of the time that the default workflow takes, how much is measuring?

    PYTHONPATH=scripts python benchmarks/harness_cost.py [--keep FOLDER]

Runs the default workflow with one core in a clone of this folder, and sets the seconds inside timed
calls and warm-up, as records, peaks and searches for settings have them, against the wall time.
Prints where the rest goes, and ends with status 1 where less than 60 % is measuring.

Reads when jobs began and ended from Snakemake's own metadata.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sdbench.measure.settings_search import BLOCK_S
from sdbench.records.record import read_indexed
from sdbench.runtime.files import read_json

ROOT = Path(__file__).parent.parent
LEAST = 0.6
"""The share of the wall time that must be inside timed calls and warm-up."""


def timed_seconds(records: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds inside timed calls of all records together, by pass."""
    passes = ("compiling", "first call", "warm-up", "latency", "throughput", "parts", "short calls")
    spent = dict.fromkeys(passes, 0.0)
    compiled, first_calls = set(), set()
    for launch in (one for record in records for one in record["launches"] or ()):
        start = launch["cold_start"]  # several cases of a process have it in common
        compiled.add(start["compile_s"] or 0.0)
        if launch["projection"]:  # its other seconds were not spent
            spent["short calls"] += sum(call["call_s"] for call in launch["projection"]["calls"])
            continue
        first_calls.add(start["first_call_s"])
        spent["warm-up"] += sum(launch["latency"]["warmup_s"])
        spent["latency"] += sum(launch["latency"]["samples_s"])
        spent["throughput"] += sum(launch["throughput"]["intervals_s"])
        parts = ("text_encoder_s", "denoiser_s", "vae_decoder_s")
        spent["parts"] += sum(phase[part] for phase in launch["phases"] for part in parts)
    spent["compiling"], spent["first call"] = sum(compiled), sum(first_calls)
    return spent


def search_seconds(found: Iterable[dict[str, Any]]) -> float:
    """Return the seconds inside the samples of all searches for settings together, at the least:
    short calls are repeated until they fill `BLOCK_S`."""
    means: list[float] = [
        mean
        for settings in found
        for search in settings["searches"].values()
        for duel in (*search["candidates"], *search["confirmed"])
        for mean in (*duel.get("default_s", ()), *duel.get("candidate_s", ()))
    ]
    return sum(max(BLOCK_S, mean) for mean in means)


def peak_seconds(measured: Iterable[dict[str, Any]]) -> float:
    """Return the seconds inside the samples of all peaks together."""
    return sum(
        sum(times)
        for device in measured
        for row in device["peaks"]
        for times in row.get("samples_s", {}).values()
    )


def rule_seconds(metadata: Path) -> dict[str, tuple[int, float]]:
    """Return the number of jobs of each rule and the seconds that they took, the longest first."""
    jobs: dict[tuple[str, int], tuple[float, float]] = {}
    for file in metadata.iterdir():
        entry = json.loads(file.read_text(encoding="utf-8"))
        job = entry["rule"], entry["job_hash"]  # one entry for each output of a job
        begin, end = jobs.get(job, (entry["starttime"], entry["endtime"]))
        jobs[job] = min(begin, entry["starttime"]), max(end, entry["endtime"])
    totals: dict[str, tuple[int, float]] = {}
    for (rule, _), (begin, end) in jobs.items():
        count, seconds = totals.get(rule, (0, 0.0))
        totals[rule] = count + 1, seconds + end - begin
    return dict(sorted(totals.items(), key=lambda item: -item[1][1]))


def main() -> int:
    """Run the workflow, print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave clone and results there")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        clone = keep or Path(temporary) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        begin = time.perf_counter()
        command = ["snakemake", "--cores", "1", "--quiet", "all"]
        subprocess.run(command, cwd=clone, check=True)
        wall = time.perf_counter() - begin
        indexes = sorted((clone / "results" / "records").rglob("index.json"))
        timed = timed_seconds(record for index in indexes for _, record in read_indexed(index))
        peaks = sorted((clone / "results" / "peak_throughput").glob("*.json"))
        timed["peaks"] = peak_seconds(map(read_json, peaks))
        searches = sorted((clone / "results" / "settings").rglob("*.json"))
        timed["settings"] = search_seconds(map(read_json, searches))
        rules = rule_seconds(clone / ".snakemake" / "metadata")
    print(f"{'wall time of the default workflow':40} {wall:7.1f} s")
    for name, seconds in timed.items():
        print(f"  {name:38} {seconds:7.1f} s  {seconds / wall:6.1%}")
    measuring = sum(timed.values())
    print(f"{'inside timed calls and warm-up':40} {measuring:7.1f} s  {measuring / wall:6.1%}")
    within = {
        "measure_sweep": measuring - timed["peaks"] - timed["settings"],
        "measure_peak_throughput": timed["peaks"],
        "search_settings": timed["settings"],
    }
    for rule, (jobs, seconds) in rules.items():
        rest = seconds - within.get(rule, 0.0)
        name = f"{rule}, the rest of" if rule in within else rule
        print(f"  {name:32} {jobs:2} jobs {rest:6.1f} s  {rest / wall:6.1%}")
    between = wall - sum(seconds for _, seconds in rules.values())
    print(f"  {'Snakemake, between jobs':40} {between:5.1f} s  {between / wall:6.1%}")
    return 0 if measuring >= LEAST * wall else 1


if __name__ == "__main__":
    sys.exit(main())
