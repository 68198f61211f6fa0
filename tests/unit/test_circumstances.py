"""Throughput, energy, contention and the machine's noise, against doubles of the counters."""

import functools
import math
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdbench.cases.measuring import Watching
from sdbench.devices import machine, nvml
from sdbench.devices.energy import Counter, rapl_energy_j
from sdbench.measure import contention
from sdbench.measure.throughput import measure_throughput
from sdbench.tables.rows import noise_row, result_rows
from tests.unit.clock import Clock
from tests.unit.records_factory import make_case, make_record

IDLE: dict[str, Any] = {"busy_cores": 0.1, "gpu_processes": []}
BUSY: dict[str, Any] = {"busy_cores": 1.5, "gpu_processes": []}
SHARED: dict[str, Any] = {"busy_cores": 0.1, "gpu_processes": [{"pid": 7, "bytes": 1}]}


def watch(looks: list[dict[str, Any]], policy: str) -> tuple[dict[str, Any], list[float]]:
    slept: list[float] = []
    seen: Iterator[dict[str, Any]] = iter(looks)
    watching = Watching(policy, max_busy_cores=0.25, contention_wait_s=20)
    return contention.watch(lambda: next(seen), watching, slept.append), slept


@pytest.mark.parametrize(
    ("looks", "policy", "contended", "waited_s"),
    [
        *(([IDLE], policy, False, 0.0) for policy in ("warn", "wait", "fail")),
        ([BUSY], "warn", True, 0.0),
        ([SHARED], "warn", True, 0.0),
        ([BUSY, SHARED, IDLE], "wait", False, 10.0),
    ],
)
def test_a_device_in_use_is_marked_or_waited_for(
    looks: list[dict[str, Any]], policy: str, contended: bool, waited_s: float
) -> None:
    found, slept = watch(looks, policy)
    assert found == {**looks[-1], "contended": contended, "waited_s": waited_s}
    assert sum(slept) == waited_s


@pytest.mark.parametrize(
    ("looks", "policy", "said"),
    [
        ([BUSY] * 9, "wait", "1.50 cores are busy, after waiting 20 s"),
        ([SHARED], "fail", "process 7 computes on the GPU"),
    ],
)
def test_one_that_stays_in_use_is_an_error(
    looks: list[dict[str, Any]], policy: str, said: str
) -> None:
    with pytest.raises(contention.ContentionError, match=re.escape(said)):
        watch(looks, policy)


def test_busy_cores_are_read_from_ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    cores = "cpu0 0 0 0 0\ncpu1 0 0 0 0\nintr 1 2\n"
    stat.write_text(f"cpu 100 0 50 800 50 0 0 0 0 0\n{cores}")

    def sleep(_: float) -> None:
        # 60 of 200 ticks busy (user 40, system 20), 140 idle or waiting for a disk, on two cores.
        stat.write_text(f"cpu 140 0 70 920 70 0 0 0 0 0\n{cores}")

    monkeypatch.setattr("time.sleep", sleep)
    assert machine.busy_cores(0.5, stat) == pytest.approx(2 * 60 / 200)
    assert machine.busy_cores(0.5, tmp_path / "none") is None


def test_rapl_adds_the_packages_and_not_their_parts(tmp_path: Path) -> None:
    for zone, name, micro in (
        ("intel-rapl:0", "package-0", 3_000_000),
        ("intel-rapl:1", "package-1", 4_000_000),
        ("intel-rapl:0:0", "core", 2_000_000),
    ):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text(f"{micro}\n")
    assert rapl_energy_j(tmp_path) == 7.0
    assert rapl_energy_j(tmp_path / "none") is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, call_s=0.4, sync_s=0.1)


def measure(joules: list[float | None], clock: Clock, duration_s: float = 1.5) -> dict[str, Any]:
    counter = Counter("rapl", iter(joules).__next__)
    return measure_throughput(clock.call, clock.synchronize, counter, duration_s)


def test_calls_are_made_back_to_back_until_they_took_long_enough(clock: Clock) -> None:
    found = measure([None, None], clock)
    # Nothing is synchronised between two calls; what the last one leaves behind is its own.
    assert found["intervals_s"] == pytest.approx([0.4, 0.4, 0.4, 0.5])
    assert clock.collecting == [True] * 4
    # There is always one.
    assert len(measure([None, None], clock, duration_s=0.1)["intervals_s"]) == 1


@pytest.mark.parametrize("joules", [[100.0, 130.0], [None, None], [100.0, 3.0], [100.0, None]])
def test_energy_is_counted_over_all_calls(joules: list[float | None], clock: Clock) -> None:
    """A counter that is not there, or began again, says nothing."""
    counted = {"source": "rapl", "energy_j": 30.0} if joules[1] == 130 else None
    assert measure(joules, clock)["energy"] == counted


def test_energy_and_cost_are_those_of_an_image() -> None:
    throughput = {"intervals_s": [2.0] * 5, "energy": {"source": "nvml", "energy_j": 400.0}}
    record = make_record(make_case(4), throughput=throughput)
    (row,) = result_rows([record], {"cpu": 3.6}, "EUR", 0.02, {"cpu": None})
    assert row["energy_j_per_image"] == 20.0  # 400 J / 5 calls / 4 images
    assert row["cost_per_1000_images"] == pytest.approx(0.5)  # 0.5 s an image, 0.001 a second
    assert row["currency"] == "EUR"


def test_noise_is_what_differs_between_blocks() -> None:
    record = make_record(make_case())
    steady = noise_row(record, [[1.0, 1.0, 3.0], [1.0, 1.0, 5.0]])
    assert (steady["noise"], steady["n"], steady["reference_s"]) == (0, 2, 1.0)
    rough = noise_row(record, [[1.0], [1.1], [1.21]])
    assert rough["noise"] == pytest.approx(math.log(1.1))
    assert rough["reference_s"] == pytest.approx(1.1)
    assert noise_row(record, [[1.0]])["noise"] is None
    assert "noise" not in noise_row(record, [[]])


class FakeNvml(types.ModuleType):
    """NVML as far as we use it, with one process of ours and one of somebody else."""

    NVMLError = RuntimeError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, ours: int) -> None:
        super().__init__("pynvml")
        self.asked: set[Any] = set()
        # The second is what began this process.
        processes = {ours: 5000, os.getppid(): 9, ours + 1: 7}
        answers = {
            "ComputeRunningProcesses": [
                types.SimpleNamespace(pid=pid, usedGpuMemory=size)
                for pid, size in processes.items()
            ],
            "TotalEnergyConsumption": 12_345,
            "PowerUsage": 250_000,
            "ClockInfo": {1: 1410, 2: 1593},
            "Temperature": {},
            "ViolationStatus": {
                policy: types.SimpleNamespace(violationTime=time)
                for policy, time in ((0, 1_500_000_000), (1, 0))
            },
            "CurrentClocksThrottleReasons": 4,
        }
        self.nvmlInit = lambda: self.asked.add("init")
        for name, answer in answers.items():
            setattr(self, f"nvmlDeviceGet{name}", functools.partial(self.answer, answer))

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.add(uuid)
        return "handle"

    def answer(self, answer: Any, handle: str, *key: int) -> Any:
        assert handle == "handle"
        if not key:
            return answer
        if key[0] not in answer:
            raise self.NVMLError("not supported")
        return answer[key[0]]


def test_the_driver_is_asked_for_one_gpu_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(os.getpid())
    monkeypatch.setattr(nvml, "pynvml", fake)
    assert nvml.process_bytes("GPU-abc") == 5000
    assert nvml.foreign_processes("GPU-abc") == [{"pid": os.getpid() + 1, "bytes": 7}]
    assert nvml.total_energy_j("GPU-abc") == 12.345
    assert nvml.gpu_state("GPU-abc") == {
        "sm_clock_mhz": 1410,
        "memory_clock_mhz": 1593,
        "temperature_c": None,  # this GPU does not say
        "power_w": 250.0,
        "throttle_reasons": 4,
        "throttled_power_s": 1.5,
        "throttled_thermal_s": 0.0,
        "throttled_reliability_s": None,
    }
    assert fake.asked == {"init", "GPU-abc"}
