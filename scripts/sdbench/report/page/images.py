"""The images of the viewers: one sheet of tiles for each series, small enough for a page."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdbench.cases.expansion import choose_steps
from sdbench.records.image_archive import ImageArray
from sdbench.report.figures.images import (
    MODES,
    NO_SET,
    SET,
    Comparison,
    amplification,
    load_comparisons,
    load_sets,
    missing_words,
    score_text,
    shrink,
)
from sdbench.report.figures.tiles import colour_differences
from sdbench.tables.files import Row
from sdbench.tables.labels import plural
from sdbench.tables.published import model_family

import numpy as np
from PIL import Image

BUDGET = 12_000_000
"""Pixels that all sheets of a page may have; a megapixel takes some 0.2 MB."""

LARGEST, SMALLEST = 256, 64
"""Pixels of a tile's longer side."""

FEWEST_STEPS = 6
QUALITY = 90
"""Of WebP, 0 to 100."""


@dataclass(frozen=True)
class Viewer:
    """What the viewer shows. `series` and `sheets` go to the browser as JSON.

    `notes` say what was made smaller and what is missing.
    """

    series: list[dict[str, Any]] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_viewer(quality: Path, references: Sequence[Path], others: Sequence[Path]) -> Viewer:
    """Return the images of every compared variant, its reference's and their differences.

    Where they are too many, fewer steps are shown, then smaller images; the notes say so.

    Args:
        quality, references, others: what `load_comparisons` reads.
    """
    comparisons = load_comparisons(quality, references, others)
    shown = [(c, mode) for c in comparisons if not c.words for mode in MODES if c.steps(mode)]
    viewer = Viewer(notes=missing_words(comparisons))
    if not shown:
        return viewer
    largest = max(_side(c, mode) for c, mode in shown)
    most = max(len(c.steps(mode)) for c, mode in shown)
    steps, side = _affordable(len(shown), most, largest)
    factor = amplification(
        c.at(mode, step)[2] for c, mode in shown for step in choose_steps(c.steps(mode), steps)
    )
    sheets: dict[str, int] = {}
    for comparison, mode in shown:
        chosen = choose_steps(comparison.steps(mode), steps)
        said = [f"After {plural(step, 'step')}" for step in chosen]
        name = f"{comparison.model}: {comparison.label}, {MODES[mode]}"
        series = _series(comparison, mode, chosen, side, factor, sheets)
        viewer.series.append(series | {"name": name, "steps": chosen, "said": said})
    viewer.sheets.extend(sheets)
    viewer.notes.insert(0, _note(factor, steps, most, side, largest))
    return viewer


def make_gallery(
    quality_set: Path, quality_pairs: Path, references: Sequence[Path], others: Sequence[Path]
) -> Viewer:
    """Return the pairs of each variant of a set of images, the worst first, as `make_viewer` does.

    Args:
        quality_set, quality_pairs, references, others: what `load_sets` reads.
    """
    sets = load_sets(quality_set, quality_pairs, references, others)
    shown = [one for one in sets if one.pairs]
    viewer = Viewer(notes=missing_words([one.comparison for one in sets]) if sets else [NO_SET])
    if not shown:
        return viewer
    largest = max(_side(one.comparison, SET) for one in shown)
    most = max(len(one.pairs) for one in shown)
    count, side = _affordable(len(shown), most, largest)
    worst = {id(one): one.pairs[:count] for one in shown}
    factor = amplification(
        one.comparison.at(SET, pair["place"])[2] for one in shown for pair in worst[id(one)]
    )
    sheets: dict[str, int] = {}
    for one in shown:
        pairs = worst[id(one)]
        places = [pair["place"] for pair in pairs]
        series = _series(one.comparison, SET, places, side, factor, sheets)
        verdict = one.verdict["verdict"]
        series["name"] = f"{one.comparison.model}: {one.comparison.label} ({verdict})"
        series["steps"] = [f"{n} of {len(one.pairs)}" for n in range(1, len(pairs) + 1)]
        series["said"] = [
            f"“{pair['prompt']}”, seed {pair['seed']}{_scored(pair)}" for pair in pairs
        ]
        viewer.series.append(series)
    viewer.sheets.extend(sheets)
    viewer.notes.insert(0, _note(factor, count, most, side, largest, "pairs"))
    return viewer


def _side(comparison: Comparison, mode: str) -> int:
    """Return the pixels of the longer side of its images."""
    height, width, _ = next(iter(comparison.other[mode].values())).shape
    return max(int(height), int(width))


def _scored(pair: Row) -> str:
    if pair["score"] is None:
        return ""
    return f", score {pair['score']:.2f} (reference {pair['reference_score']:.2f})"


def _affordable(series: int, steps: int, side: int) -> tuple[int, int]:
    """Return how many steps of each series, and how large, fit into the budget."""
    side = min(side, LARGEST)

    def fitting(side: int) -> int:
        # Reference, other and difference.
        return BUDGET // (3 * series * side**2)

    while side > SMALLEST and fitting(side) < min(steps, FEWEST_STEPS):
        side = max(SMALLEST, side // 2)
    return min(steps, max(FEWEST_STEPS, fitting(side))), side


def _series(
    comparison: Comparison,
    mode: str,
    steps: Sequence[int],
    side: int,
    factor: int,
    sheets: dict[str, int],
) -> dict[str, Any]:
    shown = [comparison.at(mode, step) for step in steps]
    columns = math.ceil(math.sqrt(len(steps)))
    height, width = shown[0][0].shape[:2]
    generated = {
        "reference": [reference for reference, _, _ in shown],
        "other": [other for _, other, _ in shown],
        "difference": [colour_differences(levels, factor) for *_, levels in shown],
    }
    return {
        "family": model_family(comparison.model),
        "labels": {
            "reference": f"reference ({comparison.reference_label})",
            "other": comparison.label,
            "difference": f"difference, {factor} times brighter",
        },
        "scores": [score_text(comparison, mode, step) for step in steps],
        "columns": columns,
        "rows": math.ceil(len(steps) / columns),
        "width": width,
        "height": height,
        "sheets": {
            name: sheets.setdefault(_sheet(tiles, columns, side), len(sheets))
            for name, tiles in generated.items()
        },
    }


def _sheet(tiles: Sequence[ImageArray], columns: int, side: int) -> str:
    """Return tiles row by row on one sheet, as a data URI."""
    small = [shrink(tile, side) for tile in tiles]
    height, width = small[0].shape[:2]
    rows = math.ceil(len(small) / columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(small):
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _note(factor: int, steps: int, most: int, side: int, largest: int, what: str = "steps") -> str:
    said = [
        f"Differences are the largest of the three channels, shown {factor} times as bright.",
        f"To fit into one file, images are WebP of quality {QUALITY} here;",
    ]
    if side < largest:
        said.append(f"they have {side} of {largest} pixels a side;")
    if steps < most:
        said.append(f"at most {steps} of {most} {what} are shown;")
    said.append("the originals are in quality/ next to this page.")
    return " ".join(said)
