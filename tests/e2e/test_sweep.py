"""The measuring itself, on the tiny model: failures are rows, and none takes the others along. The
search for the largest batch: what it answers was measured, and what it knows is kept."""

import json
import os
import signal
from dataclasses import replace
from typing import Any

import pytest
import torch

from sdbench import backends
from sdbench.cases.case import Case
from sdbench.devices import machine
from sdbench.measure import batch_search as search
from sdbench.measure import case as measurement
from sdbench.measure.context import SweepContext
from sdbench.records.record import read_record, record_path
from sdbench.runtime import processes
from sdbench.runtime.ownership import OWNER, TakenOver, claim
from tests.sweeps import make_case, resident_now, run, spoil_two, statuses

CASES = [make_case(size) for size in (1, 2, 3)]


def test_every_case_leaves_a_record_of_plain_json(job: SweepContext, emulated: None) -> None:
    records = run(job, make_case(1), make_case(2), make_case(1, "autocast"))
    assert statuses(records) == ["ok"] * 3
    assert [len(r["latency"]["samples_s"]) for r in records] == [3] * 3
    assert [len(r["latency"]["warmup_s"]) for r in records] == [1] * 3
    # PNDM evaluates the UNet once more than there are steps, and says so.
    assert {phase["denoiser_evaluations"] for r in records for phase in r["phases"]} == {4}
    switches = [r["environment"]["switches"] for r in records]
    assert [s["autocast_dtype"] for s in switches] == [None, None, "bfloat16"]
    assert {s["fp32_precision_matmul"] for s in switches} == {"ieee"}
    written = json.loads(record_path(job.folder, make_case(1)).read_text())
    assert Case.from_dict(written["case"]) == make_case(1)
    assert written["weights"] == "seeded"


def test_noise_is_there_after_an_interruption_and_what_holds_is_kept(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sdbench.measure.sweep.write_index", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(job, make_case(1))
    (job.folder / "reference.json").unlink()
    monkeypatch.undo()
    path = record_path(job.folder, make_case(1))
    before = path.stat().st_mtime_ns
    assert statuses(run(job, make_case(1), make_case(2))) == ["ok", "ok"]
    assert path.stat().st_mtime_ns == before
    timed = json.loads((job.folder / "reference.json").read_text())
    assert len(timed["start_s"]) == len(timed["end_s"]) == 15


def test_a_missing_device_is_unsupported(job: SweepContext) -> None:
    (record,) = run(job, make_case(kind="cuda", index=99))
    assert record["status"] == "unsupported"
    assert "CUDA device 99" in record["reason"]


def test_another_gpu_than_promised_is_an_error_with_both_names(
    job: SweepContext, rtx_3090: None
) -> None:
    (record,) = run(job, make_case(kind="cuda", gpu_model="a100"))
    assert (record["status"], record["latency"]) == ("error", None)
    assert "'a100'" in record["reason"]
    assert "'NVIDIA GeForce RTX 3090'" in record["reason"]


def test_a_sweep_that_was_taken_over_writes_nothing_more(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_overtaken() -> None:
        claim(job.folder / OWNER)  # what a second job does first
        (job.folder / "index.json").write_text("the successor's")

    spoil_two(monkeypatch, be_overtaken)
    with pytest.raises(TakenOver):
        run(job, *CASES)
    one, two, three = (record_path(job.folder, case) for case in CASES)
    assert read_record(one)["status"] == "ok"
    assert not two.exists() and not three.exists()
    assert (job.folder / "index.json").read_text() == "the successor's"


def break_down(*_: Any) -> None:
    raise RuntimeError("it broke")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


LOST = "CUDA error: unspecified launch failure"


def lose_the_gpu(*_: Any) -> None:
    raise torch.AcceleratorError(LOST)


@pytest.mark.parametrize(
    ("act", "reason", "same_process"),
    [
        (break_down, "RuntimeError: it broke", True),
        (crash, "while it was measured the process ended with SIGKILL", False),
        (lose_the_gpu, f"AcceleratorError: {LOST}", False),
    ],
)
def test_a_failure_is_a_row_and_the_other_cases_go_on(
    act: Any,
    reason: str,
    same_process: bool,
    job: SweepContext,
    pids: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil_two(monkeypatch, act)
    if act is lose_the_gpu:  # a lost device cannot be asked for anything
        monkeypatch.setattr(measurement, "empty_allocator", lambda _: os.abort())
    records = run(job, *CASES)
    assert statuses(records) == ["ok", "error", "ok"]
    assert records[1]["reason"] == reason
    first, last = (records[i]["environment"]["pid"] for i in (0, 2))
    assert (first == last) is same_process
    if act is break_down:  # an error is tried again
        monkeypatch.undo()
        assert statuses(run(job, *CASES)) == ["ok"] * 3


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each record say which process measured it."""
    describe = machine.describe_machine
    monkeypatch.setattr(
        measurement, "describe_machine", lambda device: describe(device) | {"pid": os.getpid()}
    )


def test_a_gpu_that_is_lost_for_good_costs_each_case_a_row(
    job: SweepContext, pids: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "load", lose_the_gpu)
    records = run(job, *CASES[:2])
    assert statuses(records) == ["error", "error"]
    assert len({record["environment"]["pid"] for record in records}) == 2


def test_cases_are_measured_in_a_process_that_is_no_fork(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Mac, whose GPU cannot be used in a fork."""
    monkeypatch.setattr(processes, "START", "spawn")
    assert statuses(run(job, make_case(1))) == ["ok"]


def found(job: SweepContext) -> Any:
    (largest,) = json.loads((job.folder / "index.json").read_text())["largest"]
    return largest


def test_the_largest_batch_runs_and_is_found_again(job: SweepContext) -> None:
    """The limit of the process is real: the answer was measured, and the next one up failed."""
    budget = (resident_now() + 60e6) / 1e9
    cases = [make_case(n, memory_budget_gb=budget) for n in (2, 4, 8)]
    last = run(job, *cases, largest=2048)[-1]
    assert found(job)["reason"] is None
    largest = found(job)["largest_batch"]
    tried = {p["batch_size"]: p["fits"] for p in found(job)["probes"]}
    assert 8 < largest < 2048
    assert (last["case"]["batch_size"], last["status"]) == (largest, "ok")
    next_up = record_path(job.folder, replace(cases[0], batch_size=largest + 1))
    assert tried.get(largest + 1) is False or read_record(next_up)["status"] == "oom"
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")}
    run(job, *cases, largest=2048)
    assert {path: path.stat().st_mtime_ns for path in job.folder.rglob("*-*.json")} == before


def test_a_search_that_breaks_keeps_what_is_known_and_its_cap_is_measured_later(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [make_case(1), make_case(2)]

    monkeypatch.setattr(search, "_probe", break_down)
    run(job, *cases, largest=5)
    assert found(job)["largest_batch"] == 2
    assert "ended early" in found(job)["reason"]
    monkeypatch.undo()
    assert [r["case"]["batch_size"] for r in run(job, *cases, largest=5)] == [1, 2, 5]
    assert (found(job)["largest_batch"], found(job)["reason"]) == (5, None)
    (probe,) = found(job)["probes"]
    assert (probe["batch_size"], probe["fits"]) == (5, True)
