"""Measure the cases of one variant, in a process that does nothing else."""

import datetime
import gc
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sdbench import backends
from sdbench.backends.engine import (
    Engine,
    Images,
    check_images,
    to_8_bits,
    torch_device,
)
from sdbench.cases.case import Case, Device, digest
from sdbench.cases.options import TUNED
from sdbench.devices import describe_device, describe_engine, look_around
from sdbench.errors import UnsupportedError, one_line
from sdbench.exports import exported_beside, identify
from sdbench.files import StorageError, read_json, sha256
from sdbench.machine import budget_bytes, describe_machine, identify_machine
from sdbench.meters.compiling import compile_anew
from sdbench.meters.contention import watch
from sdbench.meters.latency import sample_latency, time_call
from sdbench.meters.measuring import Measuring, Racing
from sdbench.meters.memory import (
    is_out_of_memory,
    measure_memory,
    memory_limit,
    refuse_above,
    refuse_offload,
    refuse_too_large,
)
from sdbench.meters.phases import time_phases
from sdbench.meters.resident import resident_bytes, trim_heap
from sdbench.meters.throughput import measure_throughput
from sdbench.models.manifest import check_model
from sdbench.models.weights import Components, device_bytes, host_bytes, weight_bytes
from sdbench.ownership import Claim
from sdbench.platforms import is_lost, platform_of
from sdbench.processes import UnfitError
from sdbench.records import SCHEMA_VERSION, Record, fingerprint, write_picture, write_record
from sdbench.settings import chosen_settings

import torch

MEASURED = (
    "cold_start",
    "contention",
    "device_state",
    "latency",
    "phases",
    "throughput",
    "memory",
    "picture",
)
"""The parts of a record that a case without a measurement may lack."""


@dataclass(frozen=True)
class Graphs:
    """Exported networks: the folder that they lie in, and the digest of what they are."""

    folder: Path
    digest: str


@dataclass(frozen=True)
class Sweep:
    """What is the same for all cases of a job.

    `model_folder` is None where the model has room nowhere and was not made; `components` are its
    own all the same. `graphs` holds the exported networks that its variants read, by
    `Variant.graphs`; `tuned` the settings that a search chose, by `Variant.key`; `decided_by` the
    digests of what else all its records are made with, beside case and settings of measuring.
    `granted_bytes` is the memory that a cluster gives the job, None on a machine of one's own.
    """

    folder: Path
    model_folder: Path | None
    components: Components
    graphs: Mapping[str, Graphs]
    weights: str
    measuring: Racing
    decided_by: Mapping[str, str]
    granted_bytes: int | None = None
    claim: Claim | None = None
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def assert_owner(self) -> None:
        """Go on if no other job has begun the same sweep; called before anything is written.

        Raises:
            TakenOver: if one has.
        """
        if self.claim is not None:
            self.claim.assert_held()

    @property
    def limit_s(self) -> float | None:
        """The seconds that a case may take; None for any number."""
        return self.measuring.case_time_limit_s or None

    def read_by(self, case: Case) -> Graphs | None:
        """Return the exported networks that the variant of `case` reads; None if it reads none."""
        name = case.variant.graphs
        return None if name is None or self.model_folder is None else self.graphs[name]

    def settings_of(self, case: Case) -> Mapping[str, Any]:
        """Return the settings of the backend that were chosen for the variant of `case`, if any."""
        is_tuned = TUNED in case.variant.switches and self.model_folder is not None
        return self.tuned[case.variant.key] if is_tuned else {}

    def deciding(self, case: Case) -> dict[str, str]:
        """Return the digests of all that the record of `case` is made with, beside the case."""
        deciding = dict(self.decided_by)
        graphs = self.read_by(case)
        if graphs is not None:
            deciding["graphs"] = graphs.digest
        if TUNED in case.variant.switches:
            deciding["settings"] = digest(self.settings_of(case))
        return deciding

    def fingerprint(self, case: Case) -> str:
        """Return the fingerprint of the record that this sweep makes of `case`."""
        return fingerprint(case, self.measuring, self.deciding(case))


def make_sweep(
    device: Device,
    measuring: Racing,
    manifest: Path,
    model_folder: Path | None,
    graphs: Sequence[Path],
    code: str,
    environment_file: Path,
    folder: Path,
    granted_bytes: int | None,
    settings: Path | None = None,
) -> Sweep:
    """Return what is the same for all that a job measures, from what its rule is given.

    Args:
        device: its entry in the config.
        measuring: what the job needs of the config's section of that name.
        manifest: what the model stage knows of the model; its digest is the model's identity.
        model_folder: the model in the diffusers layout; None where it has room nowhere.
        graphs: the records of the exported networks that the cases read, which lie beside them.
        code: digest of the modules that decide the numbers.
        environment_file: the conda environment of the rule.
        folder: where the records of this model, device and backend lie.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.
        settings: what the search for settings found; None where no case asks for it.

    Raises:
        UserError: if the model or its exported networks are not what was described or exported.
    """
    model = read_json(manifest)
    if model_folder is not None:
        check_model(model_folder, manifest)
    return Sweep(
        folder=folder,
        model_folder=model_folder,
        components=model["components"],
        graphs={
            record.parent.name: Graphs(exported_beside(record), identify(record))
            for record in graphs
        },
        weights=model["weights"],
        measuring=measuring,
        decided_by={
            "model": model["digest"],
            "code": code,
            "environment": sha256(environment_file),
            "machine": digest(identify_machine(device)),
        },
        granted_bytes=granted_bytes,
        tuned=chosen_settings(settings),
    )


def measure_variant(send: Callable[[Any], None], cases: list[Case], sweep: Sweep) -> None:
    """Load a variant, then measure its cases in order; send each that has its record.

    Once a batch does not fit, larger ones are records with status `oom` and are not tried.

    Raises:
        StorageError: if the disk does not take what was measured.
        UnfitError: if the device was lost; what was not sent is for another process to measure.
    """
    environment = describe_machine(cases[0].device)
    failure: tuple[str, str] | None = None
    loaded, contention, lost = None, None, False
    with memory_limit(budget_bytes(cases[0].device, sweep.granted_bytes)):
        try:
            environment |= describe_device(torch_device(cases[0]))
            # Before anything is loaded: a neighbour's memory must not look like a small device.
            contention = _watch(cases[0], sweep)
            refuse_misfit(cases[0], sweep.components, sweep.granted_bytes)
            loaded = load(cases[0], sweep)
            environment |= describe_engine(loaded.engine, cases[0])
        except Exception as error:
            failure, lost = classify(error), is_lost(error)
        for case in cases:
            attempt = Attempt(case, sweep, environment)
            if loaded is None or failure is not None:
                assert failure is not None
                attempt.write(*failure, contention=contention)
            else:
                print(f"{name(case)}: measuring", flush=True)
                try:
                    attempt.write("ok", **_measure(loaded, case, sweep))
                except StorageError:
                    raise
                except Exception as error:
                    failure, lost = classify(error), is_lost(error)
                    attempt.write(*failure, contention=contention)
                    if failure[0] == "oom":
                        failure = "oom", f"not tried: a batch of {case.batch_size} did not fit"
                    else:
                        failure = None
                    if not lost:
                        empty_allocator(loaded.engine)
            send(case.id)
            if lost:
                raise UnfitError


def refuse_misfit(case: Case, components: Components, granted_bytes: int | None = None) -> None:
    """Refuse a model whose weights cannot fit where `case` has them, by their shapes alone.

    Args:
        case: its precision and options say how large they are, and which are on the device.
        components: the model's, as its manifest has them.
        granted_bytes: the memory that a cluster gives the job; None on a machine of one's own.

    Raises:
        TooSmallError: if the device, or the machine where weights wait in it, has less memory.
        ContentionError: if the device has enough, of which others hold too much.
    """
    how = (components, case.variant.precision, case.variant.switches)
    refuse_offload(host_bytes(*how), granted_bytes)
    refuse_too_large(
        sum(weight_bytes(*how).values()),
        device_bytes(*how),
        torch_device(case),
        budget_bytes(case.device, granted_bytes),
    )


def made(model_folder: Path | None) -> Path:
    """Return the folder of a model to load.

    Raises:
        UnsupportedError: if there is none, since no device had room for it.
    """
    if model_folder is None:
        raise UnsupportedError(
            "it was not made, since no device that it is asked for on had room for it"
        )
    return model_folder


@dataclass
class Loaded:
    """A loaded variant: its engine, its cold start as a record has it, and the bytes then resident.

    `compiled_for` is the batch size that its networks are compiled for; 0 for none.
    """

    engine: Engine
    cold_start: dict[str, Any]
    loaded_bytes: int | None
    compiled_for: int = 0

    def compile_for(self, case: Case, steps: int | None = None) -> float | None:
        """Have the networks compiled for the batch size of `case`, where that is an option.

        It takes calls, of `steps` steps if not those of the case. No later call compiles.

        Returns:
            The seconds of the first of these calls without compiling; None if there was none.
        """
        engine = self.engine
        if engine.compile_mode is None or self.compiled_for == case.batch_size:
            return None
        latents = engine.latents(case.generation, case.batch_size)
        call_s, compiled = compile_anew(
            lambda: engine.draw(case.generation, latents, steps), engine.synchronize, engine.device
        )
        self.cold_start = self.cold_start | compiled
        self.compiled_for = case.batch_size
        # What the compiler leaves in memory is none of a call's.
        self.loaded_bytes = settled_bytes()
        return call_s


def settled_bytes() -> int | None:
    """Return the bytes resident once all that is free has been given back."""
    gc.collect()
    trim_heap()
    return resident_bytes()


def load(case: Case, sweep: Sweep) -> Loaded:
    """Load the variant of `case` and make its first call, of one picture."""
    begin = time.perf_counter()
    graphs = sweep.read_by(case)
    folder, settings = graphs.folder if graphs else None, sweep.settings_of(case)
    engine = backends.load(case, made(sweep.model_folder), folder, settings)
    engine.synchronize()
    load_s = time.perf_counter() - begin
    cold_start = {"load_s": load_s, "compile_s": None, "compile_cached": None}
    loaded = Loaded(engine, cold_start, settled_bytes())
    first = replace(case, batch_size=1)
    latents = engine.latents(first.generation, first.batch_size)
    loaded.cold_start["first_call_s"] = loaded.compile_for(first) or time_call(
        lambda: engine.draw(first.generation, latents), engine.synchronize
    )
    return loaded


def _measure(loaded: Loaded, case: Case, sweep: Sweep) -> dict[str, Any]:
    """Measure one case: latency, throughput, parts and memory, each in a pass of its own.

    Raises:
        OverBudgetError: if the call needs more memory than the device's budget.
        ValueError: if the pictures cannot be right, whatever the speed.
        ContentionError: if something else uses the device and the config says to end the case.
    """
    loaded.compile_for(case)
    # Should a network have to be compiled again after all, that is an error, and in no sample.
    with torch.compiler.set_stance("fail_on_recompile"):
        return _measure_passes(loaded, case, sweep)


def _measure_passes(loaded: Loaded, case: Case, sweep: Sweep) -> dict[str, Any]:
    engine, loaded_bytes = loaded.engine, loaded.loaded_bytes
    device, measuring = engine.device, sweep.measuring
    assert isinstance(measuring, Measuring), "a race has less of it"
    platform = platform_of(device)
    latents = engine.latents(case.generation, case.batch_size)

    def call() -> Images:
        return engine.draw(case.generation, latents)

    # The first warm-up call is looked at: what is wrong or too large is said before more is spent.
    images: list[Images] = []
    warmup_s: list[float] = []

    def first_call() -> None:
        warmup_s.append(time_call(lambda: images.append(call()), engine.synchronize))

    budget = budget_bytes(case.device, sweep.granted_bytes)
    memory = measure_memory(first_call, device, loaded_bytes)
    refuse_above(budget, memory)
    check_images(images[0])
    contention = _watch(case, sweep)
    before = platform.state(device)
    latency = sample_latency(call, engine.synchronize, measuring, warmup_s)
    throughput = measure_throughput(
        call, engine.synchronize, platform.energy(device), measuring.throughput_duration_s
    )
    after = platform.state(device)
    phases = [time_phases(engine, case.generation, latents) for _ in range(measuring.phase_samples)]
    memory = measure_memory(call, device, loaded_bytes)
    refuse_above(budget, memory)
    sweep.assert_owner()
    return {
        "cold_start": loaded.cold_start,
        "contention": contention,
        "device_state": {"before": before, "after": after},
        "latency": latency,
        "phases": phases,
        "throughput": throughput,
        "memory": memory,
        "picture": write_picture(sweep.folder, case, to_8_bits(images[0])[0]),
    }


def _watch(case: Case, sweep: Sweep) -> dict[str, Any]:
    device = torch_device(case)
    return watch(lambda: look_around(device), sweep.measuring)


def classify(error: Exception) -> tuple[str, str]:
    """Return the status and the reason that an exception stands for."""
    if isinstance(error, UnsupportedError):
        return "unsupported", str(error)
    reason = one_line(error)
    if is_out_of_memory(error):
        return "oom", f"out of memory: {reason}"
    traceback.print_exception(error)
    return "error", f"{type(error).__name__}: {reason}"


def empty_allocator(engine: Engine) -> None:
    """Give back what a failed call may still hold. Never inside a timed region."""
    gc.collect()
    platform_of(engine.device).empty_cache()


def name(case: Case) -> str:
    """Return what a case is called in a log."""
    v = case.variant
    return (
        f"{v.model} on {v.device}, {v.backend} {v.precision} {v.options}, batch {case.batch_size}"
    )


def now() -> str:
    """Return the time in UTC, in ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass
class Attempt:
    """The measuring of one case, from now until its record is written."""

    case: Case
    sweep: Sweep
    environment: Mapping[str, Any]
    started_at: str = field(default_factory=now)

    def write(self, status: str, reason: str | None = None, **measured: Any) -> None:
        """Write the record; `measured` holds those of `MEASURED` that there are."""
        record: Record = {
            "schema_version": SCHEMA_VERSION,
            "case_id": self.case.id,
            "fingerprint": self.sweep.fingerprint(self.case),
            "decided_by": self.sweep.deciding(self.case),
            "case": self.case.as_dict(),
            "weights": self.sweep.weights,
            "status": status,
            "reason": reason,
            **dict.fromkeys(MEASURED),
            **measured,
            "environment": dict(self.environment),
            "started_at": self.started_at,
            "finished_at": now(),
        }
        self.sweep.assert_owner()
        write_record(self.sweep.folder, self.case, record)
        print(f"{name(self.case)}: {status}{f' ({reason})' if reason else ''}", flush=True)
