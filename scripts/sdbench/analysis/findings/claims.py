"""What the post of 2022 claims, each claim set against the tables.

Source of the claims: https://lambda.ai/blog/inference-benchmark-stable-diffusion (2022-10).
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sdbench.analysis.estimates import Estimate, quotient
from sdbench.analysis.findings.judging import (
    FAILS,
    HOLDS,
    UNDECIDED,
    judge,
    rank_correlation,
    ratio,
)
from sdbench.analysis.findings.rows import (
    Tables,
    best_batches,
    everywhere,
    groups,
    machine,
    pairs,
    single_images,
    subject,
    where,
)
from sdbench.cases.kinds import KINDS
from sdbench.cases.options import AUTOCAST, NONE
from sdbench.tables.files import Row
from sdbench.tables.image_comparison import psnr_db
from sdbench.tables.labels import ATTENTION, listing
from sdbench.tables.published import condition

import numpy as np

BUSY = "other processes used the device: measure again"
"""Why times do not decide a claim that were taken beside other work."""
HALVES = ("fp16", "bf16")
STABLE_DIFFUSION = "Stable Diffusion v1"


@dataclass(frozen=True)
class Finding:
    """What the tables say of a claim, for one subject: the number, what follows, where to look.

    `figure` is a file of `results/figures`; `rows` names tables and the lines in them; `campaign`
    is that of the rows, empty where all are of this run.
    """

    subject: str
    verdict: str
    reason: str
    estimate: Estimate | None = None
    unit: str = ""
    figure: str = ""
    rows: str = ""
    campaign: str = ""


Find = Callable[[Tables], Iterator[Finding]]


@dataclass(frozen=True)
class Claim:
    """A claim of the post: its key, its words, how to find what the tables say of it, and the
    reason why they say nothing where that finds nothing."""

    key: str
    statement: str
    find: Find
    absent: str

    def findings(self, tables: Tables) -> list[Finding]:
        """Return what the tables say of it: at least one."""
        return list(self.find(tables)) or [Finding("", UNDECIDED, self.absent)]


CLAIMS: list[Claim] = []
"""In the post's order, which is that of this file."""


def _claim(statement: str, absent: str) -> Callable[[Find], Find]:
    """Make a claim of the function that finds what the tables say of it; its key is its name."""

    def add(find: Find) -> Find:
        CLAIMS.append(Claim(find.__name__.replace("_", "-"), statement, find, absent))
        return find

    return add


def _judged(
    about: str,
    estimate: Estimate,
    claimed: tuple[float, float],
    unit: str,
    figure: str,
    *rows: Row,
    failing: str = "",
) -> Finding:
    """Return the finding of an estimate and a claimed range; `failing`: more of the reason, where
    the claim does not hold.

    Times of contended rows decide nothing. Other work moves no counter of memory.
    """
    verdict, reason = judge(estimate, *claimed)
    if verdict == FAILS and failing:
        reason += f"; {failing}"
    if not estimate.counted and any(row["contended"] for row in rows):
        verdict, reason = UNDECIDED, BUSY
    campaign = listing(filter(None, (row.get("campaign") for row in rows)))
    return Finding(about, verdict, reason, estimate, unit, figure, where(*rows), campaign)


def _about(low: float, high: float | None = None, by: float = 5.0) -> tuple[float, float]:
    """Return what the post means by about `low`, or by about `low` to `high`."""
    return low - by, (low if high is None else high) + by


_AMPERE = re.compile(r"\b(A100|A40|A30|A16|A10G?|A2|RTX A\d{4}|(RTX )?30[5-9]0( Ti)?)\b")
_RTX_8000 = re.compile(r"RTX 8000")


@_claim(
    "Half precision saves about 40 % of the time on Ampere cards, and 52 % on the RTX 8000.",
    "no device was measured in both fp32 and half precision",
)
def half_precision(tables: Tables) -> Iterator[Finding]:
    """Time that half precision saves at one image, within one backend."""
    for base, half in pairs(
        single_images(tables),
        lambda row: row["precision"] == "fp32" and row["options"] == NONE,
        lambda row: row["precision"] in HALVES and row["options"] in (NONE, AUTOCAST),
        ("device", "device_name", "backend"),
    ):
        name = str(half["device_name"])
        claimed = 40 if _AMPERE.search(name) else 52 if _RTX_8000.search(name) else 0
        found = _judged(
            f"{subject(half)} against fp32",
            _saved(ratio(half, base, "latency_s")),
            _about(claimed),
            "% of the time saved",
            "speed.png",
            half,
            base,
            failing="the post's half precision ran under autocast with vanilla attention, and its "
            "fp32 let cuDNN use TF32",
        )
        unclaimed = "the post has no claim about this device"
        yield found if claimed else replace(found, verdict=UNDECIDED, reason=unclaimed)


_OTHERWISE_IN_2022 = {
    "sdpa": "PyTorch's attention was not SDPA in 2022",
    "vanilla": "both libraries have changed since 2022",
}
"""Attention of PyTorch -> why its time is another now."""


@_claim(
    "On a CPU, ONNX Runtime saves about 40 to 50 % of PyTorch's time.",
    "no CPU was measured with both PyTorch and ONNX Runtime in fp32",
)
def onnxruntime_on_cpu(tables: Tables) -> Iterator[Finding]:
    """Time that ONNX Runtime saves on a CPU, against both attentions of PyTorch."""
    for base, onnx in pairs(
        [
            row
            for row in single_images(tables)
            if row["device_kind"] == "cpu" and row["precision"] == "fp32"
        ],
        lambda row: row["backend"] == "pytorch" and row["options"] in (NONE, "attention-vanilla"),
        lambda row: row["backend"] == "onnxruntime" and row["options"] == NONE,
    ):
        figure = "speed.png" if base["attention"] == "sdpa" else "attention.png"
        time = ratio(onnx, base, "latency_s")
        yield _onnxruntime_saved(time, base["attention"], "", figure, onnx, base)
    yield from _onnxruntime_in_races(tables)


def _onnxruntime_saved(
    time: Estimate, attention: str, more: str, figure: str, onnx: Row, *rows: Row
) -> Finding:
    return _judged(
        f"{subject(onnx)} against PyTorch with {ATTENTION[attention]}{more}",
        _saved(time),
        _about(40, 50),
        "% of the time saved",
        figure,
        onnx,
        *rows,
        failing=_OTHERWISE_IN_2022[attention],
    )


def _onnxruntime_in_races(tables: Tables) -> Iterator[Finding]:
    """The same of the denoiser alone, raced against SDPA; against vanilla attention by the ratio of
    two races."""

    def variant(row: Row, prefix: str = "") -> tuple[str, ...]:
        return tuple(row[f"{prefix}{key}"] for key in ("backend", "precision", "options"))

    def time(row: Row) -> Estimate:
        return Estimate(row["ratio"], row["ratio_ci_low"], row["ratio_ci_high"])

    same = ("campaign", "model", "device", "device_name", "width", "height", "batch_size")
    raced = [
        row
        for row in tables.races
        if row["device_kind"] == "cpu" and variant(row, "reference_") == ("pytorch", "fp32", NONE)
    ]
    for onnx in (row for row in raced if variant(row) == ("onnxruntime", "fp32", NONE)):
        more = f", the denoiser alone at {onnx['width']} px, in turns"
        yield _onnxruntime_saved(time(onnx), "sdpa", more, "ladder.png", onnx)
        for row in raced:
            if variant(row) == ("pytorch", "fp32", "attention-vanilla") and all(
                row[key] == onnx[key] for key in same
            ):
                both = quotient(time(onnx), time(row))
                yield _onnxruntime_saved(both, "vanilla", more, "ladder.png", onnx, row)


@_claim(
    "One image takes about 7.7 GB in single precision and 4.5 GB in half precision.",
    "Stable Diffusion v1 at 512 px was not measured on a GPU, which has this counter",
)
def memory_of_one_image(tables: Tables) -> Iterator[Finding]:
    """Memory in the post's own counter."""
    for row in tables.results:
        single = row["precision"] == "fp32" and row["options"] == NONE
        half = row["precision"] in HALVES and row["options"] in (NONE, AUTOCAST)
        generated = condition(row)
        if (
            row["batch_size"] != 1
            or (generated.family, generated.width, generated.height) != (STABLE_DIFFUSION, 512, 512)
            or not (single or half)
            or row["reserved_after_run_bytes"] is None
        ):
            continue
        claimed = 7.7 if single else 4.5
        yield _judged(
            subject(row),
            Estimate(row["reserved_after_run_bytes"] / 1e9, counted=True),
            _about(claimed, by=0.05 * claimed),
            "GB reserved after a run (read once)",
            "memory.png",
            row,
            failing="this counter is what the allocator holds after a run, not what was needed: it "
            "depends on the version of the allocator and on attention",
        )


@_claim(
    "An A100 is 33 % faster than an RTX 3080 at one image (it saves 33 % of the time), and 2.5 "
    "times as fast at the largest batch.",
    "no case was measured on both an A100 and an RTX 3080",
)
def a100_against_3080(tables: Tables) -> Iterator[Finding]:
    """Two cards, at one image and at each card's best batch."""

    def both(rows: list[Row]) -> Iterator[tuple[Row, Row, str]]:
        for small, large in pairs(
            rows,
            lambda row: "3080" in str(row["device_name"]),
            lambda row: "A100" in str(row["device_name"]),
            alike=("backend", "precision", "options"),
        ):
            yield small, large, f"{subject(large)} against {machine(small)}"

    for small, large, about in both(single_images(tables)):
        saved = _saved(ratio(large, small, "latency_s"))
        what = "% of the time saved at one image"
        yield _judged(about, saved, _about(33), what, "devices.png", large, small)
    rates = [row for row in everywhere(tables) if row["images_per_minute"]]
    for small, large, about in both(best_batches(rates)):
        rate = ratio(large, small, "images_per_minute")
        what = "times as fast at its best batch"
        claimed = _about(2.5, by=0.25)
        yield _judged(about, rate, claimed, what, "throughput.png", large, small)


@_claim(
    "Throughput saturates: from some batch size on, a larger one brings hardly more images per "
    "minute (taken as: the last doubling that was measured brings less than 10 %).",
    "no device was measured with a batch of 4 or more and with half of it",
)
def throughput_saturates(tables: Tables) -> Iterator[Finding]:
    """What the last doubling of the batch brings."""
    rows = [row for row in tables.results if row["options"] in (NONE, AUTOCAST)]
    for group in groups(rows, "device", "model", "backend", "precision", "options"):
        by_size = {row["batch_size"]: row for row in group}
        doublings = [(by_size[n], by_size[2 * n]) for n in by_size if n > 1 and 2 * n in by_size]
        if not doublings:
            continue
        # The largest batch may be any number, such as 28: half of it need not be there.
        half, largest = max(
            doublings,
            key=lambda pair: (not any(r["contended"] for r in pair), pair[0]["batch_size"]),
        )
        found = _judged(
            f"{subject(largest)}, batch {half['batch_size']} to {largest['batch_size']}",
            _more(ratio(largest, half, "images_per_minute")),
            (-math.inf, 10),
            "% more images per minute",
            "batch_throughput.png",
            largest,
            half,
        )
        if found.verdict == FAILS:
            # Whether it ever saturates is for a larger batch to say.
            still = "it still grows at the last doubling that was measured"
            found = replace(found, verdict=UNDECIDED, reason=still)
        yield found


@_claim(
    "Without autocast, half precision is 25 % faster (it saves 25 % of the time).",
    "half precision was not measured both with and without autocast",
)
def removing_autocast(tables: Tables) -> Iterator[Finding]:
    """Half precision with and without autocast."""
    for plain, cast in pairs(
        [row for row in single_images(tables) if row["precision"] in HALVES],
        lambda row: row["options"] == NONE,
        lambda row: row["options"] == AUTOCAST,
        alike=("device", "backend", "precision"),
    ):
        saved = _saved(ratio(plain, cast, "latency_s"))
        what = "% of the time saved"
        yield _judged(subject(plain), saved, _about(25), what, "autocast_speed.png", plain, cast)


@_claim(
    "Sliced attention costs about 10 % of the speed and saves memory.",
    "no device was measured with both vanilla and sliced attention",
)
def slicing(tables: Tables) -> Iterator[Finding]:
    """Sliced attention against vanilla: speed lost, memory won."""

    def both(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
        return pairs(
            rows,
            lambda row: row["options"] == "attention-vanilla",
            lambda row: row["options"] == "attention-sliced",
            alike=("device", "backend", "precision"),
        )

    for whole, parts in both(single_images(tables)):
        lost = _saved(ratio(whole, parts, "latency_s"))
        what = "% of the speed lost"
        yield _judged(subject(parts), lost, _about(10), what, "attention.png", parts, whole)
    for whole, parts in both([row for row in tables.results if row["batch_size"] == 1]):
        column, counter = KINDS[parts["device_kind"]].call_counter
        if parts[column] is None or not whole[column]:
            continue
        saved = Estimate(100 * (1 - parts[column] / whole[column]), counted=True)
        what = f"% of the memory saved ({counter}, each read once)"
        # Less than a hundredth is the counter's own unrest on a CPU.
        found = _judged(subject(parts), saved, (1, 100), what, "attention.png", parts, whole)
        if found.verdict == FAILS:
            found = replace(found, reason="at this size attention does not need most of the memory")
        yield found


@_claim(
    "The difference that precision makes to the image shrinks with more steps.",
    "no images in half precision were generated at five or more numbers of steps",
)
def precisions_agree_with_steps(tables: Tables) -> Iterator[Finding]:
    """Whether images of a half precision come nearer to fp32's with more steps."""
    rows = [
        row
        for row in tables.quality
        if row["mode"] == "runs" and row["precision"] in HALVES and row["psnr_db"] is not None
    ]
    reasons = {
        HOLDS: "",
        UNDECIDED: "the trend over the steps is not clear",
        FAILS: "images differ more with more steps",
    }
    for group in groups(rows, "device", "model", "backend", "precision", "options"):
        series = sorted(group, key=lambda row: row["step"])
        if len(series) < 5:
            continue
        first, last = series[0], series[-1]
        found = _judged(
            f"{subject(first)}, {first['step']} to {last['step']} steps",
            rank_correlation([row["step"] for row in series], [row["psnr_db"] for row in series]),
            (0, 1),
            "rank correlation of PSNR and steps",
            "quality_curve.png",
        )
        lines = f"quality.csv: {first['where'][1]} to {last['where'][1]}"
        yield replace(found, reason=reasons[found.verdict], rows=lines)


SAME_DB = 40.0
"""PSNR in dB from which two 8-bit images are taken as the same: an error of a hundredth."""


@_claim(
    "Runs of 1 to N steps show the same images as one run of N steps saved at every step.",
    "no model has images of both kinds at the same number of steps",
)
def growing_runs(tables: Tables) -> Iterator[Finding]:
    """Whether a run of N steps is the N-th state of one long run."""
    for model, images in tables.images.items():
        last = max(images["trajectory"], default=0)
        steps = sorted(s for s in images["runs"].keys() & images["trajectory"] if s < last)
        if not steps:
            continue
        decibels = [psnr_db(images["runs"][s], images["trajectory"][s]) for s in steps]
        decibels = [99.0 if math.isinf(found) else found for found in decibels]
        estimate = Estimate(float(np.median(decibels)), min(decibels), max(decibels))
        about = f"{steps[0]} to {steps[-1]} of {last} steps (median, least and most)"
        if len(steps) == 1:
            estimate = Estimate(decibels[0], counted=True)
            about = f"{steps[0]} of {last} steps"
        found = _judged(
            f"{model}, fp32, {about}",
            estimate,
            (SAME_DB, math.inf),
            "dB PSNR between the two",
            "quality_steps.png",
        )
        if found.verdict != HOLDS:
            found = replace(
                found,
                verdict=FAILS if estimate.value < SAME_DB else UNDECIDED,
                reason=f"the timesteps of a run of N steps are not the first N of {last}, so the "
                "images differ",
            )
        yield found


def _saved(time: Estimate) -> Estimate:
    return time.map(lambda r: 100 * (1 - r))


def _more(quotient: Estimate) -> Estimate:
    return quotient.map(lambda r: 100 * (r - 1))
