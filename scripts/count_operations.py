"""Count the floating-point operations of a model's networks, from its configuration."""

from pathlib import Path

from sdbench.files import write_json
from sdbench.models.manifest import check_model
from sdbench.models.operations import count_flop


def count_operations(model_folder: Path, height: int, width: int, operations: Path) -> None:
    """Write the operations of one evaluation of each network for one picture as JSON.

    Args:
        model_folder: the model in the diffusers layout; only its configuration is read.
        height: of a picture, in pixels.
        width: of a picture, in pixels.
        operations: written: `height`, `width` and what `sdbench.models.operations.count_flop`
            returns.
    """
    counted = count_flop(model_folder, height, width)
    write_json(operations, {"height": height, "width": width, **counted})
    for name, flop in counted.items():
        print(f"{name.removesuffix('_flop')}: {flop / 1e12:.4g} TFLOP")


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        check_model(Path(snakemake.input.model), Path(snakemake.input.manifest), "*.json")
        count_operations(
            Path(snakemake.input.model),
            int(snakemake.wildcards.height),
            int(snakemake.wildcards.width),
            Path(snakemake.output[0]),
        )
