"""The jobs that tests measure in, as a rule's script makes them but without its manifest; what they
are given, and what they leave."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sdbench.backends.engine import Engine
from sdbench.cases.case import Case, Device, Variant
from sdbench.cases.measuring import Racing
from sdbench.devices import resident
from sdbench.measure import launch as measurement
from sdbench.measure.context import Graphs, SweepContext
from sdbench.measure.launch import Loaded
from sdbench.measure.sweep import run_sweep
from sdbench.models.reading import read_folder
from sdbench.records.record import Record, read_indexed
from tests.unit import records_factory

# A fork of a process whose OpenMP has had more threads waits for them for ever: whether a test that
# forks came after one that computes was chance.
torch.set_num_threads(1)

GENERATION = {
    "prompt": "a red circle",
    "steps": 3,
    "scheduler": "pndm",
    "guidance": 4.0,
    "height": 64,
    "width": 64,
    "seed": 0,
}

MEASURING = replace(records_factory.MEASURING, max_busy_cores=1000, throughput_duration_s=0.01)
"""Short; and no launch is repeated because the machine is busy."""
SHORT = replace(MEASURING, min_samples=1, min_samples_capped=1, phase_samples=1)
"""As short as a measurement can be, and whole all the same."""


def make_job(
    folder: Path,
    model: Path,
    measuring: Racing,
    graphs: Mapping[str, Graphs] | None = None,
) -> SweepContext:
    """Return a job that leaves the records of a model in `folder`."""
    components = read_folder(model).components
    return SweepContext(
        folder, model, components, graphs or {}, "seeded", measuring, {"model": "0" * 64}
    )


def given(
    folder: Path,
    model: Path,
    manifest: Path,
    graphs: Sequence[Path] = (),
    settings: Sequence[Path] = (),
) -> SimpleNamespace:
    """Return what Snakemake would give a script that leaves the records of a model in `folder`."""
    files = {"model": [model], "manifest": manifest, "environment_file": manifest}
    return SimpleNamespace(
        input=SimpleNamespace(**files, graphs=graphs, settings=settings),
        output=SimpleNamespace(index=folder / "index.json"),
        params=SimpleNamespace(code="0" * 64),
        resources=SimpleNamespace(mem_mb=0),
    )


def make_case(
    batch_size: int = 1,
    options: str = "none",
    precision: str = "fp32",
    backend: str = "pytorch",
    generation: Mapping[str, Any] = GENERATION,
    **device: Any,
) -> Case:
    variant = Variant("tiny", "cpu", backend, precision, options)
    own = replace(Device("cpu", threads=1), **device)
    return Case(variant, batch_size, {**generation}, own)


def run(job: SweepContext, *cases: Case, largest: int | None = None) -> list[Record]:
    """Run a sweep, with a search for the largest batch up to `largest`; return its records."""
    run_sweep(list(cases), job, {cases[0].variant: largest} if largest else {})
    return indexed(job)


def indexed(job: SweepContext) -> list[Record]:
    return [record for _, record in read_indexed(job.folder / "index.json")]


def launch_of(record: Record) -> dict[str, Any]:
    """Return the one launch of a record."""
    (launch,) = record["launches"]
    return dict(launch)


def statuses(records: list[Record]) -> list[str]:
    return [record["status"] for record in records]


def spoil_two(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something happen when a batch of two is measured."""
    measure: Callable[..., dict[str, Any]] = measurement._measure

    def spoilt(loaded: Loaded, case: Case, *args: Any) -> dict[str, Any]:
        if case.batch_size == 2:
            act()
        return measure(loaded, case, *args)

    monkeypatch.setattr(measurement, "_measure", spoilt)


def generate(engine: Engine, images: int = 1, generation: Mapping[str, Any] = GENERATION) -> Any:
    """Generate images from the latents that their case has."""
    return engine.generate(generation, engine.latents(generation, images))


def difference(engine: Engine, other: Engine, images: int = 1) -> float:
    """Return the largest difference of a number of two engines' images."""
    return float(np.abs(generate(engine, images) - generate(other, images)).max())


def resident_now() -> int:
    """Return what this process takes, less what tests before left in it to be given back."""
    gc.collect()
    resident.trim_heap()
    found = resident.resident_bytes()
    assert found is not None
    return found
