"""Images that are alike are found alike, and others as far apart as they are."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sdbench.records.image_archive import ImageArray, save_images
from sdbench.tables.image_comparison import (
    SSIM_WINDOW_PX,
    compare_images,
    compare_series,
    difference_map,
    psnr_db,
    save_triptychs,
)


@pytest.fixture
def noise() -> ImageArray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)


BLACK = np.zeros((16, 16, 3), np.uint8)


def test_images_are_as_far_apart_as_they_are(noise: ImageArray) -> None:
    assert compare_images(noise, noise.copy()) == {
        **{"psnr_db": math.inf, "ssim": pytest.approx(1.0)},
        **{"max_abs_difference": 0.0, "identical_share": 1.0},
    }
    # One level everywhere is 48 dB.
    assert psnr_db(BLACK, BLACK + 1) == pytest.approx(20 * math.log10(255))
    # Differences do not wrap around.
    white = 255 - BLACK
    assert (difference_map(BLACK, white) == 255).all()
    assert (difference_map(white, BLACK) == 255).all()
    assert compare_images(BLACK, white)["max_abs_difference"] == 255
    # A pixel is the same only in all channels.
    other = noise.copy()
    other[:16, :, 0] ^= 1
    assert compare_images(noise, other)["identical_share"] == 0.5


def test_ssim_is_that_of_a_uniform_window(noise: ImageArray) -> None:
    """By hand, of pixels whose window is in the image; `test_docs` looks what is said of it."""
    other = np.clip(noise.astype(int) + 20, 0, 255).astype(np.uint8)
    size, one, two = SSIM_WINDOW_PX, noise.astype(float), other.astype(float)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        windows = np.lib.stride_tricks.sliding_window_view(values, (size, size), axis=(0, 1))
        return np.asarray(windows.mean(axis=(-2, -1)))

    sample = size**2 / (size**2 - 1)
    means = mean(one), mean(two)
    variances = [sample * (mean(x * x) - m * m) for x, m in zip((one, two), means, strict=True)]
    covariance = sample * (mean(one * two) - means[0] * means[1])
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * means[0] * means[1] + c1) * (2 * covariance + c2)
    likeness /= (means[0] ** 2 + means[1] ** 2 + c1) * (sum(variances) + c2)
    assert compare_images(noise, other)["ssim"] == pytest.approx(likeness.mean())


def save(path: Path, runs: list[int], images: np.ndarray, status: str = "ok") -> Path:
    save_images(
        path,
        status,
        "" if status == "ok" else "no room",
        runs=images[: len(runs)],
        runs_steps=np.array(runs, np.int64),
        trajectory=images,
        trajectory_steps=np.arange(1, len(images) + 1),
    )
    return path


def test_series_are_compared_by_step_and_not_by_place(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    one = save(tmp_path / "a.npz", [1, 5, 10], images)
    two = save(tmp_path / "b.npz", [5, 10], images[1:])
    rows = [row for row in compare_series(one, two) if row["mode"] == "runs"]
    assert [row["step"] for row in rows] == [5, 10]
    assert all(row["identical_share"] == 1.0 for row in rows)


def test_the_range_over_seeds_stands_beside_the_series_own_seed(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 200, (2, 16, 16, 3), np.uint8)
    runs = {"runs": images, "runs_steps": np.array([5, 10])}
    runs |= {"trajectory": images, "trajectory_steps": np.array([1, 2])}
    places = {"spread_steps": np.array([10, 10]), "spread_seeds": np.array([1, 2])}
    for name, levels in (("a", (0, 0, 0)), ("b", (2, 1, 40))):
        own, *others = levels
        moved = np.stack([images[1] + np.uint8(level) for level in others])
        series = runs | {"runs": images + np.uint8(own)}
        save_images(tmp_path / f"{name}.npz", "ok", "", **series, spread=moved, **places)
    first, second, *states = compare_series(tmp_path / "a.npz", tmp_path / "b.npz")
    levels_db = [20 * math.log10(255 / level) for level in (2, 1, 40)]
    assert (second["seeds"], second["psnr_db"]) == (3, pytest.approx(levels_db[0]))
    assert second["psnr_high_db"] == pytest.approx(levels_db[1])
    assert second["psnr_low_db"] == pytest.approx(levels_db[2])
    assert second["ssim_low"] < second["ssim"] < second["ssim_high"]
    # Where a seed is alone there is no range; the states of the long run have but one.
    for row in (first, *states):
        assert row["seeds"] == 1 and "psnr_low_db" not in row


def test_what_could_not_be_generated_is_a_row_with_a_reason(tmp_path: Path) -> None:
    images = np.zeros((0, 16, 16, 3), np.uint8)
    one = save(tmp_path / "a.npz", [], images)
    two = save(tmp_path / "b.npz", [], images, status="oom")
    rows = list(compare_series(one, two))
    said = [(row["mode"], row["status"], row["reason"]) for row in rows]
    assert said == [(mode, "oom", "no room") for mode in ("runs", "trajectory")]


def test_every_step_is_kept_with_its_difference(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    one = save(tmp_path / "a.npz", [1, 5], images)
    two = save(tmp_path / "b.npz", [1, 5], 255 - images)
    save_triptychs(one, two, tmp_path / "out")
    names = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.png"))
    assert names == [
        "runs/step-001.png",
        "runs/step-005.png",
        *(f"trajectory/step-00{i}.png" for i in range(1, 5)),
    ]
    triptych = np.asarray(Image.open(tmp_path / "out" / "runs" / "step-005.png"))
    left, middle, right = np.split(triptych, 3, axis=1)
    assert (left == images[1]).all()
    assert (middle == 255 - images[1]).all()
    assert (right == difference_map(left, middle)).all()
