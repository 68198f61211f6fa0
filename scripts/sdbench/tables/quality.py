"""Quality next to speed: every case's image against the fp32 image of the same latents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbench.cases.options import NONE
from sdbench.records.record import INDEX, Record, has_its_image
from sdbench.runtime.digests import digest
from sdbench.runtime.errors import UserError
from sdbench.tables.files import Row
from sdbench.tables.image_comparison import compare_images
from sdbench.tables.schemas import BETTER, CASE_KEY, SAME, UNSAID, WORSE

import numpy as np
from PIL import Image


def compare_cases(
    records: Sequence[tuple[Path, Record]],
    gate: Mapping[str, float],
    verdicts: Sequence[Row] = (),
) -> list[Row]:
    """Return `psnr_db`, `ssim` and `passes_gate` for each record, empty where nothing is to say.

    Where the variant has a set of images, that decides `passes_gate`, and not the one image.

    The reference of a case is what PyTorch generated in fp32 without options from the same model
    and settings, on the same device if the matrix has that, else on any. Any batch size will do:
    the first image starts from the same latents in all.

    Args:
        records: path and content of each record.
        gate: the config's `min_ssim` and `min_psnr_db`.
        verdicts: rows of QUALITY_SET.

    Raises:
        UserError: if an image is gone or was changed since it was generated; it names the file.
    """
    references: dict[tuple[str, ...], Path] = {}
    images = [_image(path, record) for path, record in records]
    for image, (_, record) in zip(images, records, strict=True):
        variant = record["case"]["variant"]
        exact = (variant["backend"], variant["precision"], variant["options"])
        if exact == ("pytorch", "fp32", NONE) and image:
            references.setdefault((*_content(record), variant["device"]), image)
            references.setdefault(_content(record), image)
    judged = {tuple(row[key] for key in CASE_KEY[:-1]): row for row in verdicts}
    rows: list[Row] = []
    for image, (_, record) in zip(images, records, strict=True):
        content, device = _content(record), record["case"]["variant"]["device"]
        reference = references.get((*content, device), references.get(content))
        row: Row = {}
        if image and reference:
            found = compare_images(*(np.asarray(Image.open(path)) for path in (reference, image)))
            row = {key: found[key] for key in ("psnr_db", "ssim")}
            row["passes_gate"] = all(row[key] >= gate[f"min_{key}"] for key in list(row))
        verdict = judged.get(tuple(record["case"]["variant"][key] for key in CASE_KEY[:-1]))
        if verdict and record["weights"] != "seeded":
            row |= _said(verdict)
        rows.append(row)
    return rows


def _said(found: Row) -> Row:
    """Return what a set of images says of a case. Without a judge the similarity of its pairs
    decides, as it does of one image: half of them must keep the gate. Where images are missing
    nothing does."""
    if found["status"] != "ok":
        return {"passes_gate": None, "quality_verdict": UNSAID}
    if found["score_difference"] is None:
        return {"passes_gate": found["below_gate"] <= 0.5}
    passes = {SAME: True, BETTER: True, WORSE: False}.get(found["verdict"])
    return {"passes_gate": passes, "quality_verdict": found["verdict"]}


def _image(path: Path, record: Record) -> Path | None:
    """Return the image of a record as it was generated; None where there is none, or seeded weights
    made it."""
    if record["weights"] == "seeded" or not record["image"]:
        return None
    image = path.with_name(record["image"]["file"])
    if not has_its_image(path, record):
        raise UserError(
            f"{image}: missing, or changed after it was generated: delete {path} and the "
            f"{INDEX} above it, and run the workflow again"
        )
    return image


def _content(record: Record) -> tuple[str, ...]:
    """Return what two images must share to show the same thing."""
    case = record["case"]
    return (case["variant"]["model"], digest(case["generation"]))
