"""Quantize the weights of exported networks, for ONNX Runtime."""

from pathlib import Path

from sdbench.export.networks import quantize_network
from sdbench.export.parity import export_each


def quantize_onnx(
    model_folder: Path, graphs: Path, quantized: Path, record: Path, opset: int
) -> None:
    """Make of the networks in `graphs` those in `quantized`, the denoiser's weights in 8 bits; say
    in `record`, by network, how it compares with PyTorch."""
    export_each(record, quantized, quantize_network, model_folder, graphs, opset)


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0]):
        quantize_onnx(
            model_folder=Path(snakemake.input.model),
            graphs=Path(snakemake.input.graphs),
            quantized=Path(snakemake.output.graphs),
            record=Path(snakemake.output.record),
            opset=snakemake.params.opset,
        )
