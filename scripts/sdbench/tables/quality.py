"""Quality next to speed: every case's image against the fp32 image of the same latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.options import NONE
from sdbench.records.record import INDEX, has_its_image
from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError
from sdbench.tables.image_comparison import ImageArray, compare_images
from sdbench.tables.rows import Record, Row

import numpy as np
from PIL import Image


def compare_cases(records: Sequence[tuple[Path, Record]], gate: Mapping[str, float]) -> list[Row]:
    """Return `psnr_db`, `ssim` and `passes_gate` for each record, empty where nothing is to say.

    The reference of a case is what PyTorch generated in fp32 without options from the same model
    and settings, on the same device if the matrix has that, else on any. Any batch size will do:
    the first image starts from the same latents in all.

    Args:
        records: path and content of each record.
        gate: the config's `min_ssim` and `min_psnr_db`.

    Raises:
        UserError: if an image is gone or was changed since it was generated; it names the file.
    """
    references: dict[tuple[str, ...], Path] = {}
    for path, record in records:
        _check_image(path, record)
        variant = record["case"]["variant"]
        exact = (variant["backend"], variant["precision"], variant["options"])
        if exact == ("pytorch", "fp32", NONE) and record["image"]:
            image = path.with_name(record["image"]["file"])
            references.setdefault((*_content(record), variant["device"]), image)
            references.setdefault(_content(record), image)
    rows: list[Row] = []
    for path, record in records:
        content = _content(record)
        device = record["case"]["variant"]["device"]
        reference = references.get((*content, device), references.get(content))
        if record["image"] is None or reference is None or record["weights"] == "seeded":
            rows.append({})
            continue
        image = path.with_name(record["image"]["file"])
        found = compare_images(_read(reference), _read(image))
        rows.append(
            {
                "psnr_db": found["psnr_db"],
                "ssim": found["ssim"],
                "passes_gate": found["ssim"] >= gate["min_ssim"]
                and found["psnr_db"] >= gate["min_psnr_db"],
            }
        )
    return rows


def _check_image(path: Path, record: Record) -> None:
    """Check that the image of a record is the one that was generated, where it means anything."""
    if record["weights"] != "seeded" and not has_its_image(path, record):
        image = path.with_name(record["image"]["file"])
        raise UserError(
            f"{image}: missing, or changed after it was generated: delete {path} and the "
            f"{INDEX} above it, and run the workflow again"
        )


def _content(record: Record) -> tuple[str, ...]:
    """Return what two images must share to show the same thing."""
    case: Mapping[str, Any] = record["case"]
    return (case["variant"]["model"], digest(case["generation"]))


def _read(path: Path) -> ImageArray:
    return np.asarray(Image.open(path))
