"""How much of a device a case uses: what it computes, by its time, against the device's peak.

Operations were counted by `count_operations`, peaks measured by `measure_peak_throughput`.
"""

from collections.abc import Mapping
from typing import Any

from sdbench.cases.measuring import PRODUCT
from sdbench.records.record import Record

HALVES = {"float16": "fp16", "bfloat16": "bf16"}
"""What autocast may compute in, as torch names it -> the precision."""


def flop_per_image(record: Record, operations: Mapping[str, int]) -> int:
    """Return the floating-point operations that one image of a measured case takes, by those of
    its networks, of the denoiser for one evaluation."""
    evaluations: int = record["launches"][0]["phases"][0]["denoiser_evaluations"]
    return (
        operations["text_encoder_flop"]
        + evaluations * operations["denoiser_flop"]
        + operations["vae_decoder_flop"]
    )


def _shares(record: Record, tflops: float, measured: Mapping[str, Any]) -> dict[str, float]:
    """Return `tflops` and, if the device's peak is known for the precision that is computed in,
    `peak_tflops` and `utilization`.

    It is unknown where it could not be measured, or was on another machine or with another number
    of threads, such as a record may have kept from before; and for products in 8 bits.
    """
    here, there = record["environment"], measured["environment"]
    switches = here["switches"]
    autocast = switches["autocast_dtype"]
    precision = HALVES[autocast] if autocast else record["case"]["variant"]["precision"]
    wanted = (PRODUCT, precision, "ok")
    peaks = (
        float(row["tflops"])
        for row in measured["peaks"]
        if (row["operation"], row["precision"], row["status"]) == wanted
    )
    same = all(there[key] == here[key] for key in ("device_name", "threads"))
    peak = next(peaks, None) if same and not switches.get("quantized_activations") else None
    if peak is None:
        return {"tflops": tflops}
    return {"tflops": tflops, "peak_tflops": peak, "utilization": tflops / peak}


def utilization_columns(
    record: Record,
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
    record: Record, evaluation_s: float, operations: Mapping[str, Any], measured: Mapping[str, Any]
) -> dict[str, float]:
    """Return `tflop`, of one evaluation of the denoiser, and `tflops`, `peak_tflops` and
    `utilization`, as far as known; the arguments are those of `utilization_columns`."""
    tflop = record["case"]["batch_size"] * operations["denoiser_flop"] / 1e12
    return {"tflop": tflop} | _shares(record, tflop / evaluation_s, measured)
