"""Export the networks of a model to ONNX."""

from pathlib import Path

from sdbench.export.networks import export_network
from sdbench.export.parity import export_each, refuse_model
from sdbench.models.manifest import check_model
from sdbench.runtime.job import run_script


def export_onnx(
    model: Path, manifest: Path, graphs: Path, record: Path, opset: int, tolerance: float
) -> None:
    """Export every network of the model to `graphs`, a folder each, whole or not at all; say in
    `record`, by network, how it compares with PyTorch."""
    check_model(model, manifest)
    export_each(record, graphs, export_network, model, opset, tolerance)


if __name__ == "__main__":
    run_script(snakemake, export_onnx, refuse_model)
