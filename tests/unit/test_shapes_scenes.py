"""The scenes that the bundled model is trained on, and the reader that scores what it makes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbench.models.shapes.reader import Reading, read
from sdbench.models.shapes.scenes import (
    COLOURS,
    RADII,
    SHAPES,
    SIZE,
    Description,
    Scene,
    descriptions,
    draw,
    random_scene,
)

SCENES = [random_scene(np.random.default_rng([7, number])) for number in range(2000)]


@st.composite
def scenes(choose: st.DrawFn) -> Scene:
    colour, ground = choose(st.permutations(list(COLOURS)))[:2]
    radius = choose(st.floats(*RADII))
    place = st.floats(radius + 2, SIZE - radius - 2)
    what = Description(choose(st.sampled_from(SHAPES)), colour, ground)
    return Scene(what, radius, (choose(place), choose(place)))


def test_every_description_has_its_own_caption_and_two_colours() -> None:
    assert Description("circle", "red", "blue").caption == "a red circle on a blue background"
    every = descriptions()
    assert len(every) == len(SHAPES) * len(COLOURS) * (len(COLOURS) - 1)
    assert len({what.caption for what in every}) == len(every)
    assert all(what.colour != what.ground for what in every)


def test_random_scenes_follow_their_seed_and_reach_every_shape_and_colour() -> None:
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    drawn = [random_scene(one) for _ in range(500)]
    assert drawn == [random_scene(two) for _ in range(500)]
    assert {scene.description.shape for scene in drawn} == set(SHAPES)
    for colours in (
        {scene.description.colour for scene in drawn},
        {scene.description.ground for scene in drawn},
    ):
        assert colours == set(COLOURS)


@given(scenes())
def test_ground_is_plain_around_a_figure_of_the_named_colour(scene: Scene) -> None:
    image = draw(scene)
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.uint8
    ground, figure = COLOURS[scene.description.ground], COLOURS[scene.description.colour]
    assert (image[0] == ground).all() and (image[:, -1] == ground).all()
    x, y = (int(place) for place in scene.centre)
    assert (image[y, x] == figure).all()


@pytest.mark.parametrize("radius", [14.0, 18.5, 22.0])
def test_a_circle_covers_its_area(radius: float) -> None:
    image = draw(Scene(Description("circle", "white", "black"), radius, (31.3, 32.8)))
    cover = (image[..., 0].astype(float) - 20) / (245 - 20)
    assert cover.sum() == pytest.approx(np.pi * radius**2, rel=0.005)


def test_a_triangle_points_up() -> None:
    image = draw(Scene(Description("triangle", "white", "black"), 20.0, (32.0, 32.0)))
    widths = (image[..., 0] > 128).sum(axis=1)
    widths = widths[widths > 0]
    assert (np.diff(widths) >= 0).all()
    assert widths[0] <= 2 and widths[-1] >= 38


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="'hexagon': allowed are circle, square, triangle"):
        draw(Scene(Description("hexagon", "red", "blue"), 15.0, (32.0, 32.0)))


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
