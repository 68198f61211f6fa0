"""Count the floating-point operations of a model's networks, from its configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.models.manifest import check_model
from sdbench.models.operations import count_flop
from sdbench.runtime.files import write_json


def count_operations(model_folder: Path, generation: Mapping[str, Any], operations: Path) -> None:
    """Write the operations of each network for one image as JSON.

    Args:
        model_folder: the model in the diffusers layout; only its configuration is read.
        generation: `prompt`, `guidance`, `height` and `width` in pixels.
        operations: written: these and what `sdbench.models.operations.count_flop` returns.
    """
    counted = count_flop(model_folder, generation)
    write_json(operations, {**generation, **counted})
    for name, flop in counted.items():
        print(f"{name.removesuffix('_flop')}: {flop / 1e12:.4g} TFLOP")


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0]):
        check_model(Path(snakemake.input.model), Path(snakemake.input.manifest), "*.json")
        count_operations(
            Path(snakemake.input.model),
            snakemake.params.generation,
            Path(snakemake.output[0]),
        )
