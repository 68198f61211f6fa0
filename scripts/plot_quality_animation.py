"""Plot reference, other and difference over the steps, as a film."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from sdbench.cases.expansion import choose_steps
from sdbench.records.image_archive import ImageArray
from sdbench.report.figures import style
from sdbench.report.figures.images import (
    Comparison,
    amplification,
    load_comparisons,
    missing_words,
    score_text,
    shrink,
)
from sdbench.report.figures.tiles import colour_differences
from sdbench.runtime.job import run_script
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
_LEFTS = [_GAP + column * (_TILE + _GAP) for column in range(3)]


def plot_quality_animation(
    quality: Path, references: Sequence[Path], others: Sequence[Path], gif: Path
) -> None:
    """Write a GIF with a row of three images for each compared variant."""
    comparisons = load_comparisons(quality, references, others)
    frames = film(comparisons)
    palettes = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    palettes[0].save(
        gif, save_all=True, append_images=palettes[1:], duration=durations, loop=0, optimize=False
    )
    if all(comparison.words for comparison in comparisons):
        style.say_empty(gif, "; ".join(missing_words(comparisons)))


def film(comparisons: Sequence[Comparison]) -> list[Image.Image]:
    """Return the frames; one that says in words what is missing if there are no images."""
    seen = [comparison for comparison in comparisons if not comparison.words]
    said = missing_words(comparisons)
    words = [line for text in said for line in textwrap.wrap(text, _LINE_LETTERS)]
    if not seen:
        return [_frame([], "", 0, words, last=0, factor=1)]
    mode = choose_mode(seen)
    steps = choose_steps(sorted({step for c in seen for step in c.steps(mode)}), FRAMES)
    factor = amplification(
        c.at(mode, step)[2] for c in seen for step in steps if step in c.steps(mode)
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
    tall = _LABEL + _TILE + _GAP
    height = _TOP + tall * len(comparisons) + 18 * len(words) + _BELOW
    image = Image.new("RGB", (_WIDTH, height), style.PAPER)
    plot = ImageDraw.Draw(image)
    plot.text((_GAP, 8), _title(mode, step, last), style.INK, _font(16, bold=True))
    if comparisons:
        plot.rectangle((_GAP, 32, _WIDTH - _GAP, 35), fill=style.GRID)
        done = _GAP + (_WIDTH - 2 * _GAP) * step / last
        plot.rectangle((_GAP, 32, done, 35), fill=style.GREY)
        heads = ("reference", "other", f"difference, {factor} times as bright")
        for left, head in zip(_LEFTS, heads, strict=True):
            plot.text((left, 42), head, style.GREY, _font(11))
    top = _TOP
    for comparison in comparisons:
        _row(image, plot, comparison, mode, step, top, factor)
        top += tall
    for number, line in enumerate(words):
        plot.text((_GAP, top + 18 * number), line, style.ALARM, _font(11))
    plot.text((_GAP, height - 20), "Same prompt and latents.", style.GREY, _font(10))
    return image


def _title(mode: str, step: int, last: int) -> str:
    if not mode:
        return "No images to compare"
    return f"Full run of {step} steps" if mode == "runs" else f"Step {step} of {last} of one run"


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
    for left, label in zip(_LEFTS, (comparison.reference_label, comparison.label), strict=False):
        plot.text((left, top + 17), shorten(label, 31), style.INK, _font(11))
    shown = max((s for s in comparison.steps(mode) if s <= step), default=None)
    if shown is None:
        return
    score = score_text(comparison, mode, shown, short=True)
    plot.text((_LEFTS[2], top + 17), score, style.INK, _font(11))
    reference, other, levels = comparison.at(mode, shown)
    images = (reference, other, colour_differences(levels, factor))
    for left, image in zip(_LEFTS, images, strict=True):
        frame.paste(_tile(image), (left, top + _LABEL))


def _tile(image: ImageArray) -> Image.Image:
    """Return an image at most a tile large, a small one enlarged without smoothing."""
    small = Image.fromarray(shrink(image, _TILE))
    scale = max(_TILE // max(small.size), 1)
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


if __name__ == "__main__":
    run_script(snakemake, plot_quality_animation)
