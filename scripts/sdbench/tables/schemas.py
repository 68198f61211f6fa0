"""The columns of every table. Units are in the names; an empty cell means that there is no number.

`tables/files.py` validates a table when it is written and when a figure reads it.
"""

from sdbench.cases.kinds import KINDS
from sdbench.cases.measuring import COPY, PRODUCT

import pandera.pandas as pa

STATUSES = ("ok", "oom", "unsupported", "error")
MEASURED, PROJECTED = "measured", "projected"


def _text(**kwargs: object) -> pa.Column:
    return pa.Column(str, **kwargs)  # type: ignore[arg-type]


def _number(minimum: float = 0.0, **kwargs: object) -> pa.Column:
    return pa.Column(float, pa.Check.ge(minimum), nullable=True, **kwargs)  # type: ignore[arg-type]


def _count(minimum: int = 0) -> pa.Column:
    return pa.Column("Int64", pa.Check.ge(minimum), nullable=True)


VARIANT = {
    "model": _text(),
    "weights": pa.Column(str, pa.Check.isin(("trained", "seeded"))),
    "device": _text(),
    "device_name": _text(nullable=True),
    "backend": _text(),
    "precision": _text(),
    "options": _text(),
    "attention": _text(),
}
"""How a model was run. `weights: seeded` means random weights: images mean nothing."""

SETTINGS = {
    "width": _count(8),
    "height": _count(8),
    "steps": _count(1),
    "scheduler": _text(),
    "guidance": _number(),
}
"""What was generated. Rows are comparable only where these and the model agree."""

FLAG = pa.Column("boolean", nullable=True)

CIRCUMSTANCES = {"contended": FLAG, "noise": _number()}
"""`contended`: something else used the device just before. `noise`: the machine's own, of the job
that measured it, as in the table of that name."""

IMAGE_QUALITY = {"psnr_db": _number(), "ssim": _number(-1.0), "passes_gate": FLAG}
"""`psnr_db`, `ssim`: the image against the fp32 image of PyTorch from the same latents, where the
matrix has that; `passes_gate`: whether it keeps the config's `quality_gate`. Empty for seeded
weights, whose images mean nothing."""

DEVICE_KIND = pa.Column(str, pa.Check.isin(list(KINDS)))

BASIS = pa.Column(str, pa.Check.isin((MEASURED, PROJECTED)))
"""Where a number comes from: `measured` in whole calls, or `projected` from a few steps of one."""

STATUS = {
    "status": pa.Column(str, pa.Check.isin(STATUSES)),
    "reason": _text(nullable=True),
}


def _table(columns: dict[str, pa.Column], unique: list[str] | None = None) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(columns, strict=True, ordered=True, coerce=True, unique=unique)


CASE_KEY = ["model", "device", "backend", "precision", "options", "batch_size"]
"""What a row of RESULTS must differ in from the others."""

CASES = _table(
    {
        "model": _text(),
        "device": _text(),
        "backend": _text(),
        "precision": _text(),
        "options": _text(),
        "batch_size": _count(1),
        "case_id": _text(nullable=True),
        "absent_because": _text(nullable=True),
    },
    CASE_KEY,
)
"""Every cell of the matrix: a case with its id, or the reason why there is none."""

RESULTS = _table(
    {
        # What a person looks for.
        **{
            name: VARIANT[name]
            for name in ("model", "device", "device_name", "backend", "precision", "options")
        },
        "batch_size": _count(1),
        **STATUS,
        "latency_s": _number(),
        "images_per_minute": _number(),
        "memory_bytes": _number(),
        "memory_counter": _text(nullable=True),
        **IMAGE_QUALITY,
        "basis": BASIS,
        # How it was run.
        "device_kind": DEVICE_KIND,
        "weights": VARIANT["weights"],
        "attention": VARIANT["attention"],
        "backend_version": _text(nullable=True),
        **SETTINGS,
        **CIRCUMSTANCES,
        # One call.
        "latency_n": _count(),
        "latency_q1_s": _number(),
        "latency_q3_s": _number(),
        "latency_ci_low_s": _number(),
        "latency_ci_high_s": _number(),
        "warmup_calls": _count(),
        "load_s": _number(),
        "compile_s": _number(),
        "compile_cached": FLAG,
        "first_call_s": _number(),
        "text_encoder_s": _number(),
        "denoiser_s": _number(),
        "denoiser_q1_s": _number(),
        "denoiser_q3_s": _number(),
        "vae_decoder_s": _number(),
        "step_s": _number(),
        "parts_n": _count(),
        "denoiser_evaluations": _count(),
        # Calls back to back.
        "throughput_n": _count(),
        "call_s": _number(),
        "images_per_minute_ci_low": _number(),
        "images_per_minute_ci_high": _number(),
        "largest": pa.Column(bool),
        "best": pa.Column(bool),
        "energy_j_per_image": _number(),
        "energy_source": _text(nullable=True),
        "cost_per_1000_images": _number(),
        "currency": _text(nullable=True),
        # Memory.
        "loaded_bytes": _number(),
        "resident_peak_bytes": _number(),
        "resident_above_load_bytes": _number(),
        "peak_allocated_bytes": _number(),
        "peak_reserved_bytes": _number(),
        "reserved_after_run_bytes": _number(),
        "nvml_process_bytes": _number(),
        "device_peak_bytes": _number(),
        # The device's limit.
        "tflop_per_image": _number(),
        "peak_tflops": _number(),
        "latency_tflops": _number(),
        "latency_utilization": _number(),
        "throughput_tflops": _number(),
        "throughput_utilization": _number(),
    },
    CASE_KEY,
)
"""All that was measured of each case.

One call, `latency_*`: median, quartiles and a 95 % bootstrap interval of the median over
`latency_n` timed calls; cold start apart, compiling for this batch size apart from that
(`compile_cached`: torch took all of it from its cache); and medians of the parts from `parts_n`
calls of a pass of their own.

Calls back to back, `throughput_n` of them: the mean time from the end of one to the end of the next
(`call_s`), and the images per minute that this makes, with the 95 % bootstrap interval of that
mean. `largest`: the largest batch of its variant that ran; `best`: the one with most images/minute;
energy where the device counts it, money where the config has a price.

Memory: each counter in a column of its own. `loaded_bytes`, `resident_*`: the process on a CPU;
`peak_allocated_bytes`, `peak_reserved_bytes`: torch's CUDA allocator, peak since load;
`reserved_after_run_bytes`: the counter of the 2022 post; `nvml_process_bytes`: what the driver says
that the process holds; `device_peak_bytes`: the process at its peak, whatever engine ran, which is
`peak_reserved_bytes` and what the driver counts beyond `reserved_after_run_bytes`. `memory_bytes`
repeats the one that rows of a kind of device are compared by, and `memory_counter` says what it
counts.

The device's limit: `tflop_per_image`, 10^12 floating-point operations of one image, of all
networks together; `peak_tflops`, what the fastest matrix product reached on the same device in
the same precision (that of autocast, under autocast), as in `peak_throughput`; `*_tflops`, what
was done in a second, of single calls (`latency_*`) and of calls back to back (`throughput_*`);
`*_utilization`, that by the peak. Both are empty where no peak was measured, as for
products in 8 bits."""

LARGEST = _table(
    {
        "model": _text(),
        "device": _text(),
        "backend": _text(),
        "precision": _text(),
        "options": _text(),
        "largest_batch": _count(),
        "cap": _count(1),
        "predicted_batch": _count(),
        "probes": _count(),
        "limit_bytes": _number(),
        "reason": _text(nullable=True),
    },
    CASE_KEY[:-1],
)
"""The largest batch that fits: it runs, and one more does not or is the cap. `predicted_batch` is
what the memory of smaller batches promised, `probes` how many sizes were tried for it."""

YES, NO, UNKNOWN = "yes", "no", "unknown"
DERIVED, WEIGHTS = "derived", "weights"
"""On what an answer stands: the memory of this way; that of the way without its options, with its
own weights in place of those; or its weights alone, which is the least that it takes."""

FITS = _table(
    {
        "model": _text(),
        "device": _text(),
        "backend": _text(),
        "precision": _text(),
        "options": _text(),
        "memory_gb": _count(1),
        "fits": pa.Column(str, pa.Check.isin((YES, NO, UNKNOWN))),
        "largest_batch": _count(1),
        "at_least": pa.Column(bool),
        "basis": pa.Column(str, pa.Check.isin((MEASURED, DERIVED, WEIGHTS))),
        "counter": _text(nullable=True),
        "batch_sizes": _text(nullable=True),
        "weights_bytes": _number(),
        "device_weights_bytes": _number(),
        "other_bytes": _number(float("-inf")),
        "image_bytes": _number(),
        "peak_error": _number(-1.0),
        "derived_error": _number(-1.0),
        "found_batch": _count(1),
        "predicted_batch": _count(1),
    },
    [*CASE_KEY[:-1], "memory_gb"],
)
"""The largest batch in `memory_gb` (10^9 bytes) of memory; `at_least`: larger ones may fit as well.
`basis`: `measured`; `derived`, from the same precision without the options, its weights exchanged;
or `weights`, which alone say what does not fit. `counter`: which one decides, with what the
driver counts beyond it. `weights_bytes`: of all weights; `device_weights_bytes`: of those on the
device at one time, at least; with `other_bytes` and for each image `image_bytes` they are the
peak, by the line through the two `batch_sizes`. Its errors, as shares of what was measured:
`peak_error`, of the line through all smaller batches at the largest one; `derived_error`, of
what would have been derived. `found_batch`: the largest on the device's own memory, and
`predicted_batch`, what the smaller ones promised."""

PEAK_THROUGHPUT = _table(
    {
        "device": _text(),
        "device_name": _text(nullable=True),
        "threads": _count(1),
        "operation": pa.Column(str, pa.Check.isin((PRODUCT, COPY))),
        "precision": _text(nullable=True),
        **STATUS,
        "n": _count(1),
        "side": _count(1),
        "tflops": _number(),
        "gb_per_s": _number(),
        "contended": FLAG,
    },
    ["device", "operation", "precision"],
)
"""The best of `n` samples of each device: of products of square matrices of several sizes in each
precision, 10^12 operations a second, `side` being that of the best; and of a copy within its
memory, 10^9 bytes a second, those read plus those written."""

NOISE = _table(
    {
        "model": _text(),
        "device": _text(),
        "device_name": _text(nullable=True),
        "backend": _text(),
        "n": _count(),
        "start_s": _number(),
        "end_s": _number(),
        "drift": _number(),
        "spread": _number(),
        "noise": _number(),
    },
    ["model", "device", "backend"],
)
"""A small fixed piece of work before and after the cases of a job: medians at the start and at the
end; `drift`, the difference of the two as a share of the first; `spread`, the interquartile range
of all as a share of their median; `noise`, the larger of both. Rows that differ by less cannot be
told apart."""

RACES = _table(
    {
        "campaign": _text(nullable=True),
        **VARIANT,
        "device_kind": DEVICE_KIND,
        "threads": _count(1),
        "backend_version": _text(nullable=True),
        "reference_backend": _text(),
        "reference_precision": _text(),
        "reference_options": _text(),
        "batch_size": _count(1),
        "width": _count(8),
        "height": _count(8),
        "guidance": _number(),
        **STATUS,
        "rounds": _count(1),
        "evaluation_s": _number(),
        "reference_evaluation_s": _number(),
        "ratio": _number(),
        "ratio_ci_low": _number(),
        "ratio_ci_high": _number(),
        "ratio_min": _number(),
        "ratio_max": _number(),
        "load_s": _number(),
        "compile_s": _number(),
        "compile_cached": FLAG,
        "memory_bytes": _number(),
        "reference_memory_bytes": _number(),
        "memory_counter": _text(nullable=True),
        "divergence": _number(),
        "tflop": _number(),
        "tflops": _number(),
        "peak_tflops": _number(),
        "utilization": _number(),
        "waiting_cores": _number(),
        "contended": FLAG,
    },
    ["campaign", "model", "device", "backend", "precision", "options", "batch_size", "width",
     "height"],
)  # fmt: skip
"""The denoiser alone, in turns with the reference's and from identical inputs. `evaluation_s`,
`reference_evaluation_s`: medians of `rounds` evaluations each; `ratio`: the first by the second,
with its 95 % bootstrap interval over the rounds, and the least and most of the rounds' own ratios.
`memory_bytes`: the peak of the process by the counter of its kind of device; `divergence`: the
largest difference of the two outputs, as a share of the largest value: of numbers, not of images.
`tflop`: 10^12 floating-point operations of an evaluation; the next three as in RESULTS.
`waiting_cores`: processors that the one which waited kept busy, on average; `contended`: whether
those were too many, or something else used the device just before. `campaign` is empty for what was
measured here."""

EXPORTS = _table(
    {
        "model": _text(),
        "graphs": _text(),
        "network": _text(),
        **STATUS,
        "opset": _count(),
        "parameters": _count(),
        "max_abs_error": _number(),
        "max_rel_error": _number(),
        "tolerance": _number(),
        "file_bytes": _number(),
        "export_s": _number(),
    },
    ["model", "graphs", "network"],
)
"""Each exported network, against PyTorch: the largest absolute difference of outputs, and that as a
share of the largest absolute output, which `tolerance` bounds; where that is empty, weights are
quantized, and the quality of the images judges them. `graphs`: the folder of the results that has
it, by its format and, at the end, that of its weights if not fp32. `export_s`: seconds to make it
from PyTorch (`onnx`) or from the ONNX graph (the others). `unsupported`: its engine cannot run the
network."""

QUALITY = _table(
    {
        **VARIANT,
        "reference_device": _text(),
        "reference_backend": _text(),
        "reference_precision": _text(),
        "reference_options": _text(),
        "mode": pa.Column(str, pa.Check.isin(("runs", "trajectory"))),
        "step": _count(1),
        "width": _count(8),
        "height": _count(8),
        "scheduler": _text(),
        "guidance": _number(),
        **STATUS,
        "psnr_db": _number(),
        "ssim": _number(-1.0),
        "max_abs_difference": _number(),
        "identical_share": _number(),
    },
    ["model", "device", "backend", "precision", "options", "reference_device",
     "reference_backend", "reference_precision", "reference_options", "mode", "step"],
)  # fmt: skip
"""The image after `step` steps against the reference's, both of 8 bits: PSNR in dB (`inf` where
they are identical), SSIM, the largest difference of a channel in levels of 255, and the share of
pixels that are equal. Mode `runs`: a full run of `step` steps. Mode `trajectory`: the state after
`step` of one long run."""

PUBLISHED = _table(
    {
        "campaign": _text(),
        "source": _text(),
        "model": _text(),
        "device_name": _text(),
        "device_kind": DEVICE_KIND,
        "backend": _text(),
        "backend_version": _text(nullable=True),
        "precision": _text(),
        "tf32_convolutions": pa.Column(bool),
        "options": _text(),
        "attention": _text(nullable=True),
        "batch_size": _count(1),
        "width": _count(8),
        "height": _count(8),
        "steps": _count(1),
        "scheduler": _text(),
        "guidance": _number(),
        "status": pa.Column(str, pa.Check.isin(STATUSES)),
        "n": _count(),
        "latency_s": _number(),
        "latency_q1_s": _number(),
        "latency_q3_s": _number(),
        "images_per_minute": _number(),
        "memory_bytes": _number(),
        "memory_counter": _text(nullable=True),
        **CIRCUMSTANCES,
        **IMAGE_QUALITY,
    }
)
"""Results that others published, with the settings under which they measured; and what we export.
`tf32_convolutions`: whether "fp32" let cuDNN use TF32, PyTorch's default on Ampere and later."""

PUBLISHED_KEY = ["campaign", "model", "device_name", "backend", "precision", "options", "attention",
                 "batch_size", "width", "height", "steps", "scheduler", "guidance"]  # fmt: skip
"""What a row of PUBLISHED must differ in from the others of its table."""

FINDINGS = _table(
    {
        "claim": _text(),
        "statement": _text(),
        "subject": _text(nullable=True),
        "value": _number(float("-inf")),
        "low": _number(float("-inf")),
        "high": _number(float("-inf")),
        "unit": _text(nullable=True),
        "verdict": pa.Column(str, pa.Check.isin(("holds", "does not hold", "cannot be said"))),
        "reason": _text(nullable=True),
        "figure": _text(nullable=True),
        "rows": _text(nullable=True),
    }
)
"""Claims of the 2022 post, a row for each subject: the number from these tables with its 95 %
interval, the machine's noise included; the verdict; the `figure` that shows it, and the tables and
lines of its `rows`."""

CHOICES = _table(
    {
        "rank": _count(1),
        "origin": _text(),
        **{name: VARIANT[name] for name in ("model", "device", "device_name", "backend")},
        "precision": _text(),
        "options": _text(),
        "batch_size": _count(1),
        **SETTINGS,
        "latency_s": _number(),
        "images_per_minute": _number(),
        "memory_bytes": _number(),
        "memory_counter": _text(nullable=True),
        "cost_per_1000_images": _number(),
        "currency": _text(nullable=True),
        "passes_gate": FLAG,
        "meets": pa.Column(bool),
        "misses": _text(nullable=True),
    }
)
"""What meets the config's `need`, the fastest first, then what misses it, the nearest first and by
how much (`misses`); ranked among rows with the same generation settings. `origin`: `measured`, or a
campaign."""
