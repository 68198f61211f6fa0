"""How much of a device a case uses: what it computes, by its time, against the device's peak.

Operations were counted by `count_operations`, peaks measured by `measure_peak_throughput`.
"""

from collections.abc import Mapping
from typing import Any

from sdbench.cases.kinds import KINDS
from sdbench.cases.measuring import COMPUTING
from sdbench.records.record import Record
from sdbench.runtime.failures import KEY as FAILED
from sdbench.tables.files import Row

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


def _shares(record: Record, tflops: float, measured: Mapping[str, Any]) -> Row:
    """Return `tflops` and, if the device's peak is known for the precision that is computed in,
    `peak_tflops`, `peak_operation`, which reached it, and `utilization`.

    It is unknown where it could not be measured, or was on another machine or with another number
    of threads, such as a record may have kept from before; and for products in 8 bits.
    """
    here, there = record["environment"], measured["environment"]
    switches = here["switches"]
    autocast = switches["autocast_dtype"]
    precision = HALVES[autocast] if autocast else record["case"]["variant"]["precision"]
    peaks = (
        (float(row["tflops"]), row["operation"])
        for row in measured["peaks"]
        if row["operation"] in COMPUTING and (row["precision"], row["status"]) == (precision, "ok")
    )
    peak, operation = max(peaks, default=(0.0, ""))
    same = all(there[key] == here[key] for key in ("device_name", "threads"))
    if not KINDS[record["case"]["device"]["kind"]].is_gpu:
        # The names of processors say little, and the extensions in `device_name` not all.
        same = same and there["cpu"]["features"] == here["cpu"]["features"]
    if not peak or not same or switches.get("quantized_activations"):
        return {"tflops": tflops}
    return {
        "tflops": tflops,
        "peak_tflops": peak,
        "peak_operation": operation,
        "utilization": tflops / peak,
    }


def utilization_columns(
    record: Record,
    images_per_s: Mapping[str, float],
    operations: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> Row:
    """Return `tflop_per_image`, `peak_tflops`, `peak_operation` and, for each pass, its own
    `<pass>_tflops` and `<pass>_utilization`, as far as known: nothing if counting failed.

    Args:
        record: of a case that ran.
        images_per_s: what it achieved, by the name of the pass.
        operations: what `count_operations` wrote for its model.
        measured: what `measure_peak_throughput` wrote for its device.
    """
    if FAILED in operations:
        return {}
    per_image = flop_per_image(record, operations) / 1e12
    columns: Row = {"tflop_per_image": per_image}
    for name, rate in images_per_s.items():
        for column, value in _shares(record, per_image * rate, measured).items():
            columns[column if column.startswith("peak_") else f"{name}_{column}"] = value
    return columns


def race_utilization_columns(
    record: Record, evaluation_s: float, operations: Mapping[str, Any], measured: Mapping[str, Any]
) -> Row:
    """Return `tflop`, of one evaluation of the denoiser, and `tflops`, `peak_tflops`,
    `peak_operation` and `utilization`, as far as known; the arguments are those of
    `utilization_columns`."""
    if FAILED in operations:
        return {}
    tflop = record["case"]["batch_size"] * operations["denoiser_flop"] / 1e12
    return {"tflop": tflop} | _shares(record, tflop / evaluation_s, measured)
