"""The synthetic world of `shapes`: one plain figure on a plain ground, and its caption."""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SIZE = 64
"""Side of an image in pixels."""
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (50, 80, 220),
    "yellow": (240, 210, 50),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
"""Colour words and their 8-bit sRGB values, far enough apart that none is taken for another."""
SHAPES = ("circle", "square", "triangle")
RADII = (14.0, 22.0)
"""Smallest and largest radius of a figure in pixels."""
MARGIN = 2.0
"""Pixels of ground that stay free between a figure's radius and the image's edge."""


@dataclass(frozen=True)
class Description:
    """What a caption says of a scene: one of `SHAPES`, and two different `COLOURS`."""

    shape: str
    colour: str
    ground: str

    @property
    def caption(self) -> str:
        """The description in words, as in "a red circle on a blue background"."""
        return f"a {self.colour} {self.shape} on a {self.ground} background"


@dataclass(frozen=True)
class Scene:
    """One figure on a ground: about half its height, and its centre (x, y), in pixels."""

    description: Description
    radius: float
    centre: tuple[float, float]


def descriptions() -> list[Description]:
    """Return every description there is, in a fixed order."""
    pairs = list(itertools.permutations(COLOURS, 2))
    return [Description(shape, colour, ground) for shape in SHAPES for colour, ground in pairs]


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: shape, both colours, size and place are uniform."""
    colour, ground = rng.choice(list(COLOURS), 2, replace=False)
    radius = float(rng.uniform(*RADII))
    x, y = rng.uniform(radius + MARGIN, SIZE - radius - MARGIN, 2)
    shape = rng.choice(SHAPES)
    return Scene(Description(str(shape), str(colour), str(ground)), radius, (float(x), float(y)))


def draw(scene: Scene) -> npt.NDArray[np.uint8]:
    """Draw a scene, its outline smoothed over one pixel: 8-bit RGB of shape (SIZE, SIZE, 3)."""
    what = scene.description
    cover = np.clip(0.5 - _distance(scene), 0.0, 1.0)[..., None]
    figure, ground = np.array(COLOURS[what.colour]), np.array(COLOURS[what.ground])
    image: npt.NDArray[np.uint8] = np.rint(cover * figure + (1.0 - cover) * ground).astype(np.uint8)
    return image


def _distance(scene: Scene) -> npt.NDArray[np.float64]:
    """Return how far the middle of each pixel lies outside the figure, in pixels."""
    middles = np.arange(SIZE) + 0.5
    dx = np.abs(middles - scene.centre[0])[None, :]
    dy = (middles - scene.centre[1])[:, None]
    r, shape = scene.radius, scene.description.shape
    if shape not in SHAPES:
        raise ValueError(f"shape {shape!r}: allowed are {', '.join(SHAPES)}")
    height, half_base = 1.8 * r, r
    outside: dict[str, npt.NDArray[np.float64]] = {
        "circle": np.hypot(dx, dy) - r,
        "square": np.maximum(dx, np.abs(dy)) - 0.9 * r,
        # Apex on top; the base is as wide as the figure's circle and lies 0.8 r below the centre.
        "triangle": np.maximum(
            dy - 0.8 * r, (dx * height - (dy + r) * half_base) / np.hypot(height, half_base)
        ),
    }
    return outside[shape]
