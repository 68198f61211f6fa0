"""Plot strips of images over steps: the reference, the others, and where they differ."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sdbench.cases.expansion import choose_steps
from sdbench.report.figures import style
from sdbench.report.figures.frame import INNER, MARGIN, Block, Frame, headed
from sdbench.report.figures.images import (
    MODES,
    Comparison,
    amplification,
    load_comparisons,
    missing_words,
    score_data,
    score_text,
)
from sdbench.report.figures.results import grouped
from sdbench.report.figures.tiles import plot_comparisons, plot_tile, tile_height
from sdbench.tables.labels import plural

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLUMNS = 8
_LABEL, _GAP, _STEPS, _SCORE, _STRIP_GAP = 1.3, 0.06, 0.2, 0.15, 0.22
_TILE = (INNER - _LABEL - _GAP * (COLUMNS - 1)) / COLUMNS
_LEFTS = [MARGIN + _LABEL + column * (_TILE + _GAP) for column in range(COLUMNS)]


class Strip(NamedTuple):
    """Comparisons with one reference, in a mode, after the steps that are shown."""

    mode: str
    members: list[Comparison]
    steps: list[int]


def plot_quality_steps(
    quality: Path, references: Sequence[Path], others: Sequence[Path], files: style.Files
) -> None:
    """Plot for each reference and mode the images after chosen steps."""
    comparisons = load_comparisons(quality, references, others)
    data = score_data(_shown(_strips(comparisons)))
    missing = "; ".join(missing_words(comparisons))
    style.save_figure(plot_strips(comparisons), data, files, missing)


def plot_strips(comparisons: Sequence[Comparison]) -> Figure:
    """Return the figure of all comparisons."""
    strips = _strips(comparisons)
    factor = amplification(c.at(mode, step)[2] for c, mode, step in _shown(strips))
    return plot_comparisons(
        "Images of the settings next to the reference, by step",
        "The same prompt and latents. Below each difference: PSNR. A full run of N steps is not "
        "the N-th state of a longer run: their timesteps differ.",
        [headed(_title(strip), _block(strip, factor)) for strip in strips],
        comparisons,
        factor,
    )


def _shown(strips: Sequence[Strip]) -> list[tuple[Comparison, str, int]]:
    return [(c, mode, step) for mode, members, steps in strips for c in members for step in steps]


def _strips(comparisons: Sequence[Comparison]) -> list[Strip]:
    seen = grouped((c for c in comparisons if not c.words), lambda c: (c.model, c.reference_label))
    strips = []
    for same in seen.values():
        for mode in MODES:
            members = [c for c in same if c.steps(mode)]
            if members:
                shared = set.intersection(*(set(c.steps(mode)) for c in members))
                strips.append(Strip(mode, members, choose_steps(sorted(shared), COLUMNS)))
    return strips


def _title(strip: Strip) -> str:
    first = strip.members[0]
    count = plural(len(first.steps(strip.mode)), "image")
    return f"{first.model}: {MODES[strip.mode]} ({count} compared)"


def _block(strip: Strip, factor: int) -> Block:
    mode, members, steps = strip
    tall = tile_height(next(iter(members[0].reference[mode].values())), _TILE)

    def plot(frame: Frame, top: float) -> None:
        noun = "N =" if mode == "runs" else "step"
        _write(frame, [f"{noun} {step}" for step in steps], top)
        top += _STEPS
        for place, comparison in enumerate(members):
            shown = [comparison.at(mode, step) for step in steps]
            references, others, maps = ([images[kind] for images in shown] for kind in range(3))
            if place == 0:
                label = f"reference:\n{comparison.reference_label}"
                _plot_row(frame, label, references, top, tall)
                top += tall + _GAP
            _plot_row(frame, comparison.label, others, top, tall)
            top += tall + _GAP
            _plot_row(frame, "difference", maps, top, tall, factor)
            scores = [score_text(comparison, mode, step, short=True) for step in steps]
            _write(frame, scores, top + tall + 0.02, fontsize=style.SMALL, color=style.GREY)
            top += tall + _SCORE + _GAP

    rows = (1 + 2 * len(members)) * (tall + _GAP) + len(members) * _SCORE
    return _STEPS + rows + _STRIP_GAP, plot


def _write(frame: Frame, words: Sequence[str], top: float, **look: object) -> None:
    for left, text in zip(_LEFTS, words, strict=False):
        frame.text(left + _TILE / 2, top, text, ha="center", **look)


def _plot_row(
    frame: Frame,
    label: str,
    images: Sequence[NDArray[np.uint8]],
    top: float,
    tall: float,
    factor: int = 1,
) -> None:
    for left, image in zip(_LEFTS, images, strict=False):
        plot_tile(frame, image, left, top, _TILE, factor)
    text = style.wrap(label, style.TEXT, _LABEL - 0.1)
    frame.text(MARGIN, top + tall / 2, text, va="center")


if __name__ == "__main__":
    style.run_figure(snakemake, plot_quality_steps)
