"""Count the floating-point operations of a model's networks, from its configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.manifest import check_model
from sdbench.models.operations import count_flop
from sdbench.runtime.failures import KEY
from sdbench.runtime.files import write_json
from sdbench.runtime.job import run_script


def count_operations(
    model: Path, manifest: Path, generation: Mapping[str, Any], operations: Path
) -> None:
    """Write `generation` and what `sdbench.models.operations.count_flop` returns of it as JSON.

    Raises:
        UserError: if a configuration in the folder `model` is not that of `manifest`.
    """
    check_model(model, manifest, "*.json")
    counted = count_flop(model, generation)
    write_json(operations, {**generation, **counted})
    for name, flop in counted.items():
        print(f"{name.removesuffix('_flop')}: {flop / 1e12:.4g} TFLOP")


def write_failed(operations: Path, reason: str) -> None:
    """Write that nothing could be counted: utilization of such a model is unknown."""
    write_json(operations, {KEY: reason})


if __name__ == "__main__":
    run_script(snakemake, count_operations, write_failed)
