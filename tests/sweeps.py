"""The jobs that tests measure in, as a rule's script makes them but without its manifest; what they
are given, and what they leave."""

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Variant
from sdbench.measurement import Graphs, Sweep
from sdbench.meters import resident
from sdbench.models.manifest import describe_components, model_files
from sdbench.records import Record, read_indexed

Measure = Callable[..., dict[str, Any]]

GENERATION = {
    "prompt": "a red circle",
    "steps": 3,
    "scheduler": "pndm",
    "guidance": 4.0,
    "height": 64,
    "width": 64,
    "seed": 0,
}

MEASURING = {
    "warmup_calls": 1,
    "min_samples": 3,
    "min_duration_s": 0.0,
    "max_duration_s": 10.0,
    "min_samples_capped": 3,
    "phase_samples": 2,
    "contention": "warn",
    "max_busy_cores": 0.25,
    "contention_wait_s": 0,
    "throughput_duration_s": 0.1,
    "case_time_limit_s": 600,
}
"""As short as can be."""


def make_job(
    folder: Path,
    model: Path,
    measuring: Mapping[str, Any],
    graphs: Mapping[str, Graphs] | None = None,
) -> Sweep:
    """Return a job that leaves the records of a model in `folder`."""
    components = describe_components(model, model_files(model))
    return Sweep(folder, model, components, graphs or {}, "seeded", measuring, {"model": "0" * 64})


def make_case(
    batch_size: int = 1, options: str = "none", precision: str = "fp32", **device: Any
) -> Case:
    variant = Variant("tiny", "cpu", "pytorch", precision, options)
    settings = {"kind": "cpu", "index": 0, "threads": 1, "memory_budget_gb": 0, "gpu_model": ""}
    return Case(variant, batch_size, GENERATION, settings | device)


def indexed(job: Sweep) -> list[Record]:
    return [record for _, record in read_indexed(job.folder / "index.json")]


def statuses(job: Sweep) -> list[str]:
    return [record["status"] for record in indexed(job)]


def resident_now() -> int:
    """Return what this process takes, less what tests before left in it to be given back."""
    gc.collect()
    resident.trim_heap()
    found = resident.resident_bytes()
    assert found is not None
    return found
