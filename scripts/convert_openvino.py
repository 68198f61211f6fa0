"""Convert exported networks to OpenVINO's format."""

from pathlib import Path
from typing import Any

from sdbench.export.parity import export_each, refuse_model, refuse_network
from sdbench.runtime.job import run_script


def convert_openvino(
    model: Path, graphs: Path, converted: Path, record: Path, int8: bool, tolerance: float
) -> None:
    """Make of the ONNX graphs in `graphs` OpenVINO's in `converted`; say in `record`, by network,
    how it compares with PyTorch, or why OpenVINO cannot run it (`convert_network`)."""
    export_each(record, converted, _convert, model, graphs, int8, tolerance)


def _convert(name: str, converted: Path, *args: Any) -> Any:
    try:
        from sdbench.export.conversion import convert_network
    except ModuleNotFoundError as error:
        reason = f"OpenVINO's conversion needs {error.name}, which is not installed"
        return refuse_network(name, converted, reason)
    return convert_network(name, converted, *args)


if __name__ == "__main__":
    run_script(snakemake, convert_openvino, refuse_model)
