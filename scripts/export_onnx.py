"""Export the networks of a model to ONNX."""

from pathlib import Path

from sdbench.export import export_network
from sdbench.parity import export_each


def export_onnx(
    model_folder: Path, graphs: Path, record: Path, opset: int, tolerance: float
) -> None:
    """Export every network of the model to `graphs`, a folder each; say in `record`, by network,
    how it compares with PyTorch.

    Raises:
        UserError: if one differs from PyTorch by more than `tolerance`, or its export ended early.
    """
    export_each(record, export_network, model_folder, graphs, opset, tolerance)


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        export_onnx(
            model_folder=Path(snakemake.input.model),
            graphs=Path(snakemake.output.graphs),
            record=Path(snakemake.output.record),
            opset=snakemake.params.opset,
            tolerance=snakemake.params.tolerance,
        )
