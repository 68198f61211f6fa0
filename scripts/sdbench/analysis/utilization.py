"""How much of a device a case uses: what it computes, by its time, against the device's peak.

Pure: operations were counted by `count_operations`, peaks measured by `measure_peak_throughput`.
"""

from collections.abc import Mapping
from typing import Any

from sdbench.cases.measuring import PRODUCT

HALVES = {"float16": "fp16", "bfloat16": "bf16"}
"""What autocast may compute in, as torch names it -> the precision."""


def flop_per_image(record: Mapping[str, Any], operations: Mapping[str, int]) -> int:
    """Return the floating-point operations that one image of a measured case takes.

    Args:
        record: of a case that ran.
        operations: of one image: `text_encoder_flop`, `denoiser_flop` of one evaluation,
            `vae_decoder_flop`.
    """
    evaluations: int = record["phases"][0]["denoiser_evaluations"]
    return (
        operations["text_encoder_flop"]
        + evaluations * operations["denoiser_flop"]
        + operations["vae_decoder_flop"]
    )


def computed_in(record: Mapping[str, Any]) -> str:
    """Return the precision that a measured case computes in: that of autocast, under autocast."""
    autocast = record["environment"]["switches"]["autocast_dtype"]
    precision: str = record["case"]["variant"]["precision"]
    return HALVES[autocast] if autocast else precision


def peak_tflops(record: Mapping[str, Any], measured: Mapping[str, Any]) -> float | None:
    """Return the TFLOP/s of the fastest matrix product in the precision of a measured case.

    Args:
        record: of a case that ran.
        measured: what `measure_peak_throughput` wrote for its device.

    Returns:
        None where there is none: it could not be measured, or was on another machine or with
        another number of threads, such as a record may have kept from before; or the case
        multiplies in 8 bits, in which no peak is measured.
    """
    if record["environment"]["switches"].get("quantized_activations"):
        return None
    there, here = measured["environment"], record["environment"]
    if any(there[key] != here[key] for key in ("device_name", "threads")):
        return None
    precision = computed_in(record)
    return next(
        (
            float(row["tflops"])
            for row in measured["peaks"]
            if row["operation"] == PRODUCT
            and row["precision"] == precision
            and row["status"] == "ok"
        ),
        None,
    )


def utilization_columns(
    record: Mapping[str, Any],
    images_per_s: Mapping[str, float],
    operations: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> dict[str, float]:
    """Return `tflop_per_image`, `peak_tflops` and, for each pass, its own `<pass>_tflops` and
    `<pass>_utilization`, as far as known.

    Args:
        record: of a case that ran.
        images_per_s: what it achieved, by the name of the pass.
        operations: what `count_operations` wrote for its model.
        measured: what `measure_peak_throughput` wrote for its device.
    """
    per_image = flop_per_image(record, operations) / 1e12
    columns = {"tflop_per_image": per_image}
    for name, rate in images_per_s.items():
        for column, value in _shares(record, per_image * rate, measured).items():
            columns[column if column == "peak_tflops" else f"{name}_{column}"] = value
    return columns


def race_utilization_columns(
    record: Mapping[str, Any],
    evaluation_s: float,
    operations: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> dict[str, float]:
    """Return `tflop`, of one evaluation of the denoiser, and `tflops`, `peak_tflops` and
    `utilization`, as far as known.

    Args:
        record: of a race that was run.
        evaluation_s: seconds of one evaluation.
        operations: what `count_operations` wrote for its model and size.
        measured: what `measure_peak_throughput` wrote for its device.
    """
    tflop = record["case"]["batch_size"] * operations["denoiser_flop"] / 1e12
    return {"tflop": tflop} | _shares(record, tflop / evaluation_s, measured)


def _shares(
    record: Mapping[str, Any], tflops: float, measured: Mapping[str, Any]
) -> dict[str, float]:
    peak = peak_tflops(record, measured)
    if peak is None:
        return {"tflops": tflops}
    return {"tflops": tflops, "peak_tflops": peak, "utilization": tflops / peak}
