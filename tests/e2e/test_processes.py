"""Work in a process of its own, which ends with its job."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.waiting import is_running, wait_until

STOPPED = """
import os, sys, time
from sdbench.runtime.job import logged
from sdbench.runtime.processes import run_in_subprocess

def work(send):
    print("worker", os.getpid(), flush=True)
    time.sleep(60)

with logged(sys.argv[1]):
    run_in_subprocess(work)
"""


SPAWNED = """
import sys
from sdbench.runtime import processes
from sdbench.runtime.job import logged

processes.START = "spawn"

def work(send):
    send("done apart")

def make(word):
    return lambda question: f"{word} {question}"

if __name__ == "__main__":
    with logged(sys.argv[1]):
        print(*processes.run_in_subprocess(work), flush=True)
        with processes.WorkerProcess(make, "asked") as partner:
            print(partner.ask("apart"), flush=True)
"""


FORKED = """
import gc, sys
from sdbench.runtime.job import logged
from sdbench.runtime.processes import run_in_subprocess

class Node:
    pass

kept = [Node() for _ in range(1000)]

def work(send):
    own = Node()
    send(sum(isinstance(each, Node) for each in gc.get_objects()))

with logged(sys.argv[1]):
    (found,) = run_in_subprocess(work)
    print("looked through", found, flush=True)
"""


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))


def test_a_job_ends_whose_processes_are_no_forks(tmp_path: Path) -> None:
    """Python keeps a process next to those that it spawns, which holds what it inherits."""
    log, script = tmp_path / "log", tmp_path / "job.py"
    script.write_text(SPAWNED)
    subprocess.run([sys.executable, script, log], check=True, timeout=60)
    assert log.read_text() == "done apart\nasked apart\n"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_job_leaves_no_process_behind(sign: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM, as a scheduler sends it, and SIGKILL, which nobody can catch."""
    log = tmp_path / "log"
    command = [sys.executable, "-c", STOPPED, str(log)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as job:
        wait_until(lambda: log.exists() and "worker" in log.read_text())
        worker = int(log.read_text().split()[1])
        job.send_signal(sign)
        job.wait(timeout=20)
    wait_until(lambda: not is_running(worker))


def test_a_fork_collects_its_own_garbage_alone(tmp_path: Path) -> None:
    """A collection that looks through all that was imported copies the pages of it."""
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", FORKED, log], check=True)
    assert log.read_text().splitlines() == ["looked through 1"]
