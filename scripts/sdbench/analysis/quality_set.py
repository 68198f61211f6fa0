"""What many pairs of images say of a variant: whether its images follow their prompts as well."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdbench.analysis.estimates import Estimate
from sdbench.tables.files import Row
from sdbench.tables.image_comparison import compare_images
from sdbench.tables.schemas import BETTER, SAME, UNSAID, WORSE

import numpy as np
from scipy.stats import bootstrap

FEWEST = 10
"""Prompts below which there is no interval: a bootstrap of fewer is too narrow."""
RESAMPLES = 4999
STEPS = {"shapes": 1 / 3}
"""The least difference that a judge can see, where its scores have steps."""
UNSEEN = 0.025
"""The chance at which something is given up that was in none of the prompts."""


def paired_difference(differences: Sequence[float], step: float = 0.0) -> Estimate:
    """Return the mean of paired differences, one for each prompt, with its 95 % interval.

    It is a bootstrap (BCa, Efron 1987) over prompts, which are a sample of all that might be asked.

    What happens in none of n prompts may happen in a share of 1 - 0.025^(1/n) of all: the interval
    has room for as many differences of one `step`, without which it would be nothing where all
    agree.
    """
    values = np.asarray(differences, float)
    mean = float(values.mean())
    if len(values) < FEWEST:
        return Estimate(mean)
    low = high = mean
    if np.ptp(values) > 0:
        random = np.random.default_rng(0)
        found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, rng=random, method="BCa")
        low, high = map(float, found.confidence_interval)
    unseen = step * (1 - UNSEEN ** (1 / len(values)))
    return Estimate(mean, min(low, mean - unseen), max(high, mean + unseen))


def judge_difference(found: Estimate, margin: float, n: int) -> tuple[str, int | None]:
    """Return the verdict of a difference, of `n` pairs, and how many would probably decide it.

    The latter where these do not: intervals become narrower by the root of the number.
    """
    if found.low is None or found.high is None:
        return UNSAID, None
    if -margin < found.low and found.high < margin:
        return SAME, None
    if found.high < 0 or found.low > 0:
        return (WORSE if found.high < 0 else BETTER), None
    half = max(found.high - found.value, found.value - found.low)
    enough = max(margin - abs(found.value), abs(found.value))
    return UNSAID, max(n + 1, math.ceil(n * (half / enough) ** 2))


def pair_rows(
    reference: Mapping[str, Any],
    other: Mapping[str, Any],
    scores: tuple[Sequence[float | None], Sequence[float | None]],
    lpips: Sequence[float | None] | None,
    gate: Mapping[str, float],
) -> Iterator[Row]:
    """Yield a row of the table QUALITY_PAIRS, but for the way, for each image that was wanted.

    Args:
        reference, other: archives, as `read_images` gives them.
        scores: of the reference's images and of the other's, one for each that was wanted.
        lpips: of the pairs; None where it was not computed.
        gate: the config's.
    """
    images = [
        dict(zip(one["set_at"].tolist(), one["set"], strict=True)) for one in (reference, other)
    ]
    wanted = zip(other["set_prompts"].tolist(), other["set_seeds"].tolist(), strict=True)
    for place, (prompt, seed) in enumerate(wanted):
        row: Row = {"prompt": prompt, "seed": seed}
        if all(place in found for found in images):
            compared = compare_images(*(found[place] for found in images))
            row |= {key: compared[key] for key in ("psnr_db", "ssim")}
            row["passes_gate"] = all(row[key] >= gate[f"min_{key}"] for key in ("psnr_db", "ssim"))
            row["lpips"] = lpips[place] if lpips else None
            row |= {"reference_score": scores[0][place], "score": scores[1][place]}
        yield row


def set_row(pairs: Sequence[Row], judge: str, margin: float, failure: tuple[str, str]) -> Row:
    """Return the row of the table QUALITY_SET, but for how the images were generated.

    Args:
        pairs: what `pair_rows` yielded.
        judge: its name.
        margin: the config's.
        failure: status and reason of the images of either side.
    """
    made = [row for row in pairs if "psnr_db" in row]
    judged = [row for row in made if row["score"] is not None]
    status, reason = failure
    row: Row = {
        **{"status": status, "reason": reason, "margin": margin, "verdict": UNSAID},
        **{f"{key}s": len({one[key] for one in pairs}) for key in ("prompt", "seed")},
        **{"n": len(made), "missing": len(pairs) - len(made)},
    }
    if made:
        row["below_gate"] = sum(not one["passes_gate"] for one in made) / len(made)
    for key, unit in (("psnr", "_db"), ("ssim", ""), ("lpips", "")):
        values = [one[key + unit] for one in made if one[key + unit] is not None]
        for name, percent in ((f"{key}_q1", 25), (key, 50), (f"{key}_q3", 75)):
            # Of infinite values no mean can be taken.
            at = np.percentile(values, percent, method="inverted_cdf") if values else None
            row[name + unit] = at
    if judged:
        by_prompt: dict[str, list[float]] = {}
        for one in judged:
            by_prompt.setdefault(one["prompt"], []).append(one["score"] - one["reference_score"])
        means = [float(np.mean(values)) for values in by_prompt.values()]
        found = paired_difference(means, STEPS.get(judge, 0.0))
        row |= {key: float(np.mean([one[key] for one in judged])) for key in _SCORES}
        row |= {"score_difference": found.value, "score_ci_low": found.low}
        row |= {"score_ci_high": found.high}
        if status == "ok":
            row["verdict"], row["decides_n"] = judge_difference(found, margin, len(judged))
            if found.low is None:
                row["decides_n"] = FEWEST * row["seeds"]
    return row


_SCORES = ("score", "reference_score")
