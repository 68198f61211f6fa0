"""Plot strips of images over steps: the reference, the others, and where they differ."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures import style
from sdbench.report.figures.frame import (
    INNER,
    MARGIN,
    Frame,
    heading_height,
    plot_frame,
    words_height,
)
from sdbench.report.figures.images import (
    MODES,
    Comparison,
    amplification,
    choose_steps,
    difference,
    load_comparisons,
    missing_words,
    score_data,
    score_text,
)
from sdbench.report.figures.tiles import BAR_HEIGHT, difference_note, plot_bar, plot_tile
from sdbench.tables.labels import plural

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLUMNS = 8
_LABEL, _GAP, _STEPS, _SCORE, _STRIP_GAP = 1.3, 0.06, 0.2, 0.15, 0.22
_TILE = (INNER - _LABEL - _GAP * (COLUMNS - 1)) / COLUMNS

Strip = tuple[str, list[Comparison]]
"""A mode, and the comparisons with one reference."""


def plot_quality_steps(
    quality: Path, references: Sequence[Path], others: Sequence[Path], files: style.Files
) -> None:
    """Plot for each reference and mode the images after chosen steps.

    Args:
        quality: table of schema QUALITY.
        references: for each of `others` the archive of its reference.
        others: archives of the compared variants (`sdbench.report.figures.images`).
        files: written.
    """
    comparisons = load_comparisons(quality, references, others)
    shown = [
        (comparison, strip[0], step)
        for strip in _strips(comparisons)
        for comparison in strip[1]
        for step in _steps(strip)
    ]
    style.save_figure(plot_strips(comparisons), score_data(shown), files)


def plot_strips(comparisons: Sequence[Comparison]) -> Figure:
    """Return the figure of all comparisons."""
    with style.styled():
        return _plot(comparisons)


def _plot(comparisons: Sequence[Comparison]) -> Figure:
    strips = _strips(comparisons)
    factor = amplification(m for strip in strips for maps in _maps(strip) for m in maps)
    words = missing_words(comparisons)
    body = sum(_height(strip) for strip in strips) + words_height(words)
    body += BAR_HEIGHT if strips else 0
    frame = plot_frame(
        "Images of the settings next to the reference, by step",
        "The same prompt and latents. Below each difference: PSNR. A full run of N steps is not "
        "the N-th state of a longer run: their timesteps differ.",
        difference_note(factor) if strips else "",
        body,
    )
    top = frame.top
    for strip in strips:
        _plot_strip(frame, strip, top, factor)
        top += _height(strip)
    frame.say(words, top)
    if strips:
        plot_bar(frame, top + words_height(words), factor)
    return frame.figure


def _strips(comparisons: Sequence[Comparison]) -> list[Strip]:
    seen = [c for c in comparisons if not c.words]
    return [
        (mode, members)
        for key in dict.fromkeys((c.model, c.reference_label) for c in seen)
        for mode in MODES
        if (members := [c for c in seen if (c.model, c.reference_label) == key and c.steps(mode)])
    ]


def _steps(strip: Strip) -> list[int]:
    mode, members = strip
    shared = set(members[0].steps(mode)).intersection(*(c.steps(mode) for c in members))
    return choose_steps(sorted(shared), COLUMNS)


def _maps(strip: Strip) -> list[list[NDArray[np.uint8]]]:
    """Return for each comparison of a strip where its images differ, step by step."""
    mode, members = strip
    return [
        [difference(c.reference.at(mode, step), c.other.at(mode, step)) for step in _steps(strip)]
        for c in members
    ]


def _tile_height(strip: Strip) -> float:
    mode, members = strip
    height, width = members[0].reference.images[mode].shape[1:3]
    return float(_TILE * height / width)


def _title(strip: Strip) -> str:
    mode, members = strip
    count = len(members[0].steps(mode))
    return f"{members[0].model}: {MODES[mode]} ({plural(count, 'image')} compared)"


def _height(strip: Strip) -> float:
    _, members = strip
    rows = 1 + 2 * len(members)
    return (
        heading_height(_title(strip))
        + _STEPS
        + rows * (_tile_height(strip) + _GAP)
        + len(members) * _SCORE
        + _STRIP_GAP
    )


def _plot_strip(frame: Frame, strip: Strip, top: float, factor: int) -> None:
    mode, members = strip
    steps = _steps(strip)
    tall = _tile_height(strip)
    frame.heading(_title(strip), top)
    at = top + heading_height(_title(strip))
    for column, step in enumerate(steps):
        noun = "N = " if mode == "runs" else "step "
        frame.figure.text(
            frame.x(_left(column) + _TILE / 2), frame.y(at), f"{noun}{step}", ha="center", va="top"
        )
    at += _STEPS
    first = members[0]
    _plot_row(
        frame,
        f"reference:\n{first.reference_label}",
        [first.reference.at(mode, step) for step in steps],
        at,
    )
    at += tall + _GAP
    for comparison, maps in zip(members, _maps(strip), strict=True):
        _plot_row(frame, comparison.label, [comparison.other.at(mode, s) for s in steps], at)
        at += tall + _GAP
        _plot_row(frame, "difference", maps, at, factor)
        at += tall + 0.02
        for column, step in enumerate(steps):
            frame.figure.text(
                frame.x(_left(column) + _TILE / 2),
                frame.y(at),
                score_text(comparison, mode, step, short=True),
                ha="center",
                va="top",
                fontsize=style.SMALL,
                color=style.GREY,
            )
        at += _SCORE + _GAP - 0.02


def _plot_row(
    frame: Frame, label: str, images: Sequence[NDArray[np.uint8]], top: float, factor: int = 1
) -> None:
    tall = 0.0
    for column, image in enumerate(images):
        tall = plot_tile(frame, image, _left(column), top, _TILE, factor)
    frame.figure.text(
        frame.x(MARGIN),
        frame.y(top + tall / 2),
        style.wrap(label, style.TEXT, _LABEL - 0.1),
        va="center",
    )


def _left(column: int) -> float:
    return MARGIN + _LABEL + column * (_TILE + _GAP)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_quality_steps, files=style.Files.of(snakemake.output))
