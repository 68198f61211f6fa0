"""Races of the tiny model: turns, failures that stay with their pair, and what is kept."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
from sdbench.measure.context import Graphs, SweepContext
from sdbench.measure.races import Racer, divergence, run_races
from sdbench.records.record import Record, read_indexed, record_path
from sdbench.runtime import processes
from sdbench.runtime.processes import Ended, WorkerProcess
from sdbench.tables.rows import waiting_cores
from tests.conftest import ROOT
from tests.sweeps import GENERATION, MEASURING, make_job
from tests.waiting import is_running, wait_until

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
    return [record for _, record in read_indexed(job.folder / "index.json")]


def test_denoisers_take_turns_and_the_one_that_waits_sleeps(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a loop: neither OpenMP's threads nor ONNX Runtime's use a processor meanwhile."""
    # A fork has no threads, and OpenMP would count on those of the tests before this one.
    monkeypatch.setattr(processes, "START", "spawn")
    threads = replace(DEVICE, threads=2)
    pairs = [make_pair(rounds=6), make_pair("attention-vanilla", rounds=5)]
    records = race(job, *(replace(p, case=replace(p.case, device=threads)) for p in pairs))
    for record, rounds in zip(records, (6, 5), strict=True):
        assert (record["status"], record["reason"]) == ("ok", None)
        for name in ("challenger_run", "reference_run"):
            run = record[name]
            assert len(run["evaluation_s"]) == len(run["waited_s"]) == rounds
            assert len(run["warmup_s"]) == 1
            assert run["compile_s"] is None
            assert waiting_cores(run) < 0.1
            assert run["memory"]["resident_peak_bytes"] > run["memory"]["loaded_bytes"] > 0
        assert record["environment"]["threads"] == 2
    itself, vanilla = records
    assert itself["divergence"] == 0
    assert 0 < vanilla["divergence"] < 1e-5
    # The reference was loaded once, and warmed up once.
    assert itself["reference_run"]["load_s"] == vanilla["reference_run"]["load_s"]


def test_onnxruntime_races_from_the_same_inputs(job: SweepContext, exported: Path) -> None:
    own = replace(job, graphs={"onnx": Graphs(exported, "1" * 64)})
    (record,) = race(own, make_pair(backend="onnxruntime", rounds=4))
    assert record["status"] == "ok"
    assert 0 < record["divergence"] < 1e-5
    assert record["input_digests"]["graphs"] == "1" * 64
    assert waiting_cores(record["challenger_run"]) < 0.1
    assert waiting_cores(record["reference_run"]) < 0.1


@pytest.fixture
def times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Begin and end of each evaluation in a round, in the order in which they ended."""
    file, turn = tmp_path / "times", Racer.turn

    def noted(self: Racer) -> dict[str, float]:
        found = turn(self)
        end = self.waits_since[0] - 0.25
        with file.open("a") as times:
            times.write(f"{os.getpid()} {end - found['evaluation_s']} {end}\n")
        return found

    monkeypatch.setattr(Racer, "turn", noted)
    return lambda: [line.split() for line in file.read_text().splitlines()]


def test_one_computes_at_a_time_and_the_order_changes(
    job: SweepContext, times: Callable[[], list[list[str]]]
) -> None:
    race(job, make_pair(rounds=4))
    pids = [pid for pid, *_ in times()]
    first, second = dict.fromkeys(pids)
    assert pids == [first, second, second, first, first, second, second, first]
    ends = [(float(begin), float(end)) for _, begin, end in times()]
    for (_, end), (begin, _) in itertools.pairwise(ends):
        assert begin > end


def test_guidance_doubles_the_batch_and_the_inputs_are_those_of_the_first_step(
    model: Path,
) -> None:
    before = torch.get_num_threads()
    try:
        engine = backends.load(make_pair().case, model, None)
        args, kwargs = engine.denoiser_inputs(GENERATION, 3)
        sample, timestep = args
        states = kwargs["encoder_hidden_states"]
        assert sample.shape == (6, 4, 8, 8)
        assert states.shape == (6, 77, 32)
        seen: list[Any] = []
        forward = engine.pipeline.unet.forward

        def watched(*given: Any, **named: Any) -> Any:
            seen.append((given, named))
            return forward(*given, **named)

        engine.pipeline.unet.forward = watched
        engine.generate(GENERATION, engine.latents(GENERATION, 3))
        generated_args, generated_kwargs = seen[0]
        assert np.array_equal(sample, generated_args[0].numpy())
        assert timestep == generated_args[1]
        assert np.array_equal(states, generated_kwargs["encoder_hidden_states"].numpy())
        plain_args, plain_kwargs = engine.denoiser_inputs(GENERATION | {"guidance": 1.0}, 3)
        assert np.array_equal(plain_args[0], sample[:3])
        assert np.array_equal(plain_kwargs["encoder_hidden_states"], states[3:])
    finally:
        torch.set_num_threads(before)


def test_a_challenger_that_cannot_or_breaks_does_not_stop_the_others(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "computes_natively", lambda _: False)
    load = Racer.load

    def break_down(self: Racer) -> Any:
        if self.case.variant.options == "attention-sliced":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.case.variant.options == "channels-last":
            raise RuntimeError("it broke")
        return load(self)

    monkeypatch.setattr(Racer, "load", break_down)
    records = race(
        job,
        make_pair(precision="bf16"),
        make_pair("attention-sliced"),
        make_pair("channels-last"),
        make_pair("attention-vanilla"),
    )
    assert [r["status"] for r in records] == ["unsupported", "error", "error", "ok"]
    assert "no instructions for bf16" in records[0]["reason"]
    assert records[1]["reason"] == "while it raced the process ended with SIGKILL"
    assert records[2]["reason"] == "RuntimeError: it broke"
    assert records[1]["challenger_run"] is None


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
    records = race(job, *pairs)
    assert [r["status"] for r in records] == ["unsupported"] * 2
    assert all(r["reason"].startswith("the reference: this processor") for r in records)


def test_a_budget_that_is_too_small_is_out_of_memory(job: SweepContext) -> None:
    small = replace(DEVICE, memory_budget_gb=0.1)
    pair = make_pair()
    (record,) = race(job, replace(pair, case=replace(pair.case, device=small)))
    assert record["status"] == "oom"
    assert record["reason"].startswith("the reference: out of memory")


def test_pairs_that_were_raced_are_kept(job: SweepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [make_pair("attention-vanilla"), make_pair("channels-last")]
    race(job, pairs[0])
    before = record_path(job.folder, pairs[0]).stat().st_mtime_ns
    race(job, *pairs)
    assert record_path(job.folder, pairs[0]).stat().st_mtime_ns == before
    monkeypatch.setattr("sdbench.measure.races.WorkerProcess", None)  # nothing is begun
    assert [r["status"] for r in race(job, *pairs)] == ["ok"] * 2


KILLED = """
import sys
sys.path[:0] = [{scripts!r}, {root!r}]
from pathlib import Path
from sdbench.measure.races import run_races
from tests.e2e.test_races import make_pair
from tests.sweeps import MEASURING, make_job

sweep = make_job(Path({folder!r}), Path({model!r}), MEASURING)
run_races([make_pair("attention-vanilla"), make_pair("channels-last", rounds=1000)], sweep)
"""


def test_a_race_that_was_killed_is_resumed(job: SweepContext, model: Path) -> None:
    """Outright, in the second of two: the first is kept, and no racer goes on alone."""
    script = KILLED.format(
        scripts=str(ROOT / "scripts"), root=str(ROOT), folder=str(job.folder), model=str(model)
    )
    first, second = make_pair("attention-vanilla"), make_pair("channels-last")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "channels-last: racing" in line:
                break
        children = children_of(running.pid)
        assert children
        running.kill()
    wait_until(lambda: not any(map(is_running, children)))
    before = record_path(job.folder, first).stat().st_mtime_ns
    assert not (job.folder / "index.json").exists()
    assert [r["status"] for r in race(job, first, second)] == ["ok"] * 2
    assert record_path(job.folder, first).stat().st_mtime_ns == before


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_a_racer_that_spins_while_it_waits_is_seen(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Racer.load

    def spin() -> None:
        while True:
            pass

    def spoilt(self: Racer) -> Any:
        if self.case.variant.options == "channels-last":
            threading.Thread(target=spin, daemon=True).start()
        return load(self)

    monkeypatch.setattr(Racer, "load", spoilt)
    (record,) = race(job, make_pair("channels-last"))
    assert waiting_cores(record["challenger_run"]) > 0.2 > waiting_cores(record["reference_run"])


@pytest.mark.slow
def test_the_denoiser_is_compiled_apart_from_its_evaluations(
    least: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    job = make_job(tmp_path / "races", least, MEASURING)
    (record,) = race(job, make_pair("compile"))
    assert record["status"] == "ok", record["reason"]
    run = record["challenger_run"]
    assert run["compile_s"] > max(*run["warmup_s"], *run["evaluation_s"])
    assert run["compile_cached"] is False
    assert record["divergence"] < 1e-4


def test_values_that_are_no_numbers_are_an_error(
    job: SweepContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Racer.load

    def spoil(self: Racer) -> Any:
        found = load(self)
        if self.case.variant.options == "channels-last":
            unet = self.engine.pipeline.unet
            next(unet.parameters()).data.fill_(float("nan"))
        return found

    monkeypatch.setattr(Racer, "load", spoil)
    (record,) = race(job, make_pair("channels-last"))
    assert (record["status"], record["reason"]) == (
        "error",
        "ValueError: the output of the denoiser has values that are not numbers (NaN or inf)",
    )


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


@pytest.fixture(params=["fork", "spawn"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(processes, "START", request.param)
    yield


@pytest.mark.usefixtures("start")
def test_a_partner_remembers_and_its_end_is_told() -> None:
    with WorkerProcess(_Counter, 10) as partner:
        assert [partner.ask(1), partner.ask(1)] == [11, 12]
        with pytest.raises(Ended, match="ended with status 3"):
            partner.ask(1)
