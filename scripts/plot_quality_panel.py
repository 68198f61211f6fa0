"""Plot reference, other and difference of each compared variant at one step."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdbench.report.figures import style
from sdbench.report.figures.frame import INNER, MARGIN, Block, Frame
from sdbench.report.figures.images import (
    Comparison,
    amplification,
    load_comparisons,
    missing_words,
    nearest_step,
    score_data,
    score_text,
)
from sdbench.report.figures.tiles import plot_comparisons, plot_tile, tile_height
from sdbench.tables.labels import shorten

from matplotlib.figure import Figure

_LABEL, _GAP = 1.85, 0.1
_TILE = (INNER - _LABEL - 2 * _GAP) / 3
_LEFTS = [MARGIN + _LABEL + column * (_TILE + _GAP) for column in range(3)]
_HEADS = 0.22


class Shown(NamedTuple):
    """One row: a comparison, in a mode, after a step, which may not be the one wanted."""

    comparison: Comparison
    mode: str
    step: int
    wanted: int


def plot_quality_panel(
    quality: Path,
    references: Sequence[Path],
    others: Sequence[Path],
    panel_steps: Sequence[int],
    files: style.Files,
) -> None:
    """Plot a row of three images for each compared variant.

    Args:
        quality, references, others: what `load_comparisons` reads.
        panel_steps: for each of `others` the step to show.
        files: written.
    """
    comparisons = load_comparisons(quality, references, others)
    data = score_data(row[:3] for row in choose_all(comparisons, panel_steps))
    missing = "; ".join(missing_words(comparisons))
    style.save_figure(plot_panel(comparisons, panel_steps), data, files, missing)


def plot_panel(comparisons: Sequence[Comparison], panel_steps: Sequence[int]) -> Figure:
    """Return the figure; a full run is shown where there is one, else a state of the long run."""
    shown = choose_all(comparisons, panel_steps)
    factor = amplification(row.comparison.at(row.mode, row.step)[2] for row in shown)
    heads: list[Block] = [(_HEADS, _plot_heads)] if shown else []
    return plot_comparisons(
        "Images of the settings next to the reference",
        "The same prompt, latents and number of steps as the reference, image by image.",
        [*heads, *(_row(row, factor) for row in shown)],
        comparisons,
        factor,
    )


def choose_all(comparisons: Sequence[Comparison], panel_steps: Sequence[int]) -> list[Shown]:
    """Return what is shown of each comparison that has images."""
    return [
        choose(comparison, wanted)
        for comparison, wanted in zip(comparisons, panel_steps, strict=True)
        if not comparison.words
    ]


def choose(comparison: Comparison, wanted: int) -> Shown:
    """Return what to show of a comparison that has images: the run nearest to `wanted` steps."""
    mode = "runs" if comparison.steps("runs") else "trajectory"
    return Shown(comparison, mode, nearest_step(comparison.steps(mode), wanted), wanted)


def _plot_heads(frame: Frame, top: float) -> None:
    for left, head in zip(_LEFTS, ("reference", "other", "difference"), strict=True):
        frame.text(left, top, head, weight="bold")


def _label(row: Shown) -> str:
    """Say what was generated, after how many steps, and how alike it is."""
    comparison, mode, step, wanted = row
    lines = [
        shorten(comparison.model, 22),
        comparison.label,
        f"full run of {step} steps" if mode == "runs" else f"state after step {step} of one run",
        f"(nearest to {wanted})" if step != wanted else "",
        score_text(comparison, mode, step).replace(", ", "\n"),
    ]
    return style.wrap("\n".join(filter(None, lines)), style.TEXT, _LABEL - 0.1)


def _row(row: Shown, factor: int) -> Block:
    images = row.comparison.at(row.mode, row.step)
    box = {"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    look: style.Look = {"fontsize": style.SMALL, "bbox": box}

    def plot(frame: Frame, top: float) -> None:
        for left, image in zip(_LEFTS, images, strict=True):
            plot_tile(frame, image, left, top, _TILE, factor)
        frame.text(MARGIN, top, _label(row), linespacing=1.35)
        frame.text(_LEFTS[0] + 0.05, top + 0.05, row.comparison.reference_label, **look)

    return max(tile_height(images[0], _TILE), 1.1) + _GAP, plot


if __name__ == "__main__":
    style.run_figure(snakemake, plot_quality_panel)
