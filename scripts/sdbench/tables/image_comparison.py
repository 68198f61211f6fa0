"""How far two images are apart."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdbench.records.image_archive import MODES, read_images

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

ImageArray = NDArray[np.uint8]
"""An image of 8 bits, shape (height, width, 3)."""


def difference_map(reference: ImageArray, other: ImageArray) -> ImageArray:
    """Return the absolute difference of two images, channel by channel, in levels of 255."""
    return np.abs(reference.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def psnr_db(reference: ImageArray, other: ImageArray) -> float:
    """Return the peak signal-to-noise ratio in dB, infinite where the images are identical."""
    error = float(np.mean((reference.astype(float) - other.astype(float)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def compare_images(reference: ImageArray, other: ImageArray) -> dict[str, float]:
    """Return every figure of the table `quality` for two images of the same shape.

    SSIM is that of Wang et al. 2004 (doi:10.1109/TIP.2003.819861) as scikit-image computes it, the
    mean over the channels.
    """
    return {
        "psnr_db": psnr_db(reference, other),
        "ssim": float(structural_similarity(reference, other, channel_axis=2)),
        "max_abs_difference": float(difference_map(reference, other).max()),
        "identical_share": float((reference == other).all(axis=2).mean()),
    }


def compare_series(reference: Path, other: Path) -> Iterator[dict[str, Any]]:
    """Compare two files of images, mode by mode and step by step.

    Args:
        reference: the .npz that `generate_images` wrote for the reference.
        other: that of the variant.

    Yields:
        Rows with `mode`, `step`, `status`, `reason` and the figures of `compare_images`. Where
        one of the two could not be generated, one row for each mode, at step 1, without figures.
    """
    right, left = read_images(reference), read_images(other)
    for side in (right, left):
        if side["status"] != "ok":
            for mode in MODES:
                status, reason = str(side["status"]), str(side["reason"])
                yield {"mode": mode, "step": 1, "status": status, "reason": reason}
            return
    for mode in MODES:
        for step, one, two in _pairs(right, left, mode):
            figures = compare_images(one, two)
            yield {"mode": mode, "step": step, "status": "ok", **figures}


def _pairs(right: Any, left: Any, mode: str) -> Iterator[tuple[int, ImageArray, ImageArray]]:
    """Yield each step that both archives have, with the image of either."""
    rights = dict(zip(map(int, right[f"{mode}_steps"]), right[mode], strict=True))
    for step, image in zip(map(int, left[f"{mode}_steps"]), left[mode], strict=True):
        if step in rights:
            yield step, rights[step], image


def save_triptychs(reference: Path, other: Path, folder: Path) -> None:
    """Write reference, other and their difference side by side, a PNG for each mode and step.

    The difference is as it is, not amplified: the figures amplify it and say by how much.
    """
    right, left = read_images(reference), read_images(other)
    for mode in MODES:
        target = folder / mode
        target.mkdir(parents=True, exist_ok=True)
        for step, one, two in _pairs(right, left, mode):
            panels = np.concatenate([one, two, difference_map(one, two)], axis=1)
            Image.fromarray(panels).save(target / f"step-{step:03d}.png")
