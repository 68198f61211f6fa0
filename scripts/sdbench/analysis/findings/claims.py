"""What the post of 2022 claims, each claim set against the tables.

"About 40 %" is taken as 35 to 45 %: a claim holds where the whole interval of the measured number
lies in that range, does not where none of it does, and cannot be said from these results in
between.

Source of the claims: https://lambda.ai/blog/inference-benchmark-stable-diffusion (2022-10).
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sdbench.analysis.findings.estimates import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Estimate,
    Row,
    exact,
    judge,
    quotient,
    rank_correlation,
    ratio,
)
from sdbench.analysis.findings.rows import (
    Tables,
    all_latency,
    as_text,
    best_batches,
    elsewhere,
    grouping,
    pairs,
    single_images,
    subject,
    where,
)
from sdbench.cases.options import AUTOCAST, NONE
from sdbench.tables.labels import ATTENTION, device_label
from sdbench.tables.published import condition

import numpy as np
from numpy.typing import NDArray

HALVES = ("fp16", "bf16")
STABLE_DIFFUSION = "Stable Diffusion v1"


@dataclass(frozen=True)
class Finding:
    """What the tables say of a claim, for one subject: the number, what follows, where to look.

    `figure` is a file of `results/figures`; `rows` names tables and the lines in them.
    """

    subject: str
    verdict: str
    reason: str
    estimate: Estimate | None = None
    unit: str = ""
    figure: str = ""
    rows: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of the post: its key, its words, how to find what the tables say of it, and the
    reason why they say nothing where that finds nothing."""

    key: str
    statement: str
    find: Callable[[Tables], Iterator[Finding]]
    absent: str

    def findings(self, tables: Tables) -> list[Finding]:
        """Return what the tables say of it: at least one."""
        return list(self.find(tables)) or [Finding("", UNDECIDED, self.absent)]


_AMPERE = re.compile(r"\b(A100|A40|A30|A16|A10G?|A2|RTX A\d{4}|(RTX )?30[5-9]0( Ti)?)\b")
_RTX_8000 = re.compile(r"RTX 8000")


def half_precision(tables: Tables) -> Iterator[Finding]:
    """Time that half precision saves at one image, within one backend."""
    for base, half in pairs(
        single_images(tables),
        lambda row: row["precision"] == "fp32" and row["options"] == NONE,
        lambda row: row["precision"] in HALVES and row["options"] in (NONE, AUTOCAST),
        ("device", "device_name", "backend"),
    ):
        estimate = _saved(half, base)
        name = str(half["device_name"])
        claimed = next((c for p, c in ((_AMPERE, 40), (_RTX_8000, 52)) if p.search(name)), None)
        verdict, reason = (
            judge(estimate, claimed - 5, claimed + 5)
            if claimed
            else (UNDECIDED, "the post has no claim about this device")
        )
        if verdict == FAILS:
            reason += (
                "; the post's half precision ran under autocast with vanilla attention, and its "
                "fp32 let cuDNN use TF32"
            )
        yield Finding(
            f"{subject(half)} against fp32",
            verdict,
            reason,
            estimate,
            "% of the time saved",
            "speed.png",
            where(half, base),
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
        estimate = _saved(onnx, base)
        verdict, reason = judge(estimate, 40, 50)
        if verdict == FAILS:
            reason += f"; {_OTHERWISE_IN_2022[base['attention']]}"
        yield Finding(
            f"{subject(onnx)} against PyTorch with {ATTENTION[base['attention']]}",
            verdict,
            reason,
            estimate,
            "% of the time saved",
            "speed.png" if base["attention"] == "sdpa" else "attention.png",
            where(onnx, base),
        )
    yield from _onnxruntime_in_races(tables)


def _onnxruntime_in_races(tables: Tables) -> Iterator[Finding]:
    """The same of the denoiser alone, raced against SDPA; against vanilla attention by the ratio of
    two races."""

    def plain(row: Row, backend: str, options: str) -> bool:
        return (row["backend"], row["precision"], row["options"]) == (backend, "fp32", options)

    same = ("campaign", "model", "device", "device_name", "width", "height", "batch_size")
    raced = [
        row
        for row in tables.races
        if row["device_kind"] == "cpu"
        and tuple(row[f"reference_{key}"] for key in ("backend", "precision", "options"))
        == ("pytorch", "fp32", NONE)
    ]
    for onnx in (row for row in raced if plain(row, "onnxruntime", NONE)):
        found = [("sdpa", _raced(onnx), where(onnx))]
        found += [
            ("vanilla", quotient(_raced(onnx), _raced(row)), where(onnx, row))
            for row in raced
            if plain(row, "pytorch", "attention-vanilla")
            and all(row[key] == onnx[key] for key in same)
        ]
        for attention, estimate, place in found:
            saved = estimate.map(lambda r: 100 * (1 - r))
            verdict, reason = judge(saved, 40, 50)
            if verdict == FAILS:
                reason += f"; {_OTHERWISE_IN_2022[attention]}"
            yield Finding(
                f"{subject(onnx)} against PyTorch with {ATTENTION[attention]}, the denoiser alone "
                f"at {onnx['width']} px, in turns",
                verdict,
                reason,
                saved,
                "% of the time saved",
                "ladder.png",
                place,
            )


_OTHERWISE_IN_2022 = {
    "sdpa": "PyTorch's attention was not SDPA in 2022",
    "vanilla": "both libraries have changed since 2022",
}
"""Attention of PyTorch -> why its time is another now."""


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
        gigabytes = row["reserved_after_run_bytes"] / 1e9
        claimed = 7.7 if single else 4.5
        verdict, reason = judge(exact(gigabytes), 0.95 * claimed, 1.05 * claimed)
        if verdict == FAILS:
            reason += (
                "; this counter is what the allocator holds after a run, not what was needed: it "
                "depends on the version of the allocator and on attention"
            )
        yield Finding(
            subject(row),
            verdict,
            reason,
            exact(gigabytes),
            "GB reserved after a run",
            "memory.png",
            where(row),
        )


def a100_against_3080(tables: Tables) -> Iterator[Finding]:
    """Two cards, at one image and at each card's best batch."""
    one = [row for row in all_latency(tables) if row["batch_size"] == 1]
    best = [row for row in [*tables.results, *elsewhere(tables)] if row["images_per_minute"]]
    for rows, column, claimed, what in (
        (one, "latency_s", (28.0, 38.0), "% faster at one image"),
        (best_batches(best), "images_per_minute", (2.25, 2.75), "times as fast at its best batch"),
    ):
        for small, large in pairs(
            rows,
            lambda row: "3080" in str(row["device_name"]),
            lambda row: "A100" in str(row["device_name"]),
            alike=("backend", "precision", "options"),
        ):
            if column == "latency_s":
                estimate = ratio(small, large, column).map(lambda r: 100 * (r - 1))
            else:
                estimate = ratio(large, small, column)
            verdict, reason = judge(estimate, *claimed)
            yield Finding(
                f"{subject(large)} against {device_label(str(small['device_name']))}",
                verdict,
                reason,
                estimate,
                what,
                "devices.png" if column == "latency_s" else "throughput.png",
                where(large, small),
            )


def throughput_saturates(tables: Tables) -> Iterator[Finding]:
    """What the last doubling of the batch brings."""
    rows = [row for row in tables.results if row["options"] == NONE]
    key = grouping("device", "model", "backend", "precision")
    for _, group in itertools.groupby(sorted(rows, key=as_text(key)), key=key):
        ordered = sorted(group, key=lambda row: row["batch_size"])
        largest = ordered[-1]
        halves = [row for row in ordered if 2 * row["batch_size"] == largest["batch_size"]]
        if not halves or largest["batch_size"] < 4:
            continue
        estimate = ratio(largest, halves[0], "images_per_minute").map(lambda r: 100 * (r - 1))
        verdict, reason = judge(estimate, -math.inf, 10)
        if verdict == FAILS:
            # Whether it ever saturates is for a larger batch to say.
            verdict, reason = UNDECIDED, "it still grows at the largest measured batch"
        yield Finding(
            f"{subject(largest)}, batch {halves[0]['batch_size']} to {largest['batch_size']}",
            verdict,
            reason,
            estimate,
            "% more images per minute",
            "batch_throughput.png",
            where(largest, halves[0]),
        )


def removing_autocast(tables: Tables) -> Iterator[Finding]:
    """Half precision with and without autocast."""
    for plain, cast in pairs(
        [row for row in single_images(tables) if row["precision"] in HALVES],
        lambda row: row["options"] == NONE,
        lambda row: row["options"] == AUTOCAST,
        alike=("device", "backend", "precision"),
    ):
        estimate = ratio(cast, plain, "latency_s").map(lambda r: 100 * (r - 1))
        verdict, reason = judge(estimate, 20, 30)
        yield Finding(
            subject(plain),
            verdict,
            reason,
            estimate,
            "% faster",
            "autocast_speed.png",
            where(plain, cast),
        )


def slicing(tables: Tables) -> Iterator[Finding]:
    """Sliced attention against vanilla: time lost, memory won."""

    def vanilla(row: Row) -> bool:
        return bool(row["options"] == "attention-vanilla")

    def sliced(row: Row) -> bool:
        return bool(row["options"] == "attention-sliced")

    alike = ("device", "backend", "precision")
    for whole, parts in pairs(single_images(tables), vanilla, sliced, alike):
        estimate = ratio(parts, whole, "latency_s").map(lambda r: 100 * (r - 1))
        verdict, reason = judge(estimate, 5, 15)
        yield Finding(
            subject(parts),
            verdict,
            reason,
            estimate,
            "% more time",
            "attention.png",
            where(parts, whole),
        )
    one = [row for row in tables.results if row["batch_size"] == 1]
    for whole, parts in pairs(one, vanilla, sliced, alike):
        column = "peak_allocated_bytes" if parts["peak_allocated_bytes"] else "resident_peak_bytes"
        if not (parts[column] and whole[column]):
            continue
        saved = exact(100 * (1 - parts[column] / whole[column]))
        # Less than a hundredth is the counter's own unrest on a CPU.
        verdict, reason = judge(saved, 1, 100)
        if verdict == FAILS:
            reason = "at this size attention does not need most of the memory"
        yield Finding(
            subject(parts),
            verdict,
            reason,
            saved,
            "% of the memory saved",
            "attention.png",
            where(parts, whole),
        )


def precisions_agree_with_steps(tables: Tables) -> Iterator[Finding]:
    """Whether images of a half precision come nearer to fp32's with more steps."""
    rows = [
        row
        for row in tables.quality
        if row["mode"] == "runs" and row["precision"] in HALVES and row["psnr_db"] is not None
    ]
    key = grouping("device", "model", "backend", "precision", "options")
    for _, group in itertools.groupby(sorted(rows, key=as_text(key)), key=key):
        series = sorted(group, key=lambda row: row["step"])
        if len(series) < 5:
            continue
        estimate = rank_correlation(
            [row["step"] for row in series], [row["psnr_db"] for row in series]
        )
        verdict, reason = judge(estimate, 0, 1)
        if verdict == UNDECIDED:
            reason = "the trend over the steps is not clear"
        elif verdict == FAILS:
            reason = "images differ more with more steps"
        first, last = series[0], series[-1]
        yield Finding(
            f"{subject(first)}, {first['step']} to {last['step']} steps",
            verdict,
            reason,
            estimate,
            "rank correlation of PSNR and steps",
            "quality_curve.png",
            f"quality.csv: {first['where'][1]} to {last['where'][1]}",
        )


SAME_DB = 40.0
"""PSNR in dB from which two 8-bit images are taken as the same: an error of a hundredth."""


def growing_runs(tables: Tables) -> Iterator[Finding]:
    """Whether a run of N steps is the N-th state of one long run."""
    for model, images in tables.images.items():
        last = max(images["trajectory"], default=0)
        steps = sorted(s for s in images["runs"].keys() & images["trajectory"] if s < last)
        if not steps:
            continue
        decibels = [_psnr(images["runs"][s], images["trajectory"][s]) for s in steps]
        estimate = Estimate(float(np.median(decibels)), min(decibels), max(decibels))
        verdict, reason = judge(estimate, SAME_DB, math.inf)
        if verdict != HOLDS:
            reason = (
                f"the timesteps of a run of N steps are not the first N of {last}, so the images "
                "differ"
            )
            verdict = FAILS if estimate.value < SAME_DB else UNDECIDED
        yield Finding(
            f"{model}, fp32, {steps[0]} to {steps[-1]} of {last} steps (median, least and most)",
            verdict,
            reason,
            estimate,
            "dB PSNR between the two",
            "quality_steps.png",
            "",
        )


def _psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return 99.0 if error == 0 else 10 * math.log10(255**2 / error)


def _saved(fast: Row, slow: Row) -> Estimate:
    return ratio(fast, slow, "latency_s").map(lambda r: 100 * (1 - r))


def _raced(row: Row) -> Estimate:
    return Estimate(row["ratio"], row["ratio_ci_low"], row["ratio_ci_high"])


CLAIMS = (
    Claim(
        "half-precision",
        "Half precision saves 40 % of the time on Ampere cards, and 52 % on the RTX 8000.",
        half_precision,
        "no device was measured in both fp32 and half precision",
    ),
    Claim(
        "onnxruntime-on-cpu",
        "On a CPU, ONNX Runtime saves 40 to 50 % of PyTorch's time.",
        onnxruntime_on_cpu,
        "no CPU was measured with both PyTorch and ONNX Runtime in fp32",
    ),
    Claim(
        "memory-of-one-image",
        "One image takes 7.7 GB in single precision and 4.5 GB in half precision.",
        memory_of_one_image,
        "Stable Diffusion v1 at 512 px was not measured on a GPU, which has this counter",
    ),
    Claim(
        "a100-against-3080",
        "An A100 is 33 % faster than an RTX 3080 at one image, and 2.5 times as fast at the "
        "largest batch.",
        a100_against_3080,
        "no case was measured on both an A100 and an RTX 3080",
    ),
    Claim(
        "throughput-saturates",
        "Throughput saturates: from some batch size on, a larger one brings hardly more images "
        "per minute (taken as: the last doubling brings less than 10 %).",
        throughput_saturates,
        "no device was measured with a batch of 4 or more and with half of it",
    ),
    Claim(
        "removing-autocast",
        "Without autocast, half precision is 25 % faster.",
        removing_autocast,
        "half precision was not measured both with and without autocast",
    ),
    Claim(
        "slicing",
        "Sliced attention costs 10 % of the speed and saves memory.",
        slicing,
        "no device was measured with both vanilla and sliced attention",
    ),
    Claim(
        "precisions-agree-with-steps",
        "The difference that precision makes to the image shrinks with more steps.",
        precisions_agree_with_steps,
        "no images in half precision were generated at five or more numbers of steps",
    ),
    Claim(
        "growing-runs",
        "Runs of 1 to N steps show the same images as one run of N steps saved at every step.",
        growing_runs,
        "no model has images of both kinds at the same number of steps",
    ),
)
"""In the post's order."""
