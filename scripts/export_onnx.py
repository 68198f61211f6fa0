"""Export the networks of a model to ONNX."""

from pathlib import Path

from sdbench.export.networks import export_network
from sdbench.export.parity import export_each
from sdbench.models.manifest import check_model


def export_onnx(
    model_folder: Path, graphs: Path, record: Path, opset: int, tolerance: float
) -> None:
    """Export every network of the model to `graphs`, a folder each, whole or not at all; say in
    `record`, by network, how it compares with PyTorch."""
    export_each(record, graphs, export_network, model_folder, opset, tolerance)


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0]):
        check_model(Path(snakemake.input.model), Path(snakemake.input.manifest))
        export_onnx(
            model_folder=Path(snakemake.input.model),
            graphs=Path(snakemake.output.graphs),
            record=Path(snakemake.output.record),
            opset=snakemake.params.opset,
            tolerance=snakemake.params.tolerance,
        )
