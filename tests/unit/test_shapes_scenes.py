import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@st.composite
def scenes(choose: st.DrawFn) -> Scene:
    colour, ground = choose(st.permutations(list(COLOURS)))[:2]
    radius = choose(st.floats(*RADII))
    place = st.floats(radius + 2, SIZE - radius - 2)
    what = Description(choose(st.sampled_from(SHAPES)), colour, ground)
    return Scene(what, radius, (choose(place), choose(place)))


def circle(radius: float, centre: tuple[float, float]) -> Scene:
    return Scene(Description("circle", "white", "black"), radius, centre)


def test_caption_names_figure_and_ground() -> None:
    assert Description("circle", "red", "blue").caption == "a red circle on a blue background"


def test_every_description_has_its_own_caption_and_two_colours() -> None:
    every = descriptions()
    assert len(every) == len(SHAPES) * len(COLOURS) * (len(COLOURS) - 1)
    assert len({what.caption for what in every}) == len(every)
    assert all(what.colour != what.ground for what in every)


def test_same_seed_draws_same_scenes() -> None:
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    assert [random_scene(one) for _ in range(20)] == [random_scene(two) for _ in range(20)]


def test_random_scenes_reach_every_shape_and_colour() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_scene(rng).description for _ in range(500)]
    assert {what.shape for what in drawn} == set(SHAPES)
    assert {what.colour for what in drawn} == {what.ground for what in drawn} == set(COLOURS)


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
    cover = (draw(circle(radius, (31.3, 32.8)))[..., 0].astype(float) - 20) / (245 - 20)
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
