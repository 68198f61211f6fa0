"""What does a large campaign cost before its first job?

    python benchmarks/dag_scale.py

Times `snakemake -n` on configs of 1,000 and of 10,000 cells (devices x backends x precisions x
batch sizes, images of every variant, validation and the table of cases included) against a
trivial Snakefile with one job for each cell, in turns, and takes the ratio of each turn. Ends with
status 1 where its median at 10,000 is above 1.3, or where ten times as many cost more than ten
times. Next to it, what is left of the advantage that a job of ours measures many cases: the ratio
to a trivial Snakefile with as many jobs as ours, which have one file each, where ours have twenty.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
MOST = 1.3
TRIVIAL = """
rule all:
    input:
        expand("out/{{i}}", i=range({jobs} - 1)),


rule one:
    output:
        "out/{{i}}",
    shell:
        "touch {{output}}"
"""


def campaign(cells: int) -> dict[str, Any]:
    """Return a config of so many cells: 20 devices, 2 backends, 4 precisions, and batch sizes.

    ONNX Runtime has two of the precisions: a quarter of the cells cannot exist, and are in the
    table with their reasons.
    """
    devices = [f"gpu{i}" for i in range(20)]
    ways = {
        "model": "shapes",
        "devices": devices,
        "backends": ["pytorch", "onnxruntime"],
        "precisions": ["fp32", "tf32", "fp16", "bf16"],
    }
    return {
        "devices": {name: {"kind": "cuda"} for name in devices},
        "matrix": [ways | {"batch_sizes": list(range(1, cells // (20 * 2 * 4) + 1))}],
        "quality": [ways | {"reference": {"device": "gpu0"}, "runs": [20], "trajectory_steps": 20}],
    }


def dry_run(folder: Path, *args: str) -> tuple[float, int]:
    """Return the seconds of a dry run and the number of jobs that it plans."""
    begin = time.perf_counter()
    command = ["snakemake", "-n", "--cores", "1", "--quiet", "rules", *args]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if run.returncode:
        sys.exit(run.stdout + run.stderr)
    found = re.search(r"^total +(\d+)$", run.stdout, re.M)
    assert found is not None, run.stdout
    return seconds, int(found[1])


def main() -> int:
    """Print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()
    failed = False
    medians = {}
    print("cells  ours (s)  trivial jobs  trivial (s)  ours / trivial, lowest to highest")
    for cells in (1_000, 10_000):
        with tempfile.TemporaryDirectory() as temporary:
            ours = Path(temporary) / "ours"
            subprocess.run(["git", "clone", "--quiet", ROOT, ours], check=True)
            (ours / "large.yaml").write_text(yaml.safe_dump(campaign(cells)))
            _, planned = dry_run(ours, "--configfile", "large.yaml")
            for jobs in (planned, cells):
                trivial = Path(temporary) / f"trivial{jobs}"
                trivial.mkdir()
                (trivial / "Snakefile").write_text(TRIVIAL.format(jobs=jobs))
                turns = [
                    (dry_run(ours, "--configfile", "large.yaml")[0], dry_run(trivial)[0])
                    for _ in range(rounds)
                ]
                ratios = sorted(mine / other for mine, other in turns)
                ratio = statistics.median(ratios)
                medians[cells] = statistics.median(mine for mine, _ in turns)
                print(
                    f"{cells:5} {medians[cells]:9.2f} {jobs:13} "
                    f"{statistics.median(other for _, other in turns):12.2f}  "
                    f"{ratio:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}",
                    flush=True,
                )
                failed |= jobs == 10_000 and ratio > MOST
    grows = medians[10_000] / medians[1_000]
    print(f"ten times the cells: {grows:.2f} times the seconds")
    return int(failed or grows > 10)


if __name__ == "__main__":
    sys.exit(main())
