"""What is computed of described models and ships with the project: it takes minutes, and no machine
decides it. `make computed` makes it anew."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdbench.models.architectures import parts_of
from sdbench.runtime.files import read_json, sha256_of_all, write_json


def read_computed(file: Path, architectures: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the rows of `file` whose `model` is described as it was when they were computed.

    Raises:
        UserError: if the file or a description is wrong.
    """
    content = read_json(file)
    current = _digests(architectures)
    return [
        row
        for row in content["rows"]
        if current.get(row["model"]) == content["digests"].get(row["model"])
    ]


def write_computed(file: Path, architectures: Iterable[Path], rows: list[dict[str, Any]]) -> None:
    """Write rows with what tells whether their models are still described so."""
    write_json(file, {"digests": _digests(architectures), "rows": rows})


def _digests(architectures: Iterable[Path]) -> Mapping[str, str]:
    return {path.stem: sha256_of_all([path, *parts_of(path)]) for path in architectures}
