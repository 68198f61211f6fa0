"""What is computed of described models and ships with the project: it takes minutes, and no machine
decides it. `make computed` makes it anew."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdbench.cases.case import Variant
from sdbench.cases.options import GROUP_OFFLOAD
from sdbench.models.architectures import Architecture, parts_of
from sdbench.models.described import work_key
from sdbench.runtime.files import read_json, sha256_of_all, write_json

CONTEXT_BYTES = 500 * 2**20
"""What a CUDA context is taken to have besides torch's allocator. Before any kernel is loaded,
others saw 256 MiB (RTX 3090, invoke-ai/InvokeAI#9413) and 426 MiB (RTX 6000 Ada, unslothai/
unsloth-zoo#1053); kernels come on top when they are first used."""
ERROR = 0.05
"""By which share the computed peak of one image may be too high: twice what it is at most on a GPU
of tests; no published peak is lower than it (docs/method.md)."""
UNSURE = {GROUP_OFFLOAD}
"""Switches whose computed peaks refuse nothing: no GPU has been seen to have them."""

Peaks = Mapping[str, int]
"""Bytes that one image allocates on a CUDA GPU, by precision and options (`way_key`)."""


def way_key(variant: Variant) -> str:
    """Return what decides the peak of a model. TF32 is stored as fp32."""
    return f"{variant.precision.replace('tf32', 'fp32')} {variant.options}"


def find_peaks(
    rows: Iterable[Mapping[str, Any]], architecture: Architecture, generation: Mapping[str, Any]
) -> Peaks:
    """Return the peaks of a described model, of `rows` that `read_computed` returned; none where
    an image is generated in another size, or with guidance where the model has none."""
    own = architecture.generation
    if own is None or work_key(architecture, own) != work_key(architecture, generation):
        return {}
    return {
        f"{row['precision']} {row['options']}": row["predicted_allocated_bytes"]
        for row in rows
        if row["model"] == architecture.path.stem and row["batch"] == 1
    }


def certain_bytes(peaks: Peaks, variant: Variant) -> int:
    """Return the bytes that one image of a variant takes on a CUDA GPU, at least; 0 where nothing
    is computed."""
    unsure = UNSURE.intersection(variant.switches)
    return 0 if unsure else int(peaks.get(way_key(variant), 0) * (1 - ERROR))


def read_computed(file: Path, architectures: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of `file` whose `model` is described as it was when they were computed.

    Raises:
        UserError: if the file or a description is wrong.
    """
    content = read_json(file)
    current = _digests(architectures)
    return [
        row
        for row in content["rows"]
        if current.get(row["model"]) == content["digests"].get(row["model"])
    ]


def write_computed(file: Path, architectures: Iterable[Path], rows: list[dict[str, Any]]) -> None:
    """Write rows with what tells whether their models are still described so."""
    write_json(file, {"digests": _digests(architectures), "rows": rows})


def _digests(architectures: Iterable[Path]) -> Mapping[str, str]:
    return {path.stem: sha256_of_all([path, *parts_of(path)]) for path in architectures}
