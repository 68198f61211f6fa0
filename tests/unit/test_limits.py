"""What affinity, container and shell leave of a machine, and what records say of it."""

import getpass
import os
import sys
from pathlib import Path
from site import getusersitepackages
from types import SimpleNamespace
from typing import Any

import pytest

from sdbench.cases.case import Device
from sdbench.devices import limits, machine
from sdbench.runtime import environment

GB = 10**9
NO_LIMIT = "9223372036854771712"
GROUPS = {
    "version 2, in a container": (
        "0::/\n",
        {
            "cpu.max": "100000 100000",
            "cpu.stat": "usage_usec 5\nthrottled_usec 2500000",
            "memory.max": f"{4 * GB}",
            "memory.current": f"{3 * GB}",
            "memory.stat": f"anon 7\ninactive_file {GB}",
        },
        (1.0, 4 * GB, 2 * GB, 2.5),
    ),
    "version 2, below what limits it": (
        "0::/user.slice/job\n",
        {
            "user.slice/cpu.max": "150000 100000",
            "user.slice/memory.max": f"{2 * GB}",
            "user.slice/job/cpu.max": "max 100000",
            "user.slice/job/memory.max": f"{3 * GB}",
            "user.slice/job/memory.current": f"{GB}",
        },
        (1.5, 2 * GB, 2 * GB, 0.0),
    ),
    "version 1": (
        "9:name=systemd:/\n4:memory:/docker/ab\n2:cpuacct,cpu:/docker/ab\n0::/\n",
        {
            "cpu/docker/ab/cpu.cfs_quota_us": "50000",
            "cpu/docker/ab/cpu.cfs_period_us": "100000",
            "cpu/docker/ab/cpu.stat": "nr_throttled 3\nthrottled_time 1500000000",
            "cpu/cpu.cfs_quota_us": "-1",
            "memory/docker/ab/memory.limit_in_bytes": f"{2 * GB}",
            "memory/docker/ab/memory.usage_in_bytes": f"{GB}",
            "memory/memory.limit_in_bytes": NO_LIMIT,
        },
        (0.5, 2 * GB, GB, 1.5),
    ),
    "version 1, in a container": (
        "4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n",
        {
            "cpu/cpu.cfs_quota_us": "200000",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": f"{2 * GB}",
        },
        (2.0, 2 * GB, 2 * GB, 0.0),
    ),
    "no limits": (
        "4:memory:/\n2:cpu:/\n0::/\n",
        {
            "cpu/cpu.cfs_quota_us": "-1",
            "cpu/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": NO_LIMIT,
            "memory.max": "max",
            "cpu.max": "max 100000",
        },
        (None, None, None, 0.0),
    ),
}
"""What says which groups are the process's, the files of the groups, and what follows of them:
processors, bytes, bytes that are left, seconds in which it was held back."""


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(limits, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 7}, raising=False)

    def make(name: str) -> tuple[Any, ...]:
        own, files, expected = GROUPS[name]
        limits.OWN.write_text(own)
        for file, text in files.items():
            (limits.CGROUPS / file).parent.mkdir(parents=True, exist_ok=True)
            (limits.CGROUPS / file).write_text(f"{text}\n")
        return expected

    return make


@pytest.mark.parametrize("name", GROUPS)
def test_a_container_bounds_threads_and_memory(name: str, container: Any) -> None:
    quota, memory, left, throttled = container(name)
    assert limits.cpu_quota() == quota
    assert limits.usable_cores() == (5 if quota is None else max(1, int(quota)))
    assert (limits.memory_limit_bytes(), limits.memory_left_bytes()) == (memory, left)
    assert limits.throttled_s() == throttled
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    budget = machine.budget_bytes(Device("cpu"))
    assert budget == min(memory or installed, installed) // 2
    found = machine.describe_machine(Device("cpu"))
    assert found["limits"] | {"memory_bytes": memory, "cpu_quota": quota} == found["limits"]
    assert (found["limits"]["affinity"], found["cpu"]["memory_bytes"]) == ("0-3,7", installed)


def test_what_may_change_a_number_makes_records_of_its_own(
    container: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container("no limits")

    def seen() -> dict[str, Any]:
        return machine.identify_machine(Device("cpu"))

    before = seen()
    # None of these: where something lies, a secret, what Snakemake sets, other cores of the same.
    for name in ("TORCH_HOME", "HF_TOKEN", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "OMPI_X"):
        monkeypatch.setenv(name, "1")
    with monkeypatch.context() as bound:
        bound.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 4})
        assert seen() | {"cores_physical": before["cores_physical"]} == before
    for name in (
        *("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"),
        *("ATEN_CPU_CAPABILITY", "TORCHINDUCTOR_FREEZING", "PYTORCH_CUDA_ALLOC_CONF", "OV_CPU_X"),
        *("ORT_ARENA_ALLOCATOR", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD", "PYTHONPATH"),
        *("LD_LIBRARY_PATH", "CUBLAS_WORKSPACE_CONFIG", "DIFFUSERS_GGUF_CUDA_KERNELS"),
    ):
        with monkeypatch.context() as shell:
            shell.setenv(name, "1")
            assert seen()["variables"][name] == "1"
            assert seen() != before, name
    for file, text in (("NUMA_MAPS", "55cb bind:0 anon=1"), ("HUGE_PAGES", "[always] madvise")):
        with monkeypatch.context() as kernel:
            kernel.setattr(limits, file, tmp_path / file)
            (tmp_path / file).write_text(text)
            assert set(seen()["limits"].values()) & {"bind:0", "always"}
            assert seen() != before
    container("version 2, in a container")
    contained = seen()
    assert contained != before
    # A cluster gives more memory when a job is tried again: what it finished is kept.
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    given = seen()
    (limits.CGROUPS / "memory.max").write_text(f"{8 * GB}\n")
    assert seen() == given
    monkeypatch.delenv("SLURM_JOB_ID")
    assert seen() != contained


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `docker run --user 12345` has it: Snakemake asks for the name, and ends without one."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    environment.name_user()
    assert getpass.getuser() == f"uid{os.getuid()}"


@pytest.mark.parametrize("is_there_too", [True, False])
def test_what_the_user_installed_is_hidden_from_condas_environments(
    is_there_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONNOUSERSITE", "")
    file = f"{getusersitepackages() if is_there_too else '/opt'}/snakemake/__init__.py"
    monkeypatch.setitem(sys.modules, "snakemake", SimpleNamespace(__file__=file))
    environment.leave_out_user_site()
    assert os.environ["PYTHONNOUSERSITE"] == ("" if is_there_too else "1")


def test_allocators_and_runtimes_are_known_by_what_is_loaded(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    lines = (
        "libgomp-a34b3233.so.1",
        "libc.so.6",
        "with space/libiomp5.so",
        "libtcmalloc_minimal.so.4",
    )
    maps.write_text("".join(f"7f-7f r-xp 0 08:01 9    /usr/lib/{line}\n" for line in lines))
    assert environment.preloaded(maps) == [
        "libgomp.so.1",
        "libiomp5.so",
        "libtcmalloc_minimal.so.4",
    ]
    assert environment.preloaded(tmp_path / "none") == []
