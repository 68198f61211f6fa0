import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbench.models.shapes.reader import Reading, read
from sdbench.models.shapes.scenes import (
    COLOURS,
    SIZE,
    Description,
    Scene,
    descriptions,
    draw,
    random_scene,
)

SCENES = [random_scene(np.random.default_rng([7, number])) for number in range(2000)]


def agrees(reading: Reading, what: Description) -> bool:
    return (reading.shape, reading.colour, reading.ground) == (what.shape, what.colour, what.ground)


def test_drawn_scenes_are_read_right() -> None:
    right = sum(agrees(read(draw(scene)), scene.description) for scene in SCENES)
    assert right / len(SCENES) >= 0.99


@pytest.mark.parametrize("scene", SCENES[:20], ids=lambda scene: scene.description.caption)
def test_a_wrong_caption_is_never_agreed_with(scene: Scene) -> None:
    reading = read(draw(scene))
    assert [what for what in descriptions() if agrees(reading, what)] == [scene.description]


@given(st.integers(0, len(SCENES) - 1), st.integers(0, 2**32 - 1))
def test_noise_and_a_shift_of_colour_do_not_mislead_it(number: int, seed: int) -> None:
    scene, rng = SCENES[number], np.random.default_rng(seed)
    noisy = draw(scene) + rng.normal(0, 12, (SIZE, SIZE, 3)) + rng.uniform(-15, 15, 3)
    image = noisy.clip(0, 255).astype(np.uint8)
    assert agrees(read(image), scene.description)


@pytest.mark.parametrize("ground", COLOURS)
def test_an_empty_image_has_no_figure(ground: str) -> None:
    image = np.full((SIZE, SIZE, 3), COLOURS[ground], np.uint8)
    assert read(image) == Reading(None, None, ground)


@pytest.mark.parametrize(("colour", "ground"), list(itertools.permutations(COLOURS, 2)))
def test_a_cross_has_colours_but_no_named_shape(colour: str, ground: str) -> None:
    image = np.full((SIZE, SIZE, 3), COLOURS[ground], np.uint8)
    image[28:36, 10:54] = image[10:54, 28:36] = COLOURS[colour]
    assert read(image) == Reading(None, colour, ground)


def test_a_triangle_that_points_down_is_no_triangle() -> None:
    scene = Scene(Description("triangle", "red", "blue"), 20.0, (32.0, 32.0))
    assert read(draw(scene)[::-1]).shape != "triangle"
