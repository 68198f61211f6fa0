"""Export one network of a model to ONNX."""

from pathlib import Path

from sdbench.export import export_network
from sdbench.files import write_json


def export_onnx(
    network: str, model_folder: Path, graph: Path, record: Path, opset: int, tolerance: float
) -> None:
    """Export `network` of the model to `graph` and write how it compares with PyTorch to `record`.

    Raises:
        UserError: if it differs from PyTorch by more than `tolerance`.
    """
    write_json(record, export_network(network, model_folder, graph, opset, tolerance))


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        export_onnx(
            network=snakemake.wildcards.network,
            model_folder=Path(snakemake.input.model),
            graph=Path(snakemake.output.graph) / "model.onnx",
            record=Path(snakemake.output.record),
            opset=snakemake.params.opset,
            tolerance=snakemake.params.tolerance,
        )
