"""How far two images are apart."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench.records.image_archive import MODES, ImageArray, by_step, read_images

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

SSIM_WINDOW_PX = 7
"""Side of the uniform window in which SSIM compares two images, scikit-image's default."""


def difference_map(reference: ImageArray, other: ImageArray) -> ImageArray:
    """Return the absolute difference of two images, channel by channel, in levels of 255."""
    return np.abs(reference.astype(np.int16) - other.astype(np.int16)).astype(np.uint8)


def psnr_db(reference: ImageArray, other: ImageArray) -> float:
    """Return the peak signal-to-noise ratio in dB, infinite where the images are identical."""
    error = float(np.mean((reference.astype(float) - other.astype(float)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def compare_images(reference: ImageArray, other: ImageArray) -> dict[str, float]:
    """Return every figure of the table `quality` for two images of the same shape.

    SSIM is structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) in scikit-image's
    default form: a uniform window of 7 x 7 pixels and sample covariances, where theirs is a
    Gaussian one of 11 x 11; the mean over pixels and channels.
    """
    ssim = structural_similarity(reference, other, win_size=SSIM_WINDOW_PX, channel_axis=2)
    return {
        "psnr_db": psnr_db(reference, other),
        "ssim": float(ssim),
        "max_abs_difference": float(difference_map(reference, other).max()),
        "identical_share": float((reference == other).all(axis=2).mean()),
    }


def compare_series(reference: Path, other: Path) -> Iterator[dict[str, Any]]:
    """Compare two files of images, mode by mode and step by step.

    Args:
        reference: the .npz that `generate_images` wrote for the reference.
        other: that of the variant.

    Yields:
        Rows with `mode`, `step`, `status`, `reason` and the figures of `compare_images`, and of
        full runs that other seeds have too, their number and the range over them. Where one of the
        two could not be generated, one row for each mode, at step 1, without figures.
    """
    right, left = read_images(reference), read_images(other)
    failed = next((side for side in (right, left) if side["status"] != "ok"), None)
    if failed is not None:
        said = {key: str(failed[key]) for key in ("status", "reason")}
        yield from ({"mode": mode, "step": 1, **said} for mode in MODES)
        return
    rights, lefts = _by_seed(right), _by_seed(left)
    for mode, step, one, two in _pairs(right, left):
        found = [compare_images(one, two)]
        if mode == "runs":
            shared = (key for key in lefts if key in rights and key[0] == step)
            found += [compare_images(rights[key], lefts[key]) for key in shared]
        row = {"mode": mode, "step": step, "status": "ok", "seeds": len(found), **found[0]}
        for name, unit in (("psnr", "_db"), ("ssim", "")) if len(found) > 1 else ():
            values = [each[name + unit] for each in found]
            row |= {f"{name}_low{unit}": min(values), f"{name}_high{unit}": max(values)}
        yield row


def _by_seed(archive: Mapping[str, Any]) -> dict[tuple[int, int], ImageArray]:
    places = zip(archive["spread_steps"].tolist(), archive["spread_seeds"].tolist(), strict=True)
    return dict(zip(places, archive["spread"], strict=True))


def _pairs(right: Any, left: Any) -> Iterator[tuple[str, int, ImageArray, ImageArray]]:
    """Yield each mode and step that both archives have, with the image of either."""
    rights = by_step(right)
    for mode, images in by_step(left).items():
        for step in filter(rights[mode].__contains__, images):
            yield mode, step, rights[mode][step], images[step]


def save_triptychs(reference: Path, other: Path, folder: Path) -> None:
    """Write reference, other and their difference side by side, a PNG for each mode and step.

    The difference is as it is, not amplified: the figures amplify it and say by how much.
    """
    for mode in MODES:
        (folder / mode).mkdir(parents=True, exist_ok=True)
    for mode, step, one, two in _pairs(read_images(reference), read_images(other)):
        panels = np.concatenate([one, two, difference_map(one, two)], axis=1)
        Image.fromarray(panels).save(folder / mode / f"step-{step:03d}.png")
