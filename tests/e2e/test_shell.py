"""What the shell of whoever runs it does to a job: nothing, or it says so."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdbench.devices.resident import field
from sdbench.measure.memory import memory_limit
from sdbench.runtime.processes import run_in_subprocess
from tests.conftest import run_python

JOB = """
import os, sys, types
before = os.sched_getaffinity(0)
sys.argv, log = sys.argv[:1], sys.argv[1]
snakemake = types.SimpleNamespace(log=[log])
import sdbench
import torch
from sdbench.runtime.environment import done_without, variables
from sdbench.runtime.job import logged
from sdbench.runtime.progress import say
with logged(log):
    say("gr\u00f6\u00dfer \u2026")
assert os.sched_getaffinity(0) == before
print(*sorted(done_without))
print(*variables())
"""


def test_a_job_does_without_what_the_config_decides(tmp_path: Path) -> None:
    """Above all what binds it to one core when PyTorch is imported."""
    decided = {
        "GOMP_CPU_AFFINITY": "0",
        "KMP_AFFINITY": "compact",
        "NVIDIA_TF32_OVERRIDE": "1",
        "OMP_PROC_BIND": "true",
        "OMP_THREAD_LIMIT": "1",
        "ONEDNN_DEFAULT_FPMATH_MODE": "ANY",
        "TORCHDYNAMO_DISABLE": "1",
        "USE_TF": "1",
    }
    done = run_python(
        JOB, tmp_path / "log", **decided, OMP_WAIT_POLICY="passive", PYTHONIOENCODING="ascii"
    )
    without, with_ = done.stdout.splitlines()
    assert without.split() == sorted(decided), done.stderr
    assert "OMP_WAIT_POLICY" in with_.split()
    assert not set(decided) & set(with_.split())
    said = (tmp_path / "log").read_text("utf-8")
    assert said.startswith("> jobs do without ") and "OMP_PROC_BIND=true" in said
    assert said.endswith("> größer …\n")


def _limited(send: Callable[[Any], None], hard: bool) -> None:
    mapped = field("self/status", "VmData")
    assert mapped
    resource.setrlimit(resource.RLIMIT_DATA, (mapped + 10**6, mapped + 10**6 * (1 if hard else 9)))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with memory_limit(10**12):
        inside = resource.getrlimit(resource.RLIMIT_DATA)
    send((before, inside, resource.getrlimit(resource.RLIMIT_DATA)))


@pytest.mark.parametrize("hard", [True, False])
def test_the_limit_on_memory_is_never_above_that_of_the_shell(hard: bool) -> None:
    """`ulimit -d`, of both limits or the soft one."""
    ((before, inside, after),) = run_in_subprocess(_limited, hard)
    assert inside == before == after
