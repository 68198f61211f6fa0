"""Race the denoisers of two variants: they take turns, one evaluation each, from identical inputs.

Each is loaded in a process of its own, as its own program would load it, and stays there while the
other computes. A clock that slows down, or a neighbour that comes and goes, slows both: what is
left in the ratio of their times is the difference between them.
"""

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sdbench import backends
from sdbench.backends.engine import DenoiserInputs, Engine, describe_engine
from sdbench.cases.case import Case, Pair
from sdbench.devices.device import describe_device, probe_contention, torch_device
from sdbench.devices.machine import budget_bytes, describe_machine
from sdbench.devices.platforms import platform_of
from sdbench.devices.resident import resident_bytes, rss_after_gc
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
from sdbench.records.record import (
    RACE_VERSION,
    fingerprint,
    is_reusable,
    now,
    record_path,
    write_index,
    write_record,
)
from sdbench.runtime.errors import UnsupportedError
from sdbench.runtime.ownership import OWNER, claim
from sdbench.runtime.processes import Ended, WorkerProcess

import numpy as np
import torch
from numpy.typing import NDArray

SETTLE_S = 0.25
"""Seconds that follow an evaluation before the other's turn. Threads of an engine that has computed
look out for more work before they fall asleep: OpenMP's of Intel for 0.2 s, others for less."""


def run_races(pairs: list[Pair], sweep: SweepContext) -> None:
    """Leave a record for every pair and an index of them all in the sweep's folder.

    Records whose fingerprint still holds are kept. A pair that fails is a record too.

    Args:
        pairs: of one model and device, with challengers of one backend.
        sweep: what is the same for all of them.
    """
    sweep = replace(sweep, claim=claim(sweep.folder / OWNER))
    for pair in pairs:
        with contextlib.suppress(UnsupportedError):  # which loading a variant will say again
            backends.import_backend(pair.case)  # once, before the forks
        backends.import_backend(pair.reference_case)
    pending = [pair for pair in pairs if not _is_kept(pair, sweep)]
    print(f"{len(pairs)} races, {len(pairs) - len(pending)} reused", flush=True)
    for _, group in itertools.groupby(pending, key=lambda pair: pair.reference_case):
        _race_all(list(group), sweep)
    sweep.assert_owner()
    write_index(sweep.folder, pairs)


def _is_kept(pair: Pair, sweep: SweepContext) -> bool:
    return is_reusable(record_path(sweep.folder, pair), _fingerprint(pair, sweep))


def _fingerprint(pair: Pair, sweep: SweepContext) -> str:
    return fingerprint(pair, sweep.measuring, sweep.deciding(pair.case))


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


def _race_all(pairs: list[Pair], sweep: SweepContext) -> None:
    """Race pairs of one reference, in order. It is loaded once, and again where it failed."""
    while pairs:
        with WorkerProcess(
            Racer, pairs[0].reference_case, sweep, limit_s=sweep.limit_s
        ) as reference:
            try:
                started = _start(reference)
            except _Failed as failure:
                _, status, reason = failure.args
                for pair in pairs:
                    _write(pair, sweep, now(), status, f"the reference: {reason}")
                return
            while pairs:
                pair, begin = pairs.pop(0), now()
                print(f"{_name(pair)}: racing", flush=True)
                try:
                    with WorkerProcess(
                        Racer, pair.case, sweep, limit_s=sweep.limit_s
                    ) as challenger:
                        measured = _race(started, challenger, pair.rounds)
                except _Failed as failure:
                    failed, status, reason = failure.args
                    whose = "the reference: " if failed is reference else ""
                    _write(pair, sweep, begin, status, whose + reason)
                    if failed is reference:
                        break
                else:
                    _write(pair, sweep, begin, "ok", None, **measured)


@dataclass(frozen=True)
class _Started:
    """A reference that is warm: what it was given, what it made of it, and how it was started."""

    racer: WorkerProcess
    inputs: DenoiserInputs
    output: NDArray[np.float32]
    start: Mapping[str, Any]


def _start(reference: WorkerProcess) -> _Started:
    _, start = _ask(reference, "load")
    inputs = _ask(reference, "inputs")
    output, warmed = _ask(reference, "warm_up", inputs)
    return _Started(reference, inputs, output, start | warmed)


def _race(started: _Started, challenger: WorkerProcess, rounds: int) -> dict[str, Any]:
    """Run one race, and return what its record holds of it."""
    contention = _ask(started.racer, "look")
    environment, start = _ask(challenger, "load")
    output, warmed = _ask(challenger, "warm_up", started.inputs)
    racers = (started.racer, challenger)
    for racer in racers:
        _ask(racer, "wait")
    turns: dict[WorkerProcess, list[dict[str, float]]] = {racer: [] for racer in racers}
    for number in range(rounds):
        # What drifts steadily, such as a clock, then favours neither.
        for racer in racers if number % 2 == 0 else reversed(racers):
            turns[racer].append(_ask(racer, "turn"))
    runs = [
        {
            **began,
            **{key: [turn[key] for turn in turns[racer]] for key in turns[racer][0]},
            "memory": _ask(racer, "memory"),
        }
        for racer, began in zip(racers, (started.start, start | warmed), strict=True)
    ]
    return {
        "contention": contention,
        "reference_run": runs[0],
        "challenger_run": runs[1],
        "divergence": divergence(started.output, output),
        "environment": environment,
    }


def divergence(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """Return the largest absolute difference of two outputs, as a share of the largest absolute
    value of the one that is expected."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


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
        """Do a task, one of the methods below.

        Returns:
            `ok` and what it returns, or the status and the reason that its exception stands for.
        """
        try:
            return "ok", getattr(self, task)(*args)
        except Exception as error:
            return status_from_error(error)

    def load(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Load the variant; return its environment, and `load_s`.

        Raises:
            OverBudgetError: if this process is above the budget before it has loaded anything.
        """
        # With nothing left, libraries in C may crash where they would else say so.
        refuse_above(self.budget, {"resident_peak_bytes": resident_bytes()})
        device = torch_device(self.case)
        alone = platform_of(device).why_not_shared(device)
        if alone is not None:
            raise UnsupportedError(f"a race needs two processes on its device, but {alone}")
        environment = describe_machine(self.case.device) | describe_device(device)
        check_weights_fit(self.case, self.sweep.components, self.sweep.granted_bytes)
        begin = time.perf_counter()
        graphs = self.sweep.read_by(self.case)
        self.engine = backends.load(
            self.case,
            backends.require_model(self.sweep.model_folder),
            graphs.folder if graphs else None,
            self.sweep.settings_of(self.case),
        )
        self.engine.synchronize()
        load_s = time.perf_counter() - begin
        self.loaded_bytes = rss_after_gc()
        return environment | describe_engine(self.engine, self.case), {"load_s": load_s}

    def inputs(self) -> DenoiserInputs:
        """Return what both are to evaluate."""
        return self.engine.denoiser_inputs(self.case.generation, self.case.batch_size)

    def look(self) -> dict[str, Any]:
        """Look what else uses the device, and do what the config says."""
        return watch(lambda: probe_contention(self.engine.device), self.sweep.measuring)

    def warm_up(self, inputs: DenoiserInputs) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Evaluate the denoiser as often as the config says, compiling first if that is an option.

        Returns:
            Its output in fp32, of the shape of `sample`; and `compile_s`, `compile_cached` and the
            `warmup_s` of each evaluation that compiled nothing.

        Raises:
            OverBudgetError: if it needs more memory than the device's budget.
            ValueError: if the output cannot be right, whatever the speed.
        """
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
            raise ValueError(
                "the output of the denoiser has values that are not numbers (NaN or inf)"
            )
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
        """Evaluate the denoiser once.

        Returns:
            `evaluation_s`, and of the wait before it: `waited_s`, and `waited_cpu_s`, the seconds
            of the processors that this process used meanwhile.
        """
        since, cpu_since = self.waits_since
        waited_s, waited_cpu_s = time.perf_counter() - since, time.process_time() - cpu_since
        self._raise_clocks()
        evaluation_s = time_call(self.evaluate, self.engine.synchronize)
        self.wait()
        return {
            "evaluation_s": evaluation_s,
            "waited_s": waited_s,
            "waited_cpu_s": waited_cpu_s,
        }

    def _raise_clocks(self) -> None:
        """Evaluate without counting until the device's clocks are as high as they stay under load:
        while the other computed, or both waited, a GPU has lowered them."""
        ramp_s = platform_of(self.engine.device).ramp_s
        spent_s = 0.0
        while spent_s < ramp_s:
            spent_s += time_call(self.evaluate, self.engine.synchronize)

    def memory(self) -> dict[str, int | None]:
        """Return the peaks since the first evaluation of the warm-up."""
        memory = read_memory(self.engine.device, self.loaded_bytes)
        refuse_above(self.budget, memory)
        return memory


def _write(
    pair: Pair, sweep: SweepContext, begin: str, status: str, reason: str | None, **measured: Any
) -> None:
    parts = ("contention", "challenger_run", "reference_run", "divergence")
    record = {
        "schema_version": RACE_VERSION,
        "fingerprint": _fingerprint(pair, sweep),
        "input_digests": sweep.deciding(pair.case),
        **pair.as_dict(),
        "weights": sweep.weights,
        "status": status,
        "reason": reason,
        **dict.fromkeys(parts),
        "environment": describe_machine(pair.case.device),
        **measured,
        "started_at": begin,
        "finished_at": now(),
    }
    sweep.assert_owner()
    write_record(sweep.folder, pair, record)
    print(f"{_name(pair)}: {status}{f' ({reason})' if reason else ''}", flush=True)


def _name(pair: Pair) -> str:
    variant = pair.case.variant
    return (
        f"{variant.model} on {variant.device} at {pair.case.generation['width']} px, "
        f"{variant.backend} {variant.precision} {variant.options}"
    )
