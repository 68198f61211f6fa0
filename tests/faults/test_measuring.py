"""What may go wrong with a case while it is measured: a row with a reason, and no number."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from generate_images import generate_images
from sdbench import backends
from sdbench.backends.engine import Engine
from sdbench.devices import resident
from sdbench.measure.context import SweepContext
from sdbench.measure.sweep import Course
from sdbench.records.image_archive import read_images
from sdbench.records.record import Record
from sdbench.runtime.errors import UserError
from sdbench.runtime.processes import DEADLINE, Ended, OutOfTime, TimedOut, run_in_subprocess
from tests.conftest import ROOT, run_python
from tests.reliability import Tally
from tests.sweeps import (
    SHORT,
    indexed,
    launch_of,
    make_case,
    resident_now,
    run,
    spoil_two,
    statuses,
)
from tests.waiting import is_running, wait_until

NUMBERS = ("launches", "memory", "image")


def assert_no_numbers(record: Record) -> None:
    assert [record[part] for part in NUMBERS] == [None] * len(NUMBERS)


WEIGHTS = "diffusion_pytorch_model.safetensors"


def spoil(model: Path, target: Path, value: float) -> Path:
    """Copy a model whose VAE ends in a layer of one value."""
    return copy_with(model, target, "vae", "decoder.conv_out", lambda t: torch.full_like(t, value))


def copy_with(
    model: Path, target: Path, network: str, name: str, change: Callable[[Tensor], Tensor]
) -> Path:
    """Copy a model of which the tensors whose names begin with `name` are others."""
    shutil.copytree(model, target)
    weights = target / network / WEIGHTS
    tensors = {
        key: change(tensor) if key.startswith(name) else tensor
        for key, tensor in load_file(weights).items()
    }
    save_file(tensors, weights, metadata={"format": "pt"})
    return target


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "ValueError: the image has values that are not numbers (NaN or inf)"),
        (0.0, "ValueError: the image has only one colour"),
    ],
    ids=["NaN", "one colour"],
)
def test_images_that_cannot_be_right_are_an_error_without_numbers(
    value: float, reason: str, job: SweepContext, model: Path, tmp_path: Path, tally: Tally
) -> None:
    job = replace(job, model_folder=spoil(model, tmp_path / "spoilt", value))
    with tally.fault("a model that generates NaN or one colour"):
        (record,) = run(job, make_case())
        assert (record["status"], record["reason"]) == ("error", reason)
        assert_no_numbers(record)
        assert not list(job.folder.rglob("*.png"))
    with tally.fault("a model that generates NaN or one colour"):
        assert generated(tmp_path, job.model_folder, [1]) == ("error", reason, 0, 0)


def generated(
    folder: Path, model: Path | None, steps: list[int], limit_s: float | None = None
) -> tuple[str, str, int, int]:
    """Generate images; return their status and reason, and how many there are of both modes."""
    archive = folder / "images.npz"
    asked = {"case": make_case().as_dict(), "runs": steps, "trajectory_steps": 2}
    asked |= {"spread": [], "wanted": [], "batch_size": 1}
    generate_images(asked, {}, model, None, archive, limit_s=limit_s)
    found = read_images(archive)
    counts = len(found["trajectory"]), len(found["runs"])
    return str(found["status"]), str(found["reason"]), *counts


def test_weights_of_another_shape_are_an_error_without_numbers(
    job: SweepContext, model: Path, tmp_path: Path, tally: Tally
) -> None:
    """A model that was wrong before it was described."""
    reshaped = copy_with(
        model, tmp_path / "reshaped", "unet", "conv_in.weight", lambda t: t[:, :3].contiguous()
    )
    with tally.fault("weights of another shape than their configuration's"):
        (record,) = run(replace(job, model_folder=reshaped), make_case())
        assert record["status"] == "error"
        assert "conv_in.weight" in record["reason"] and "\n" not in record["reason"]
        assert_no_numbers(record)


def test_memory_that_ends_is_out_of_memory(job: SweepContext, tally: Tally) -> None:
    """The budget's limit on the process: the larger batches are not tried."""
    budget = (resident_now() + 60e6) / 1e9
    with tally.fault("memory exhausted"):
        records = run(job, *(make_case(n, memory_budget_gb=budget) for n in (1, 512, 1024)))
        assert statuses(records) == ["ok", "oom", "oom"]
        assert records[1]["reason"].startswith("out of memory")
        assert records[2]["reason"] == "not tried: a batch of 512 did not fit"
        for record in records[1:]:
            assert_no_numbers(record)


@pytest.mark.parametrize(
    ("kind", "name"), [(resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")]
)
def test_a_limit_that_others_set_is_out_of_memory(
    kind: int, name: str, job: SweepContext, tally: Tally
) -> None:
    """As `ulimit -v` and `ulimit -d` do."""
    before, mapped = resource.getrlimit(kind), resident.field("self/status", name)
    assert mapped is not None
    with tally.fault("memory exhausted"):
        resource.setrlimit(kind, (mapped + 300 * 2**20, before[1]))
        try:
            records = run(job, make_case(1), make_case(4000))
        finally:
            resource.setrlimit(kind, before)
        assert statuses(records) == ["ok", "oom"]
        assert_no_numbers(records[1])


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def block_in_c() -> None:
    """Hold Python's lock in a call that never returns, deaf to all signals that can be blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    ctypes.PyDLL(None).sleep(3600)


@pytest.mark.parametrize("hang", [stop, block_in_c])
def test_a_case_that_hangs_is_a_timeout_and_the_others_go_on(
    hang: Callable[[], None],
    job: SweepContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tally: Tally,
) -> None:
    children = tmp_path / "children"

    def hang_with_a_child() -> None:
        child = subprocess.Popen(["sleep", "3600"])
        children.write_text(f"{os.getpid()} {child.pid}")
        hang()

    spoil_two(monkeypatch, hang_with_a_child)
    limited = replace(job, measuring=replace(SHORT, case_time_limit_s=15))
    with tally.fault("a backend that hangs"):
        records = run(limited, *map(make_case, (1, 2, 3)))
        assert statuses(records) == ["ok", "error", "ok"]
        assert records[1]["reason"].startswith("timeout: ")
        assert "measuring.case_time_limit_s" in records[1]["reason"]
        assert_no_numbers(records[1])
        pids = [int(pid) for pid in children.read_text().split()]
        wait_until(lambda: not any(map(is_running, pids)))


def test_a_backend_that_hangs_while_it_loads_is_a_timeout(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    monkeypatch.setattr(backends, "load", lambda *_: stop())
    limited = replace(job, measuring=replace(SHORT, case_time_limit_s=3))
    with tally.fault("a backend that hangs"):
        (record,) = run(limited, make_case(1))
        assert (record["status"], record["reason"][:9]) == ("error", "timeout: ")
        assert_no_numbers(record)


def test_a_run_whose_time_is_over_keeps_what_it_has_and_goes_on_from_there(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first of two launches of one case, and before any of the other variant."""
    cases = [make_case(1), make_case(1, "vae-slicing")]
    twice = replace(job, measuring=replace(SHORT, launches=2))
    add = Course.add

    def add_and_end(self: Course, outcome: Any) -> None:
        monkeypatch.setenv(DEADLINE, str(time.monotonic()))
        add(self, outcome)

    monkeypatch.setattr(Course, "add", add_and_end)
    records = run(twice, *cases)
    monkeypatch.undo()
    assert sorted(statuses(records)) == ["error", "ok"]
    begun, missing = sorted(records, key=lambda record: record["status"] == "error")
    assert missing["reason"] == OutOfTime.REASON
    assert_no_numbers(missing)
    assert not begun["complete"]
    (first,) = begun["launches"]
    after = run(twice, *cases)
    assert [len(record["launches"]) for record in after] == [2, 2]
    assert first in [record["launches"][0] for record in after]


def test_generating_that_hangs_is_a_timeout_and_what_was_generated_is_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    generate = Engine.generate

    def hang_in_a_run(self: Engine, *args: Any, **kwargs: Any) -> Any:
        if kwargs["steps"] == 1:
            stop()
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(Engine, "generate", hang_in_a_run)
    with tally.fault("a backend that hangs"):
        status, reason, *counts = generated(tmp_path, model, [2, 1], limit_s=15)
        assert (status, counts) == ("error", [2, 1])
        assert reason.startswith("timeout: while it generated the process did not respond")


def test_a_crash_while_generating_is_an_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "load", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    reason = "while it generated the process ended with SIGKILL"
    assert generated(tmp_path, model, [1]) == ("error", reason, 0, 0)


def test_the_limit_counts_from_one_case_to_the_next() -> None:
    def work(send: Callable[[Any], None]) -> None:
        for number in range(4):
            time.sleep(1)
            send(number)

    assert run_in_subprocess(work, limit_s=3) == [0, 1, 2, 3]

    def stick(send: Callable[[Any], None]) -> None:
        send(1)
        time.sleep(60)

    with pytest.raises(TimedOut) as caught:
        run_in_subprocess(stick, limit_s=2)
    assert caught.value.args[1] == [1]


def test_what_the_user_can_put_right_is_told_from_another_process() -> None:
    def refuse(send: Callable[[Any], None]) -> None:
        send(1)
        raise UserError("x.json: put it right")

    with pytest.raises(UserError, match=r"^x\.json: put it right$"):
        run_in_subprocess(refuse)
    with pytest.raises(Ended):
        run_in_subprocess(lambda send: os._exit(3))


JUMPING = """
import sys, time
from dataclasses import replace
from pathlib import Path
import sdbench.measure.sweep
from sdbench import backends
from sdbench.backends.engine import Engine
from tests.sweeps import SHORT, make_case, make_job

first, second = time.time(), time.time()
assert abs(first - second) > 1000, "the clock does not jump"
generate = Engine.generate

def slow(self, *args, **kwargs):
    time.sleep(0.2)
    return generate(self, *args, **kwargs)

Engine.generate = slow
model, folder = map(Path, sys.argv[1:])
measuring = replace(SHORT, min_samples=8, min_samples_capped=8, case_time_limit_s=300)
job = make_job(folder, model, measuring)
sdbench.measure.sweep.run_sweep([make_case(1)], job, {})
"""


def test_no_sample_moves_with_a_clock_that_jumps(
    job: SweepContext, model: Path, tmp_path: Path, tally: Tally
) -> None:
    """Every look at the wall clock, by whatever library, finds it set again by days."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a double of the clock takes a C compiler")
    clock = tmp_path / "clock.so"
    source = ROOT / "tests/faults/jumping_clock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", clock, source, "-ldl"], check=True)
    with tally.fault("a clock that jumps"):
        done = run_python(JUMPING, model, job.folder, LD_PRELOAD=str(clock))
        assert done.returncode == 0, done.stderr
        (record,) = indexed(job)
        assert record["status"] == "ok", record["reason"]
        launch = launch_of(record)
        durations = [
            *launch["latency"]["samples_s"],
            *launch["throughput"]["intervals_s"],
            launch["cold_start"]["first_call_s"],
        ]
        # On a busy machine a call takes longer, and never days.
        assert min(durations) >= 0.2 and max(durations) < 30
        assert np.median(durations) < 2
