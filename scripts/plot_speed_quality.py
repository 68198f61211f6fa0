"""Plot what a speed-up costs the image: speed next to likeness to the fp32 image."""

from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, read_results
from sdbench.report.figures.sheets import (
    INTERVAL,
    Cell,
    Sheet,
    calls_note,
    latency_cell,
    make_sheet,
    quality_words,
    ratio_text,
)
from sdbench.tables.files import Row, read_rows
from sdbench.tables.schemas import CASE_KEY, QUALITY_SET

_WAY = itemgetter(*CASE_KEY[:-1])
"""The names of a way, of a row."""


def speed_quality_sheet(results: Path, quality_set: Path) -> Sheet:
    """Return seconds of one image next to the SSIM and PSNR of that image, from fast to slow.

    With a set of images these are medians of its pairs, and the verdict stands next to them. Pale
    is what is not on the frontier: another way is as fast and as much alike, and one of both more.
    """
    judged = {_WAY(row): row for row in read_rows(quality_set, QUALITY_SET)}
    shown = [r for r in read_results(results) if r.batch_size == 1]
    plain = {
        (r.condition, r.device): r
        for r in reversed(shown)
        if (r.backend, r.precision, r.options) == ("pytorch", "fp32", "none")
    }

    def cells(result: Result) -> tuple[Cell, ...]:
        base = plain.get((result.condition, result.device))
        ratio = ""
        if base and base.ok and result is not base:
            ratio = ratio_text(latency_cell(result), latency_cell(base))
        # What is said of the quality stands in the other column.
        return replace(latency_cell(result), extra=ratio), _likeness(result, judged)

    points = {id(r): point for r in shown if (point := _point(r, judged))}

    def is_dominated(result: Result) -> bool:
        if id(result) not in points:
            return False
        seconds, likeness = points[id(result)]
        rivals = [
            points[id(r)]
            for r in shown
            if id(r) in points and (r.condition, r.device) == (result.condition, result.device)
        ]
        return any(
            other_s <= seconds and other >= likeness and (other_s, other) != (seconds, likeness)
            for other_s, other in rivals
        )

    return make_sheet(
        shown,
        lambda _: ("seconds per image", "SSIM (1: identical)"),
        cells,
        f"{calls_note(shown)}; one image each",
        {"ranked": True, "pale": is_dominated},
        title="Speed and image quality",
        subtitle="Seconds of one call with one prompt, fastest first; grey: the ratio to PyTorch "
        "in fp32 without options. Next to it, the similarity to the fp32 image of the same "
        "latents (SSIM in a uniform window of 7 x 7 pixels); grey: PSNR. With a set of images: "
        "the medians of its pairs, and what its judge says.",
        missing="No case with batch size 1 was measured.",
        interval=INTERVAL,
        pale="another way is faster and more alike",
    )


def _point(result: Result, judged: Mapping[object, Row]) -> tuple[float, float] | None:
    """Return seconds and SSIM of a result; None where one of them is not known."""
    likeness = result.numbers.get("ssim")
    if (row := judged.get(_WAY(result.row))) and row["ssim"] is not None:
        likeness = row["ssim"]
    return (result.numbers["latency_s"], likeness) if result.ok and likeness is not None else None


def _likeness(result: Result, judged: Mapping[object, Row]) -> Cell:
    row = judged.get(_WAY(result.row))
    if result.weights == "seeded":
        return Cell(None, "weights: seeded")
    numbers, words = dict(result.numbers), quality_words(result)
    if row:
        numbers, words = row, f"n = {row['n']}, {row['verdict']}"
    if numbers.get("ssim") is None:
        return Cell(None, quality_words(result) or "not compared")
    likeness, decibels = numbers["ssim"], numbers["psnr_db"]
    alike = "identical" if decibels == float("inf") else f"{decibels:.1f} dB"
    extra = ", ".join(filter(None, (alike, words)))
    return Cell(max(likeness, 0.0), f"{likeness:.3f}", extra)


if __name__ == "__main__":
    run_sheet(snakemake, speed_quality_sheet)
