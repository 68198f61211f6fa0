"""What goes wrong on a cluster, for real: nothing finished is lost, nothing half-written is taken
for whole, and an orphan does not write over its successor's records.

Starting a job takes longer than measuring the tiny model, so that one run suffers several faults.
"""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from sdbench.records.record import read_indexed
from sdbench.runtime.ownership import OWNER
from tests.conftest import ROOT
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import INDEX, START, Workflow
from tests.waiting import wait_until


def wait_for_records(
    workflow: Workflow, snakemake: subprocess.Popen[bytes], count: int
) -> tuple[str, dict[str, str]]:
    """Wait for so many records, and return the job that measures: its id and what SLURM knows."""

    def enough() -> bool:
        assert snakemake.poll() is None, workflow.said()
        return len(workflow.records()) >= count

    wait_until(enough, 180, f"{count} records")
    ((job, known),) = workflow.cluster.jobs("RUNNING").items()
    return job, known


def wait_for_end(cluster: Cluster, job: str, state: str) -> None:
    """Wait until a job has ended, and check how."""
    wait_until(lambda: job not in cluster.jobs(), 60, f"job {job} has ended")
    assert cluster.jobs("all")[job]["state"] == state


def check_all_there(workflow: Workflow, count: int, finished: dict[str, bytes]) -> None:
    """Check that every case has its record, and that those which were there before are the same."""
    records = read_indexed(workflow.folder / INDEX)
    assert [record["status"] for _, record in records] == ["ok"] * count
    assert 0 < len(finished) < count
    after = workflow.records()
    assert {name: after[name] for name in finished} == finished


def measuring(cluster: Cluster, job: str) -> list[int]:
    """Return the processes of a job's script that are there, whatever SLURM knows of them."""
    found = []
    own = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_CONF={cluster.folder}/slurm.conf".encode()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if own <= set(variables) and b"measure_sweep.py" in command:
            found.append(int(process.name))
    return found


def signal_all(processes: list[int], what: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, what)


@pytest.mark.slow
def test_a_job_that_is_cancelled_and_then_killed_for_memory(tiny: Workflow) -> None:
    # Enough memory at first, then too little to import PyTorch in, then enough again.
    memory = "measure_sweep:mem_mb=300 if attempt == 2 else 6000"
    snakemake = tiny.start([*START, "--set-resources", memory])
    first, _ = wait_for_records(tiny, snakemake, 1)
    tiny.cluster.run("scancel", first)
    wait_for_end(tiny.cluster, first, "CANCELLED")
    finished = tiny.records()
    assert tiny.finish(snakemake) == 0, tiny.said()
    jobs = tiny.cluster.jobs("all")
    second, third = sorted((id_ for id_ in jobs if int(id_) > int(first)), key=int)
    # Without control groups SLURM calls a job whose step was killed for memory a failed one.
    assert jobs[second]["state"] == "FAILED"
    assert f"StepId={second}.0 exceeded memory limit" in tiny.cluster.log_of(jobs[second]["node"])
    assert jobs[third]["state"] == "COMPLETED"
    check_all_there(tiny, 4, finished)


def test_a_job_past_its_time_limit_and_then_a_node_that_goes_down(tiny: Workflow) -> None:
    """Each job is frozen once it has a record: the next one finds cases to measure, however long
    SLURM takes to miss a job."""
    cluster = tiny.cluster
    snakemake = tiny.start()
    first, known = wait_for_records(tiny, snakemake, 1)
    signal_all(measuring(cluster, first), signal.SIGSTOP)
    assert (known["memory"], known["limit"]) == ("7000M", "4:00:00")
    cluster.run("scontrol", "update", f"JobId={first}", "EndTime=now")
    wait_for_end(cluster, first, "TIMEOUT")
    finished = tiny.records()

    second, known = wait_for_records(tiny, snakemake, len(finished) + 1)
    orphan = measuring(cluster, second)
    signal_all(orphan, signal.SIGSTOP)
    assert (known["memory"], known["limit"]) == ("14000M", "8:00:00")
    cluster.kill_node(known["node"])
    wait_for_end(cluster, second, "NODE_FAIL")
    finished = tiny.records()

    # The third job runs on another node. The second goes on in the middle of it, and is too late.
    third, _ = wait_for_records(tiny, snakemake, len(finished) + 1)
    signal_all(orphan, signal.SIGCONT)
    assert tiny.finish(snakemake) == 0, tiny.said()
    check_all_there(tiny, 4, finished)
    wait_until(lambda: not measuring(cluster, second), 60, "the orphan has ended")
    by_job: dict[str, list[Path]] = {}
    for path, record in read_indexed(tiny.folder / INDEX):
        by_job.setdefault(record["environment"]["slurm_job"], []).append(path)
    assert by_job.keys() == {first, second, third}
    claimed = (tiny.folder / INDEX).with_name(OWNER).stat().st_mtime
    assert all(path.stat().st_mtime < claimed for path in by_job[second])
    cluster.start_node(known["node"])
    cluster.wait_for_nodes()


@pytest.mark.slow
def test_snakemake_that_is_interrupted_and_then_killed(tiny: Workflow) -> None:
    """The second of these leaves a job behind; docs/slurm.md says what to do."""
    cluster = tiny.cluster
    # Interrupted while it asks for its jobs, the plugin cancels none: so it asks seldom here.
    snakemake = tiny.start(["env", "PAUSE_S=30", *START])
    first, _ = wait_for_records(tiny, snakemake, 1)
    snakemake.send_signal(signal.SIGINT)
    assert tiny.finish(snakemake) != 0
    wait_for_end(cluster, first, "CANCELLED")
    finished = tiny.records()

    snakemake = tiny.start()
    second, _ = wait_for_records(tiny, snakemake, len(finished) + 1)
    snakemake.kill()
    snakemake.wait(timeout=10)
    assert second in cluster.jobs("RUNNING")
    finished = tiny.records()
    (recipe,) = re.findall("```sh\n(.*?)```", (ROOT / "docs/slurm.md").read_text(), re.S)
    assert tiny.finish(tiny.start(["bash", "-ec", recipe])) == 0, tiny.said()
    assert cluster.jobs("all")[second]["state"] == "CANCELLED"
    check_all_there(tiny, 4, finished)
