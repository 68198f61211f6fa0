"""Plot reference, other and difference over the steps, as a film."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures import style
from sdbench.report.figures.images import (
    Comparison,
    ImageArray,
    amplification,
    choose_steps,
    difference,
    load_comparisons,
    missing_words,
    score_text,
    shrink,
)
from sdbench.report.figures.tiles import colour_differences
from sdbench.tables.labels import shorten

import matplotlib
from PIL import Image, ImageDraw, ImageFont

FRAMES = 36
"""Frames at most: a film of noise does not compress, and it goes into a report."""
ENOUGH_RUNS = 20
"""Full runs that make a film; with fewer, the states of the long run do."""

FRAME_MS, LAST_FRAME_MS = 160, 2500
_TILE, _GAP, _TOP, _LABEL, _BELOW = 192, 12, 62, 34, 30
_LINE_LETTERS = 90
_WIDTH = 3 * _TILE + 4 * _GAP


def plot_quality_animation(
    quality: Path, references: Sequence[Path], others: Sequence[Path], gif: Path
) -> None:
    """Write a GIF with a row of three images for each compared variant.

    Args:
        quality: table of schema QUALITY.
        references: for each of `others` the archive of its reference.
        others: archives of the compared variants (`sdbench.report.figures.images`).
        gif: written.
    """
    frames = film(load_comparisons(quality, references, others))
    palettes = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    palettes[0].save(
        gif, save_all=True, append_images=palettes[1:], duration=durations, loop=0, optimize=False
    )


def film(comparisons: Sequence[Comparison]) -> list[Image.Image]:
    """Return the frames; one that says in words what is missing if there are no images."""
    seen = [comparison for comparison in comparisons if not comparison.words]
    words = [
        line for text in missing_words(comparisons) for line in textwrap.wrap(text, _LINE_LETTERS)
    ]
    if not seen:
        return [_frame([], "", 0, words, last=0, factor=1)]
    mode = choose_mode(seen)
    steps = choose_steps(sorted({step for c in seen for step in c.steps(mode)}), FRAMES)
    factor = amplification(
        difference(c.reference.at(mode, step), c.other.at(mode, step))
        for c in seen
        for step in steps
        if step in c.steps(mode)
    )
    return [_frame(seen, mode, step, words, steps[-1], factor) for step in steps]


def choose_mode(comparisons: Sequence[Comparison]) -> str:
    """Return `runs` if there are enough of them for a film, else `trajectory`."""
    enough = all(len(c.steps("runs")) >= ENOUGH_RUNS for c in comparisons)
    return "runs" if enough else "trajectory"


def _frame(
    comparisons: Sequence[Comparison],
    mode: str,
    step: int,
    words: Sequence[str],
    last: int,
    factor: int,
) -> Image.Image:
    tall = [_LABEL + _TILE + _GAP for _ in comparisons]
    height = _TOP + sum(tall) + 18 * len(words) + _BELOW
    image = Image.new("RGB", (_WIDTH, height), style.PAPER)
    plot = ImageDraw.Draw(image)
    plot.text((_GAP, 8), _title(mode, step, last), style.INK, _font(16, bold=True))
    if comparisons:
        _progress(plot, step / last)
        for column, head in enumerate(
            ("reference", "other", f"difference, {factor} times as bright")
        ):
            plot.text((_left(column), 42), head, style.GREY, _font(11))
    top = _TOP
    for comparison, rows in zip(comparisons, tall, strict=True):
        _row(image, plot, comparison, mode, step, top, factor)
        top += rows
    for number, line in enumerate(words):
        plot.text((_GAP, top + 18 * number), line, style.ALARM, _font(11))
    plot.text((_GAP, height - 20), "Same prompt and latents.", style.GREY, _font(10))
    return image


def _title(mode: str, step: int, last: int) -> str:
    if not mode:
        return "No images to compare"
    return f"Full run of {step} steps" if mode == "runs" else f"Step {step} of {last} of one run"


def _progress(plot: ImageDraw.ImageDraw, share: float) -> None:
    plot.rectangle((_GAP, 32, _WIDTH - _GAP, 35), fill=style.GRID)
    plot.rectangle((_GAP, 32, _GAP + (_WIDTH - 2 * _GAP) * share, 35), fill=style.GREY)


def _row(
    frame: Image.Image,
    plot: ImageDraw.ImageDraw,
    comparison: Comparison,
    mode: str,
    step: int,
    top: int,
    factor: int,
) -> None:
    plot.text((_GAP, top), shorten(comparison.model), style.INK, _font(12, bold=True))
    for column, label in enumerate((comparison.reference_label, comparison.label)):
        plot.text((_left(column), top + 17), shorten(label, 31), style.INK, _font(11))
    shown = max((s for s in comparison.steps(mode) if s <= step), default=None)
    if shown is None:
        return
    score = score_text(comparison, mode, shown, short=True)
    plot.text((_left(2), top + 17), score, style.INK, _font(11))
    reference = comparison.reference.at(mode, shown)
    other = comparison.other.at(mode, shown)
    images = (reference, other, colour_differences(difference(reference, other), factor))
    for column, image in enumerate(images):
        frame.paste(_tile(image), (_left(column), top + _LABEL))


def _tile(image: ImageArray) -> Image.Image:
    """Return an image at most a tile large, a small one enlarged without smoothing."""
    small = Image.fromarray(shrink(image, _TILE))
    scale = max(_TILE // max(small.size), 1)
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def _left(column: int) -> int:
    return _GAP + column * (_TILE + _GAP)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_quality_animation, gif=Path(snakemake.output.gif))
