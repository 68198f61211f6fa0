"""What executes the networks. One module each; `load` picks it by its name in the config."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdbench.backends.engine import Engine
from sdbench.cases import Case
from sdbench.errors import UserError
from sdbench.files import read_json, sha256_of_all


def load(case: Case, model_folder: Path, onnx_folder: Path | None) -> Engine:
    """Load the networks of a case's variant on its device, ready to draw.

    Args:
        case: the variant to load; its batch size plays no part.
        model_folder: the model in the diffusers layout.
        onnx_folder: the exported networks, which only some backends read; None if there are none.

    Raises:
        sdbench.errors.UnsupportedError: if this machine or backend cannot run the variant.
    """
    engine: Engine = import_backend(case).load(case, model_folder, onnx_folder)
    return engine


def import_backend(case: Case) -> Any:
    """Return the module of a case's backend, imported now so that loading does not include it."""
    return importlib.import_module(f"sdbench.backends.{case.variant.backend}")


def exported_beside(onnx_records: Sequence[Path]) -> Path | None:
    """Return the folder of the exported networks that a record is of; None for no record.

    Raises:
        UserError: if they are not those that were exported.
    """
    for record in onnx_records:
        folder = record.with_suffix("")
        for name, network in read_json(record).items():
            if sha256_of_all((folder / name).glob("model.onnx*")) != network["sha256"]:
                raise UserError(
                    f"{folder / name}: damaged or changed since it was exported: delete {record} "
                    "and run again"
                )
    return onnx_records[0].with_suffix("") if onnx_records else None
