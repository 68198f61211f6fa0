"""SIGKILL at random moments: nothing that is finished is lost, nothing half-made is taken.

A job's life is seconds of imports and then the measuring. The imports write nothing, so the kills
of jobs share one: each job is a fork of this process, which runs the sweep as its rule does. What
imports and Snakemake add is in the kills of whole runs.
"""

import contextlib
import functools
import itertools
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sdbench.cases.case import Case
from sdbench.measure.context import SweepContext
from sdbench.measure.sweep import run_sweep
from sdbench.records.record import read_indexed, read_record, record_path
from tests.faults.conftest import write_config
from tests.reliability import Tally
from tests.sweeps import GENERATION, SHORT, make_case
from tests.waiting import children_of, is_running, wait_until

CASES = [
    replace(
        make_case(size, options), generation={**GENERATION, "height": 16, "width": 16, "steps": 1}
    )
    for options, size in (("none", 1), ("none", 2), ("attention-vanilla", 1), ("vae-slicing", 1))
]
"""As little to compute as there can be: a hundred kills want many short runs."""


@dataclass
class Watched:
    """A folder of records, and what is known of those that were seen to be finished."""

    folder: Path
    finished: dict[Path, tuple[int, bytes]] = field(default_factory=dict)
    launches: dict[Path, list[Any]] = field(default_factory=dict)

    def look(self) -> None:
        """Check that every record is whole, that no finished one was touched since, and that no
        launch of another was lost, but for an error that came after it."""
        for path in self.folder.rglob("batch-*.json"):
            record = read_record(path)
            launches = record["launches"] or []
            before = self.launches.get(path, []) if launches else []
            assert launches[: len(before)] == before, f"{path} lost a launch"
            self.launches[path] = launches
            if record["status"] == "ok" and record["complete"]:
                state = path.stat().st_mtime_ns, path.read_bytes()
                assert self.finished.setdefault(path, state) == state, f"{path} was written again"
        assert all(path.exists() for path in self.finished), "a record was lost"


def begin(cases: list[Case], job: SweepContext, log: Path) -> int:
    """Run a sweep in a process of its own; return its number."""
    pid = os.fork()
    if pid:
        return pid
    with contextlib.suppress(BaseException):
        with log.open("a") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        os.setpgid(0, 0)
        run_sweep(cases, job, {})
        os._exit(0)
    os._exit(1)


def has_ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def are_gone(pids: list[int]) -> bool:
    return not any(map(is_running, pids))


def finish(cases: list[Case], job: SweepContext, log: Path, watched: Watched) -> None:
    """Run a sweep undisturbed, and check all that it leaves."""
    assert os.waitstatus_to_exitcode(os.waitpid(begin(cases, job, log), 0)[1]) == 0, log.read_text()
    watched.look()
    indexed = read_indexed(job.folder / "index.json")
    assert [record["case_id"] for _, record in indexed] == [case.id for case in cases]
    assert {record["status"] for _, record in indexed} == {"ok"}
    wanted = job.measuring.launches
    assert [len(record["launches"]) for _, record in indexed] == [wanted] * len(cases)
    assert {*job.folder.rglob("batch-*.json")} == {
        record_path(job.folder, case) for case in cases
    }, "a record is doubled"
    assert not list(job.folder.rglob("*.part"))


def kill_sweeps(kills: int, job: SweepContext, tmp_path: Path, tally: Tally, seed: int) -> None:
    """Kill a job, or the process in it that measures, until that has been done `kills` times.

    Each rerun is killed too, until one gets through; then the next folder is begun.
    """
    chance = random.Random(seed)
    job = replace(job, measuring=replace(SHORT, launches=2))
    log = tmp_path / "log"
    begun = time.monotonic()
    finish(CASES, job, log, Watched(job.folder))
    whole_s = time.monotonic() - begun
    done = 0
    for number in itertools.count():
        own = replace(job, folder=tmp_path / f"records-{number}")
        watched = Watched(own.folder)
        for _ in range(chance.randint(3, 8)):
            pid = begin(CASES, own, log)
            time.sleep(chance.uniform(0, whole_s * 0.8))
            measuring = children_of(pid)
            within = bool(measuring) and chance.random() < 0.3
            if has_ended(pid):
                break  # it was through already
            what = "the process that measures" if within else "a measuring job"
            with tally.fault(f"SIGKILL of {what}"):
                os.kill(measuring[0] if within else pid, signal.SIGKILL)
                if within:
                    # The job goes on, and makes an error of that case.
                    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, log.read_text()
                else:
                    os.waitpid(pid, 0)
                    wait_until(functools.partial(are_gone, measuring))
                watched.look()
            done += 1
            if done == kills:
                break
        finish(CASES, own, log, watched)
        if done == kills:
            return


@pytest.mark.parametrize(
    ("kills", "seed"),
    [(3, 1), *(pytest.param(29, seed, marks=pytest.mark.slow) for seed in range(2, 5))],
)
def test_a_job_that_is_killed_and_killed_again_goes_on_where_it_was(
    kills: int, seed: int, job: SweepContext, tmp_path: Path, tally: Tally
) -> None:
    kill_sweeps(kills, job, tmp_path, tally, seed)


def run_killed(command: list[str], clone: Path, seconds: float) -> bool:
    """Run Snakemake and kill it with all its jobs after a time; tell whether it still ran."""
    with subprocess.Popen(
        command,
        cwd=clone,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            return True
        return False


def wait_until_gone(clone: Path) -> None:
    """Wait until no process is left that works in a folder."""

    def gone() -> bool:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (process / "cwd").resolve() == clone and is_running(int(process.name)):
                    return False
        return True

    wait_until(gone, 60)


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_goes_on_where_it_was(clone: Path, tally: Tally) -> None:
    """Snakemake and its jobs, the real workflow from the model to a table."""
    chance = random.Random(3)
    name = write_config(clone, "results/killed")
    target = "results/killed/tables/results.csv"
    command = ["snakemake", "--cores", "1", "--configfile", name, "--", target]
    watched = Watched(clone / "results/killed/records")
    begun = time.monotonic()
    subprocess.run(command, cwd=clone, check=True, capture_output=True, timeout=1500)
    whole_s = time.monotonic() - begun
    done = 0
    while done < 10:
        (clone / "results/killed").rename(clone / f"results/done-{done}")
        watched.finished.clear()
        watched.launches.clear()
        for _ in range(5):
            if done == 10 or not run_killed(command, clone, chance.uniform(0.05, 0.8) * whole_s):
                break
            done += 1
            with tally.fault("SIGKILL of Snakemake and its jobs"):
                wait_until_gone(clone)
                watched.look()
            subprocess.run(["snakemake", "--unlock"], cwd=clone, check=True, capture_output=True)
        last = subprocess.run(command, cwd=clone, check=False, capture_output=True, timeout=1500)
        assert last.returncode == 0, last.stdout[-3000:] + last.stderr[-3000:]
        watched.look()
        indexes = list((clone / "results/killed/records").rglob("index.json"))
        records = [record for index in indexes for _, record in read_indexed(index)]
        assert [record["status"] for record in records] == ["ok", "ok"]
        files = list((clone / "results/killed/records").rglob("batch-*.json"))
        assert len(files) == len(records)
