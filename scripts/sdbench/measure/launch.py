"""One launch of a variant: its cases measured in a process that does nothing else."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sdbench.backends.engine import Engine, Images, check_images, describe_engine, to_8_bits
from sdbench.cases.case import Case
from sdbench.cases.measuring import Measuring
from sdbench.cases.options import COMPILE
from sdbench.devices.device import describe_device, probe_contention, torch_device
from sdbench.devices.energy import spent_j
from sdbench.devices.machine import budget_bytes, describe_machine
from sdbench.devices.platforms import is_lost, platform_of
from sdbench.devices.resident import rss_after_gc
from sdbench.measure.agreement import check_agreement, compare
from sdbench.measure.compiling import compile_anew
from sdbench.measure.contention import watch
from sdbench.measure.context import SweepContext
from sdbench.measure.disturbance import Usage, disturbances
from sdbench.measure.latency import sample_latency
from sdbench.measure.memory import check_weights_fit, measure_memory, memory_limit, refuse_above
from sdbench.measure.phases import time_phases
from sdbench.measure.projection import Call, begin_call, project
from sdbench.measure.status import status_from_error
from sdbench.measure.throughput import measure_throughput
from sdbench.records.record import now, write_image
from sdbench.runtime.files import StorageError
from sdbench.runtime.processes import UnfitError

import torch

Outcome = dict[str, Any]
"""What a launch found of a case, as parts of its record: `environment`, `status`, `reason`,
`contention`, `agreement`, and if it ran `launch`, one of the record's `launches`, and of a first
launch `memory` and `image`."""


def measure_launch(
    send: Callable[[Outcome], None],
    cases: list[Case],
    sweep: SweepContext,
    is_first: bool,
    projected: Sequence[int | None],
) -> None:
    """Load a variant, then measure its cases in order; send the outcome of each.

    Once a batch does not fit, larger ones have status `oom` too and are not tried. If the device
    was lost (`UnfitError`), what was not sent is for another process to measure.

    Args:
        send: takes each outcome.
        cases: of one variant.
        sweep: what is the same for all cases of the job.
        is_first: whether nothing is known of the cases yet: images and memory are looked at.
        projected: of each case how many evaluations the denoiser has in a whole call, if an earlier
            launch found that one takes too long.
    """
    measuring = sweep.measuring
    assert isinstance(measuring, Measuring), "a race has less of it"
    known: Outcome = {"environment": describe_machine(cases[0].device), "contention": None}
    # What compiles has one launch, which has all of it.
    each = measuring if COMPILE in cases[0].variant.switches else measuring.share()
    failure: tuple[str, str] | None = None
    loaded, lost = None, False
    with memory_limit(budget_bytes(cases[0].device, sweep.granted_bytes)):
        try:
            device = torch_device(cases[0])
            known["environment"] |= describe_device(device)
            if is_first or measuring.contention != "warn":
                # Before loading: a neighbour's memory must not look like a small device.
                known["contention"] = watch(lambda: probe_contention(device), measuring)
            check_weights_fit(cases[0], sweep.components, sweep.granted_bytes, sweep.peaks)
            limit_s = measuring.project_above_s
            begins = is_first or projected[0] is None
            loaded = load(cases[0], sweep, limit_s, decode=is_first, begins=begins)
            known["environment"] |= describe_engine(loaded.engine, cases[0])
            expected = sweep.expected if is_first else None
            known["agreement"] = compare(loaded.engine, cases[0], expected)
            check_agreement(known["agreement"])
        except Exception as error:
            failure, lost = status_from_error(error), is_lost(error)
        for case, evaluations in zip(cases, projected, strict=True):
            if loaded is None or failure is not None:
                assert failure is not None
                outcome = _failed(failure)
            else:
                try:
                    loaded.compile_for(case)
                    # Should a network have to be compiled again after all, that is an error, and in
                    # no sample.
                    with torch.compiler.set_stance("fail_on_recompile"):
                        outcome = _measure(loaded, case, sweep, each, is_first, evaluations)
                except StorageError:
                    raise
                except Exception as error:
                    outcome, lost = _failed(status_from_error(error)), is_lost(error)
                    if outcome["status"] == "oom":
                        failure = "oom", f"not tried: a batch of {case.batch_size} did not fit"
                    if not lost:
                        empty_allocator(loaded.engine)
            send(known | outcome)
            if lost:
                raise UnfitError


def _failed(failure: tuple[str, str]) -> Outcome:
    return dict(zip(("status", "reason"), failure, strict=True))


class Watch:
    """What is read around the calls of a launch: its device's state and energy, and what else the
    processors did."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.platform = device, platform_of(device)
        self.before = self.platform.state(device)
        self.during: list[Mapping[str, Any]] = []
        self.energies: list[float | None] = []
        self.counter = self.platform.energy(device)
        self.usage = Usage()

    def look(self) -> None:
        """Read the state, in the middle of a call."""
        self.during.append(self.platform.state(self.device))

    @contextlib.contextmanager
    def metering(self) -> Iterator[None]:
        """Count the energy of a block."""
        before = self.counter.read()
        yield
        self.energies.append(spent_j(before, self.counter.read()))

    def energy(self) -> dict[str, Any] | None:
        """Return the energy of all blocks, as a pass holds it; None where nothing counts."""
        known = [joules for joules in self.energies if joules is not None]
        if len(known) < len(self.energies):
            return None
        return {"source": self.counter.source, "energy_j": sum(known)}


@dataclass(frozen=True)
class Begun:
    """A first call of a case, what was read around it, and the memory that it took."""

    call: Call
    watch: Watch
    memory: dict[str, int | None]

    @property
    def is_sample(self) -> bool:
        """Whether it is a short call with all of its parts, from which the whole is projected."""
        call = self.call
        return call.evaluations is not None and call.images is not None and bool(call.phases)


@dataclass
class Loaded:
    """A loaded variant: its engine, its cold start as a launch has it, and the bytes then resident.

    `limit_s` are the seconds above which a call is only begun; 0 for any number. `first` is the
    first call, of one image, if no network was compiled in it. `compiled_for` is the batch size
    that its networks are compiled for; 0 for none.
    """

    engine: Engine
    cold_start: dict[str, Any]
    loaded_bytes: int | None
    limit_s: float
    first: Begun | None = None
    compiled_for: int = 0

    def begin(self, case: Case, decode: bool = True) -> Begun:
        """Make a call of `case`, or begin it if it would take too long."""
        engine, calls = self.engine, list[Call]()
        latents = engine.latents(case.generation, case.batch_size)
        watch = Watch(engine.device)

        def call() -> None:
            how = engine, case.generation, latents, self.limit_s, decode
            calls.append(begin_call(*how, watch.look))

        with watch.metering():
            memory = measure_memory(call, engine.device, self.loaded_bytes)
        watch.usage.read()
        return Begun(calls[0], watch, memory)

    def compile_for(self, case: Case) -> float | None:
        """Have the networks compiled for the batch size of `case`, where that is an option.

        It takes calls. No later call compiles.

        Returns:
            The seconds of the first of these calls without compiling; None if there was none.
        """
        engine = self.engine
        if engine.compile_mode is None or self.compiled_for == case.batch_size:
            return None
        calls: list[Begun] = []
        call_s, compiled = compile_anew(
            lambda: calls.append(self.begin(case)), engine.synchronize, engine.device
        )
        self.cold_start = self.cold_start | compiled
        self.compiled_for = case.batch_size
        # What the compiler leaves in memory is none of a call's.
        self.loaded_bytes = rss_after_gc()
        return call_s + calls[0].call.left_s


def load(
    case: Case, sweep: SweepContext, limit_s: float, decode: bool = True, begins: bool = True
) -> Loaded:
    """Load the variant of `case` and make its first call, of one image.

    Args:
        case: of the variant.
        sweep: what is the same for all cases of the job.
        limit_s: a call that would take longer is only begun; 0 for no limit.
        decode: whether such a call is decoded; if not, what it would have taken is not known.
        begins: whether there is such a call at all, unless networks are compiled in it.
    """
    engine, load_s = sweep.load(case)
    cold_start = {"load_s": load_s, "compile_s": None, "compile_cached": None}
    loaded = Loaded(engine, cold_start, rss_after_gc(), limit_s)
    one = replace(case, batch_size=1)
    first_call_s = loaded.compile_for(one)
    if first_call_s is None and begins:
        loaded.first = loaded.begin(one, decode)
        call = loaded.first.call
        is_known = call.images is not None
        first_call_s = call.made_s + call.left_s if is_known else None
    loaded.cold_start["first_call_s"] = first_call_s
    return loaded


def _measure(
    loaded: Loaded,
    case: Case,
    sweep: SweepContext,
    measuring: Measuring,
    is_first: bool,
    projected: int | None,
) -> Outcome:
    """Measure one case: latency, throughput, parts and memory, each in a pass of its own."""
    began, engine = time.perf_counter(), loaded.engine
    device = engine.device
    generation, latents = case.generation, engine.latents(case.generation, case.batch_size)
    found: Outcome = {}
    begun, evaluations = None, projected
    budget = budget_bytes(case.device, sweep.granted_bytes)
    # The first evaluation of a short call is warm-up enough.
    if projected is None or is_first:
        begun = _warm_up(loaded, case, is_first, budget)
        evaluations = begun.call.evaluations
    watch = begun.watch if begun is not None and begun.is_sample else Watch(device)
    usage = watch.usage

    def call() -> Images:
        return engine.generate(generation, latents)

    parts: dict[str, Any] = {"projection": None, "throughput": None}
    if evaluations is not None:
        sample = begun.call if begun is not None and begun.is_sample else None
        with watch.metering():
            how = engine, generation, latents, evaluations, measuring
            parts |= project(*how, watch.look, usage.read, sample)
        parts["projection"]["energy"] = watch.energy()
        if is_first:
            assert begun is not None
            found["memory"] = begun.memory
    else:
        assert begun is not None
        parts["latency"] = sample_latency(
            call,
            engine.synchronize,
            measuring,
            [begun.call.made_s],
            watch.platform.ramp_s,
            usage.read,
        )
        parts["throughput"] = measure_throughput(
            call, engine.synchronize, watch.counter, measuring.throughput_duration_s
        )
        usage.read()
        parts["phases"] = [
            time_phases(engine, generation, latents, watch.look)[0]
            for _ in range(measuring.phase_samples)
        ]
        usage.read()
        if is_first:
            found["memory"] = measure_memory(call, device, loaded.loaded_bytes)
            refuse_above(budget, found["memory"])
            assert begun.call.images is not None
            found["image"] = write_image(sweep.folder, case, to_8_bits(begun.call.images)[0])
    launch = {
        "cold_start": loaded.cold_start,
        "device_state": {
            "before": watch.before,
            "during": watch.during,
            "after": watch.platform.state(device),
        },
        "usage": usage.as_dict(),
        "gpu_processes": watch.platform.others(device),
        **parts,
        "seconds": time.perf_counter() - began,
        "measured_at": now(),
    }
    sweep.assert_owner()
    launch["disturbed"] = disturbances(launch, sweep.measuring.max_busy_cores)
    return {"status": "ok", "reason": None, **found, "launch": launch}


def _warm_up(loaded: Loaded, case: Case, is_first: bool, budget: int | None) -> Begun:
    """Return the first call of the warm-up: with one image that of the process, else another.

    A first launch makes another in any case, unless it would take too long: the first sets up what
    stays in memory. It is looked at: what is wrong or too large is said before more is spent.
    """
    begun = loaded.first if case.batch_size == 1 else None
    if begun is None or (is_first and begun.call.evaluations is None):
        begun = loaded.begin(case, decode=is_first)
    if is_first:
        refuse_above(budget, begun.memory)
    if begun.call.images is not None:
        check_images(begun.call.images)
    return begun


def empty_allocator(engine: Engine) -> None:
    """Give back what a failed call may still hold. Never inside a timed region."""
    gc.collect()
    platform_of(engine.device).empty_cache()
