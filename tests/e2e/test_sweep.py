"""The measuring itself, on the tiny model: failures are rows, and none takes the others along. The
search for the largest batch: what it answers was measured, and what it knows is kept."""

import itertools
import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sdbench import backends
from sdbench.backends.engine import to_8_bits
from sdbench.cases.case import Case
from sdbench.devices import machine
from sdbench.measure import batch_search as search
from sdbench.measure import launch as measurement
from sdbench.measure import sweep
from sdbench.measure.context import SweepContext
from sdbench.measure.latency import sample_latency
from sdbench.measure.launch import Loaded
from sdbench.records.record import (
    has_its_image,
    read_indexed,
    read_record,
    record_path,
    write_image,
)
from sdbench.runtime import processes
from sdbench.runtime.ownership import OWNER, TakenOver, claim
from tests.sweeps import (
    MEASURING,
    launch_of,
    make_case,
    resident_now,
    run,
    spoil_two,
    statuses,
)

CASES = [make_case(size) for size in (1, 2, 3)]


def test_every_case_leaves_a_record_of_plain_json(job: SweepContext, emulated: None) -> None:
    records = run(job, make_case(1), make_case(2), make_case(1, "autocast"))
    assert statuses(records) == ["ok"] * 3
    launches = [launch_of(record) for record in records]
    assert [len(one["latency"]["samples_s"]) for one in launches] == [3] * 3
    assert [len(one["latency"]["warmup_s"]) for one in launches] == [1] * 3
    # PNDM evaluates the UNet once more than there are steps, and says so.
    assert {phase["denoiser_evaluations"] for one in launches for phase in one["phases"]} == {4}
    # Between samples it is read what else the processors did: a warm-up, samples, rate and parts.
    assert [len(one["usage"]["switches"]) for one in launches] == [1 + 3 + 1 + 1] * 3
    assert [one["disturbed"] for one in launches] == [[]] * 3
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
    assert [len(block) for block in timed["blocks"]] == [15]


def test_a_missing_device_is_unsupported(job: SweepContext) -> None:
    (record,) = run(job, make_case(kind="cuda", index=99))
    assert record["status"] == "unsupported"
    assert "CUDA device 99" in record["reason"]


def test_another_gpu_than_promised_is_an_error_with_both_names(
    job: SweepContext, rtx_3090: None
) -> None:
    (record,) = run(job, make_case(kind="cuda", gpu_model="a100"))
    assert (record["status"], record["launches"]) == ("error", None)
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
    assert not list(job.folder.rglob("batch-*.json"))
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


Noted = Callable[[], list[list[str]]]


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noted:
    """Returns options, batch size and process of each measurement so far, in order."""
    notes = tmp_path / "notes"
    notes.touch()
    measure: Callable[..., dict[str, Any]] = measurement._measure

    def noting(loaded: Loaded, case: Case, *args: Any) -> dict[str, Any]:
        with notes.open("a") as file:
            file.write(f"{case.variant.options} {case.batch_size} {os.getpid()}\n")
        return measure(loaded, case, *args)

    monkeypatch.setattr(measurement, "_measure", noting)
    return lambda: [line.split() for line in notes.read_text().splitlines()]


def several(job: SweepContext, launches: int = 3, **changes: Any) -> SweepContext:
    return replace(job, measuring=replace(MEASURING, launches=launches, **changes))


def test_launches_take_turns_in_blocks_and_each_is_a_process(
    job: SweepContext, noted: Noted
) -> None:
    options = ["none", "attention-vanilla"]
    cases = [make_case(1), make_case(2), make_case(1, "attention-vanilla")]
    records = run(several(job, 4), *cases)
    assert statuses(records) == ["ok"] * 3
    for record in records:
        assert record["complete"] and record["memory"] and record["image"]
        assert len(record["launches"]) == 4
        for launch in record["launches"]:
            # Of three samples and two calls with parts, a fourth each: one.
            assert len(launch["latency"]["samples_s"]) == len(launch["phases"]) == 1
            assert launch["throughput"]["intervals_s"] and launch["cold_start"]["load_s"] > 0
            assert launch["repeats"] == 0
    loads = [[launch["cold_start"]["load_s"] for launch in r["launches"]] for r in records]
    assert len({*loads[0]}) == 4 and loads[0] == loads[1] and not {*loads[0]} & {*loads[2]}
    measured = [(pid, option, size) for option, size, pid in noted()]
    pids = [*dict.fromkeys(pid for pid, *_ in measured)]
    assert len(pids) == 4 * 2 and str(os.getpid()) not in pids
    of_process = [[(o, s) for pid, o, s in measured if pid == wanted] for wanted in pids]
    lot, expected = random.Random(0), []
    for _ in range(4):
        block = list(options)
        lot.shuffle(block)
        expected += block
    assert [one[0][0] for one in of_process] == expected
    assert expected != options * 4
    sizes = {"none": ["1", "2"], "attention-vanilla": ["1"]}
    assert all([size for _, size in one] == sizes[one[0][0]] for one in of_process)
    blocks = json.loads((job.folder / "reference.json").read_text())["blocks"]
    assert [len(block) for block in blocks] == [15] * 4


def stop_after(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a sweep be interrupted after some blocks."""
    time, count = sweep._Reference.time, itertools.count()

    def stop(self: Any) -> None:
        if next(count) == blocks:
            raise KeyboardInterrupt
        time(self)

    monkeypatch.setattr(sweep._Reference, "time", stop)


def test_a_job_that_was_stopped_goes_on_with_the_launches_it_has(
    job: SweepContext, noted: Noted
) -> None:
    cases = [make_case(1), make_case(1, "attention-vanilla")]
    thrice = several(job)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_after(1, patched)
        run(thrice, *cases)
    begun = [read_record(record_path(job.folder, case)) for case in cases]
    assert [(len(one["launches"]), one["complete"]) for one in begun] == [(1, False)] * 2
    assert not (job.folder / "index.json").exists()
    for before, after in zip(begun, run(thrice, *cases), strict=True):
        assert (len(after["launches"]), after["complete"]) == (3, True)
        assert after["launches"][0] == before["launches"][0]
        for key in ("started_at", "environment", "contention", "memory", "image"):
            assert after[key] == before[key]
    assert len(noted()) == 2 * 3
    assert len(json.loads((job.folder / "reference.json").read_text())["blocks"]) == 3


def test_what_is_on_the_disk_is_the_image_of_the_record(
    job: SweepContext, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no call makes the same image twice, and a process is the first for one of two cases."""
    thrice, cases = several(job), CASES[:2]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_after(1, patched)
        run(thrice, *cases)
    record_path(job.folder, cases[1]).unlink()
    monkeypatch.setattr(measurement, "to_8_bits", lambda images: 255 - to_8_bits(images))
    run(thrice, *cases)
    assert all(has_its_image(*found) for found in read_indexed(job.folder / "index.json"))
    # One that is lost is made again.
    record_path(job.folder, cases[0]).with_suffix(".png").unlink()
    before = len(noted())
    run(thrice, *cases)
    assert all(has_its_image(*found) for found in read_indexed(job.folder / "index.json"))
    assert len(noted()) == before + 3


@pytest.mark.parametrize(
    ("disturbed", "measured", "repeats"),
    [(1, 3 + 1, [1, 0, 0]), (2, 3 + 2, [2, 0, 0]), (99, 3 + 2, [2, 0, 0])],
)
def test_a_disturbed_launch_is_repeated_twice_at_most_and_no_other_after_that(
    disturbed: int,
    measured: int,
    repeats: list[int],
    job: SweepContext,
    noted: Noted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And only for the case that was disturbed; so often, and never again."""

    def disturbances(*_: Any) -> list[str]:
        sizes = [size for _, size, _ in noted()]
        is_disturbed = sizes[-1] == "2" and sizes.count("2") <= disturbed
        return ["others used 2.00 cores"] if is_disturbed else []

    monkeypatch.setattr(measurement, "disturbances", disturbances)
    still, record = run(several(job), *CASES[:2])
    assert [launch["repeats"] for launch in record["launches"]] == repeats
    assert [launch["repeats"] for launch in still["launches"]] == [0, 0, 0]
    kept = [bool(launch["disturbed"]) for launch in record["launches"]]
    assert kept == [disturbed > 2] * 3
    assert record["complete"] and record["memory"] and record["image"]
    sizes = [size for _, size, _ in noted()]
    assert (sizes.count("1"), sizes.count("2")) == (3, measured)


def test_a_disturbed_launch_that_fails_when_it_is_repeated_is_a_row(
    job: SweepContext, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "disturbances", lambda *_: ["others used 2.00 cores"])
    monkeypatch.setattr(measurement, "write_image", fail_from(1, noted, write_image))
    (record,) = run(several(job), make_case(1))
    assert (record["status"], record["reason"]) == ("error", "RuntimeError: it broke")
    assert record["launches"] is None and record["complete"]
    assert len(noted()) == 2


def fail_from(count: int, noted: Noted, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return what does the work, and breaks once there were more measurements than these."""
    return lambda *args: break_down() if len(noted()) > count else work(*args)


def test_a_failure_in_a_later_launch_says_in_which(
    job: SweepContext, noted: Noted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured before is no row: speeds of what does not always work."""
    with monkeypatch.context() as patched:
        patched.setattr(measurement, "sample_latency", fail_from(1, noted, sample_latency))
        (record,) = run(several(job), make_case(1))
    assert (record["status"], record["complete"]) == ("error", True)
    assert record["reason"] == "in launch 2: RuntimeError: it broke"
    assert [record[key] for key in ("launches", "memory", "image")] == [None] * 3
    assert record["environment"]["threads"] == 1
    (record,) = run(several(job), make_case(1))
    assert (record["status"], record["reason"], len(record["launches"])) == ("ok", None, 3)


@pytest.mark.parametrize(("precision", "launches"), [(1e9, 3), (0, 4)])
def test_a_case_that_is_precise_enough_ends_early(
    precision: float, launches: int, job: SweepContext
) -> None:
    (record,) = run(several(job, 4, precision=precision), make_case(1))
    assert (len(record["launches"]), record["complete"]) == (launches, True)


def test_long_launches_are_three(job: SweepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "LONG_S", 0.0)
    (record,) = run(several(job, 5), make_case(1))
    assert (len(record["launches"]), record["complete"]) == (3, True)


def test_what_is_compiled_has_one_launch(job: SweepContext, eager_compiler: None) -> None:
    records = run(several(job), make_case(1), make_case(1, "compile"))
    assert statuses(records) == ["ok", "ok"], [r["reason"] for r in records]
    assert [len(record["launches"]) for record in records] == [3, 1]
    assert all(record["complete"] for record in records)
    # Each has all of its samples.
    samples = [launch["latency"]["samples_s"] for one in records for launch in one["launches"]]
    assert [len(each) for each in samples] == [1, 1, 1, 3]


def found(job: SweepContext) -> Any:
    (largest,) = json.loads((job.folder / "index.json").read_text())["largest"]
    return largest


def test_the_largest_batch_runs_and_is_found_again(job: SweepContext) -> None:
    """The limit of the process is real: the answer was measured, and the next one up failed."""
    budget = (resident_now() + 35e6) / 1e9
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
