"""Export the networks of a model to ONNX."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdbench.errors import UserError
from sdbench.export import NETWORKS, export_network
from sdbench.files import write_json
from sdbench.processes import Ended, run_apart


def export_onnx(
    model_folder: Path, graphs: Path, record: Path, opset: int, tolerance: float
) -> None:
    """Export every network of the model to `graphs`, a folder each; say in `record`, by network,
    how it compares with PyTorch.

    Raises:
        UserError: if one differs from PyTorch by more than `tolerance`, or its export ended early.
    """
    exported = {}
    for network in NETWORKS:
        file = graphs / network / "model.onnx"
        try:
            # In a process of its own: the exporter keeps the weights until its process ends.
            (found,) = run_apart(_export, network, model_folder, file, opset, tolerance)
        except Ended as error:
            raise UserError(f"{file}: while it was exported {error.args[0]}") from error
        if isinstance(found, UserError):
            raise found
        exported[network] = found
    write_json(record, exported)


def _export(send: Callable[[Any], None], *args: Any) -> None:
    try:
        send(export_network(*args))
    except UserError as error:
        send(error)


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
