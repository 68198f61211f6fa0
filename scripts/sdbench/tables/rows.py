"""One row of a table from one record."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Variant
from sdbench.cases.kinds import KINDS
from sdbench.measure.batch_prediction import device_peak_bytes
from sdbench.records.record import Record
from sdbench.tables.files import Row, rows_of
from sdbench.tables.intervals import bootstrap_interval, projected_interval, ratio_interval
from sdbench.tables.schemas import CASE_KEY, MEASURED, PROJECTED

import numpy as np
import pandas as pd

PARTS = ("text_encoder_s", "denoiser_s", "vae_decoder_s")


def case_columns(record: Record) -> Row:
    """Return what a row says of how a case, or one of a race, was run, and how that ended."""
    case, environment = record["case"], record["environment"]
    variant = Variant(**case["variant"])
    return {
        **case["generation"],
        **case["variant"],
        "attention": variant.attention,
        "weights": record["weights"],
        "device_kind": case["device"]["kind"],
        "device_name": environment["device_name"],
        "backend_version": environment["libraries"].get(BACKENDS[variant.backend].library),
        "batch_size": case["batch_size"],
        "status": record["status"],
        "reason": record["reason"],
        "basis": PROJECTED if record.get("projection") else MEASURED,
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
    by_variant: dict[Any, list[Row]] = {}
    for record in records:
        row = case_columns(record) | _memory_columns(record) | {"largest": False, "best": False}
        if record["status"] == "ok":
            row |= _latency_columns(record)
            row |= _projected_columns(record, row) or _throughput_columns(record)
            price = prices[row["device"]]
            if price:
                seconds_per_image = row["call_s"] / row["batch_size"]
                row["cost_per_1000_images"] = 1000 * seconds_per_image * price / 3600
                row["currency"] = currency
            by_variant.setdefault(operator.itemgetter(*CASE_KEY[:-1])(row), []).append(row)
        rows.append(row)
    for ran in by_variant.values():
        max(ran, key=operator.itemgetter("batch_size"))["largest"] = True
        max(ran, key=operator.itemgetter("images_per_minute"))["best"] = True
    return rows


def _latency_columns(record: Record) -> Row:
    samples, phases = record["latency"]["samples_s"], record["phases"]
    low, high = bootstrap_interval(samples, np.median)
    q1, median, q3 = np.percentile(samples, [25, 50, 75])
    parts = {part: [phase[part] for phase in phases] for part in PARTS}
    denoiser_q1, denoiser_q3 = np.percentile(parts["denoiser_s"], [25, 75])
    return {
        "latency_n": len(samples),
        "latency_s": median,
        "latency_q1_s": q1,
        "latency_q3_s": q3,
        "latency_ci_low_s": low,
        "latency_ci_high_s": high,
        "warmup_calls": len(record["latency"]["warmup_s"]),
        **record["cold_start"],
        **{part: float(np.median(seconds)) for part, seconds in parts.items()},
        "denoiser_q1_s": denoiser_q1,
        "denoiser_q3_s": denoiser_q3,
        "parts_n": len(phases),
        "step_s": float(np.median([step for phase in phases for step in phase["step_s"]])),
        "denoiser_evaluations": phases[0]["denoiser_evaluations"],
    }


def _memory_columns(record: Record) -> Row:
    memory, case = record["memory"] or {}, record["case"]
    backend = case["variant"]["backend"]
    peak = device_peak_bytes(memory, allocator_sees_all=backend == "pytorch")
    compared = compared_memory(memory, case["device"]["kind"], backend)
    return {**memory, "device_peak_bytes": peak, **compared}


def compared_memory(memory: Mapping[str, float | None], kind: str, backend: str) -> Row:
    """Return `memory_bytes`, by the one counter that rows of a kind of device are compared by, and
    as `memory_counter` what it counts; nothing where that was not counted.

    Args:
        memory: every counter of a process that it has, in bytes.
        kind: of its device, such as `cuda`.
        backend: what executed the networks.
    """
    column, counter = KINDS[kind].memory_counter
    peak = device_peak_bytes(memory, allocator_sees_all=backend == "pytorch")
    value = {**memory, "device_peak_bytes": peak}.get(column)
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
    short_calls = sum(call["call_s"] for call in calls) / row["latency_s"]
    return {
        "latency_ci_low_s": low,
        "latency_ci_high_s": high,
        "call_s": row["latency_s"],
        "images_per_minute": 60 * images / row["latency_s"],
        "images_per_minute_ci_low": high and 60 * images / high,
        "images_per_minute_ci_high": low and 60 * images / low,
        # At the mean power of the short calls, which are less of denoising than the whole.
        **_energy(projection["energy"], images * short_calls),
    }


def _throughput_columns(record: Record) -> Row:
    intervals, images_per_call = record["throughput"]["intervals_s"], record["case"]["batch_size"]
    call_s = float(np.mean(intervals))
    low, high = bootstrap_interval(intervals, np.mean)
    row = {
        "throughput_n": len(intervals),
        "call_s": call_s,
        "images_per_minute": 60 * images_per_call / call_s,
        # The slow end of the call is the low end of the rate.
        "images_per_minute_ci_low": high and 60 * images_per_call / high,
        "images_per_minute_ci_high": low and 60 * images_per_call / low,
    }
    return row | _energy(record["throughput"]["energy"], len(intervals) * images_per_call)


def _energy(energy: Mapping[str, Any] | None, images: float) -> Row:
    if energy is None:
        return {}
    return {"energy_j_per_image": energy["energy_j"] / images, "energy_source": energy["source"]}


def race_row(record: Record, max_busy_cores: float) -> Row:
    """Return the row of the table `races`, but for what the device could do at best.

    Args:
        record: of any race.
        max_busy_cores: the config's: processors that may be busy before that counts as contention.
    """
    case, reference = record["case"], record["reference"]
    row = case_columns(record) | {
        "threads": record["environment"].get("threads"),
        **{f"reference_{key}": reference[key] for key in ("backend", "precision", "options")},
        "rounds": record["rounds"],
    }
    if record["status"] != "ok":
        return row
    runs = record["reference_run"], record["challenger_run"]
    base, own = (np.array(run["evaluation_s"]) for run in runs)
    low, high = ratio_interval(own, base)
    base_memory, own_memory = (
        compared_memory(run["memory"], row["device_kind"], raced["backend"])
        for run, raced in zip(runs, (reference, case["variant"]), strict=True)
    )
    waiting = max(map(waiting_cores, runs))
    return row | {
        "evaluation_s": float(np.median(own)),
        "reference_evaluation_s": float(np.median(base)),
        "ratio": float(np.median(own) / np.median(base)),
        "ratio_ci_low": low,
        "ratio_ci_high": high,
        "ratio_min": float((own / base).min()),
        "ratio_max": float((own / base).max()),
        **{key: runs[1][key] for key in ("load_s", "compile_s", "compile_cached")},
        **own_memory,
        "reference_memory_bytes": base_memory.get("memory_bytes"),
        "divergence": record["divergence"],
        "waiting_cores": waiting,
        "contended": row["contended"] or waiting > max_busy_cores,
    }


def waiting_cores(run: Mapping[str, Sequence[float]]) -> float:
    """Return how many processors one of a race kept busy while it waited, on average."""
    return sum(run["waited_cpu_s"]) / sum(run["waited_s"])


def largest_row(search: Mapping[str, Any]) -> Row:
    """Return the row of the table `largest` from what a search found."""
    return {**search["variant"], **search, "probes": len(search["probes"])}


def peak_rows(measured: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the table `peak_throughput` from what `measure_peak_throughput` wrote for
    one device."""
    contention = measured["contention"]
    device = {
        "device": measured["device"],
        **{key: measured["environment"][key] for key in ("device_name", "threads")},
        "contended": contention and contention["contended"],
    }
    counts = (sum(map(len, row.get("samples_s", {}).values())) for row in measured["peaks"])
    return [
        device | row | {"n": count or None}
        for row, count in zip(measured["peaks"], counts, strict=True)
    ]


def noise_row(record: Record, start: Sequence[float], end: Sequence[float]) -> Row:
    """Return the row of the table `noise` for one job.

    Args:
        record: any record of the job, which names model, device and backend.
        start: seconds of the fixed work before the job's cases.
        end: the same after them. Both are empty where the device is not there.
    """
    row = case_columns(record) | {"n": len(start) + len(end)}
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


def export_row(model: str, graphs: str, record: Mapping[str, Any]) -> Row:
    """Return the row of the table `exports` for one network of a model, of these graphs."""
    return {"model": model, "graphs": graphs, **record}


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
    return [common | row for row in rows_of(comparison)]
