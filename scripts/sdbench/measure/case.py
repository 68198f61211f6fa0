"""Measure the cases of one variant, in a process that does nothing else."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sdbench.backends.engine import Engine, Images, check_images, describe_engine, to_8_bits
from sdbench.cases.case import Case
from sdbench.cases.measuring import Measuring
from sdbench.devices.device import describe_device, probe_contention, torch_device
from sdbench.devices.machine import budget_bytes, describe_machine
from sdbench.devices.platforms import is_lost, platform_of
from sdbench.devices.resident import rss_after_gc
from sdbench.measure.compiling import compile_anew
from sdbench.measure.contention import watch
from sdbench.measure.context import SweepContext
from sdbench.measure.latency import sample_latency
from sdbench.measure.memory import check_weights_fit, measure_memory, memory_limit, refuse_above
from sdbench.measure.phases import time_phases
from sdbench.measure.projection import Call, begin_call, project
from sdbench.measure.status import status_from_error
from sdbench.measure.throughput import measure_throughput
from sdbench.records.record import now, write_image
from sdbench.runtime.files import StorageError
from sdbench.runtime.processes import UnfitError
from sdbench.runtime.progress import say

import torch


def measure_variant(send: Callable[[Any], None], cases: list[Case], sweep: SweepContext) -> None:
    """Load a variant, then measure its cases in order; send each that has its record.

    Once a batch does not fit, larger ones are records with status `oom` and are not tried. If the
    device was lost (`UnfitError`), what was not sent is for another process to measure.
    """
    measuring = sweep.measuring
    assert isinstance(measuring, Measuring), "a race has less of it"
    environment = describe_machine(cases[0].device)
    failure: tuple[str, str] | None = None
    loaded, contention, lost = None, None, False
    with memory_limit(budget_bytes(cases[0].device, sweep.granted_bytes)):
        try:
            environment |= describe_device(torch_device(cases[0]))
            # Before anything is loaded: a neighbour's memory must not look like a small device.
            contention = _watch(cases[0], sweep)
            check_weights_fit(cases[0], sweep.components, sweep.granted_bytes)
            loaded = load(cases[0], sweep, measuring.project_above_s)
            environment |= describe_engine(loaded.engine, cases[0])
        except Exception as error:
            failure, lost = status_from_error(error), is_lost(error)
        for case in cases:
            record = (case, now(), environment)
            if loaded is None or failure is not None:
                assert failure is not None
                sweep.write(*record, *failure, contention=contention)
            else:
                say(f"measuring {case.title}")
                try:
                    sweep.write(*record, "ok", **_measure(loaded, case, sweep, measuring))
                except StorageError:
                    raise
                except Exception as error:
                    failure, lost = status_from_error(error), is_lost(error)
                    sweep.write(*record, *failure, contention=contention)
                    if failure[0] == "oom":
                        failure = "oom", f"not tried: a batch of {case.batch_size} did not fit"
                    else:
                        failure = None
                    if not lost:
                        empty_allocator(loaded.engine)
            send(case.id)
            if lost:
                raise UnfitError


@dataclass
class Loaded:
    """A loaded variant: its engine, its cold start as a record has it, and the bytes then resident.

    `limit_s` are the seconds above which a call is only begun; 0 for any number. `compiled_for` is
    the batch size that its networks are compiled for; 0 for none.
    """

    engine: Engine
    cold_start: dict[str, Any]
    loaded_bytes: int | None
    limit_s: float
    compiled_for: int = 0

    def begin(self, case: Case) -> Call:
        """Make a call of `case`, or begin it if it would take too long."""
        latents = self.engine.latents(case.generation, case.batch_size)
        return begin_call(self.engine, case.generation, latents, self.limit_s)

    def compile_for(self, case: Case) -> float | None:
        """Have the networks compiled for the batch size of `case`, where that is an option.

        It takes calls. No later call compiles.

        Returns:
            The seconds of the first of these calls without compiling; None if there was none.
        """
        engine = self.engine
        if engine.compile_mode is None or self.compiled_for == case.batch_size:
            return None
        calls: list[Call] = []
        call_s, compiled = compile_anew(
            lambda: calls.append(self.begin(case)), engine.synchronize, engine.device
        )
        self.cold_start = self.cold_start | compiled
        self.compiled_for = case.batch_size
        # What the compiler leaves in memory is none of a call's.
        self.loaded_bytes = rss_after_gc()
        return call_s + calls[0].left_s


def load(case: Case, sweep: SweepContext, limit_s: float) -> Loaded:
    """Load the variant of `case` and make its first call, of one image.

    Args:
        case: of the variant.
        sweep: what is the same for all cases of the job.
        limit_s: a call that would take longer is only begun; 0 for no limit.
    """
    engine, load_s = sweep.load(case)
    cold_start = {"load_s": load_s, "compile_s": None, "compile_cached": None}
    loaded = Loaded(engine, cold_start, rss_after_gc(), limit_s)
    first = replace(case, batch_size=1)
    first_call_s = loaded.compile_for(first)
    if first_call_s is None:
        call = loaded.begin(first)
        first_call_s = call.made_s + call.left_s
    loaded.cold_start["first_call_s"] = first_call_s
    return loaded


def _measure(
    loaded: Loaded, case: Case, sweep: SweepContext, measuring: Measuring
) -> dict[str, Any]:
    """Measure one case: latency, throughput, parts and memory, each in a pass of its own."""
    loaded.compile_for(case)
    # Should a network have to be compiled again after all, that is an error, and in no sample.
    with torch.compiler.set_stance("fail_on_recompile"):
        return _measure_passes(loaded, case, sweep, measuring)


def _measure_passes(
    loaded: Loaded, case: Case, sweep: SweepContext, measuring: Measuring
) -> dict[str, Any]:
    engine, loaded_bytes = loaded.engine, loaded.loaded_bytes
    device = engine.device
    platform = platform_of(device)
    generation, latents = case.generation, engine.latents(case.generation, case.batch_size)

    # The first warm-up call is looked at: what is wrong or too large is said before more is spent.
    first: list[Call] = []
    budget = budget_bytes(case.device, sweep.granted_bytes)
    memory = measure_memory(lambda: first.append(loaded.begin(case)), device, loaded_bytes)
    refuse_above(budget, memory)
    check_images(first[0].images)
    contention = _watch(case, sweep)
    during: list[dict[str, Any]] = []
    before = platform.state(device)

    def look() -> None:
        during.append(platform.state(device))

    def call() -> Images:
        return engine.generate(generation, latents)

    if first[0].evaluations is not None:
        counter = platform.energy(device)
        parts = project(engine, generation, latents, first[0].evaluations, measuring, counter, look)
        after = platform.state(device)
    else:
        latency = sample_latency(call, engine.synchronize, measuring, [first[0].made_s])
        throughput = measure_throughput(
            call, engine.synchronize, platform.energy(device), measuring.throughput_duration_s
        )
        after = platform.state(device)
        phases = [
            time_phases(engine, generation, latents, look) for _ in range(measuring.phase_samples)
        ]
        memory = measure_memory(call, device, loaded_bytes)
        refuse_above(budget, memory)
        image = write_image(sweep.folder, case, to_8_bits(first[0].images)[0])
        parts = {"latency": latency, "throughput": throughput, "phases": phases, "image": image}
    sweep.assert_owner()
    return {
        "cold_start": loaded.cold_start,
        "contention": contention,
        "device_state": {"before": before, "during": during, "after": after},
        "memory": memory,
        **parts,
    }


def _watch(case: Case, sweep: SweepContext) -> dict[str, Any]:
    device = torch_device(case)
    return watch(lambda: probe_contention(device), sweep.measuring)


def empty_allocator(engine: Engine) -> None:
    """Give back what a failed call may still hold. Never inside a timed region."""
    gc.collect()
    platform_of(engine.device).empty_cache()
