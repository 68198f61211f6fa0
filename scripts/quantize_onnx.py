"""Quantize the weights of exported networks, for ONNX Runtime."""

from pathlib import Path

from sdbench.export.networks import quantize_network
from sdbench.export.parity import export_each, refuse_model
from sdbench.runtime.job import run_script


def quantize_onnx(model: Path, graphs: Path, quantized: Path, record: Path, opset: int) -> None:
    """Make of the networks in `graphs` those in `quantized`, the denoiser's weights in 8 bits; say
    in `record`, by network, how it compares with PyTorch."""
    export_each(record, quantized, quantize_network, model, graphs, opset)


if __name__ == "__main__":
    run_script(snakemake, quantize_onnx, refuse_model)
