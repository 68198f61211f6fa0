"""Quantize the weights of exported networks, for ONNX Runtime."""

from functools import partial
from pathlib import Path

from sdbench.export.networks import quantize_network
from sdbench.export.parity import export_each, refuse_model


def quantize_onnx(model: Path, graphs: Path, quantized: Path, record: Path, opset: int) -> None:
    """Make of the networks in `graphs` those in `quantized`, the denoiser's weights in 8 bits; say
    in `record`, by network, how it compares with PyTorch."""
    export_each(record, quantized, quantize_network, model, graphs, opset)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    record, quantized = Path(snakemake.output.record), Path(snakemake.output.graphs)
    failed = partial(refuse_model, record, quantized)
    run_script(snakemake, quantize_onnx, failed, record=record, quantized=quantized)
