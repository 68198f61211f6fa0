"""Placing images and maps of differences on a figure."""

from collections.abc import Sequence

from sdbench.report.figures import style
from sdbench.report.figures.frame import MARGIN, Block, Frame, plot_blocks, said
from sdbench.report.figures.images import DIFFERENCE_COLOURS, Comparison, missing_words, shrink

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure
from numpy.typing import NDArray

_BAR_HEIGHT = 0.62
"""Height in inches that the colour bar takes."""

_DPI = 200


def plot_comparisons(
    title: str,
    subtitle: str,
    blocks: Sequence[Block],
    comparisons: Sequence[Comparison],
    factor: int,
    nothing: str = "",
) -> Figure:
    """Plot a figure of images: below its blocks it says what has none, and what maps show.

    Args:
        title, subtitle, blocks: of images; there may be none.
        comparisons: all of them.
        factor: how many times as bright as they are differences are shown.
        nothing: what is said if there are no comparisons, if not that of `quality`.
    """
    words = missing_words(comparisons)
    missing = said([nothing] if nothing and not comparisons else words)
    if not blocks:
        return plot_blocks(title, subtitle, "", [missing])
    bright = "unscaled" if factor == 1 else f"shown {factor} times as bright"
    note = f"Difference: the largest of the three channels at each pixel, {bright}."
    bar = (_BAR_HEIGHT, lambda frame, top: _plot_bar(frame, top, 255 / factor))
    return plot_blocks(title, subtitle, note, [*blocks, missing, bar])


def plot_tile(
    frame: Frame,
    image: NDArray[np.uint8],
    left: float,
    top: float,
    width: float,
    factor: int = 1,
) -> None:
    """Place an image (height, width, 3) or a map of levels (height, width), places in inches.

    A map is shown `factor` times as bright as it is. Small images are enlarged without
    smoothing, large ones averaged down to what is printed.
    """
    height = tile_height(image, width)
    axes = frame.axes(left, top, width, height)
    axes.set_axis_off()
    # Colours of a map; an image has its own and ignores them.
    axes.imshow(
        shrink(image, round(max(width, height) * _DPI)),
        interpolation="nearest",
        aspect="auto",
        cmap=DIFFERENCE_COLOURS,
        vmin=0,
        vmax=255 / factor,
    )


def tile_height(image: NDArray[np.uint8], width: float) -> float:
    """Return the height of an image that is so wide."""
    return float(width * image.shape[0] / image.shape[1])


def colour_differences(levels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return a map of levels as an image in the colours of differences."""
    shares = np.clip(levels.astype(float) * factor / 255, 0, 1)
    coloured = matplotlib.colormaps[DIFFERENCE_COLOURS](shares)[..., :3]
    image: NDArray[np.uint8] = np.round(coloured * 255).astype(np.uint8)
    return image


def _plot_bar(frame: Frame, top: float, brightest: float) -> None:
    axes = frame.axes(MARGIN, top + 0.05, 2.6, 0.12)
    levels = np.linspace(0, brightest, 256)[None, :]
    axes.imshow(levels, aspect="auto", cmap=DIFFERENCE_COLOURS, extent=(0, brightest, 0, 1))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=style.SMALL)
    axes.set_xlabel("difference, levels of 255", fontsize=style.SMALL, labelpad=1)
