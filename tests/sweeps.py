"""The jobs that tests measure in: as a rule's script makes them, without its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.measurement import Graphs, Sweep
from sdbench.models.manifest import describe_components, model_files

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
