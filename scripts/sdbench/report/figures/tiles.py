"""Placing images and maps of differences on a figure."""

from sdbench.report.figures import style
from sdbench.report.figures.frame import MARGIN, Frame
from sdbench.report.figures.images import DIFFERENCE_COLOURS, shrink

import matplotlib
import numpy as np
from matplotlib import ticker
from numpy.typing import NDArray

BAR_HEIGHT = 0.62
"""Height in inches that the colour bar takes."""

_DPI = 200


def difference_note(factor: int) -> str:
    """Say what a map of differences shows."""
    bright = "unscaled" if factor == 1 else f"shown {factor} times as bright"
    return f"Difference: the largest of the three channels at each pixel, {bright}."


def plot_tile(
    frame: Frame,
    image: NDArray[np.uint8],
    left: float,
    top: float,
    width: float,
    factor: int = 1,
) -> float:
    """Place an image (height, width, 3) or a map of levels (height, width), places in inches.

    A map is shown `factor` times as bright as it is. Small images are enlarged without
    smoothing, large ones averaged down to what is printed.

    Returns:
        Its height in inches.
    """
    height = float(width * image.shape[0] / image.shape[1])
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
    return height


def colour_differences(levels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Return a map of levels as an image in the colours of differences."""
    shares = np.clip(levels.astype(float) * factor / 255, 0, 1)
    coloured = matplotlib.colormaps[DIFFERENCE_COLOURS](shares)[..., :3]
    image: NDArray[np.uint8] = np.round(coloured * 255).astype(np.uint8)
    return image


def plot_bar(frame: Frame, top: float, factor: int) -> None:
    """Plot the colour bar of differences, 2.6 inches wide, at the left margin."""
    axes = frame.axes(MARGIN, top + 0.05, 2.6, 0.12)
    brightest = 255 / factor
    axes.imshow(
        np.linspace(0, brightest, 256)[None, :],
        aspect="auto",
        cmap=DIFFERENCE_COLOURS,
        extent=(0, brightest, 0, 1),
    )
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=style.SMALL)
    axes.set_xlabel("difference, levels of 255", fontsize=style.SMALL, labelpad=1)
