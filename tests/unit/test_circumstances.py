"""Throughput, energy, contention and the machine's noise, against doubles of the counters."""

import os
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


@pytest.mark.parametrize("policy", ["warn", "wait", "fail"])
def test_an_idle_device_is_measured_at_once(policy: str) -> None:
    found, slept = watch([IDLE], policy)
    assert found == {**IDLE, "contended": False, "waited_s": 0.0}
    assert slept == []


@pytest.mark.parametrize("look", [BUSY, SHARED])
def test_warn_measures_and_marks(look: dict[str, Any]) -> None:
    found, slept = watch([look], "warn")
    assert found["contended"] is True
    assert slept == []


def test_wait_waits_until_it_is_over() -> None:
    found, slept = watch([BUSY, SHARED, IDLE], "wait")
    assert found["contended"] is False
    assert found["waited_s"] == sum(slept) == 10.0


def test_wait_does_not_wait_for_ever() -> None:
    with pytest.raises(
        contention.ContentionError, match=r"1\.50 cores are busy, after waiting 20 s"
    ):
        watch([BUSY] * 9, "wait")


def test_fail_names_the_process() -> None:
    with pytest.raises(contention.ContentionError, match="process 7 computes on the GPU"):
        watch([SHARED], "fail")


def test_busy_cores_are_read_from_the_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_there_are_never_fewer_than_three_calls(clock: Clock) -> None:
    assert len(measure([None, None], clock, duration_s=0.1)["intervals_s"]) == 3


def test_energy_is_counted_over_all_calls(clock: Clock) -> None:
    assert measure([100.0, 130.0], clock)["energy"] == {"source": "rapl", "energy_j": 30.0}


@pytest.mark.parametrize("joules", [[None, None], [100.0, 3.0], [100.0, None]])
def test_a_counter_that_is_not_there_or_began_again_says_nothing(
    joules: list[float | None], clock: Clock
) -> None:
    assert measure(joules, clock)["energy"] is None


def test_energy_and_cost_are_those_of_an_image() -> None:
    throughput = {"intervals_s": [2.0] * 5, "energy": {"source": "nvml", "energy_j": 400.0}}
    record = make_record(make_case(4), throughput=throughput)
    (row,) = result_rows([record], {"cpu": 3.6}, "EUR")
    assert row["energy_j_per_image"] == 20.0  # 400 J / 5 calls / 4 images
    assert row["cost_per_1000_images"] == pytest.approx(0.5)  # 0.5 s an image, 0.001 a second
    assert row["currency"] == "EUR"


def test_noise_is_the_larger_of_drift_and_spread() -> None:
    record = make_record(make_case())
    steady = noise_row(record, [1.0] * 5, [1.0] * 5)
    assert (steady["drift"], steady["spread"], steady["noise"], steady["n"]) == (0, 0, 0, 10)
    drifting = noise_row(record, [1.0] * 5, [1.2] * 5)
    assert drifting["drift"] == pytest.approx(0.2)
    assert drifting["noise"] == pytest.approx(0.2)
    rough = noise_row(record, [0.5, 1.0, 1.5], [0.5, 1.0, 1.5])
    assert rough["drift"] == 0
    assert rough["noise"] == rough["spread"] > 0.5
    assert "noise" not in noise_row(record, [], [])


class FakeNvml(types.ModuleType):
    """NVML as far as we use it, with one process of ours and one of somebody else."""

    NVMLError = RuntimeError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def __init__(self, ours: int) -> None:
        super().__init__("pynvml")
        self.ours = ours
        self.asked: list[Any] = []

    def nvmlInit(self) -> None:  # noqa: N802
        self.asked.append("init")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked.append(uuid)
        return "handle"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        assert handle == "handle"
        return [
            types.SimpleNamespace(pid=self.ours, usedGpuMemory=5000),
            types.SimpleNamespace(pid=os.getppid(), usedGpuMemory=9),  # which began this process
            types.SimpleNamespace(pid=self.ours + 1, usedGpuMemory=7),
        ]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        return 12_345

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 250_000

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:  # noqa: N802
        raise self.NVMLError("not supported")

    def nvmlDeviceGetClockInfo(self, handle: str, clock: int) -> int:  # noqa: N802
        return {1: 1410, 2: 1593}[clock]

    def nvmlDeviceGetViolationStatus(self, handle: str, policy: int) -> Any:  # noqa: N802
        if policy == 4:
            raise self.NVMLError("not supported")
        return types.SimpleNamespace(violationTime={0: 1_500_000_000, 1: 0}[policy])

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return 4


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
    assert set(fake.asked) == {"init", "GPU-abc"}
