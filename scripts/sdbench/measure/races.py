"""Race the denoisers of two variants: they take turns, one evaluation each, from identical inputs.

Each stays in a process of its own while the other computes. A clock that slows down, or a
neighbour that comes and goes, slows both, and the ratio of their times keeps their difference.
"""

import contextlib
import gc
import itertools
import math
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdbench import backends
from sdbench.backends.engine import DenoiserInputs, Engine, describe_engine
from sdbench.cases.case import Case, Pair
from sdbench.cases.options import COMPILE
from sdbench.devices.device import describe_device, probe_contention, torch_device
from sdbench.devices.machine import budget_bytes, describe_machine
from sdbench.devices.platforms import platform_of
from sdbench.devices.resident import resident_bytes, rss_after_gc
from sdbench.measure.agreement import divergence
from sdbench.measure.compiling import compile_anew
from sdbench.measure.contention import watch
from sdbench.measure.context import SweepContext
from sdbench.measure.latency import time_call
from sdbench.measure.memory import (
    check_weights_fit,
    measure_memory,
    memory_limit,
    read_memory,
    refuse_above,
)
from sdbench.measure.status import status_from_error
from sdbench.records.record import now, read_record, record_path, write_index
from sdbench.runtime.errors import UnsupportedError, UserError
from sdbench.runtime.processes import Ended, WorkerProcess, time_left_s
from sdbench.runtime.progress import say

import numpy as np
import torch
from numpy.typing import NDArray

SETTLE_S = 0.25
"""Seconds that follow an evaluation before the other's turn. Threads of an engine that has computed
look out for more work before they fall asleep: OpenMP's of Intel for 0.2 s, others for less."""


def run_races(pairs: list[Pair], sweep: SweepContext) -> None:
    """Leave a record for every pair, of one model and device and challengers of one backend, and an
    index of them all in the sweep's folder. Records whose fingerprint still holds are kept.

    Each pair is raced in several launches, both processes new in each, in blocks as in a sweep.
    """
    sweep = sweep.claimed()
    for pair in pairs:
        with contextlib.suppress(UnsupportedError):  # which loading a variant will say again
            backends.import_backend(pair.case)  # once, before the forks
        backends.import_backend(pair.reference_case)
    pending = [pair for pair in pairs if not sweep.has(pair)]
    say(f"{len(pairs)} races, {len(pairs) - len(pending)} reused")
    pending = [] if sweep.write_failed(pending) else pending
    records = {record_path(sweep.folder, pair): _begun(pair, sweep) for pair in pending}
    lot = random.Random(0)
    while True:
        begun = [(pair, records[record_path(sweep.folder, pair)]) for pair in pending]
        left = [pair for pair, record in begun if not _is_done(pair, record, sweep)]
        if not left:
            break
        lot.shuffle(left)
        left.sort(key=lambda pair: pair.reference_case.id)
        for _, group in itertools.groupby(left, key=lambda pair: pair.reference_case):
            _race_all(list(group), records, sweep)
        if time_left_s() == 0:
            break
    sweep.assert_owner()
    write_index(sweep.folder, pairs)


def _launches(pair: Pair, sweep: SweepContext) -> int:
    switches = {*pair.case.variant.switches, *pair.reference.switches}
    return 1 if COMPILE in switches else sweep.measuring.launches


def _is_done(pair: Pair, record: Mapping[str, Any], sweep: SweepContext) -> bool:
    launches = record.get("launches") or []
    return record.get("status", "ok") != "ok" or len(launches) >= _launches(pair, sweep)


def _begun(pair: Pair, sweep: SweepContext) -> dict[str, Any]:
    """Return what a job that was stopped has left of the record of a pair."""
    with contextlib.suppress(UserError):  # not there, or damaged
        record = read_record(record_path(sweep.folder, pair))
        if record["fingerprint"] == sweep.fingerprint(pair) and record["launches"]:
            kept = ("started_at", "environment", "status", "contention", "launches")
            return {key: record[key] for key in kept}
    return {}


class _Failed(Exception):  # noqa: N818 - it is a result before it is an error
    """A racer could not do what it was asked; `args` are it, a status and a reason."""


def _ask(racer: WorkerProcess, task: str, *args: Any) -> Any:
    try:
        status, answer = racer.ask(task, *args)
    except Ended as error:
        raise _Failed(racer, "error", error.reason("it raced")) from None
    if status != "ok":
        raise _Failed(racer, status, answer)
    return answer


def _added(record: dict[str, Any], pair: Pair, found: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a pair with what one more launch found."""
    launches = record.get("launches") or []
    if found["status"] == "ok":
        found["launches"] = [*launches, found.pop("launch")]
        first = record.get("contention")
        seen = first if first and first["contended"] else found["contention"]
        return record | found | {"contention": seen}
    if launches and time_left_s() == 0:
        return record  # the next run goes on with it
    if launches:
        found["reason"] = f"in launch {len(launches) + 1}: {found['reason']}"
    return record | found | {"environment": describe_machine(pair.case.device), "launches": None}


def _race_all(pairs: list[Pair], records: dict[Path, dict[str, Any]], sweep: SweepContext) -> None:
    """Race pairs of one reference, in order, in one launch each; `records` is by their paths. The
    reference is loaded once, and again where it failed."""

    def start(case: Case) -> WorkerProcess:
        return WorkerProcess(Racer, case, sweep, limit_s=sweep.limit_s)

    def write(pair: Pair, begin: str, **found: Any) -> None:
        path = record_path(sweep.folder, pair)
        records[path] = record = {"started_at": begin} | _added(records[path], pair, found)
        sweep.write(pair, **record, complete=_is_done(pair, record, sweep))

    while pairs:
        with start(pairs[0].reference_case) as reference:
            try:
                _, loaded = _ask(reference, "load")
                inputs = _ask(reference, "inputs")
                output, warmed = _ask(reference, "warm_up", inputs)
            except _Failed as failure:
                _, status, reason = failure.args
                for pair in pairs:
                    write(pair, now(), status=status, reason=f"the reference: {reason}")
                return
            known = (inputs, output, loaded | warmed)
            while pairs:
                pair, begin = pairs.pop(0), now()
                say(f"racing {pair.title}")
                rounds = math.ceil(pair.rounds / _launches(pair, sweep))
                raced = len(records[record_path(sweep.folder, pair)].get("launches") or []) * rounds
                numbers = range(raced, raced + rounds)
                try:
                    with start(pair.case) as challenger:
                        measured = _race((reference, challenger), numbers, *known)
                except _Failed as failure:
                    failed, status, reason = failure.args
                    whose = "the reference: " if failed is reference else ""
                    write(pair, begin, status=status, reason=whose + reason)
                    if failed is reference:
                        break
                else:
                    write(pair, begin, status="ok", **measured)


def _race(
    racers: tuple[WorkerProcess, WorkerProcess],
    numbers: range,
    inputs: DenoiserInputs,
    expected: NDArray[np.float32],
    start: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a record holds of a launch of a race of the reference, which has been started
    (`start`) and made `expected` of the `inputs`, and the challenger. `numbers` are of its rounds
    among those of all launches."""
    reference, challenger = racers
    contention = _ask(reference, "look")
    environment, loaded = _ask(challenger, "load")
    output, warmed = _ask(challenger, "warm_up", inputs)
    for racer in racers:
        _ask(racer, "wait")
    turns: dict[WorkerProcess, list[dict[str, float]]] = {racer: [] for racer in racers}
    for number in numbers:
        # What drifts steadily, such as a clock, then favours neither.
        for racer in racers if number % 2 == 0 else reversed(racers):
            turns[racer].append(_ask(racer, "turn"))
    reference_run, challenger_run = (
        {
            **began,
            **{key: [turn[key] for turn in turns[racer]] for key in turns[racer][0]},
            "memory": _ask(racer, "memory"),
        }
        for racer, began in zip(racers, (start, loaded | warmed), strict=True)
    )
    return {
        "contention": contention,
        "environment": environment,
        "launch": {
            "reference_run": reference_run,
            "challenger_run": challenger_run,
            "divergence": divergence(expected, output),
        },
    }


class Racer:
    """One variant in a process of its own, which loads it and evaluates its denoiser when asked."""

    def __init__(self, case: Case, sweep: SweepContext) -> None:
        self.case, self.sweep = case, sweep
        self.budget = budget_bytes(case.device, sweep.granted_bytes)
        # As long as the process lives.
        contextlib.ExitStack().enter_context(memory_limit(self.budget))
        self.engine: Engine
        self.evaluate: Callable[[], torch.Tensor]
        self.loaded_bytes: int | None = None
        self.waits_since = 0.0, 0.0

    def __call__(self, task: str, *args: Any) -> tuple[str, Any]:
        """Do a task, one of the methods below; return `ok` and what it returns, or the status and
        the reason that its exception stands for."""
        try:
            return "ok", getattr(self, task)(*args)
        except Exception as error:
            return status_from_error(error)

    def load(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Load the variant; return its environment, and `load_s`."""
        # With nothing left, libraries in C may crash where they would else say so.
        refuse_above(self.budget, {"resident_peak_bytes": resident_bytes()})
        device = torch_device(self.case)
        alone = platform_of(device).why_not_shared(device)
        if alone is not None:
            raise UnsupportedError(f"a race needs two processes on its device, but {alone}")
        environment = describe_machine(self.case.device) | describe_device(device)
        check_weights_fit(self.case, self.sweep.components, self.sweep.granted_bytes)
        self.engine, load_s = self.sweep.load(self.case)
        self.loaded_bytes = rss_after_gc()
        return environment | describe_engine(self.engine, self.case), {"load_s": load_s}

    def inputs(self) -> DenoiserInputs:
        """Return what both are to evaluate."""
        return self.engine.denoiser_inputs(self.case.generation, self.case.batch_size)

    def look(self) -> dict[str, Any]:
        """Look what else uses the device, and do what the config says."""
        return watch(lambda: probe_contention(self.engine.device), self.sweep.measuring)

    def warm_up(self, inputs: DenoiserInputs) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Evaluate the denoiser as often as the config says, compiling first if that is an option;
        return its output in fp32, of the shape of `sample`, and `compile_s`, `compile_cached` and
        the `warmup_s` of each evaluation that compiled nothing."""
        engine = self.engine
        self.evaluate = engine.denoiser(inputs)
        compiled = {"compile_s": None, "compile_cached": None}
        warmup_s: list[float] = []
        if engine.compile_mode is not None:
            call_s, compiled = compile_anew(self.evaluate, engine.synchronize, engine.device)
            warmup_s.append(call_s)
            self.loaded_bytes = rss_after_gc()
            # Should it have to be compiled again after all, that is an error, and in no sample.
            torch.compiler.set_stance("fail_on_recompile")
        outputs: list[torch.Tensor] = []

        def call() -> None:
            warmup_s.append(time_call(lambda: outputs.append(self.evaluate()), engine.synchronize))

        refuse_above(self.budget, measure_memory(call, engine.device, self.loaded_bytes))
        output = outputs[0].float().cpu().numpy()
        if not np.isfinite(output).all():
            what = "the output of the denoiser"
            raise ValueError(f"{what} has values that are not numbers (NaN or inf)")
        for _ in range(self.sweep.measuring.warmup_calls - 1):
            call()
        # A collection in the middle of an evaluation would be counted as the network's time.
        gc.collect()
        gc.disable()
        return output, compiled | {"warmup_s": warmup_s}

    def wait(self) -> None:
        """Let the engine's threads fall asleep; from then on, what this process uses is counted."""
        time.sleep(SETTLE_S)
        self.waits_since = time.perf_counter(), time.process_time()

    def turn(self) -> dict[str, float]:
        """Evaluate the denoiser once; return `evaluation_s`, and of the wait before it `waited_s`
        and `waited_cpu_s`, the seconds of the processors that this process used meanwhile."""
        since, cpu_since = self.waits_since
        waited_s, waited_cpu_s = time.perf_counter() - since, time.process_time() - cpu_since
        # While the other computed, or both waited, a GPU has lowered its clocks: not counted is
        # what it evaluates until they are as high as they stay under load.
        ramp_s = platform_of(self.engine.device).ramp_s
        while ramp_s > 0:
            ramp_s -= time_call(self.evaluate, self.engine.synchronize)
        evaluation_s = time_call(self.evaluate, self.engine.synchronize)
        self.wait()
        waited = {"waited_s": waited_s, "waited_cpu_s": waited_cpu_s}
        return {"evaluation_s": evaluation_s, **waited}

    def memory(self) -> dict[str, int | None]:
        """Return the peaks since the first evaluation of the warm-up."""
        memory = read_memory(self.engine.device, self.loaded_bytes)
        refuse_above(self.budget, memory)
        return memory
