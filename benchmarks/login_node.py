"""What a campaign costs the machine that Snakemake runs on, with the real SLURM plugin.

    python benchmarks/login_node.py 100 1000

runs a workflow of so many jobs with `profiles/slurm` and stand-ins for SLURM's commands: a job has
ended as soon as it is submitted. What is left is the work of Snakemake and of the plugin.

    python benchmarks/login_node.py --campaign

plans this workflow for 20 devices and 10,000 cases.

Printed for each: jobs, seconds of wall time and of processor time (Snakemake, and the commands that
it called), the most memory that Snakemake held, and how often each command was called.
"""

import argparse
import collections
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent

STAND_INS = {
    # The job's output appears, as if it had run; its number is the one in the comment.
    "sbatch": """
job=$(echo "$@" | sed -n 's/.*--comment rule_work_wildcards_\\([0-9]*\\) .*/\\1/p')
touch "out/$job"
echo $((job + 1))
echo "$((job + 1))|COMPLETED" >> jobs
""",
    "squeue": "cat jobs 2>/dev/null",
    "scontrol": "echo 'MinJobAge = 300 sec'",
    "sinfo": "echo 'cpu*'",
    "sacctmgr": "echo my_project",
    "scancel": "",
}

SNAKEFILE = """
rule all:
    input:
        expand("out/{{i}}", i=range({jobs})),


rule work:
    output:
        "out/{{i}}",
    resources:
        mem_mb=1000,
        runtime=10,
    shell:
        "touch {{output}}"
"""

MODELS, DEVICES = 5, 20
AXES = {
    "precisions": ["fp32", "tf32", "fp16", "bf16"],
    "options": ["none", "vae-slicing", "channels-last", "attention-sliced", "attention-vanilla"],
    "batch_sizes": [1, 2, 4, 8, 16],
}
"""5 x 20 x 4 x 5 x 5 cases of PyTorch are 10,000, in 100 jobs that measure."""


def run_snakemake(folder: Path, *args: str) -> str:
    """Run Snakemake and return one line about what that cost."""
    begin = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (folder / "snakemake.log").open("wb") as log:
        process = subprocess.Popen(
            ["snakemake", *args],
            cwd=folder,
            env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_bytes(process.pid))
            time.sleep(0.05)
    if process.returncode:
        sys.exit((folder / "snakemake.log").read_text()[-3000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.perf_counter() - begin
    return f"{wall:.0f} s wall, {used:.0f} s of processors, {peak / 1e6:.0f} MB"


def _peak_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields.get("VmHWM", "0 kB").split()[0]) * 1024


def simulate(jobs: int, folder: Path) -> None:
    """Submit so many instant jobs, and print what that cost."""
    (folder / "bin").mkdir()
    for name, body in STAND_INS.items():
        path = folder / "bin" / name
        path.write_text(f"#!/bin/sh\necho {name} >> {folder}/calls\n{body}")
        path.chmod(0o755)
    (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
    (folder / "out").mkdir()
    (folder / "mysite.yaml").write_text("default-resources: {slurm_account: my_project}\n")
    profile = str(ROOT / "profiles" / "slurm")
    cost = run_snakemake(folder, "--profile", profile, "--profile", "mysite.yaml")
    calls = collections.Counter((folder / "calls").read_text().split())
    print(f"{jobs} jobs: {cost}; calls: {dict(calls)}", flush=True)


def plan_campaign(folder: Path) -> None:
    """Plan 10,000 cases on 20 devices, and print what that cost."""
    generation = {
        "prompt": "a",
        "steps": 50,
        "scheduler": "ddim",
        "guidance": 7.5,
        "height": 512,
        "width": 512,
    }
    models = {
        f"sd-{i}": {"source": {"seeded": "sd-v1", "seed": i}, "generation": generation}
        for i in range(MODELS)
    }
    devices = {f"gpu-{i}": {"kind": "cuda", "gpu_model": f"model{i}"} for i in range(DEVICES)}
    matrix = [
        {"model": name, "devices": list(devices), "backends": ["pytorch"], **AXES}
        for name in models
    ]
    config = {"models": models, "devices": devices, "matrix": matrix, "quality": []}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    cost = run_snakemake(
        folder,
        *("--snakefile", str(ROOT / "Snakefile"), "--configfile", "mine.yaml"),
        *("--dry-run", "--quiet", "all", "--cores", "1"),
    )
    print(f"10,000 cases planned: {cost}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=int, nargs="*")
    parser.add_argument("--campaign", action="store_true")
    asked = parser.parse_args()
    for count in asked.jobs:
        with tempfile.TemporaryDirectory() as name:
            simulate(count, Path(name))
    if asked.campaign:
        with tempfile.TemporaryDirectory() as name:
            plan_campaign(Path(name))
