"""How much of a device a case uses: what it computes, by its time, against the device's ceiling.

Pure: operations were counted by `count_operations`, ceilings measured by `measure_ceilings`.
"""

from collections.abc import Mapping
from typing import Any

from sdbench.cases.measuring import PRODUCT

HALVES = {"float16": "fp16", "bfloat16": "bf16"}
"""What autocast may compute in, as torch names it -> the precision."""


def flop_per_image(record: Mapping[str, Any], operations: Mapping[str, int]) -> int:
    """Return the floating-point operations that one picture of a measured case takes.

    Args:
        record: of a case that ran.
        operations: of one picture: `text_encoder_flop`, `denoiser_flop` of one evaluation,
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


def ceiling_tflops(record: Mapping[str, Any], measured: Mapping[str, Any]) -> float | None:
    """Return the TFLOP/s of the fastest matrix product in the precision of a measured case.

    Args:
        record: of a case that ran.
        measured: what `measure_ceilings` wrote for its device.

    Returns:
        None where there is none: it could not be measured, or was on another machine or with
        another number of threads, such as a record may have kept from before; or the case
        multiplies in 8 bits, in which no ceiling is measured.
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
            for row in measured["ceilings"]
            if row["operation"] == PRODUCT
            and row["precision"] == precision
            and row["status"] == "ok"
        ),
        None,
    )


def limit_columns(
    record: Mapping[str, Any],
    images_per_s: Mapping[str, float],
    operations: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> dict[str, float]:
    """Return `tflop_per_image`, `ceiling_tflops` and, for each pass, its own `<pass>_tflops` and
    `<pass>_ceiling_share`, as far as known.

    Args:
        record: of a case that ran.
        images_per_s: what it achieved, by the name of the pass.
        operations: what `count_operations` wrote for its model.
        measured: what `measure_ceilings` wrote for its device.
    """
    per_image = flop_per_image(record, operations) / 1e12
    columns = {"tflop_per_image": per_image}
    for name, rate in images_per_s.items():
        for column, value in _shares(record, per_image * rate, measured).items():
            columns[column if column == "ceiling_tflops" else f"{name}_{column}"] = value
    return columns


def race_limit_columns(
    record: Mapping[str, Any],
    evaluation_s: float,
    operations: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> dict[str, float]:
    """Return `tflop`, of one evaluation of the denoiser, and `tflops`, `ceiling_tflops` and
    `ceiling_share`, as far as known.

    Args:
        record: of a race that was run.
        evaluation_s: seconds of one evaluation.
        operations: what `count_operations` wrote for its model and size.
        measured: what `measure_ceilings` wrote for its device.
    """
    tflop = record["case"]["batch_size"] * operations["denoiser_flop"] / 1e12
    return {"tflop": tflop} | _shares(record, tflop / evaluation_s, measured)


def _shares(
    record: Mapping[str, Any], tflops: float, measured: Mapping[str, Any]
) -> dict[str, float]:
    ceiling = ceiling_tflops(record, measured)
    if ceiling is None:
        return {"tflops": tflops}
    return {"tflops": tflops, "ceiling_tflops": ceiling, "ceiling_share": tflops / ceiling}
