"""The columns of every table. Units are in the names; an empty cell means that there is no number.

`report/<table>.rst` says what each table shows. `tables/files.py` validates it when it is written
and when it is read.
"""

from collections.abc import Callable, Collection

from sdbench.cases.kinds import KINDS
from sdbench.cases.measuring import COMPUTING, COPY

import pandera.pandas as pa

YES, NO, UNKNOWN = "yes", "no", "unknown"
SAME, WORSE, BETTER, UNSAID = "same", "worse", "better", "cannot be said"
"""What a set of images says of a variant."""
MEASURED, PROJECTED = "measured", "projected"
"""Where a number comes from: whole calls, or a few steps of one."""
ELSEWHERE, PREDICTED = "published", "predicted"
"""Or others, or a model of what others published."""
DERIVED, WEIGHTS = "derived", "weights"
"""With MEASURED, on what an answer of FITS stands: the memory of this way; that of the way without
its options, with its own weights in place of those; what was computed (PREDICTED_MEMORY); or its
weights alone, which is the least that it takes."""


def _text(allowed: Collection[str] | None = None, nullable: bool = False) -> pa.Column:
    return pa.Column(str, pa.Check.isin(allowed) if allowed else None, nullable=nullable)


def _numbers() -> pa.Column:
    number = r"\d+(\.\d+)?(e[-+]\d+)?"
    return pa.Column(str, pa.Check.str_matches(rf"^{number}( {number})*$"), nullable=True)


def _number(minimum: float = 0.0) -> pa.Column:
    return pa.Column(float, pa.Check.ge(minimum), nullable=True)


def _count(minimum: int = 0) -> pa.Column:
    return pa.Column("Int64", pa.Check.ge(minimum), nullable=True)


_NOT_NUMBERS: dict[str, Callable[[], pa.Column]] = {
    "model device backend precision options attention graphs network scheduler": _text,
    "origin claim statement campaign source judge prompt": _text,
    "reference_device reference_backend reference_precision reference_options": _text,
    "device_name backend_version memory_counter counter": lambda: _text(nullable=True),
    "reason case_id absent_because misses": lambda: _text(nullable=True),
    "batch_sizes currency energy_source": lambda: _text(nullable=True),
    "subject unit figure rows judge_version": lambda: _text(nullable=True),
    "latency_launches_s images_per_minute_launches": _numbers,
    "quality_verdict": lambda: _text((SAME, WORSE, BETTER, UNSAID), nullable=True),
    "device_kind": lambda: _text(list(KINDS)),
    "status": lambda: _text(("ok", "oom", "unsupported", "error")),
    "weights": lambda: _text(("trained", "seeded")),
    "fits": lambda: _text((YES, NO, UNKNOWN)),
    "basis": lambda: _text((MEASURED, PROJECTED)),
    "operation": lambda: _text((*COMPUTING, COPY)),
    "peak_operation": lambda: _text(COMPUTING, nullable=True),
    "mode": lambda: _text(("runs", "trajectory")),
    "verdict": lambda: _text(("holds", "does not hold", "cannot be said")),
    "contended passes_gate compile_cached": lambda: pa.Column("boolean", nullable=True),
    "precise": lambda: pa.Column("boolean", nullable=True),
    "largest best at_least tf32_convolutions meets": lambda: pa.Column(bool),
    "n launches latency_n throughput_n parts_n warmup_calls denoiser_evaluations": _count,
    "probes opset parameters prompts seeds seed missing decides_n": _count,
    "batch_size steps step rank rounds threads side images cap memory_gb": lambda: _count(1),
    "largest_batch found_batch predicted_batch prompt_tokens_cut": lambda: _count(1),
    "width height": lambda: _count(8),
    "ssim ssim_q1 ssim_q3 ssim_low ssim_high": lambda: _number(-1.0),
    "batch_error derived_error predicted_error": lambda: _number(-1.0),
    "other_bytes value low high": lambda: _number(float("-inf")),
    "score reference_score score_difference": lambda: _number(float("-inf")),
    "score_ci_low score_ci_high": lambda: _number(float("-inf")),
}
"""What columns hold, in whichever table. All others are numbers of 0 or more."""
_MAKERS = {name: make for names, make in _NOT_NUMBERS.items() for name in names.split()}


def _table(names: str, key: str = "", **special: pa.Column) -> pa.DataFrameSchema:
    """Return the schema of a table with these columns, in their order; no two rows agree in those
    of `key`. `special`: columns that hold something else here than in other tables."""
    columns = {name: special.get(name) or _MAKERS.get(name, _number)() for name in names.split()}
    return pa.DataFrameSchema(
        columns, strict=True, ordered=True, coerce=True, unique=key.split() or None
    )


_WAY = "model device backend precision options"
_CASE = f"{_WAY} batch_size"
_VARIANT = "model weights device device_name backend precision options attention"
"""How a model was run. `weights: seeded` means random weights: images mean nothing."""
_SETTINGS = "width height steps scheduler guidance"
"""What was generated. Rows are comparable only where these and the model agree."""
_CIRCUMSTANCES = "contended noise"
"""`contended`: something else used the device just before. `noise`: the machine's own, of the job
that measured it, as in the table of that name."""
_IMAGE_QUALITY = "psnr_db ssim passes_gate"
"""The image against the fp32 image of PyTorch from the same latents, where the matrix has that;
`passes_gate`: whether it keeps the config's `quality_gate`. Empty for seeded weights."""
_REFERENCE = "reference_backend reference_precision reference_options"

CASE_KEY = _CASE.split()
"""What a row of RESULTS must differ in from the others."""

CASES = _table(f"{_CASE} case_id absent_because", _CASE)
"""Every cell of the matrix: a case with its id, or the reason why there is none."""

RESULTS = _table(
    f"""
    model device device_name backend precision options batch_size status reason
    latency_s images_per_minute memory_bytes memory_counter {_IMAGE_QUALITY} quality_verdict
    basis device_kind threads weights attention backend_version {_SETTINGS} prompt_tokens_cut
    {_CIRCUMSTANCES} drift
    launches latency_launches_s latency_n latency_q1_s latency_q3_s
    latency_ci_low_s latency_ci_high_s half_width precise warmup_calls
    load_s compile_s compile_cached first_call_s
    text_encoder_s text_encoder_ci_low_s text_encoder_ci_high_s
    denoiser_s denoiser_ci_low_s denoiser_ci_high_s
    vae_decoder_s vae_decoder_ci_low_s vae_decoder_ci_high_s step_s parts_n denoiser_evaluations
    throughput_n call_s images_per_minute_launches
    images_per_minute_ci_low images_per_minute_ci_high largest best
    energy_j_per_image energy_source cost_per_1000_images currency
    loaded_bytes resident_peak_bytes resident_above_load_bytes peak_allocated_bytes
    peak_reserved_bytes reserved_after_run_bytes nvml_process_bytes device_peak_bytes
    tflop_per_image peak_tflops peak_operation
    latency_tflops latency_utilization throughput_tflops throughput_utilization
    """,
    _CASE,
)
"""What a person looks for; how it was run; one call; calls back to back; memory; the limit.

`quality_verdict`: of QUALITY_SET, where the way has a set of images; it then decides `passes_gate`,
which is empty where the quality cannot be said.

How it was run: `threads` of the process; `prompt_tokens_cut`, how many tokens of the prompt a text
encoder did not read, since its model reads no more, empty where it read all.

One call: `latency_s`, the geometric mean of the medians of the `launches`, these medians in the
order of their blocks (`latency_launches_s`, with spaces between), and its 95 % interval,
Student's of their logarithms, widened by `drift`, half the width of that for what differs between
jobs of the device, as a logarithm, empty with fewer than three jobs; `half_width`, half of it
without `drift`, as a share of the value, and `precise`, whether that is within
`measuring.precision`, if the config has one; load and first call, without the import of the
libraries; compiling for this batch size apart from them (`compile_cached`: torch took all of it
from its cache), and parts from `parts_n` calls of a pass of their own.

Calls back to back: `call_s`, the mean time from the end of one to the end of the next, and the
images per minute that this makes, with those of the launches and the interval, made alike; energy
where the device counts it, money where the config has a price.

Memory: `loaded_bytes`, `resident_*`: the process on a CPU; `peak_allocated_bytes`,
`peak_reserved_bytes`: torch's CUDA allocator, peak since load; `nvml_process_bytes`: what the
driver says that the process holds; `device_peak_bytes`: the process at its peak, whatever engine
ran, which is `peak_reserved_bytes` and what the driver counts beyond `reserved_after_run_bytes`.
`memory_bytes` repeats the one that rows of a kind of device are compared by.

The limit: `tflop_per_image`, 10^12 floating-point operations of all networks; `peak_tflops`, the
fastest matrix product or convolution (`peak_operation`) of the same device in the same precision
(that of autocast, under autocast); `*_tflops`, what was done in a second, and `*_utilization`, that
by the peak. Peak and utilization are empty where no peak was measured, as for products in 8
bits."""

LARGEST = _table(
    f"{_WAY} largest_batch at_least cap predicted_batch probes limit_bytes reason",
    _WAY,
    largest_batch=_count(),
    predicted_batch=_count(),
)
"""`largest_batch`: 0 where none runs. Where it equals `cap`, at which the search ends, larger ones
may fit: it is at least that."""

FITS = _table(
    f"""
    {_WAY} memory_gb fits largest_batch at_least basis counter batch_sizes
    weights_bytes device_weights_bytes other_bytes image_bytes batch_error derived_error
    predicted_error found_batch predicted_batch
    """,
    f"{_WAY} memory_gb",
    basis=_text((MEASURED, DERIVED, PREDICTED, WEIGHTS)),
)
"""The largest batch in `memory_gb` of memory, as cards are sold (2^30 bytes); `at_least`: larger
ones may fit as well.
`counter`: which one decides, with what the driver counts beyond it. `weights_bytes`: of all
weights; `device_weights_bytes`: of those on the device at one time, at least; with `other_bytes`
and for each image `image_bytes` they are the peak, by the line through the two `batch_sizes`. Its
errors, as shares of the batch: `batch_error`, by which this one would be another had the largest
batch not been measured; `derived_error`, of what would have been derived, in the memory of the
largest measured batch; and as a share of memory `predicted_error`, of what is computed for that
batch. `found_batch`: the largest on the device's own memory, and
`predicted_batch`, what the smaller ones promised."""

PREDICTED_MEMORY = _table(
    """
    model width height precision options batch predicted_allocated_bytes predicted_reserved_bytes
    """,
    "model width height precision options batch",
    batch=_count(1),
)
"""The peak of loading and one call of PyTorch on a CUDA GPU, computed from descriptions of models
on the `meta` device: nothing was measured. `predicted_allocated_bytes`: of tensors, what torch's
`max_memory_allocated` counts; `predicted_reserved_bytes`: what its allocator holds for them,
`max_memory_reserved`. The CUDA context comes on top (`sdbench.models.computed.CONTEXT_BYTES`).
`options`: without any, attention is SDPA."""

PEAK_THROUGHPUT = _table(
    """
    device device_name threads operation precision status reason n side images tflops gb_per_s
    contended
    """,
    "device operation precision",
    precision=_text(nullable=True),
    n=_count(1),
)
"""`side`: that of the square matrices whose product was the fastest; `images`: how many the fastest
convolution had."""

NOISE = _table("model device device_name backend n reference_s noise", "model device backend")
"""The fixed work, timed in a process of its own at the beginning of each of `n` blocks: `noise` is
the standard deviation of the logarithms of their medians, about the share by which two launches of
one program differ here; `reference_s` is the geometric mean."""

RACES = _table(
    f"""
    campaign {_VARIANT} device_kind threads backend_version {_REFERENCE}
    batch_size width height guidance status reason rounds launches
    evaluation_s reference_evaluation_s ratio ratio_ci_low ratio_ci_high ratio_min ratio_max
    load_s compile_s compile_cached memory_bytes reference_memory_bytes memory_counter divergence
    tflop tflops peak_tflops peak_operation utilization waiting_cores contended
    """,
    f"campaign {_CASE} width height",
    campaign=_text(nullable=True),
)
"""`evaluation_s`, `reference_evaluation_s`: of `rounds` evaluations each, in `launches`; `ratio`:
the geometric mean of the launches' ratios of the first by the second, with its 95 % interval, and
the least and most of these ratios. `memory_bytes`: the peak of the process by the counter of its
kind of device; `divergence`: the largest difference of the two outputs, as a share of the largest
value: of numbers, not of images. `tflop`: 10^12 floating-point operations of an evaluation; the
next four as in RESULTS. `contended`: `waiting_cores` were too many, or something else used the
device just before. `campaign` is empty for what was measured here."""

GPUS = _table(
    """
    name vendor year compute_capability memory_gb bandwidth_gb_s fp16_dense_tflops fp32_tflops tdp_w
    source fp16_acc16_tflops measured_bf16_tflops notes
    """,
    "name",
    name=_text(),
    vendor=_text(),
    year=_count(2000),
    memory_gb=_number(),
    notes=_text(nullable=True),
)
"""Facts of cards, each row with its source. Rates are of matrix products without sparsity, with
sums in fp32 (`dense`) and in fp16 (`acc16`); fp32 without tensor cores. `measured_bf16_tflops`: the
best product that somebody reached. Memory is in GB as sold, bandwidth in 10^9 bytes a second."""

EXPORTS = _table(
    """
    model graphs network status reason opset parameters max_abs_error max_rel_error tolerance
    file_bytes export_s
    """,
    "model graphs network",
)
"""Each exported network, against PyTorch: the largest absolute difference of outputs, and that as a
share of the largest absolute output, which `tolerance` bounds; where that is empty, weights are
quantized, and the quality of the images judges them. `graphs`: the folder of the results that has
it, by its format and, at the end, that of its weights if not fp32. `export_s`: seconds to make it
from PyTorch (`onnx`) or from the ONNX graph (the others). `unsupported`: its engine cannot run the
network."""

QUALITY = _table(
    f"""
    {_VARIANT} reference_device {_REFERENCE} mode step width height scheduler guidance
    status reason psnr_db ssim max_abs_difference identical_share
    seeds psnr_low_db psnr_high_db ssim_low ssim_high
    """,
    f"{_WAY} reference_device {_REFERENCE} mode step",
)
"""Images of 8 bits; `psnr_db` is `inf` where they are identical; `ssim` is that of a uniform window
of 7 x 7 pixels, not the Gaussian one of Wang et al. These are of the model's own seed; `low` and
`high` are the range over so many `seeds`, it included, and empty where there is one."""

QUALITY_SET = _table(
    f"""
    {_VARIANT} reference_device {_REFERENCE} {_SETTINGS} status reason
    judge judge_version prompts seeds n missing
    psnr_q1_db psnr_db psnr_q3_db ssim_q1 ssim ssim_q3 lpips_q1 lpips lpips_q3 below_gate
    score reference_score score_difference score_ci_low score_ci_high margin verdict decides_n
    """,
    f"{_WAY} reference_device {_REFERENCE}",
    verdict=_text((SAME, WORSE, BETTER, UNSAID)),
)
"""The images of a variant in `n` pairs with its reference's, of the same prompts and latents, by
`prompts` and `seeds`; `missing` pairs lack an image. Medians and quartiles, identical images with a
PSNR of `inf`, SSIM in a window of 7 x 7 pixels; `below_gate`: the share of pairs that do not keep
`quality_gate`. `score`: the mean of what the `judge` says of the images, and `score_difference`,
how much more that is than the reference's, with its 95 % interval over prompts. `verdict`: `same`
where that lies within `margin` of 0, `worse` or `better` where it does not and 0 is not in it;
`decides_n`: how many pairs would probably decide what `cannot be said`."""

QUALITY_PAIRS = _table(
    f"{_WAY} prompt seed psnr_db ssim lpips passes_gate score reference_score",
    f"{_WAY} prompt seed",
)
"""Every pair of QUALITY_SET; one that is missing has no numbers."""

PUBLISHED = _table(
    f"""
    campaign source model device device_name device_kind threads backend backend_version precision
    tf32_convolutions options attention batch_size {_SETTINGS} status n
    latency_s latency_q1_s latency_q3_s images_per_minute memory_bytes memory_counter
    {_CIRCUMSTANCES} {_IMAGE_QUALITY} basis
    """,
    device=_text(nullable=True),
    device_name=_text(),
    attention=_text(nullable=True),
)
"""Results that others published, with the settings under which they measured; and what we export.
`device` is its name in the config of who measured: two of one `device_name` may differ in threads,
or be two equal GPUs.
`tf32_convolutions`: whether "fp32" let cuDNN use TF32, PyTorch's default on Ampere and later."""

PUBLISHED_MUST = (
    f"campaign model device_name backend precision options batch_size {_SETTINGS}".split()
)
"""What a row of PUBLISHED must have."""
PUBLISHED_KEY = [*PUBLISHED_MUST, "device", "threads", "attention"]
"""What it must differ in from the others of its table."""

FINDINGS = _table(
    "claim statement subject value low high unit verdict reason figure rows campaign",
    campaign=_text(nullable=True),
)
"""Claims of the 2022 post, a row for each subject: the number with its 95 % interval, which is
empty for what was read once, such as memory, and for what was measured too few times; `rows`: the
tables and lines that it is made of; `campaign`: of those that other machines measured, empty where
all are of this run."""

ADVICE = _table(
    f"""
    model {_SETTINGS} batch_size card device gpu precision backend options fits basis
    latency_s latency_ci_low_s latency_ci_high_s
    images_per_minute images_per_minute_ci_low images_per_minute_ci_high
    memory_basis memory_bytes card_memory_gb
    cost_per_1000_images cost_ci_low cost_ci_high currency source reason
    """,
    f"model {_SETTINGS} batch_size card device precision",
    card=_text(),
    gpu=pa.Column(bool),
    basis=_text((MEASURED, PROJECTED, ELSEWHERE, PREDICTED), nullable=True),
    device=_text(nullable=True),
    backend=_text(nullable=True),
    options=_text(nullable=True),
    source=_text(nullable=True),
    memory_basis=_text((MEASURED, ELSEWHERE, PREDICTED), nullable=True),
    card_memory_gb=_number(),
)
"""What a call would take on every card. `model`: a description of resources/architectures; `card`:
the name of a GPU or processor, and `device` that of the config, where it was measured here.
`basis`: of the seconds, images per minute and cost, which have their 95 % interval where others did
not publish them; `memory_basis`: of the memory, which was computed or counted once. `source`: the
campaign that published. `fits`: whether the memory suffices. Without seconds `reason` says why."""

CHOICES = _table(
    f"""
    rank origin basis model device device_name backend precision options batch_size {_SETTINGS}
    latency_s latency_ci_low_s latency_ci_high_s
    images_per_minute images_per_minute_ci_low images_per_minute_ci_high
    memory_bytes memory_counter cost_per_1000_images currency
    contended passes_gate quality_verdict meets misses
    """
)
"""`rank`: shared by rows that cannot be told apart from the first of them, because their intervals
overlap; what has no interval is taken as its number alone. Empty for `contended` rows, whose times
decide nothing. `passes_gate` and `quality_verdict` are those of RESULTS. `origin`: `measured`, or a
campaign."""
