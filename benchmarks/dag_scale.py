"""What does a large campaign cost before its first job?

    python benchmarks/dag_scale.py

Times `snakemake -n` on configs of 1,000 and of 10,000 cases (devices x backends x precisions x batch
sizes, validation and the table of cases included) against a trivial Snakefile that has as many jobs,
in turns, and takes the ratio of each turn. Ends with status 1 where the median of the ratios at
10,000 cases is above 1.3, or where ten times as many cases cost more than ten times as much.
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


def campaign(cases: int) -> dict[str, Any]:
    """Return a config of so many cases: 20 devices, 2 backends, and batch sizes to fill them.

    PyTorch has four precisions on a GPU and ONNX Runtime two: of ten cells, four cannot exist and
    are in the table with their reasons.
    """
    devices = [f"gpu{i}" for i in range(20)]
    matrix = [
        {
            "model": "shapes",
            "devices": devices,
            "backends": [backend],
            "precisions": ["fp32", "tf32", "fp16", "bf16"],
            "batch_sizes": list(range(1, cases // 20 // 8 + 1)),
        }
        for backend in ("pytorch", "onnxruntime")
    ]
    return {
        "devices": {name: {"kind": "cuda"} for name in devices},
        "matrix": matrix,
        "quality": [],
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
    medians = {}
    print("cases  jobs  ours (s)  trivial (s)  ratio, lowest to highest")
    for cases in (1_000, 10_000):
        with tempfile.TemporaryDirectory() as temporary:
            ours, trivial = Path(temporary) / "ours", Path(temporary) / "trivial"
            subprocess.run(["git", "clone", "--quiet", ROOT, ours], check=True)
            (ours / "large.yaml").write_text(yaml.safe_dump(campaign(cases)))
            trivial.mkdir()
            _, jobs = dry_run(ours, "--configfile", "large.yaml")
            (trivial / "Snakefile").write_text(TRIVIAL.format(jobs=jobs))
            assert dry_run(trivial)[1] == jobs
            turns = [
                (dry_run(ours, "--configfile", "large.yaml")[0], dry_run(trivial)[0])
                for _ in range(rounds)
            ]
        ratios = sorted(mine / other for mine, other in turns)
        medians[cases] = statistics.median(mine for mine, _ in turns)
        ratio = statistics.median(ratios)
        print(
            f"{cases:5} {jobs:5} {medians[cases]:9.2f} "
            f"{statistics.median(other for _, other in turns):12.2f}  "
            f"{ratio:.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}"
        )
    grows = medians[10_000] / medians[1_000]
    print(f"ten times the cases: {grows:.2f} times the seconds")
    return int(ratio > MOST or grows > 10)


if __name__ == "__main__":
    sys.exit(main())
