"""One row of a table from one record."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Variant
from sdbench.cases.kinds import KINDS
from sdbench.measure.batch_prediction import device_peak_bytes
from sdbench.tables.intervals import bootstrap_interval, projected_interval
from sdbench.tables.schemas import MEASURED, PROJECTED

import numpy as np
import pandas as pd

Record = Mapping[str, Any]
Row = dict[str, Any]

EXPORTED = (
    "reason",
    "opset",
    "parameters",
    "max_abs_error",
    "max_rel_error",
    "tolerance",
    "file_bytes",
    "export_s",
)
"""What a network that an engine cannot run has no value of."""


def case_columns(record: Record) -> Row:
    """Return what a row of the table `results` says of how its case was run, and how that ended."""
    case, variant = record["case"], Variant(**record["case"]["variant"])
    generation = case["generation"]
    library = BACKENDS[variant.backend].library
    return {
        "model": variant.model,
        "weights": record["weights"],
        "device": variant.device,
        "device_kind": case["device"]["kind"],
        "device_name": record["environment"]["device_name"],
        "backend": variant.backend,
        "precision": variant.precision,
        "options": variant.options,
        "attention": variant.attention,
        "backend_version": record["environment"]["libraries"].get(library),
        "batch_size": case["batch_size"],
        **{key: generation[key] for key in ("width", "height", "steps", "scheduler", "guidance")},
        "status": record["status"],
        "reason": record["reason"],
        "basis": PROJECTED if record["projection"] else MEASURED,
        "contended": record["contention"] and record["contention"]["contended"],
    }


def result_rows(records: Sequence[Record], prices: Mapping[str, float], currency: str) -> list[Row]:
    """Return the rows of the table `results`, but for what no single record knows: quality, noise
    and limits. Each variant's largest and best batch is marked.

    Args:
        records: the records of the matrix.
        prices: by device, what an hour of it costs; 0 for unknown.
        currency: of the prices.
    """
    rows = []
    for record in records:
        row = case_columns(record) | _memory_columns(record) | {"largest": False, "best": False}
        if record["status"] == "ok":
            row |= _latency_columns(record)
            row |= _projected_columns(record, row) or _throughput_columns(record)
            row |= _cost(prices[row["device"]], currency, row["call_s"] / row["batch_size"])
        rows.append(row)
    by_variant: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "ok":
            by_variant.setdefault(_variant(row), []).append(row)
    for ran in by_variant.values():
        max(ran, key=lambda row: row["batch_size"])["largest"] = True
        max(ran, key=lambda row: row["images_per_minute"])["best"] = True
    return rows


def _latency_columns(record: Record) -> Row:
    samples = record["latency"]["samples_s"]
    low, high = bootstrap_interval(samples, np.median)
    q1, median, q3 = np.percentile(samples, [25, 50, 75])
    phases = record["phases"]
    parts = ("text_encoder_s", "denoiser_s", "vae_decoder_s")
    return {
        "latency_n": len(samples),
        "latency_s": median,
        "latency_q1_s": q1,
        "latency_q3_s": q3,
        "latency_ci_low_s": low,
        "latency_ci_high_s": high,
        "warmup_calls": len(record["latency"]["warmup_s"]),
        **record["cold_start"],
        **{part: float(np.median([phase[part] for phase in phases])) for part in parts},
        "denoiser_q1_s": float(np.percentile([phase["denoiser_s"] for phase in phases], 25)),
        "denoiser_q3_s": float(np.percentile([phase["denoiser_s"] for phase in phases], 75)),
        "parts_n": len(phases),
        "step_s": float(np.median([step for phase in phases for step in phase["step_s"]])),
        "denoiser_evaluations": phases[0]["denoiser_evaluations"],
    }


def _memory_columns(record: Record) -> Row:
    memory, case = record["memory"] or {}, record["case"]
    backend = case["variant"]["backend"]
    compared = compared_memory(memory, case["device"]["kind"], backend)
    return {**memory, "device_peak_bytes": _device_peak_bytes(memory, backend), **compared}


def _device_peak_bytes(memory: Mapping[str, float | None], backend: str) -> int | None:
    return device_peak_bytes(memory, allocator_sees_all=backend == "pytorch")


def compared_memory(memory: Mapping[str, float | None], kind: str, backend: str) -> Row:
    """Return `memory_bytes`, by the one counter that rows of a kind of device are compared by, and
    as `memory_counter` what it counts; nothing where that was not counted.

    Args:
        memory: every counter of a process that it has, in bytes.
        kind: of its device, such as `cuda`.
        backend: what executed the networks.
    """
    column, counter = KINDS[kind].memory_counter
    counted = {**memory, "device_peak_bytes": _device_peak_bytes(memory, backend)}
    value = counted.get(column)
    return {} if value is None else {"memory_bytes": value, "memory_counter": counter}


def _projected_columns(record: Record, row: Row) -> Row:
    """Return the rate of single calls of a projected case; nothing of any other."""
    projection, images = record["projection"], record["case"]["batch_size"]
    if projection is None:
        return {}
    calls = projection["calls"]
    steps = [step for call in calls for step in call["step_s"]]
    besides = [call["call_s"] - sum(call["step_s"]) for call in calls]
    low, high = projected_interval(besides, steps, projection["evaluations"])
    share = row["latency_s"] / sum(call["call_s"] for call in calls)
    return {
        "latency_ci_low_s": low,
        "latency_ci_high_s": high,
        "call_s": row["latency_s"],
        "images_per_minute": 60 * images / row["latency_s"],
        "images_per_minute_ci_low": high and 60 * images / high,
        "images_per_minute_ci_high": low and 60 * images / low,
        # At the mean power of the short calls, which are less of denoising than the whole.
        **_energy(projection["energy"], images / share),
    }


def _throughput_columns(record: Record) -> Row:
    intervals, images_per_call = record["throughput"]["intervals_s"], record["case"]["batch_size"]
    call_s = float(np.mean(intervals))
    low, high = bootstrap_interval(intervals, np.mean)
    return {
        "throughput_n": len(intervals),
        "call_s": call_s,
        "images_per_minute": 60 * images_per_call / call_s,
        # The slow end of the call is the low end of the rate.
        "images_per_minute_ci_low": high and 60 * images_per_call / high,
        "images_per_minute_ci_high": low and 60 * images_per_call / low,
        **_energy(record["throughput"]["energy"], len(intervals) * images_per_call),
    }


def _energy(energy: Mapping[str, Any] | None, images: float) -> Row:
    if energy is None:
        return {}
    return {"energy_j_per_image": energy["energy_j"] / images, "energy_source": energy["source"]}


def _cost(price_per_hour: float, currency: str, seconds_per_image: float) -> Row:
    if not price_per_hour:
        return {}
    cost = 1000 * seconds_per_image * price_per_hour / 3600
    return {"cost_per_1000_images": cost, "currency": currency}


def largest_row(search: Mapping[str, Any]) -> Row:
    """Return the row of the table `largest` from what a search found."""
    found = {key: value for key, value in search.items() if key not in ("variant", "probes")}
    return {**search["variant"], **found, "probes": len(search["probes"])}


def peak_rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the table `peak_throughput` for one device.

    Args:
        measured: what `measure_peak_throughput` wrote for it.
    """
    environment, contention = measured["environment"], measured["contention"]
    device = {
        "device": measured["device"],
        **{key: environment[key] for key in ("device_name", "threads")},
        "contended": contention and contention["contended"],
    }
    kept = ("operation", "precision", "status", "reason", "side", "tflops", "gb_per_s")
    return [
        device
        | {key: row[key] for key in kept if key in row}
        | {"n": sum(map(len, row["samples_s"].values())) if "samples_s" in row else None}
        for row in measured["peaks"]
    ]


def noise_row(record: Record, start: Sequence[float], end: Sequence[float]) -> Row:
    """Return the row of the table `noise` for one job.

    Args:
        record: any record of the job, which names model, device and backend.
        start: seconds of the fixed work before the job's cases.
        end: the same after them. Both are empty where the device is not there.
    """
    columns = case_columns(record)
    row = {key: columns[key] for key in ("model", "device", "device_name", "backend")}
    row["n"] = len(start) + len(end)
    if not start or not end:
        return row
    first, last = float(np.median(start)), float(np.median(end))
    q1, median, q3 = np.percentile([*start, *end], [25, 50, 75])
    drift, spread = abs(last - first) / first, float((q3 - q1) / median)
    return row | {
        "start_s": first,
        "end_s": last,
        "drift": drift,
        "spread": spread,
        "noise": max(drift, spread),
    }


def _variant(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("model", "device", "backend", "precision", "options"))


def export_row(model: str, graphs: str, record: Mapping[str, Any]) -> Row:
    """Return the row of the table `exports` for one network of a model, of these graphs."""
    return {**dict.fromkeys(EXPORTED), "model": model, "graphs": graphs, **record}


def quality_rows(
    comparison: pd.DataFrame,
    variant: Mapping[str, Any],
    reference: Mapping[str, Any],
    settings: Mapping[str, Any],
    weights: str,
) -> list[Row]:
    """Return the rows of the table `quality` for one compared variant; `settings` are columns."""
    names = ("device", "backend", "precision", "options")
    common = {
        **variant,
        "attention": Variant(**variant).attention,
        "weights": weights,
        **{f"reference_{key}": reference[key] for key in names},
        **settings,
    }
    rows = comparison.to_dict("records")
    return [common | {str(key): value for key, value in row.items()} for row in rows]
