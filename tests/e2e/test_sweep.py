"""The measuring itself, on the tiny model: failures are rows, and none takes the others along."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdbench import backends, machine, measurement, nvml, platforms, processes, search
from sdbench.backends.engine import Engine, Images, check_images, load_scheduler
from sdbench.cases import Case, Variant
from sdbench.errors import UnsupportedError
from sdbench.measurement import Loaded, Sweep, refuse_misfit
from sdbench.meters import memory, resident
from sdbench.meters.memory import TooSmallError
from sdbench.meters.phases import time_phases
from sdbench.models.weights import weight_bytes
from sdbench.ownership import OWNER, TakenOver, claim
from sdbench.processes import run_apart
from sdbench.records import Record, read_indexed, read_record, record_path
from sdbench.sweep import run_sweep
from tests.conftest import ROOT
from tests.sweeps import MEASURING, make_job

GENERATION = {
    "prompt": "a red circle",
    "steps": 3,
    "scheduler": "pndm",
    "guidance": 4.0,
    "height": 64,
    "width": 64,
    "seed": 0,
}


Measure = Callable[..., dict[str, Any]]


def make_case(
    batch_size: int = 1, options: str = "none", precision: str = "fp32", **device: Any
) -> Case:
    variant = Variant("tiny", "cpu", "pytorch", precision, options)
    settings = {"kind": "cpu", "index": 0, "threads": 1, "memory_budget_gb": 0, "gpu_model": ""}
    return Case(variant, batch_size, GENERATION, settings | device)


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Sweep:
    return make_job(tmp_path, model, MEASURING)


def indexed(job: Sweep) -> list[Record]:
    return [record for _, record in read_indexed(job.folder / "index.json")]


def statuses(job: Sweep) -> list[str]:
    return [record["status"] for record in indexed(job)]


def resident_now() -> int:
    found = resident.resident_bytes()
    assert found is not None
    return found


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_case_leaves_a_record(job: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: True)  # emulated, if need be
    run_sweep([make_case(1), make_case(2), make_case(1, "autocast")], job, {})
    records = indexed(job)
    assert [r["status"] for r in records] == ["ok"] * 3
    assert [len(r["latency"]["samples_s"]) for r in records] == [3] * 3
    assert [len(r["latency"]["warmup_s"]) for r in records] == [1] * 3
    # PNDM evaluates the UNet once more than there are steps, and says so.
    assert {phase["denoiser_evaluations"] for r in records for phase in r["phases"]} == {4}
    switches = [r["environment"]["switches"] for r in records]
    assert [s["autocast_dtype"] for s in switches] == [None, None, "bfloat16"]
    assert {s["fp32_precision_matmul"] for s in switches} == {"ieee"}


def test_what_holds_is_kept(job: Sweep) -> None:
    run_sweep([make_case(1)], job, {})
    path = record_path(job.folder, make_case(1))
    before = path.stat().st_mtime_ns
    run_sweep([make_case(1), make_case(2)], job, {})
    assert path.stat().st_mtime_ns == before
    assert statuses(job) == ["ok", "ok"]


def test_a_budget_that_is_too_small_is_out_of_memory(job: Sweep) -> None:
    """A real limit on the process: the larger batches are rows without numbers, and not tried."""
    budget = (resident_now() + 60e6) / 1e9
    cases = [make_case(n, memory_budget_gb=budget) for n in (1, 512, 1024)]
    run_sweep(cases, job, {})
    records = indexed(job)
    assert [r["status"] for r in records] == ["ok", "oom", "oom"]
    assert records[1]["reason"].startswith("out of memory")
    assert records[2]["reason"] == "not tried: a batch of 512 did not fit"
    assert records[1]["latency"] is None


def test_the_largest_batch_runs_and_is_found_again(job: Sweep) -> None:
    """The limit of the process is real: the answer was measured, and the next one up failed."""
    budget = (resident_now() + 60e6) / 1e9
    cases = [make_case(n, memory_budget_gb=budget) for n in (2, 4, 8)]
    run_sweep(cases, job, {cases[0].variant: 2048})
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    assert found["reason"] is None
    largest = found["largest_batch"]
    tried = {p["batch_size"]: p["fits"] for p in found["probes"]}
    assert 8 < largest < 2048
    last = indexed(job)[-1]
    assert (last["case"]["batch_size"], last["status"]) == (largest, "ok")
    next_up = record_path(job.folder, replace(cases[0], batch_size=largest + 1))
    assert tried.get(largest + 1) is False or read_record(next_up)["status"] == "oom"
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")}
    run_sweep(cases, job, {cases[0].variant: 2048})
    assert {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")} == before


def test_a_search_that_breaks_keeps_what_is_known_and_is_tried_again(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(1), make_case(2)]

    def break_down(*_: Any) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(search, "_probe", break_down)
    run_sweep(cases, job, {cases[0].variant: 5})
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    assert found["largest_batch"] == 2
    assert "ended early" in found["reason"]
    monkeypatch.undo()
    run_sweep(cases, job, {cases[0].variant: 5})
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    assert (found["largest_batch"], found["reason"]) == (5, None)


def test_noise_is_there_after_an_interruption(job: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sdbench.sweep.write_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_sweep([make_case(1)], job, {})
    (job.folder / "reference.json").unlink()
    monkeypatch.undo()
    run_sweep([make_case(1)], job, {})
    timed = json.loads((job.folder / "reference.json").read_text())
    assert len(timed["start_s"]) == len(timed["end_s"]) == 15


STOPPED = """
import os, sys, time
sys.path.insert(0, {scripts!r})
from sdbench.job import logged
from sdbench.processes import run_apart

def work(send):
    print("worker", os.getpid(), flush=True)
    time.sleep(60)

with logged({log!r}):
    run_apart(work)
"""


SPAWNED = """
import sys
sys.path.insert(0, {scripts!r})
from sdbench import processes
from sdbench.job import logged

processes.START = "spawn"

def work(send):
    send("done apart")

if __name__ == "__main__":
    with logged({log!r}):
        print(*processes.run_apart(work), flush=True)
"""


def test_a_job_ends_whose_processes_are_no_forks(tmp_path: Path) -> None:
    """Python keeps a process beside those that it spawns, which holds what it inherits."""
    log, script = tmp_path / "log", tmp_path / "job.py"
    script.write_text(SPAWNED.format(scripts=str(ROOT / "scripts"), log=str(log)))
    subprocess.run([sys.executable, script], check=True, timeout=60)
    assert log.read_text() == "done apart\n"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_job_leaves_no_process_behind(sign: signal.Signals, tmp_path: Path) -> None:
    """SIGTERM, as a scheduler sends it, and SIGKILL, which nobody can catch."""
    log = tmp_path / "log"
    script = STOPPED.format(scripts=str(ROOT / "scripts"), log=str(log))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL) as job:
        wait_for(lambda: log.exists() and "worker" in log.read_text())
        worker = int(log.read_text().split()[1])
        job.send_signal(sign)
        job.wait(timeout=20)
    wait_for(lambda: not is_running(worker))


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_cap_of_a_search_is_measured(job: Sweep) -> None:
    run_sweep([make_case(1), make_case(2)], job, {make_case().variant: 5})
    assert [r["case"]["batch_size"] for r in indexed(job)] == [1, 2, 5]
    (found,) = json.loads((job.folder / "index.json").read_text())["largest"]
    (probe,) = found["probes"]
    assert (probe["batch_size"], probe["fits"]) == (5, True)


def test_a_missing_device_is_unsupported(job: Sweep) -> None:
    if torch.cuda.device_count() > 90:
        pytest.fail("a machine with more than 90 GPUs?")
    case = make_case(kind="cuda", index=99)
    run_sweep([case], job, {})
    (record,) = indexed(job)
    assert record["status"] == "unsupported"
    assert "CUDA device 99" in record["reason"]


def test_another_gpu_than_promised_is_an_error_with_both_names(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA GeForce RTX 3090")
    run_sweep([make_case(kind="cuda", gpu_model="a100")], job, {})
    (record,) = indexed(job)
    assert record["status"] == "error"
    assert record["latency"] is None
    assert "'a100'" in record["reason"]
    assert "'NVIDIA GeForce RTX 3090'" in record["reason"]


def test_a_sweep_that_was_taken_over_writes_nothing_more(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure: Measure = measurement._measure

    def be_overtaken_at_two(loaded: Loaded, case: Case, *args: Any) -> dict[str, Any]:
        measured = measure(loaded, case, *args)
        if case.batch_size == 2:
            claim(job.folder / OWNER)  # what a second job does first
            (job.folder / "index.json").write_text("the successor's")
        return measured

    monkeypatch.setattr(measurement, "_measure", be_overtaken_at_two)
    with pytest.raises(TakenOver):
        run_sweep([make_case(1), make_case(2), make_case(3)], job, {})
    assert read_record(record_path(job.folder, make_case(1)))["status"] == "ok"
    assert not record_path(job.folder, make_case(2)).exists()
    assert not record_path(job.folder, make_case(3)).exists()
    assert (job.folder / "index.json").read_text() == "the successor's"


def test_an_error_is_a_row_and_the_next_case_goes_on(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure: Measure = measurement._measure

    def fail_at_two(loaded: Loaded, case: Case, *args: Any) -> dict[str, Any]:
        if case.batch_size == 2:
            raise RuntimeError("it broke")
        return measure(loaded, case, *args)

    monkeypatch.setattr(measurement, "_measure", fail_at_two)
    run_sweep([make_case(1), make_case(2), make_case(3)], job, {})
    assert statuses(job) == ["ok", "error", "ok"]
    assert indexed(job)[1]["reason"] == "RuntimeError: it broke"
    monkeypatch.undo()
    run_sweep([make_case(1), make_case(2), make_case(3)], job, {})  # an error is tried again
    assert statuses(job) == ["ok", "ok", "ok"]


def test_a_crash_is_a_row_and_the_other_cases_go_on(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure: Measure = measurement._measure

    def die_at_two(loaded: Loaded, case: Case, *args: Any) -> dict[str, Any]:
        if case.batch_size == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return measure(loaded, case, *args)

    monkeypatch.setattr(measurement, "_measure", die_at_two)
    run_sweep([make_case(1), make_case(2), make_case(3)], job, {})
    assert statuses(job) == ["ok", "error", "ok"]
    reason = indexed(job)[1]["reason"]
    assert reason == "while it was measured the process ended with SIGKILL"


def test_pictures_that_are_not_numbers_are_an_error() -> None:
    good = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    check_images(good)
    bad = good.copy()
    bad[1, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not numbers"):
        check_images(bad)
    bad[1] = 0.5
    with pytest.raises(ValueError, match="one colour"):
        check_images(bad)


def test_a_picture_is_the_same_in_a_batch_of_any_size(model: Path, threads: None) -> None:
    engine = backends.load(make_case(), model, None)
    one, four = engine.latents(GENERATION, 1), engine.latents(GENERATION, 4)
    assert torch.equal(one[0], four[0])
    assert not torch.equal(four[0], four[1])
    alone, together = engine.draw(GENERATION, one), engine.draw(GENERATION, four)
    assert np.abs(alone[0] - together[0]).max() < 1e-4


@pytest.mark.parametrize(("precision", "options"), [("bf16", "none"), ("fp32", "autocast")])
def test_a_precision_that_would_be_emulated_is_unsupported(
    precision: str, options: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    with pytest.raises(UnsupportedError, match="no instructions for bf16"):
        backends.load(make_case(precision=precision, options=options), model, None)
    backends.load(make_case(), model, None)


def test_the_same_noise_in_every_precision(
    model: Path, threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: True)
    full = backends.load(make_case(), model, None).latents(GENERATION, 2)
    half = backends.load(make_case(precision="bf16"), model, None).latents(GENERATION, 2)
    assert half.dtype == torch.bfloat16
    assert torch.equal(full.to(torch.bfloat16), half)


@pytest.mark.parametrize(
    ("options", "processor"),
    [
        ("none", "AttnProcessor2_0"),
        ("attention-vanilla", "AttnProcessor"),
        ("attention-sliced", "SlicedAttnProcessor"),
    ],
)
def test_attention_is_the_one_that_was_asked_for(
    options: str, processor: str, model: Path, threads: None
) -> None:
    engine = backends.load(make_case(options=options), model, None)
    found = {type(p).__name__ for p in engine.pipeline.unet.attn_processors.values()}
    assert found == {processor}


NAPS = (0.1, 1.3, 0.2, 1.5)


def test_a_step_is_as_long_as_its_network_sleeps(model: Path, threads: None) -> None:
    """Known times in, the same times out; what lies between calls belongs to no step."""
    engine = backends.load(make_case(), model, None)
    forward = engine.pipeline.unet.forward
    naps = iter(NAPS)

    def sleeping(*args: Any, **kwargs: Any) -> Any:
        time.sleep(next(naps))
        return forward(*args, **kwargs)

    engine.pipeline.unet.forward = sleeping
    phases = time_phases(engine, GENERATION, engine.latents(GENERATION, 1))
    assert phases["denoiser_evaluations"] == len(phases["step_s"]) == 4
    for step, nap in zip(phases["step_s"], NAPS, strict=True):
        assert nap <= step < nap + 0.9  # a busy machine is slow, and naps differ by more
    assert phases["denoiser_s"] >= sum(NAPS)


def test_the_resident_peak_sees_a_known_allocation() -> None:
    """Also one that no counter of torch's sees, and one that is freed before the call ends."""
    known = 200 * 2**20
    resident.trim_heap()
    loaded = resident_now()

    def call() -> None:
        np.ones(known // 8).sum()

    found = memory.measure_memory(call, torch.device("cpu"), loaded)
    assert found["resident_above_load_bytes"] == pytest.approx(known, rel=0.05)
    after = memory.measure_memory(lambda: None, torch.device("cpu"), loaded)
    assert after["resident_above_load_bytes"] < 0.2 * known  # type: ignore[operator]


class FakeAllocator:
    """torch's CUDA allocator as far as `measure_memory` asks it, with 300 bytes of weights."""

    def __init__(self) -> None:
        self.allocated, self.reserved = 300, 512
        self.peak_allocated, self.peak_reserved = 9000, 9000  # of what was done before

    def allocate(self, size: int) -> None:
        self.allocated += size
        self.reserved = max(self.reserved, -(-self.allocated // 512) * 512)
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def reset(self, _: torch.device) -> None:
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved


def test_each_counter_of_a_gpu_sees_a_known_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeAllocator()
    for name, double in {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": fake.reset,
        "synchronize": lambda _: None,
        "max_memory_allocated": lambda _: fake.peak_allocated,
        "max_memory_reserved": lambda _: fake.peak_reserved,
        "memory_reserved": lambda _: fake.reserved,
    }.items():
        monkeypatch.setattr(torch.cuda, name, double)
    monkeypatch.setattr(platforms.Cuda, "uuid", lambda self, _: "GPU-abc")
    monkeypatch.setattr(nvml, "process_bytes", lambda uuid: 5000 + fake.reserved)

    def call() -> None:
        fake.allocate(1000)
        fake.allocated -= 1000
        fake.reserved = 512  # a pool that was given back: the post's counter does not see the peak

    found = memory.measure_memory(call, torch.device("cuda"), loaded_bytes=1)
    assert found == {
        "loaded_bytes": None,
        "resident_peak_bytes": None,
        "resident_above_load_bytes": None,
        "peak_allocated_bytes": 1300,
        "peak_reserved_bytes": 1536,
        "reserved_after_run_bytes": 512,
        "nvml_process_bytes": 5512,
    }


def _peak_of_steps(send: Callable[[Any], None], model: Path, steps: int) -> None:
    engine = backends.load(make_case(), model, None)
    latents = engine.latents(GENERATION, 16)
    engine.draw(GENERATION, latents, steps=1)
    resident.trim_heap()
    loaded = resident_now()

    def call() -> None:
        engine.draw(GENERATION, latents, steps=steps)

    found = memory.measure_memory(call, engine.device, loaded)
    send(found["resident_peak_bytes"])


def test_memory_does_not_depend_on_the_number_of_steps(model: Path) -> None:
    """What the search for the largest batch relies on: it draws one step."""
    one, many = (run_apart(_peak_of_steps, model, steps)[0] for steps in (1, 15))
    assert many == pytest.approx(one, rel=0.02)


def test_a_peak_above_the_budget_is_out_of_memory_though_it_ran(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on the process is looser than the budget; the budget itself is kept exactly.

    What the tiny model takes varies from one process to the next, so that ballast is drawn with it.
    """
    draw = Engine.draw

    def draw_with_ballast(*arguments: Any, **settings: Any) -> Images:
        np.ones(2_500_000_000, dtype=np.uint8)
        return draw(*arguments, **settings)

    monkeypatch.setattr(Engine, "draw", draw_with_ballast)
    run_sweep([make_case(memory_budget_gb=(resident_now() + 2e9) / 1e9)], job, {})
    (held,) = indexed(job)
    assert held["status"] == "oom"
    assert "above the budget" in held["reason"]


def test_the_limit_is_lifted_again() -> None:
    with memory.memory_limit(resident_now() + 200 * 2**20):
        with pytest.raises(RuntimeError) as caught:
            torch.empty(500 * 2**20)
        assert memory.is_out_of_memory(caught.value)
    assert torch.empty(100 * 2**20).numel() == 100 * 2**20


def test_a_record_is_plain_json(job: Sweep) -> None:
    run_sweep([make_case(1)], job, {})
    record = json.loads(record_path(job.folder, make_case(1)).read_text())
    assert Case.from_dict(record["case"]) == make_case(1)
    assert record["weights"] == "seeded"


def test_a_scheduler_that_would_drop_the_models_schedule_is_refused() -> None:
    shapes = ROOT / "resources" / "models" / "shapes"
    with pytest.raises(UnsupportedError, match=r"rescale_betas_zero_snr.*use ddim or euler"):
        load_scheduler(shapes, "pndm")
    assert load_scheduler(shapes, "euler").config.rescale_betas_zero_snr


@pytest.mark.parametrize(
    ("scheduler", "evaluations"), [("ddim", 20), ("pndm", 21), ("euler", 20), ("dpmsolver", 20)]
)
def test_a_scheduler_evaluates_the_unet_as_often_as_is_documented(
    scheduler: str, evaluations: int, model: Path
) -> None:
    sampler = load_scheduler(model, scheduler)
    sampler.set_timesteps(20)
    assert len(sampler.timesteps) == evaluations


def has_memory(monkeypatch: pytest.MonkeyPatch, free: int, total: int) -> None:
    """Have the device be one with memory of its own, and let nothing be loaded."""

    def load(*_: Any) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(platforms.Cpu, "memory_info", lambda *_: (free, total))
    monkeypatch.setattr(backends, "load", load)


def test_a_device_too_small_for_the_weights_is_found_before_loading(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_memory(monkeypatch, free=900_000, total=1_000_000)
    run_sweep([make_case(1), make_case(2)], job, {})
    weights = sum(weight_bytes(job.components, "fp32", ()).values())
    assert weights > 1_000_000
    for record in indexed(job):
        assert record["status"] == "unsupported"
        numbers = f"the weights take {weights / 1e9:.4g} GB, and the GPU has 0.001 GB"
        assert record["reason"] == numbers
        assert record["environment"]["device_name"]


@pytest.mark.parametrize(("options", "fits"), [("none", False), ("model-offload", True)])
def test_with_offload_the_largest_network_must_fit(
    options: str, fits: bool, job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = weight_bytes(job.components, "fp32", ())
    there = sum(networks.values()) - 1
    monkeypatch.setattr(platforms.Cpu, "memory_info", lambda *_: (there, there))
    case = make_case(options=options)
    if fits:
        refuse_misfit(case, job.components)
    else:
        with pytest.raises(TooSmallError, match=r"the weights take .*, and the GPU has"):
            refuse_misfit(case, job.components)
    less = max(networks.values()) - 1
    monkeypatch.setattr(platforms.Cpu, "memory_info", lambda *_: (less, less))
    with pytest.raises(TooSmallError, match="the GPU has"):
        refuse_misfit(case, job.components)


def test_weights_that_cannot_wait_in_the_machines_memory_are_unsupported(job: Sweep) -> None:
    with pytest.raises(TooSmallError, match=r"wait in the machine's memory, and there are 1e-05"):
        refuse_misfit(make_case(options="group-offload"), job.components, granted_bytes=10_000)
    refuse_misfit(make_case(options="none"), job.components, granted_bytes=10_000_000)


def test_a_budget_below_the_weights_is_found_before_loading(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "load", lambda *_: pytest.fail("it was loaded"))
    run_sweep([make_case(n, memory_budget_gb=0.001) for n in (1, 2)], job, {})
    assert statuses(job) == ["unsupported"] * 2
    assert indexed(job)[0]["reason"].endswith("GB, and the memory budget is 0.001 GB")


def test_memory_that_another_process_holds_is_an_error_and_tried_again(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_memory(monkeypatch, free=900_000, total=10**12)
    monkeypatch.setattr(platforms.Cpu, "others", lambda *_: [{"pid": 7, "bytes": 10**12}])
    run_sweep([make_case(1)], job, {})
    (record,) = indexed(job)
    assert record["status"] == "error"
    assert record["reason"].endswith(
        "of the GPU's 1000 GB 0.0009 GB are free: process 7 holds the rest"
    )
    assert record["contention"]["contended"]
    monkeypatch.undo()
    run_sweep([make_case(1)], job, {})
    assert statuses(job) == ["ok"]


def record_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each record say which process measured it."""
    describe = machine.describe_machine
    monkeypatch.setattr(
        measurement, "describe_machine", lambda device: describe(device) | {"pid": os.getpid()}
    )


LOST = "CUDA error: unspecified launch failure"


def test_after_a_gpu_was_lost_the_rest_is_measured_in_a_fresh_process(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure: Measure = measurement._measure

    def lose_at_two(loaded: Loaded, case: Case, *args: Any) -> dict[str, Any]:
        if case.batch_size == 2:
            raise torch.AcceleratorError(LOST)
        return measure(loaded, case, *args)

    record_processes(monkeypatch)
    monkeypatch.setattr(measurement, "_measure", lose_at_two)
    # A lost device cannot be asked for anything.
    monkeypatch.setattr(measurement, "empty_allocator", lambda _: os.abort())
    run_sweep([make_case(n) for n in (1, 2, 3)], job, {})
    assert statuses(job) == ["ok", "error", "ok"]
    first, lost, last = indexed(job)
    assert lost["reason"] == f"AcceleratorError: {LOST}"
    pids = [record["environment"]["pid"] for record in (first, lost, last)]
    assert pids[0] == pids[1] != pids[2]


def test_a_gpu_that_is_lost_for_good_costs_each_case_a_row(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        raise torch.AcceleratorError(LOST)

    record_processes(monkeypatch)
    monkeypatch.setattr(backends, "load", load)
    run_sweep([make_case(n) for n in (1, 2)], job, {})
    assert statuses(job) == ["error", "error"]
    assert len({record["environment"]["pid"] for record in indexed(job)}) == 2


def test_cases_are_measured_in_a_process_that_is_no_fork(
    job: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Mac, whose GPU cannot be used in a fork."""
    monkeypatch.setattr(processes, "START", "spawn")
    run_sweep([make_case(1)], job, {})
    assert statuses(job) == ["ok"]
