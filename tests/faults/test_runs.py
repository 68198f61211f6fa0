"""Whole runs: two in one folder, cases that fail every time, and what the terminal shows last."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdbench.records.record import read_indexed
from sdbench.runtime.endings import failures
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from tests.conftest import run_snakemake
from tests.faults.conftest import BLOCK, write_config
from tests.faults.test_measuring import spoil
from tests.reliability import Tally
from tests.sweeps import GENERATION, SHORT
from tests.waiting import wait_until

LOG = """Select jobs to execute...
Error in rule measure_sweep:
    message: None
    jobid: 4
    output: r/records/tiny/cpu/pytorch/index.json
    log: {sweep} (check log file(s) for error details)

Error in rule check_results:
    jobid: 1
    log: {checks} (check log file(s) for error details)
Error in rule generate_images:
    jobid: 7
    log: {nothing}, slurm.log (check log file(s) for error details)
Error in rule export_onnx:
    jobid: 8
    log: {retried} (check log file(s) for error details)
Finished jobid: 8 (Rule: export_onnx)
"""


def test_the_last_lines_are_what_each_failed_job_said(tmp_path: Path) -> None:
    logs = {name: tmp_path / f"{name}.log" for name in ("sweep", "checks", "nothing", "retried")}
    logs["sweep"].write_text("Traceback\n  x\nerror: r/a.json: full: make room\n")
    logs["checks"].write_text("failed: tiny cpu: it broke\nerror: 1 failed: mend it\n")
    said = tmp_path / "snakemake.log"
    said.write_text(LOG.format(**logs))
    assert list(failures(said)) == [
        "error: r/a.json: full: make room",
        "failed: tiny cpu: it broke",
        "error: 1 failed: mend it",
        f"generate_images: no message; see {logs['nothing']}",
    ]


def begin(clone: Path, *args: str, **settings: Any) -> subprocess.Popen[str]:
    """Begin Snakemake where both streams are one, as on a terminal."""
    return subprocess.Popen(
        ["snakemake", *args],
        cwd=clone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **settings,
    )


def run_to_end(clone: Path, *args: str, timeout: float, **settings: Any) -> tuple[int, list[str]]:
    """Run Snakemake; return its status and the lines that it wrote."""
    with begin(clone, *args, **settings) as run:
        said = run.communicate(timeout=timeout)[0]
    return run.returncode, [line for line in said.splitlines() if line.strip()]


def test_a_second_snakemake_is_refused_by_the_lock(clone: Path, tally: Tally) -> None:
    """And what was finished before a failed job, or kept of it, is no hindrance later."""
    name = write_config(clone, "results/locked")
    target = "results/locked/tables/cases.csv"
    command = ["--cores", "1", "--configfile", name, "--", target]
    # A group of processes: what Snakemake has begun is stopped with it, and finishes nothing.
    with begin(clone, *command, start_new_session=True) as first:
        locks = clone / ".snakemake/locks"
        wait_until(lambda: locks.exists() and any(locks.iterdir()), 60)
        os.killpg(first.pid, signal.SIGSTOP)
        try:
            with tally.fault("two Snakemakes in one folder"):
                second = run_snakemake(clone, *command, timeout=300)
                assert second.returncode != 0
                assert "LockException" in second.stdout + second.stderr
                assert not (clone / target).exists()
        finally:
            os.killpg(first.pid, signal.SIGCONT)
        first.communicate(timeout=300)
        assert first.returncode == 0
    assert len(read_table(clone / target, schemas.CASES)) == 2


OPTIONS = ["none", "attention-vanilla", "attention-sliced", "channels-last", "vae-slicing"]
"""Of a variant each: the cases of one are measured, and written, together."""


@pytest.mark.slow
def test_of_two_snakemakes_without_a_lock_one_writes(
    clone: Path, model: Path, tally: Tally
) -> None:
    """The later one takes over; the earlier one writes nothing more, and fails nobody."""
    measuring = replace(SHORT, min_samples=40, min_samples_capped=40, max_duration_s=60)
    changes: dict[str, Any] = {
        "models": {"tiny": {"source": {"local": str(model)}, "generation": GENERATION}},
        "measuring": vars(measuring),
        "matrix": [BLOCK | {"options": OPTIONS, "batch_sizes": [1]}],
    }
    name = write_config(clone, "results/both", **changes)
    index = "results/both/records/tiny/cpu/pytorch/index.json"
    command = ["--cores", "1", "--nolock", "--configfile", name, "--", index]
    records = (clone / index).parent
    with tally.fault("two Snakemakes in one folder, --nolock"), begin(clone, *command) as first:
        wait_until(lambda: any(records.rglob("batch-*.json")), 900)
        with begin(clone, *command) as second:
            said = [run.communicate(timeout=1500)[0] for run in (first, second)]
            assert (first.returncode, second.returncode) == (0, 0), said
        assert "another job has taken over these cases" in said[0]
        read = read_indexed(clone / index)
        assert [record["status"] for _, record in read] == ["ok"] * len(OPTIONS)
        assert len(list(records.rglob("batch-*.json"))) == len(OPTIONS)


@pytest.mark.slow
def test_bad_models_are_named_last_and_cost_the_others_nothing(
    clone: Path, model: Path, tmp_path: Path, tally: Tally
) -> None:
    """The whole workflow, figures and page included. One model has numbers that are none, which is
    found by measuring and by its export; another is on a hub that nobody reaches."""
    broken = spoil(model, tmp_path / "broken", float("nan"))
    sources = {
        "tiny": {"local": str(model)},
        "broken": {"local": str(broken)},
        "gone": {"hub": "nobody/nothing", "revision": "0" * 40},
    }
    models = {name: {"source": one, "generation": GENERATION} for name, one in sources.items()}
    engines = ["pytorch", "onnxruntime"]
    matrix = [BLOCK | {"model": model, "backends": engines} for model in models]
    name = write_config(clone, "results/failing", models=models, matrix=matrix)
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}  # where nothing listens
    environment.pop("HF_HUB_OFFLINE", None)
    for _ in range(2):  # every time
        with tally.fault("a case, an export and a download that fail every time"):
            status, said = run_to_end(
                clone, "--cores", "2", "--configfile", name, timeout=1500, env=environment
            )
            assert status != 0
            last = said[-4:]
            for line, named in zip(
                last,
                [
                    "failed: broken cpu pytorch fp32 none 1 and 1 more: ValueError: the image has",
                    "failed: broken cpu onnxruntime fp32 none 1 and 1 more: ",
                    "failed: gone cpu pytorch fp32 none 1 and 3 more: nobody/nothing: http",
                    "error: 3 problems in the results, listed above: correct them",
                ],
                strict=True,
            ):
                assert line.startswith(named), last
            table = read_table(clone / "results/failing/tables/results.csv", schemas.RESULTS)
            assert table.groupby("model")["status"].apply(list).to_dict() == {
                "tiny": ["ok"] * 4,
                "broken": ["error"] * 4,
                "gone": ["error"] * 4,
            }
            assert list(table["latency_s"].notna()) == list(table["status"] == "ok")
            assert (clone / "results/failing/report.html").stat().st_size > 0


def test_a_failed_job_is_named_last_and_what_it_leaves_is_made_again(
    clone: Path, tally: Tally
) -> None:
    """With --keep-incomplete too, which has Snakemake leave what it cannot vouch for."""
    name = write_config(clone, "results/kept")
    target = "results/kept/tables/published.csv"
    source = clone / "resources/published.csv"
    sound = source.read_bytes()
    args = ("--cores", "1", "--configfile", name, "--keep-incomplete", "--", target)
    with tally.fault("a job that fails, with --keep-incomplete"):
        source.write_bytes(sound[: len(sound) // 2])
        status, (*_, last) = run_to_end(clone, *args, timeout=300)
        source.write_bytes(sound)
        assert status != 0
        assert last.startswith("error: ") and "published.csv: " in last
        status, said = run_to_end(clone, *args, timeout=300)
        assert status == 0, said
        assert len(read_table(clone / target, schemas.PUBLISHED)) > 10
