"""Read an image of `shapes` back into words, by its dominant colours and its outline.

It knows the meaning of the captions and the colours' values, but neither how the figures are drawn
nor what the model makes of them.
"""

from dataclasses import dataclass

from sdbench.models.shapes.scenes import COLOURS

import numpy as np
import numpy.typing as npt

BORDER = 4
"""Width in pixels of the frame that is taken for the ground."""
SMALLEST_FIGURE = 0.02
"""Least share of the image that a figure covers."""
CLEAR_OVERLAP = 0.75
"""Least overlap (intersection over union) with an ideal shape that makes a figure that shape."""


@dataclass(frozen=True)
class Reading:
    """What was read from an image: None for an outline of no known shape, or where no figure is."""

    shape: str | None
    colour: str | None
    ground: str


def read(image: npt.NDArray[np.uint8]) -> Reading:
    """Read an image, 8-bit RGB of shape (height, width, 3)."""
    names, values = list(COLOURS), np.array(list(COLOURS.values()), float)
    distances = np.linalg.norm(image[:, :, None, :].astype(float) - values, axis=-1)
    nearest = distances.argmin(axis=-1)
    frame = np.ones(nearest.shape, bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    ground = int(np.bincount(nearest[frame], minlength=len(names)).argmax())
    others = np.bincount(nearest[nearest != ground], minlength=len(names))
    figure = int(others.argmax())
    if others[figure] < SMALLEST_FIGURE * nearest.size:
        return Reading(None, None, names[ground])
    mask = distances[..., figure] < distances[..., ground]
    return Reading(_shape(mask), names[figure], names[ground])


def _shape(mask: npt.NDArray[np.bool_]) -> str | None:
    """Name the disc, upright square or regular triangle of the mask's area and centre that overlaps
    it most."""
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]]
    area = float(mask.sum())
    across, down = np.abs(x - x[mask].mean()), y - y[mask].mean()
    # The centre of an equilateral triangle lies at a third of its height.
    height = np.sqrt(np.sqrt(3.0) * area)
    above_base, below_apex = down <= height / 3, down + 2 * height / 3
    ideals = {
        "circle": across**2 + down**2 <= area / np.pi,
        "square": np.maximum(across, np.abs(down)) <= np.sqrt(area) / 2,
        "triangle": above_base & (across <= below_apex / np.sqrt(3.0)),
    }
    overlaps = {name: np.sum(mask & ideal) / np.sum(mask | ideal) for name, ideal in ideals.items()}
    best = max(overlaps, key=lambda name: overlaps[name])
    return best if overlaps[best] >= CLEAR_OVERLAP else None
