"""The measuring itself, on the tiny model: failures are rows, and none takes the others along."""

import json
import os
import signal
from typing import Any

import pytest
import torch

from sdbench import backends
from sdbench.cases.case import Case
from sdbench.devices import machine, platforms
from sdbench.measure import case as measurement
from sdbench.measure.case import Loaded
from sdbench.measure.context import SweepContext
from sdbench.measure.sweep import run_sweep
from sdbench.records.record import read_record, record_path
from sdbench.runtime import processes
from sdbench.runtime.ownership import OWNER, TakenOver, claim
from tests.sweeps import (
    Measure,
    indexed,
    make_case,
    statuses,
)


def test_every_case_leaves_a_record(job: SweepContext, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_holds_is_kept(job: SweepContext) -> None:
    run_sweep([make_case(1)], job, {})
    path = record_path(job.folder, make_case(1))
    before = path.stat().st_mtime_ns
    run_sweep([make_case(1), make_case(2)], job, {})
    assert path.stat().st_mtime_ns == before
    assert statuses(job) == ["ok", "ok"]


def test_noise_is_there_after_an_interruption(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sdbench.measure.sweep.write_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_sweep([make_case(1)], job, {})
    (job.folder / "reference.json").unlink()
    monkeypatch.undo()
    run_sweep([make_case(1)], job, {})
    timed = json.loads((job.folder / "reference.json").read_text())
    assert len(timed["start_s"]) == len(timed["end_s"]) == 15


def test_a_missing_device_is_unsupported(job: SweepContext) -> None:
    if torch.cuda.device_count() > 90:
        pytest.fail("a machine with more than 90 GPUs?")
    case = make_case(kind="cuda", index=99)
    run_sweep([case], job, {})
    (record,) = indexed(job)
    assert record["status"] == "unsupported"
    assert "CUDA device 99" in record["reason"]


def test_another_gpu_than_promised_is_an_error_with_both_names(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
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
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
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
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
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
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
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


def test_a_record_is_plain_json(job: SweepContext) -> None:
    run_sweep([make_case(1)], job, {})
    record = json.loads(record_path(job.folder, make_case(1)).read_text())
    assert Case.from_dict(record["case"]) == make_case(1)
    assert record["weights"] == "seeded"


def record_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each record say which process measured it."""
    describe = machine.describe_machine
    monkeypatch.setattr(
        measurement, "describe_machine", lambda device: describe(device) | {"pid": os.getpid()}
    )


LOST = "CUDA error: unspecified launch failure"


def test_after_a_gpu_was_lost_the_rest_is_measured_in_a_fresh_process(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
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
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        raise torch.AcceleratorError(LOST)

    record_processes(monkeypatch)
    monkeypatch.setattr(backends, "load", load)
    run_sweep([make_case(n) for n in (1, 2)], job, {})
    assert statuses(job) == ["error", "error"]
    assert len({record["environment"]["pid"] for record in indexed(job)}) == 2


def test_cases_are_measured_in_a_process_that_is_no_fork(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Mac, whose GPU cannot be used in a fork."""
    monkeypatch.setattr(processes, "START", "spawn")
    run_sweep([make_case(1)], job, {})
    assert statuses(job) == ["ok"]
