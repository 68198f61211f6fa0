from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plot_quality_animation import choose_mode, film, plot_quality_animation
from plot_quality_panel import choose, plot_panel, plot_quality_panel
from plot_quality_steps import plot_quality_steps, plot_strips
from sdbench.cases.expansion import choose_steps
from sdbench.report.figures import images
from sdbench.report.figures.images import Comparison, difference, load_comparisons
from sdbench.report.figures.style import Files
from sdbench.report.figures.tiles import colour_differences
from sdbench.runtime.progress import SAID
from sdbench.tables.schemas import QUALITY
from tests.unit.figure_reading import faults, texts
from tests.unit.tables_factory import SHAPES, quality_rows, write_images, write_rows

RUNS, STATES = [1, 5, 20, 50], [1, 2, 3]
BF16 = {**SHAPES, "precision": "bf16"}
Made = tuple[Path, list[Path], list[Path]]


def make(folder: Path, weights: str = "trained", failed: bool = False) -> Made:
    """Write a reference and one variant, and the table of their comparison."""
    models = folder / "quality" / "shapes" / "cpu" / "pytorch"
    reference = write_images(models / "fp32" / "none.npz", 0.0, RUNS, STATES, side=16)
    runs, states = ([], []) if failed else (RUNS, STATES)
    other = write_images(models / "bf16" / "none.npz", 2.0, runs, states, side=16)
    rows = []
    nothing = {"max_abs_difference": None, "identical_share": None}
    why = {"status": "unsupported", "reason": "no bf16 here", **nothing} if failed else {}
    for mode, steps in (("runs", RUNS), ("trajectory", STATES)):
        count = 1 if failed else len(steps)
        psnr, ssim = ([number] * count for number in ((nan, nan) if failed else (40.0, 0.99)))
        rows += quality_rows(BF16, mode, steps[:count], psnr, ssim, weights=weights, **why)
    return write_rows(rows, folder / "quality.csv", QUALITY), [reference], [other]


def compare(made: Made) -> Comparison:
    (comparison,) = load_comparisons(*made)
    return comparison


def test_comparison_is_read_from_its_places(tmp_path: Path) -> None:
    comparison = compare(make(tmp_path))
    assert comparison.model == "shapes"
    assert comparison.reference_label == "fp32, PyTorch"
    assert comparison.label == "bf16, PyTorch"
    assert comparison.steps("runs") == RUNS
    assert comparison.steps("trajectory") == STATES
    assert comparison.scores["runs", 20] == (40.0, 0.99)
    assert comparison.reference["runs"][20].shape == (16, 16, 3)


def test_difference_is_the_largest_of_the_channels() -> None:
    one = np.array([[[10, 200, 30]]], np.uint8)
    other = np.array([[[250, 190, 35]]], np.uint8)
    assert difference(one, other).tolist() == [[240]]
    assert difference(other, one).tolist() == [[240]]


@pytest.mark.parametrize(("level", "factor"), [(0, 50), (5, 50), (6, 20), (25, 10), (200, 1)])
def test_amplification_keeps_differences_unclipped(level: int, factor: int) -> None:
    assert images.amplification([np.full((4, 4), level, np.uint8)]) == factor
    assert images.amplification([]) == 50


def test_steps_are_of_both_ends_and_more_of_the_first_or_the_nearest() -> None:
    chosen = choose_steps(list(range(1, 101)), 8)
    assert len(chosen) <= 8
    assert chosen[0] == 1 and chosen[-1] == 100
    assert chosen == sorted(set(chosen))
    assert sum(step <= 50 for step in chosen) > 4
    assert choose_steps([3, 7], 8) == [3, 7]
    assert images.nearest_step([1, 50, 100], 70) == 50
    assert images.nearest_step([60, 80], 70) == 80


def test_shrink_averages_and_never_enlarges() -> None:
    image = np.array([[[0, 0, 0], [100, 100, 100]]] * 2, np.uint8)
    assert images.shrink(image, 1).tolist() == [[[50, 50, 50]]]
    assert images.shrink(image, 10) is image


def test_colours_of_differences_reach_from_dark_to_bright() -> None:
    none, some, most = colour_differences(np.array([[0, 10, 26]], np.uint8), 10)[0].astype(int)
    assert none.sum() < some.sum() < most.sum()


def test_strips_hold_reference_other_and_difference_of_both_modes(tmp_path: Path) -> None:
    comparison = compare(make(tmp_path))
    figure = plot_strips([comparison])
    # The colour bar has axes of its own.
    assert len(figure.axes) == 3 * (len(RUNS) + len(STATES)) + 1
    shown = texts(figure)
    assert "N = 20" in shown and "step 3" in shown
    assert shown.count("40.0 dB") == len(RUNS) + len(STATES)
    assert any("times as bright" in text for text in shown)
    assert faults(figure) == []
    # Small images are not smoothed.
    image = figure.axes[0].images[0]
    assert image.get_interpolation() == "nearest"
    assert (np.asarray(image.get_array()) == comparison.reference["runs"][1]).all()


def test_panel_shows_the_step_asked_for_or_names_the_nearest(tmp_path: Path) -> None:
    comparison = compare(make(tmp_path))
    assert choose(comparison, 20).step == 20
    exact = texts(plot_panel([comparison], [20]))
    assert any("full run of 20 steps PSNR 40.0 dB SSIM 0.990" in text for text in exact)
    near = plot_panel([comparison], [70])
    assert any("full run of 50 steps (nearest to 70)" in text for text in texts(near))
    assert faults(near) == []


@pytest.mark.parametrize(
    ("weights", "failed", "words"),
    [("seeded", False, images.SEEDED), ("trained", True, "not supported: no bf16 here")],
)
def test_what_is_not_shown_is_said(weights: str, failed: bool, words: str, tmp_path: Path) -> None:
    comparison = compare(make(tmp_path, weights, failed))
    for figure in (plot_strips([comparison]), plot_panel([comparison], [70])):
        assert any(words in text for text in texts(figure))
        assert not figure.axes
        assert faults(figure) == []
    assert len(film([comparison])) == 1


@pytest.mark.parametrize("empty", [False, True])
def test_files_are_written(empty: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, references, others = make(tmp_path)
    if empty:
        table, references, others = write_rows([], tmp_path / "e.csv", QUALITY), [], []
    steps = [70] * len(others)
    strips, panel = (Files(*(tmp_path / f"{n}.{k}" for k in Files._fields)) for n in "sp")
    plot_quality_steps(table, references, others, strips)
    plot_quality_panel(table, references, others, steps, panel)
    plot_quality_animation(table, references, others, tmp_path / "a.gif")
    assert all(path.stat().st_size for path in (*strips, *panel, tmp_path / "a.gif"))
    shown_first = (strips.png, panel.png, tmp_path / "a.gif")
    why = "No quality comparison is configured (config key `quality`)."
    said = [f"{SAID}{file} is empty: {why}" for file in shown_first] if empty else []
    assert capsys.readouterr().out.splitlines() == said
    assert len(pd.read_csv(panel.csv)) == (0 if empty else 1)
    shown = pd.read_csv(strips.csv)
    assert set(shown["mode"]) == (set() if empty else {"runs", "trajectory"})
    assert shown["psnr_db"].notna().all()


def test_film_has_a_frame_for_each_step(tmp_path: Path) -> None:
    made = make(tmp_path)
    # Four runs are too few for a film: it is of the three states.
    assert choose_mode([compare(made)]) == "trajectory"
    plot_quality_animation(*made, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert getattr(image, "n_frames", 1) == len(STATES)
        assert image.info["loop"] == 0


def test_several_variants_share_one_reference_row(tmp_path: Path) -> None:
    table, references, others = make(tmp_path)
    onnx = write_images(
        tmp_path / "quality/shapes/cpu/onnxruntime/fp32/none.npz", 0.5, RUNS, STATES, side=16
    )
    comparisons = load_comparisons(table, references * 2, [*others, onnx])
    figure = plot_strips(comparisons)
    assert len(figure.axes) == (1 + 2 * 2) * (len(RUNS) + len(STATES)) + 1
    assert texts(figure).count("reference: fp32, PyTorch") == 2
    assert faults(figure) == []
