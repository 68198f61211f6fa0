"""The jobs that tests measure in, as a rule's script makes them but without its manifest; what they
are given, and what they leave."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sdbench.cases.case import Case, Device, Variant
from sdbench.cases.measuring import Racing
from sdbench.devices import resident
from sdbench.measure.context import Graphs, SweepContext
from sdbench.models.manifest import describe_components, model_files
from sdbench.records.record import Record, read_indexed
from tests.unit import records_factory

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

MEASURING = records_factory.MEASURING


def make_job(
    folder: Path,
    model: Path,
    measuring: Racing,
    graphs: Mapping[str, Graphs] | None = None,
) -> SweepContext:
    """Return a job that leaves the records of a model in `folder`."""
    components = describe_components(model, model_files(model))
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
    batch_size: int = 1, options: str = "none", precision: str = "fp32", **device: Any
) -> Case:
    variant = Variant("tiny", "cpu", "pytorch", precision, options)
    return Case(variant, batch_size, GENERATION, replace(Device("cpu", threads=1), **device))


def indexed(job: SweepContext) -> list[Record]:
    return [record for _, record in read_indexed(job.folder / "index.json")]


def statuses(job: SweepContext) -> list[str]:
    return [record["status"] for record in indexed(job)]


def resident_now() -> int:
    """Return what this process takes, less what tests before left in it to be given back."""
    gc.collect()
    resident.trim_heap()
    found = resident.resident_bytes()
    assert found is not None
    return found
