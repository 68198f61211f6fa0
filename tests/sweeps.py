"""The jobs that tests measure in: as a rule's script makes them, without its manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.measurement import Graphs, Sweep
from sdbench.models.manifest import describe_components, model_files


def make_job(
    folder: Path,
    model: Path,
    measuring: Mapping[str, Any],
    graphs: Mapping[str, Graphs] | None = None,
) -> Sweep:
    """Return a job that leaves the records of a model in `folder`."""
    components = describe_components(model, model_files(model))
    return Sweep(folder, model, components, graphs or {}, "seeded", measuring, {"model": "0" * 64})
