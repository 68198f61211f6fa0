"""Export the networks of a model to ONNX."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdbench.errors import UserError
from sdbench.export import NETWORKS, export_network
from sdbench.families import family_of
from sdbench.files import write_json
from sdbench.models.folders import written_whole
from sdbench.models.manifest import check_model
from sdbench.processes import Ended, run_apart


def export_onnx(
    model_folder: Path, graphs: Path, record: Path, opset: int, tolerance: float
) -> None:
    """Export every network of the model to `graphs`, a folder each, whole or not at all; say in
    `record`, by network, how it compares with PyTorch.

    Of a family whose networks are not exported there are none: its cases say so (`unsupported`).

    Raises:
        UserError: if one differs from PyTorch by more than `tolerance`, or its export ended early.
    """
    exported = {}
    refusal = family_of(model_folder).why_not_exported
    if refusal is not None:
        print(f"{model_folder}: nothing is exported: {refusal}")
    with written_whole(graphs) as part:
        for network in NETWORKS if refusal is None else ():
            file = part / network / "model.onnx"
            try:
                # In a process of its own: the exporter keeps the weights until its process ends.
                run = run_apart(_export, network, model_folder, file, opset, tolerance)
            except Ended as error:
                raise UserError(f"{file}: while it was exported {error.args[0]}") from error
            (exported[network],) = run
    write_json(record, exported)


def _export(send: Callable[[Any], None], *args: Any) -> None:
    send(export_network(*args))


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        check_model(Path(snakemake.input.model), Path(snakemake.input.manifest))
        export_onnx(
            model_folder=Path(snakemake.input.model),
            graphs=Path(snakemake.output.graphs),
            record=Path(snakemake.output.record),
            opset=snakemake.params.opset,
            tolerance=snakemake.params.tolerance,
        )
