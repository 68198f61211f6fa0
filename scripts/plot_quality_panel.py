"""Plot reference, other and difference of each compared variant at one step."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdbench.report.figures import style
from sdbench.report.figures.frame import INNER, MARGIN, Frame, plot_frame, words_height
from sdbench.report.figures.images import (
    Comparison,
    ImageArray,
    amplification,
    difference,
    load_comparisons,
    missing_words,
    nearest_step,
    score_data,
    score_text,
)
from sdbench.report.figures.tiles import BAR_HEIGHT, difference_note, plot_bar, plot_tile
from sdbench.tables.labels import shorten

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_LABEL, _GAP = 1.85, 0.1
_TILE = (INNER - _LABEL - 2 * _GAP) / 3
_HEADS = 0.22


@dataclass(frozen=True)
class Shown:
    """One row: a comparison, in a mode, after a step, which may not be the one wanted."""

    comparison: Comparison
    mode: str
    step: int
    wanted: int

    @property
    def images(self) -> tuple[ImageArray, ImageArray, NDArray[np.uint8]]:
        """Return the reference's image, the other's, and the map of their difference."""
        reference = self.comparison.reference.at(self.mode, self.step)
        other = self.comparison.other.at(self.mode, self.step)
        return reference, other, difference(reference, other)

    @property
    def label(self) -> str:
        """Say what was generated, after how many steps, and how alike it is."""
        lines = [shorten(self.comparison.model, 22), self.comparison.label]
        if self.mode == "runs":
            lines.append(f"full run of {self.step} steps")
        else:
            lines.append(f"state after step {self.step} of one run")
        if self.step != self.wanted:
            lines.append(f"(nearest to {self.wanted})")
        lines.append(score_text(self.comparison, self.mode, self.step).replace(", ", "\n"))
        return "\n".join(line for line in lines if line)


def plot_quality_panel(
    quality: Path,
    references: Sequence[Path],
    others: Sequence[Path],
    panel_steps: Sequence[int],
    files: style.Files,
) -> None:
    """Plot a row of three images for each compared variant.

    Args:
        quality: table of schema QUALITY.
        references: for each of `others` the archive of its reference.
        others: archives of the compared variants (`sdbench.report.figures.images`).
        panel_steps: for each of `others` the step to show.
        files: written.
    """
    comparisons = load_comparisons(quality, references, others)
    shown = choose_all(comparisons, panel_steps)
    data = score_data((row.comparison, row.mode, row.step) for row in shown)
    style.save_figure(plot_panel(comparisons, panel_steps), data, files)


def plot_panel(comparisons: Sequence[Comparison], panel_steps: Sequence[int]) -> Figure:
    """Return the figure; a full run is shown where there is one, else a state of the long run."""
    with style.styled():
        return _plot(comparisons, panel_steps)


def _plot(comparisons: Sequence[Comparison], panel_steps: Sequence[int]) -> Figure:
    shown = choose_all(comparisons, panel_steps)
    words = missing_words(comparisons)
    factor = amplification(row.images[2] for row in shown)
    heights = [_tile_height(row) + _GAP for row in shown]
    body = sum(heights) + words_height(words) + (_HEADS + BAR_HEIGHT if shown else 0)
    frame = plot_frame(
        "Images of the settings next to the reference",
        "The same prompt, latents and number of steps as the reference, image by image.",
        difference_note(factor) if shown else "",
        body,
    )
    top = frame.top
    if shown:
        for column, head in enumerate(("reference", "other", "difference")):
            frame.figure.text(frame.x(_left(column)), frame.y(top), head, va="top", weight="bold")
        top += _HEADS
    for row, height in zip(shown, heights, strict=True):
        _plot_row(frame, row, top, factor)
        top += height
    frame.say(words, top)
    if shown:
        plot_bar(frame, top + words_height(words), factor)
    return frame.figure


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


def _tile_height(row: Shown) -> float:
    height, width = row.comparison.reference.images[row.mode].shape[1:3]
    return max(float(_TILE * height / width), 1.1)


def _plot_row(frame: Frame, row: Shown, top: float, factor: int) -> None:
    for column, image in enumerate(row.images):
        plot_tile(frame, image, _left(column), top, _TILE, factor)
    label = style.wrap(row.label, style.TEXT, _LABEL - 0.1)
    frame.figure.text(frame.x(MARGIN), frame.y(top), label, va="top", linespacing=1.35)
    frame.figure.text(
        frame.x(_left(0) + 0.05),
        frame.y(top + 0.05),
        row.comparison.reference_label,
        va="top",
        fontsize=style.SMALL,
        bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
    )


def _left(column: int) -> float:
    return MARGIN + _LABEL + column * (_TILE + _GAP)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_quality_panel, files=style.Files.of(snakemake.output))
