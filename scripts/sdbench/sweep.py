"""Measure the cases of one model on one device with one backend.

Python and PyTorch start once. Each variant (precision and options) is then measured in a process
of its own, forked from there: its memory is its own, and its crash does not take the others along.
A record is written as soon as its case is measured, and kept if nothing that decides it changed.
"""

import datetime
import gc
import itertools
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from sdbench import backends, nvml
from sdbench.backends.engine import (
    Engine,
    Images,
    check_images,
    gpu_uuid,
    threads,
    to_8_bits,
    torch_device,
)
from sdbench.cases import Case, Variant, digest
from sdbench.errors import UnsupportedError
from sdbench.files import write_json
from sdbench.machine import cpu_mhz, describe_machine
from sdbench.meters.contention import busy_cores, watch
from sdbench.meters.energy import Counter, measure_energy, rapl_energy_j
from sdbench.meters.largest_batch import find_largest, predict_largest
from sdbench.meters.latency import sample_latency, time_call
from sdbench.meters.memory import (
    budget_bytes,
    is_out_of_memory,
    measure_memory,
    memory_limit,
    resident_bytes,
)
from sdbench.meters.phases import time_phases
from sdbench.meters.reference import time_reference
from sdbench.records import (
    REFERENCE,
    SCHEMA_VERSION,
    Record,
    fingerprint,
    keeps,
    read_record,
    record_path,
    write_index,
    write_picture,
    write_record,
)

MEASURED = (
    "cold_start",
    "contention",
    "device_state",
    "latency",
    "phases",
    "memory",
    "energy",
    "picture",
)
"""The parts of a record that a case without a measurement lacks."""


@dataclass(frozen=True)
class Sweep:
    """What is the same for all cases of a job.

    `decided_by` holds the digests of model, code and environment that records are made with.
    """

    folder: Path
    model_folder: Path
    onnx_folder: Path | None
    weights: str
    measuring: Mapping[str, Any]
    decided_by: Mapping[str, str]

    def fingerprint(self, case: Case) -> str:
        """Return the fingerprint of the record that this sweep makes of `case`."""
        return fingerprint(case, self.measuring, self.decided_by)


def run_sweep(cases: list[Case], sweep: Sweep, searches: Mapping[Variant, int]) -> None:
    """Leave a record for every case and an index of them all in the sweep's folder.

    Records whose fingerprint still holds are kept. A case that fails is a record too.

    Args:
        cases: the cases of one model, device and backend.
        sweep: what is the same for all of them.
        searches: by variant, the cap of the search for its largest batch, which becomes a case too.
    """
    start = None
    if any(not _is_kept(case, sweep) for case in cases):
        # The same work before and after: what differs between the two is the machine's own noise.
        start = _time_reference_apart(cases[0])
    _measure_pending(cases, sweep)
    found = [_search_largest(variant, cap, cases, sweep) for variant, cap in searches.items()]
    largest = [
        replace(case, batch_size=search["largest_batch"])
        for search, case in zip(found, map(_by_variant(cases).get, searches), strict=True)
        if case is not None and search["largest_batch"]
    ]
    _measure_pending(largest, sweep)
    if start is not None:
        end = _time_reference_apart(cases[0])
        write_json(sweep.folder / REFERENCE, {"start_s": start, "end_s": end})
    write_index(sweep.folder, [*cases, *largest], found)


def _by_variant(cases: list[Case]) -> dict[Variant, Case]:
    return {case.variant: case for case in reversed(cases)}


def _is_kept(case: Case, sweep: Sweep) -> bool:
    return keeps(record_path(sweep.folder, case), sweep.fingerprint(case))


def _measure_pending(cases: list[Case], sweep: Sweep) -> None:
    pending = [case for case in cases if not _is_kept(case, sweep)]
    print(f"{len(cases)} cases, {len(cases) - len(pending)} of them measured before", flush=True)
    for _, group in itertools.groupby(pending, key=lambda case: case.variant):
        _measure_apart(list(group), sweep)


def _search_largest(variant: Variant, cap: int, cases: list[Case], sweep: Sweep) -> dict[str, Any]:
    """Return the largest batch of a variant, found before if nothing changed that decides it."""
    own = [case for case in cases if case.variant == variant]
    wanted = digest([sweep.fingerprint(own[0]), [case.batch_size for case in own], cap])
    path = record_path(sweep.folder, own[0]).parent / f"largest-{wanted[:8]}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    records = {case.batch_size: read_record(record_path(sweep.folder, case)) for case in own}
    found = _apart(_search, own[0], cap, records, sweep)
    if found is None:
        found = {"largest_batch": 0, "probes": [], "reason": "the searching process ended early"}
    found = {"variant": asdict(variant), "cap": cap, "reason": None, **found}
    write_json(path, found)
    print(f"{_name(own[0])}: the largest batch is {found['largest_batch']}", flush=True)
    return found


def _search(
    sender: Connection, case: Case, cap: int, records: Mapping[int, Record], sweep: Sweep
) -> None:
    """Search for the largest batch of the variant of `case`, and send what was found."""
    runs = max((n for n, record in records.items() if record["status"] == "ok"), default=0)
    fails = min((n for n, record in records.items() if record["status"] == "oom"), default=cap + 1)
    broken = [r["reason"] for r in records.values() if r["status"] in ("error", "unsupported")]
    if broken or runs >= cap:
        reason = broken[0] if broken else None
        sender.send({"largest_batch": min(runs, cap), "probes": [], "reason": reason})
        return
    budget = budget_bytes(case.device)
    with memory_limit(budget):
        engine, _, _ = _load(case, sweep)
        limit = budget or torch.cuda.mem_get_info(engine.device)[1]
        counter = "resident_peak_bytes" if engine.device.type == "cpu" else "peak_reserved_bytes"
        peaks = {n: r["memory"][counter] for n, r in records.items() if r["status"] == "ok"}
        predicted = predict_largest(peaks, limit)

        def fits(batch_size: int) -> bool:
            try:
                # Memory does not depend on the number of steps: one is enough.
                engine.draw(case.generation, engine.latents(case.generation, batch_size), steps=1)
                engine.synchronize()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                _empty_allocator(engine)
                print(f"{_name(case)}: a batch of {batch_size} does not fit", flush=True)
                return False
            print(f"{_name(case)}: a batch of {batch_size} fits", flush=True)
            return True

        largest, probes = find_largest(fits, predicted, runs, min(fails, cap + 1))
    sender.send(
        {
            "largest_batch": largest,
            "predicted_batch": predicted,
            "limit_bytes": limit,
            "probes": probes,
        }
    )


def _apart(function: Callable[..., None], *args: Any) -> Any:
    """Return what `function(sender, *args)` sends from a process of its own; None if it dies."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=function, args=(sender, *args))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        process.join()


def _time_reference_apart(case: Case) -> list[float]:
    """Time the fixed work on the device of `case`, in a process of its own; empty if it fails."""
    samples: list[float] = _apart(_time_reference, case) or []
    return samples


def _time_reference(sender: Connection, case: Case) -> None:
    try:
        device = torch_device(case)
    except UnsupportedError:
        sender.send([])
        return
    torch.set_num_threads(threads(case))
    sender.send(time_reference(device))


def _measure_apart(cases: list[Case], sweep: Sweep) -> None:
    """Measure the cases of one variant in a process of their own, and go on in another one if it
    crashes."""
    # A fork shares what is imported, and no thread or device has been started yet.
    context = multiprocessing.get_context("fork")
    while cases:
        done = context.Value("i", 0)
        process = context.Process(target=_measure_variant, args=(cases, sweep, done))
        process.start()
        process.join()
        cases = cases[done.value :]
        if cases:
            reason = f"the measuring process ended with {_exit_name(process.exitcode)}"
            crashed = _Attempt(cases[0], sweep, describe_machine())
            crashed.write("error", reason)
            cases = cases[1:]


def _exit_name(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"


def _measure_variant(cases: list[Case], sweep: Sweep, done: Any) -> None:
    """Load a variant, then measure its cases in order; `done` counts those that have a record."""
    environment = describe_machine()
    failure: tuple[str, str] | None = None
    engine = None
    with memory_limit(budget_bytes(cases[0].device)):
        try:
            engine, cold_start, loaded_bytes = _load(cases[0], sweep)
            environment |= describe_engine(engine, cases[0])
        except Exception as error:
            failure = _classify(error)
        for case in cases:
            attempt = _Attempt(case, sweep, environment)
            if engine is not None and failure is None:
                try:
                    print(f"{_name(case)}: measuring", flush=True)
                    attempt.write(
                        "ok", **_measure(engine, case, sweep, loaded_bytes), cold_start=cold_start
                    )
                except Exception as error:
                    failure = _classify(error)
                    attempt.write(*failure)
                    failure = _consequence(failure, case)
                    _empty_allocator(engine)
            else:
                assert failure is not None
                attempt.write(*failure)
            done.value += 1


def _load(case: Case, sweep: Sweep) -> tuple[Engine, dict[str, float], int]:
    """Return the engine, the seconds of its cold start, and the bytes resident after loading."""
    begin = time.perf_counter()
    engine = backends.load(case, sweep.model_folder, sweep.onnx_folder)
    engine.synchronize()
    load_s = time.perf_counter() - begin
    gc.collect()
    loaded_bytes = resident_bytes()
    latents = engine.latents(case.generation, 1)
    first_call_s = time_call(lambda: engine.draw(case.generation, latents), engine.synchronize)
    return engine, {"load_s": load_s, "first_call_s": first_call_s}, loaded_bytes


def _measure(engine: Engine, case: Case, sweep: Sweep, loaded_bytes: int) -> dict[str, Any]:
    """Measure one case: latency, its parts, memory and energy, each in a pass of its own.

    Raises:
        ValueError: if the pictures cannot be right, whatever the speed.
        ContentionError: if something else uses the device and the config says to end the case.
    """
    device, measuring = engine.device, sweep.measuring
    latents = engine.latents(case.generation, case.batch_size)

    def call() -> Images:
        return engine.draw(case.generation, latents)

    images = call()
    check_images(images)
    contention = watch(lambda: _look_around(device), measuring)
    before = device_state(device)
    latency = sample_latency(call, engine.synchronize, measuring)
    after = device_state(device)
    return {
        "contention": contention,
        "device_state": {"before": before, "after": after},
        "latency": latency,
        "phases": [
            time_phases(engine, case.generation, latents) for _ in range(measuring["phase_samples"])
        ],
        "memory": measure_memory(call, device, loaded_bytes),
        "energy": measure_energy(
            call, engine.synchronize, energy_counter(device), measuring["energy_duration_s"]
        ),
        "picture": write_picture(sweep.folder, case, to_8_bits(images)[0]),
    }


def _look_around(device: torch.device) -> dict[str, Any]:
    on_gpu = nvml.foreign_processes(gpu_uuid(device)) if device.type == "cuda" else []
    return {"busy_cores": busy_cores(), "gpu_processes": on_gpu}


def energy_counter(device: torch.device) -> Counter:
    """Return the counter of the energy that a device uses."""
    if device.type == "cuda":
        uuid = gpu_uuid(device)
        return Counter("nvml", lambda: nvml.total_energy_j(uuid))
    return Counter("rapl", rapl_energy_j)


def device_state(device: torch.device) -> dict[str, Any]:
    """Return what may drift while a case is measured: a GPU's clocks, a machine's load."""
    if device.type == "cuda":
        return nvml.gpu_state(gpu_uuid(device))
    return {"load_1min": os.getloadavg()[0], "cpu_mhz": cpu_mhz()}


def _classify(error: Exception) -> tuple[str, str]:
    """Return the status and the reason that an exception stands for."""
    if isinstance(error, UnsupportedError):
        return "unsupported", str(error)
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if is_out_of_memory(error):
        return "oom", f"out of memory: {reason}"
    traceback.print_exception(error)
    return "error", f"{type(error).__name__}: {reason}"


def _consequence(failure: tuple[str, str], case: Case) -> tuple[str, str] | None:
    """Return what the failure of one batch size means for the larger ones; None: try them."""
    if failure[0] != "oom":
        return None
    return "oom", f"not tried: a batch of {case.batch_size} did not fit"


def _empty_allocator(engine: Engine) -> None:
    gc.collect()
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()


def describe_engine(engine: Engine, case: Case) -> dict[str, Any]:
    """Return the device and the switches that are in force, as they are and not as they were asked
    for."""
    on_cuda = engine.device.type == "cuda"
    facts: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "switches": {
            "weights_dtype": str(engine.dtype).removeprefix("torch."),
            "autocast_dtype": engine.autocast and str(engine.autocast).removeprefix("torch."),
            "fp32_precision_matmul": torch.backends.cuda.matmul.fp32_precision,
            "fp32_precision_conv": torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "attention": case.variant.attention,
            "scheduler": type(engine.pipeline.scheduler).__name__,
        },
    }
    if on_cuda:
        properties = torch.cuda.get_device_properties(engine.device)
        facts["device_name"] = properties.name
        facts["gpu"] = nvml.describe_gpu(gpu_uuid(engine.device)) | {
            "memory_bytes": properties.total_memory,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return facts


def _name(case: Case) -> str:
    v = case.variant
    return (
        f"{v.model} on {v.device}, {v.backend} {v.precision} {v.options}, batch {case.batch_size}"
    )


@dataclass
class _Attempt:
    """The measuring of one case, from now until its record is written."""

    case: Case
    sweep: Sweep
    environment: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.started_at = _now()

    def write(self, status: str, reason: str | None = None, **measured: Any) -> None:
        """Write the record; `measured` holds those of `MEASURED` that there are."""
        record: Record = {
            "schema_version": SCHEMA_VERSION,
            "case_id": self.case.id,
            "fingerprint": self.sweep.fingerprint(self.case),
            "decided_by": dict(self.sweep.decided_by),
            "case": self.case.as_dict(),
            "weights": self.sweep.weights,
            "status": status,
            "reason": reason,
            **dict.fromkeys(MEASURED),
            **measured,
            "environment": dict(self.environment),
            "started_at": self.started_at,
            "finished_at": _now(),
        }
        write_record(self.sweep.folder, self.case, record)
        print(f"{_name(self.case)}: {status}{f' ({reason})' if reason else ''}", flush=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
