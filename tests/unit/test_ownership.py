"""The job that began last may write, and the one before it no more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdbench.runtime.ownership import TakenOver, claim
from tests.conftest import ROOT


def test_the_last_claim_holds_and_the_one_before_does_not(tmp_path: Path) -> None:
    first = claim(tmp_path / "owner")
    first.assert_held()
    second = claim(tmp_path / "owner")
    second.assert_held()
    with pytest.raises(TakenOver, match="another job has taken over"):
        first.assert_held()
    # What makes a failed case of every exception must not make one of this.
    assert not issubclass(TakenOver, Exception)


TAKEN_OVER = """
import threading
from pathlib import Path
from sdbench.runtime.job import logged
from sdbench.runtime.ownership import claim

with logged("log", ["index"]):
    orphan = claim(Path("owner"))
    print("the orphan begins", flush=True)
    with logged("log"):
        successor = claim(Path("owner"))
        print("the successor", flush=True)
        threading.Timer(2, lambda: Path("index").write_text("the successor's")).start()
    orphan.assert_held()
    print("the orphan goes on")
print("no failure, and", Path("index").read_text())
"""


def test_a_job_that_was_taken_over_ends_with_one_line_and_no_failure(tmp_path: Path) -> None:
    """It ends when its output is there: its Snakemake would call a job failed that left none, and
    remove what its successor writes then."""
    command = [sys.executable, "-c", TAKEN_OVER]
    path = {"PYTHONPATH": str(ROOT / "scripts")}
    run = subprocess.run(
        command, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    lines = [*run.stdout.splitlines(), *run.stderr.splitlines()]
    assert [line for line in lines if line.startswith("another job has taken over")]
    assert "the orphan goes on" not in lines
    assert "no failure, and the successor's" in lines
    # And it did not write into the log of its successor.
    assert (tmp_path / "log").read_text() == "the successor\n"
