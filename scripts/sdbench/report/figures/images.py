"""Images of a variant next to those of its reference, and where they differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdbench.records.image_archive import ImageArray, Images, by_step, read_images
from sdbench.report.figures.results import grouped
from sdbench.tables.files import Row, read_rows
from sdbench.tables.labels import shorten, status_label, variant_label
from sdbench.tables.schemas import QUALITY, QUALITY_PAIRS, QUALITY_SET

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

MODES = {"runs": "full runs of N steps", "trajectory": "states of one long run"}
"""Mode -> what an image "after N steps" is in it."""

AMPLIFICATIONS = (50, 20, 10, 5, 2, 1)
"""By how much differences may be brightened."""

DIFFERENCE_COLOURS = "magma"
NO_SET = "No set of images is configured (config key `quality_set`)."
SET = "set"
"""The mode of images of a set of prompts."""

SEEDED = "images from seeded weights mean nothing, so none are shown"


@dataclass(frozen=True)
class Comparison:
    """A variant next to its reference. `words` say why there is nothing to see, if so."""

    model: str
    reference_label: str
    label: str
    reference: Images
    other: Images
    scores: dict[tuple[str, int], tuple[float, float]]
    words: str = ""

    def at(self, mode: str, step: int) -> tuple[ImageArray, ImageArray, NDArray[np.uint8]]:
        """Return the reference's image after `step` steps, the other's, and their difference."""
        reference, other = self.reference[mode][step], self.other[mode][step]
        return reference, other, difference(reference, other)

    def steps(self, mode: str) -> list[int]:
        """Return the steps after which both have an image, rising."""
        return sorted({*self.reference[mode]} & {*self.other[mode]})


def load_comparisons(
    quality: Path, references: Sequence[Path], others: Sequence[Path]
) -> list[Comparison]:
    """Read what is compared.

    Args:
        quality: table of schema QUALITY: the scores, and why a variant has no images.
        references: for each of `others` the archive of its reference.
        others: archives, named `<model>/<device>/<backend>/<precision>/<options>.npz`.
    """
    rows = read_rows(quality, QUALITY)
    archives = dict.fromkeys((*references, *others))
    images = {path: by_step(read_images(path)) for path in archives}
    several_devices = len({path.parts[-4] for path in images}) > 1
    return [
        _comparison(rows, images, reference, other, several_devices)
        for reference, other in zip(references, others, strict=True)
    ]


@dataclass(frozen=True)
class PairSet:
    """A variant's images of a set next to its reference's.

    `comparison` has them in the mode SET, the place of an image in the set as its step. `pairs` are
    rows of QUALITY_PAIRS, each with its `place`, the worst first. `verdict`: a row of QUALITY_SET.
    """

    comparison: Comparison
    pairs: Sequence[Row]
    verdict: Row


def load_sets(
    quality_set: Path, quality_pairs: Path, references: Sequence[Path], others: Sequence[Path]
) -> list[PairSet]:
    """Read the sets of images that are compared.

    Args:
        quality_set, quality_pairs: tables of these schemas.
        references, others: as `load_comparisons` has them.
    """
    verdicts = {_folder(row, ""): row for row in read_rows(quality_set, QUALITY_SET)}
    rows = grouped(read_rows(quality_pairs, QUALITY_PAIRS), lambda row: _folder(row, ""))
    archives = {path: read_images(path) for path in dict.fromkeys((*references, *others))}
    several_devices = len({path.parts[-4] for path in archives}) > 1
    sets = []
    for reference, other in zip(references, others, strict=True):
        verdict, wanted = verdicts[_names(other)], archives[other]
        named = zip(wanted["set_prompts"].tolist(), wanted["set_seeds"].tolist(), strict=True)
        places = {pair: place for place, pair in enumerate(named)}
        pairs = [
            row | {"place": places[row["prompt"], row["seed"]]}
            for row in rows.get(_names(other), [])
            if row["psnr_db"] is not None
        ]
        if verdict["weights"] == "seeded":
            pairs = []
        made, kept = (
            {SET: dict(zip(one["set_at"].tolist(), one["set"], strict=True))}
            for one in (archives[reference], wanted)
        )
        comparison = Comparison(
            model=verdict["model"],
            reference_label=_label(reference, several_devices),
            label=_label(other, several_devices),
            reference=made,
            other=kept,
            scores={(SET, row["place"]): (row["psnr_db"], row["ssim"]) for row in pairs},
            words="" if pairs else SEEDED if verdict["weights"] == "seeded" else _failed(verdict),
        )
        sets.append(PairSet(comparison, sorted(pairs, key=_worth), verdict))
    return sets


def _failed(row: Mapping[str, Any]) -> str:
    return f"no images, {status_label(row['status'], row['reason'] or '')}"


def _worth(pair: Row) -> tuple[float, float]:
    """Return what the worst of pairs has least of: first of what the judge says, then of PSNR."""
    judged = pair["score"] is not None
    return pair["score"] - pair["reference_score"] if judged else 0.0, pair["psnr_db"]


def verdict_text(verdict: Row) -> str:
    """Say what a set of images says of a variant, and by which difference of its judge's score."""
    value = verdict["score_difference"]
    if verdict["status"] != "ok":
        return f"{verdict['verdict']}: {status_label(verdict['status'], '')}"
    if value is None:
        return f"{verdict['verdict']}: no score of a judge"
    low, high = verdict["score_ci_low"], verdict["score_ci_high"]
    text = f"{verdict['verdict']}: {value:+.3f}"
    text += "" if low is None else f" ({low:+.3f} to {high:+.3f})"
    more = verdict["decides_n"]
    return f"{text}; about {more} pairs would decide" if more else text


def missing_words(comparisons: Sequence[Comparison]) -> list[str]:
    """Say what has no images, and why."""
    if not comparisons:
        return ["No quality comparison is configured (config key `quality`)."]
    return list(
        dict.fromkeys(f"{shorten(c.model)}, {c.label}: {c.words}" for c in comparisons if c.words)
    )


def difference(one: ImageArray, other: ImageArray) -> NDArray[np.uint8]:
    """Return the largest difference of a channel at each pixel, in levels of 255."""
    levels: NDArray[np.uint8] = (
        np.abs(one.astype(np.int16) - other.astype(np.int16)).max(axis=-1).astype(np.uint8)
    )
    return levels


def amplification(maps: Iterable[NDArray[np.uint8]]) -> int:
    """Return the largest factor of AMPLIFICATIONS that leaves 99 % of all differences unclipped."""
    counts = sum((np.bincount(m.ravel(), minlength=256) for m in maps), np.zeros(256, int))
    shares = np.cumsum(counts) / max(counts.sum(), 1)
    level = int(np.argmax(shares >= 0.99)) if counts.sum() else 0
    return next(factor for factor in AMPLIFICATIONS if level * factor <= 255)


def shrink(image: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    """Average an image down to at most `pixels` a side; a smaller one stays as it is."""
    height, width = image.shape[:2]
    scale = pixels / max(height, width)
    if scale >= 1:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def nearest_step(steps: Sequence[int], wanted: int) -> int:
    """Return the step nearest to `wanted`; of two, the later."""
    return min(steps, key=lambda step: (abs(step - wanted), -step))


def _names(path: Path) -> tuple[str, ...]:
    """Return model, device, backend, precision and options from where images lie."""
    return (*path.parts[-5:-1], path.stem)


def _label(path: Path, several_devices: bool) -> str:
    _, device, backend, precision, options = _names(path)
    return variant_label(precision, backend, options, device if several_devices else "")


def _folder(row: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    names = ("device", "backend", "precision", "options")
    return (row["model"], *(row[prefix + name] for name in names))


def _comparison(
    rows: Sequence[Mapping[str, Any]],
    images: Mapping[Path, Images],
    reference: Path,
    other: Path,
    several_devices: bool,
) -> Comparison:
    model = _names(other)[0]
    pair = _names(other), _names(reference)
    own = [row for row in rows if (_folder(row, ""), _folder(row, "reference_")) == pair]
    comparison = Comparison(
        model=model,
        reference_label=_label(reference, several_devices),
        label=_label(other, several_devices),
        reference=images[reference],
        other=images[other],
        scores={
            (row["mode"], row["step"]): (row["psnr_db"], row["ssim"])
            for row in own
            if row["status"] == "ok"
        },
    )
    words = ""
    failed = [_failed(row) for row in own if row["status"] != "ok"]
    if any(row["model"] == model and row["weights"] == "seeded" for row in rows):
        words = SEEDED
    elif not any(comparison.steps(mode) for mode in MODES):
        words = failed[0] if failed else "there are no images to compare"
    return replace(comparison, words=words)


def score_data(shown: Iterable[tuple[Comparison, str, int]]) -> pd.DataFrame:
    """Return how alike the images shown are, a row for each comparison, mode and step; PSNR in
    dB, `inf` for images that are identical."""
    rows = [
        (c.model, c.reference_label, c.label, mode, step, *c.scores.get((mode, step), (None, None)))
        for c, mode, step in shown
    ]
    columns = ["model", "reference", "setting", "mode", "step", "psnr_db", "ssim"]
    return pd.DataFrame(rows, columns=columns)


def score_text(comparison: Comparison, mode: str, step: int, short: bool = False) -> str:
    """Say how alike two images are: PSNR in dB, and SSIM unless `short`."""
    if (mode, step) not in comparison.scores:
        return ""
    psnr, ssim = comparison.scores[mode, step]
    if np.isinf(psnr):
        return "identical"
    decibels = f"{psnr:.1f} dB"
    return decibels if short else f"PSNR {decibels}, SSIM {ssim:.3f}"
