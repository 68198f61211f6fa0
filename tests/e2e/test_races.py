"""Races of the tiny model: turns, failures that stay with their pair, and what is kept."""

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sdbench import backends
from sdbench.cases.case import Case, Device, Pair, Variant
from sdbench.devices import platforms
from sdbench.measure import races
from sdbench.measure.agreement import divergence
from sdbench.measure.context import Graphs, SweepContext
from sdbench.measure.races import SETTLE_S, Racer, run_races
from sdbench.records.record import Record, read_record, record_path
from sdbench.runtime.processes import Ended, WorkerProcess
from sdbench.tables.rows import waiting_cores
from tests.e2e.conftest import run_freshly
from tests.sweeps import GENERATION, MEASURING, generate, indexed, launch_of, make_job, statuses
from tests.waiting import children_of, is_running, wait_until

REFERENCE = Variant("tiny", "cpu", "pytorch", "fp32", "none")
DEVICE = Device("cpu", threads=1)


@pytest.fixture
def job(model: Path, tmp_path: Path) -> SweepContext:
    return make_job(tmp_path / "races", model, MEASURING)


def make_pair(options: str = "none", rounds: int = 2, **changes: Any) -> Pair:
    variant = replace(REFERENCE, options=options, **changes)
    return Pair(Case(variant, 1, GENERATION, DEVICE), REFERENCE, rounds)


def race(job: SweepContext, *pairs: Pair) -> list[Record]:
    run_races(list(pairs), job)
    return indexed(job)


def test_a_race_beside_other_work_in_any_launch_says_so() -> None:
    still = {"contended": False, "busy_cores": 0.0, "gpu_processes": [], "waited_s": 0}
    busy = still | {"contended": True, "busy_cores": 1.0}
    record: Record = {}
    for number, seen in enumerate((still, busy, still), start=1):
        found = {"status": "ok", "contention": seen, "environment": {}, "launch": {"n": number}}
        record = races._added(record, make_pair(), found)
        assert record["contention"] == (still if number == 1 else busy)
    assert [launch["n"] for launch in record["launches"]] == [1, 2, 3]


def test_denoisers_take_turns_and_the_one_that_waits_sleeps(job: SweepContext) -> None:
    """Not in a loop: neither OpenMP's threads nor ONNX Runtime's use a processor meanwhile."""
    threads = replace(DEVICE, threads=2)
    pairs = [make_pair(rounds=6), make_pair("attention-vanilla", rounds=5)]
    threaded = [replace(pair, case=replace(pair.case, device=threads)) for pair in pairs]
    # A fork has no threads, and OpenMP would count on those of the tests before this one.
    run_freshly(run_races, threaded, job)
    records = indexed(job)
    for record, rounds in zip(records, (6, 5), strict=True):
        assert (record["status"], record["reason"]) == ("ok", None)
        for name in ("challenger_run", "reference_run"):
            run = launch_of(record)[name]
            assert len(run["evaluation_s"]) == len(run["waited_s"]) == rounds
            assert len(run["warmup_s"]) == 1
            assert run["compile_s"] is None
            assert waiting_cores(run) < 0.1
            assert run["memory"]["resident_peak_bytes"] > run["memory"]["loaded_bytes"] > 0
        assert record["environment"]["threads"] == 2
    itself, vanilla = map(launch_of, records)
    assert itself["divergence"] == 0
    assert 0 < vanilla["divergence"] < 1e-5
    # The reference was loaded once, and warmed up once.
    assert itself["reference_run"]["load_s"] == vanilla["reference_run"]["load_s"]


def test_onnxruntime_races_from_the_same_inputs(job: SweepContext, exported: Path) -> None:
    own = replace(job, graphs={"onnx": Graphs(exported, "1" * 64)})
    (record,) = race(own, make_pair(backend="onnxruntime", rounds=4))
    assert record["status"] == "ok"
    launch = launch_of(record)
    assert 0 < launch["divergence"] < 1e-5
    assert record["input_digests"]["graphs"] == "1" * 64
    assert waiting_cores(launch["challenger_run"]) < 0.1
    assert waiting_cores(launch["reference_run"]) < 0.1


def test_one_computes_at_a_time_and_the_order_changes(
    job: SweepContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, turn = tmp_path / "times", Racer.turn

    def noted(self: Racer) -> dict[str, float]:
        found = turn(self)
        end = self.waits_since[0] - SETTLE_S
        with file.open("a") as times:
            times.write(f"{os.getpid()} {end - found['evaluation_s']} {end}\n")
        return found

    monkeypatch.setattr(Racer, "turn", noted)
    race(job, make_pair(rounds=4))
    pids, begins, ends = zip(*(line.split() for line in file.read_text().splitlines()), strict=True)
    first, second = dict.fromkeys(pids)
    assert [*pids] == [first, second, second, first, first, second, second, first]
    assert all(float(b) > float(e) for b, e in zip(begins[1:], ends[:-1], strict=True))


def test_guidance_doubles_the_batch_and_the_inputs_are_those_of_the_first_step(model: Path) -> None:
    engine = backends.load(make_pair().case, model, None)
    args, kwargs = engine.denoiser_inputs(GENERATION, 3)
    sample, timestep = args
    states = kwargs["encoder_hidden_states"]
    assert sample.shape == (6, 4, 8, 8)
    assert states.shape == (6, 77, 32)
    seen: list[Any] = []
    engine.pipeline.unet.register_forward_pre_hook(
        lambda _unet, given, named: seen.append((given, named)), with_kwargs=True
    )
    generate(engine, 3)
    generated_args, generated_kwargs = seen[0]
    assert np.array_equal(sample, generated_args[0].numpy())
    assert timestep == generated_args[1]
    assert np.array_equal(states, generated_kwargs["encoder_hidden_states"].numpy())
    plain_args, plain_kwargs = engine.denoiser_inputs(GENERATION | {"guidance": 1.0}, 3)
    assert np.array_equal(plain_args[0], sample[:3])
    assert np.array_equal(plain_kwargs["encoder_hidden_states"], states[3:])


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[Racer], object]], None]:
    """Sets what happens once the racer with some options has been loaded."""

    def after_load(options: str, act: Callable[[Racer], object]) -> None:
        load = Racer.load

        def spoilt(self: Racer) -> Any:
            found = load(self)
            if self.case.variant.options == options:
                act(self)
            return found

        monkeypatch.setattr(Racer, "load", spoilt)

    return after_load


def crash(_: Racer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def break_down(_: Racer) -> None:
    raise RuntimeError("it broke")


def fill_with_nan(racer: Racer) -> None:
    next(racer.engine.pipeline.unet.parameters()).data.fill_(float("nan"))


def test_a_challenger_that_cannot_or_breaks_does_not_stop_the_others(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    options = ["attention-sliced", "channels-last", "vae-slicing", "attention-vanilla"]
    for name, act in zip(options, (crash, break_down, fill_with_nan), strict=False):
        spoil(name, act)
    records = race(job, make_pair(precision="bf16"), *map(make_pair, options))
    assert statuses(records) == ["unsupported", "error", "error", "error", "ok"]
    assert "no instructions for bf16" in records[0]["reason"]
    assert [record["reason"] for record in records[1:4]] == [
        "while it raced the process ended with SIGKILL",
        "RuntimeError: it broke",
        "ValueError: the output of the denoiser has values that are not numbers (NaN or inf)",
    ]
    assert records[1]["launches"] is None


def test_a_reference_that_breaks_is_loaded_again_for_the_next(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, parent = Racer.turn, os.getpid()
    broken = job.folder.parent / "broken"

    def break_once(self: Racer) -> Any:
        if self.case.variant == REFERENCE and not broken.exists():
            assert os.getpid() != parent
            broken.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return turn(self)

    monkeypatch.setattr(Racer, "turn", break_once)
    first, second = race(job, make_pair("attention-vanilla"), make_pair("channels-last"))
    assert first["reason"] == "the reference: while it raced the process ended with SIGKILL"
    assert (first["status"], second["status"]) == ("error", "ok")


def test_without_its_reference_nothing_is_raced(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    half = replace(REFERENCE, precision="bf16")
    pairs = [replace(make_pair(options), reference=half) for options in ("none", "channels-last")]
    small = replace(DEVICE, memory_budget_gb=0.1)
    pairs.append(replace(make_pair(), case=replace(make_pair().case, device=small)))
    records = race(job, *pairs)
    assert statuses(records) == ["unsupported", "unsupported", "oom"]
    assert all(r["reason"].startswith("the reference: this processor") for r in records[:2])
    assert records[2]["reason"].startswith("the reference: out of memory")


def test_pairs_that_were_raced_are_kept(job: SweepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [make_pair("attention-vanilla"), make_pair("channels-last")]
    race(job, pairs[0])
    before = record_path(job.folder, pairs[0]).stat().st_mtime_ns
    race(job, *pairs)
    assert record_path(job.folder, pairs[0]).stat().st_mtime_ns == before
    monkeypatch.setattr("sdbench.measure.races.WorkerProcess", None)  # nothing is begun
    assert statuses(race(job, *pairs)) == ["ok"] * 2


def test_pairs_are_raced_in_blocks_and_their_rounds_are_divided(
    job: SweepContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both processes are new in each launch, and the order of a block is drawn by lot."""
    loads, load = tmp_path / "loads", Racer.load

    def noted(self: Racer) -> Any:
        with loads.open("a") as file:
            file.write(f"{self.case.variant.options} {os.getpid()}\n")
        return load(self)

    monkeypatch.setattr(Racer, "load", noted)
    thrice = replace(job, measuring=replace(MEASURING, launches=3))
    names = ["attention-vanilla", "channels-last", "vae-slicing"]
    records = race(thrice, *(make_pair(name, rounds=4) for name in names))
    for record in records:
        assert (record["status"], record["complete"]) == ("ok", True)
        assert len(record["launches"]) == 3
        for launch in record["launches"]:
            for who in ("challenger_run", "reference_run"):
                assert len(launch[who]["evaluation_s"]) == 2  # a third of 4, and no less
    options, pids = zip(*(line.split() for line in loads.read_text().splitlines()), strict=True)
    assert len({*pids}) == len(pids) == 3 * 4
    blocks = [options[at : at + 4] for at in range(0, len(options), 4)]
    assert all(block[0] == "none" and sorted(block[1:]) == sorted(names) for block in blocks)
    assert len({*blocks}) > 1


def test_a_race_goes_on_with_the_launches_that_it_has(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    thrice = replace(job, measuring=replace(MEASURING, launches=3))
    pairs = [make_pair("attention-vanilla"), make_pair("channels-last")]
    race_all, blocks = races._race_all, list[int]()

    def stop_after_one(*args: Any) -> None:
        if blocks:
            raise KeyboardInterrupt
        blocks.append(1)
        race_all(*args)

    monkeypatch.setattr(races, "_race_all", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        race(thrice, *pairs)
    begun = [read_record(record_path(job.folder, pair)) for pair in pairs]
    assert [(len(one["launches"]), one["complete"]) for one in begun] == [(1, False)] * 2
    monkeypatch.setattr(races, "_race_all", race_all)
    for before, after in zip(begun, race(thrice, *pairs), strict=True):
        assert (len(after["launches"]), after["complete"]) == (3, True)
        assert after["launches"][0] == before["launches"][0]
        assert after["started_at"] == before["started_at"]


def test_a_race_that_breaks_in_a_later_launch_says_in_which(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has no numbers of the launches before it."""
    monkeypatch.setattr(races, "_race", break_in_launch(2, races._race))
    thrice = replace(job, measuring=replace(MEASURING, launches=3))
    (record,) = race(thrice, make_pair("attention-vanilla"))
    assert (record["status"], record["launches"]) == ("error", None)
    assert record["reason"] == "in launch 2: it broke"
    monkeypatch.undo()
    (record,) = race(thrice, make_pair("attention-vanilla"))
    assert (record["status"], len(record["launches"])) == ("ok", 3)


def break_in_launch(number: int, race: Callable[..., Any]) -> Callable[..., Any]:
    calls = itertools.count(1)

    def spoilt(racers: Any, *args: Any) -> Any:
        if next(calls) == number:
            raise races._Failed(racers[1], "error", "it broke")
        return race(racers, *args)

    return spoilt


def test_a_race_that_was_killed_is_resumed(job: SweepContext, tmp_path: Path) -> None:
    """Outright, in the second of two: the first is kept, and no racer goes on alone."""
    first, second = make_pair("attention-vanilla"), make_pair("channels-last")
    said = tmp_path / "said"
    running = os.fork()
    if running == 0:
        with contextlib.suppress(BaseException), said.open("w") as sys.stdout:
            run_races([first, replace(second, rounds=1000)], job)
        os._exit(1)
    try:
        wait_until(lambda: said.exists() and "channels-last" in said.read_text())
        children = children_of(running)
        assert children
    finally:
        os.kill(running, signal.SIGKILL)
        os.waitpid(running, 0)
    wait_until(lambda: not any(map(is_running, children)))
    before = record_path(job.folder, first).stat().st_mtime_ns
    assert not (job.folder / "index.json").exists()
    assert statuses(race(job, first, second)) == ["ok"] * 2
    assert record_path(job.folder, first).stat().st_mtime_ns == before


def test_a_racer_that_spins_while_it_waits_is_seen(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    """In processor time, which it has got however busy the machine is: each wait lasts until."""
    spun_s = [0.0]

    def spin() -> None:
        while True:
            spun_s[0] = time.thread_time()

    wait = Racer.wait

    def wait_longer(self: Racer) -> None:
        wait(self)
        until_s = spun_s[0] + 0.2
        while spun_s[0] and spun_s[0] < until_s:
            time.sleep(0.01)

    def begin(_: Racer) -> None:
        threading.Thread(target=spin, daemon=True).start()
        wait_until(lambda: spun_s[0])

    spoil("channels-last", begin)
    monkeypatch.setattr(Racer, "wait", wait_longer)
    (record,) = race(job, make_pair("channels-last"))
    launch = launch_of(record)
    spinner, sleeper = launch["challenger_run"], launch["reference_run"]
    assert min(spinner["waited_cpu_s"]) > 0.19
    assert waiting_cores(spinner) > 5 * waiting_cores(sleeper)


@pytest.mark.slow
def test_the_denoiser_is_compiled_apart_from_its_evaluations(
    least: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    job = make_job(tmp_path / "races", least, MEASURING)
    (record,) = race(job, make_pair("compile"))
    assert record["status"] == "ok", record["reason"]
    launch = launch_of(record)
    run = launch["challenger_run"]
    assert run["compile_s"] > max(*run["warmup_s"], *run["evaluation_s"])
    assert run["compile_cached"] is False
    assert launch["divergence"] < 1e-4


def test_a_device_whose_clocks_fell_computes_before_it_is_timed(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    racer = Racer(make_pair().case, job)
    racer.engine = SimpleNamespace(device=torch.device("cpu"), synchronize=lambda: None)  # type: ignore[assignment]
    calls: list[float] = []

    def evaluate() -> torch.Tensor:
        time.sleep(0.05)
        calls.append(time.perf_counter())
        return torch.zeros(1)

    racer.evaluate = evaluate
    assert racer.turn()["evaluation_s"] < 0.2
    assert len(calls) == 1, "a CPU is timed at once"
    monkeypatch.setattr(platforms.Cpu, "ramp_s", 0.3)
    assert racer.turn()["evaluation_s"] < 0.2
    assert 4 <= len(calls) <= 1 + 6 + 1


def test_divergence_is_a_share_of_the_largest_value() -> None:
    expected = np.array([1.0, -4.0], np.float32)
    assert divergence(expected, np.array([1.5, -4.0], np.float32)) == 0.125


class _Counter:
    """Answers with how often it was asked; ends the process at the third."""

    def __init__(self, start: int) -> None:
        self.count = start

    def __call__(self, step: int) -> int:
        self.count += step
        if self.count >= 13:
            os._exit(3)
        return self.count


def test_a_partner_remembers_and_its_end_is_told() -> None:
    with WorkerProcess(_Counter, 10) as partner:
        assert [partner.ask(1), partner.ask(1)] == [11, 12]
        with pytest.raises(Ended, match="ended with status 3"):
            partner.ask(1)
