"""One row of a table from one record."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Variant
from sdbench.cases.kinds import KINDS
from sdbench.measure.batch_prediction import device_peak_bytes
from sdbench.records.intervals import Interval, launch_interval
from sdbench.records.record import Record
from sdbench.tables.files import Row, rows_of
from sdbench.tables.schemas import CASE_KEY, MEASURED, PROJECTED

import numpy as np
import pandas as pd

Launches = Sequence[Mapping[str, Any]]
"""Of a record."""
PARTS = ("text_encoder", "denoiser", "vae_decoder")


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
        "threads": environment.get("threads"),
        "prompt_tokens_cut": max(environment.get("prompt_tokens_cut", {}).values(), default=None),
        "backend_version": environment["libraries"].get(BACKENDS[variant.backend].library),
        "batch_size": case["batch_size"],
        "status": record["status"],
        "reason": record["reason"],
        "basis": PROJECTED if _is_projected(record) else MEASURED,
        "contended": record["contention"] and record["contention"]["contended"],
    }


def _is_projected(record: Record) -> bool:
    return any(launch.get("projection") for launch in record["launches"] or ())


def result_rows(
    records: Sequence[Record],
    prices: Mapping[str, float],
    currency: str,
    precision: float,
    drift: Mapping[str, float | None],
) -> list[Row]:
    """Return the rows of the table `results`, but for what no single record knows: quality, noise
    and limits. Each variant's largest and best batch is marked.

    Args:
        records: the records of the matrix.
        prices: by device, what an hour of it costs; 0 for unknown.
        currency: of the prices.
        precision: the config's: how narrow the interval of the latency should be, as a share.
        drift: by device, what `drift_half` returned for its jobs.
    """
    rows = []
    by_variant: dict[Any, list[Row]] = {}
    for record in records:
        row = case_columns(record) | _memory_columns(record) | {"largest": False, "best": False}
        if record["status"] == "ok":
            launches = record["launches"]
            row["drift"] = drift[row["device"]]
            row |= _latency_columns(launches, precision, row["drift"] or 0.0)
            row |= _throughput_columns(launches, row["batch_size"], row["drift"] or 0.0)
            row["contended"] = any(launch["disturbed"] for launch in launches)
            price = prices[row["device"]]
            if price:
                seconds_per_image = row["call_s"] / row["batch_size"]
                row["cost_per_1000_images"] = 1000 * seconds_per_image * price / 3600
                row["currency"] = currency
            by_variant.setdefault(operator.itemgetter(*CASE_KEY[:-1])(row), []).append(row)
        rows.append(row)
    for ran in by_variant.values():
        max(ran, key=operator.itemgetter("batch_size"))["largest"] = True
        # A rate that was measured next to others' work leads nothing.
        max(ran, key=lambda row: (not row["contended"], row["images_per_minute"]))["best"] = True
    return rows


def _latency_columns(launches: Launches, precision: float, drift: float) -> Row:
    samples = [seconds for launch in launches for seconds in launch["latency"]["samples_s"]]
    phases = [phase for launch in launches for phase in launch["phases"]]
    medians = [np.median(one["latency"]["samples_s"]) for one in launches]
    latency, half_width = launch_interval(medians, drift), launch_interval(medians).half_width
    q1, q3 = np.percentile(samples, [25, 75])
    return {
        "launches": len(launches),
        "latency_launches_s": _listed(medians),
        "latency_n": len(samples),
        "latency_s": latency.value,
        "latency_q1_s": q1,
        "latency_q3_s": q3,
        "latency_ci_low_s": latency.low,
        "latency_ci_high_s": latency.high,
        "half_width": half_width,
        "precise": _is_precise(half_width, precision),
        "warmup_calls": len(launches[0]["latency"]["warmup_s"]),
        **_cold_start(launches),
        **_part_columns(launches, drift),
        "parts_n": len(phases),
        "step_s": _part(launches, "step_s", drift).value,
        "denoiser_evaluations": phases[0]["denoiser_evaluations"],
    }


def _is_precise(half_width: float | None, wanted: float) -> bool | None:
    return half_width is not None and half_width <= wanted if wanted else None


def _cold_start(launches: Launches) -> Row:
    """Return the medians of loading and first calls; compiling was in one launch."""
    starts = [launch["cold_start"] for launch in launches]
    first_calls = [start["first_call_s"] for start in starts if start["first_call_s"] is not None]
    return dict(starts[0]) | {
        "load_s": float(np.median([start["load_s"] for start in starts])),
        "first_call_s": float(np.median(first_calls)) if first_calls else None,
    }


def _part_columns(launches: Launches, drift: float) -> Row:
    """Return the seconds of each part of a call, with their intervals."""
    row: Row = {}
    for part in PARTS:
        seconds = _part(launches, f"{part}_s", drift)
        row |= {
            f"{part}_s": seconds.value,
            f"{part}_ci_low_s": seconds.low,
            f"{part}_ci_high_s": seconds.high,
        }
    return row


def _part(launches: Launches, name: str, drift: float) -> Interval:
    """Return the seconds of a part, or of a step."""
    medians = [np.median(np.hstack([one[name] for one in launch["phases"]])) for launch in launches]
    return launch_interval(medians, drift)


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


def _throughput_columns(launches: Launches, images: int, drift: float) -> Row:
    """Return the rate of calls back to back; of a projected case, which has none, that of single
    calls.

    Args:
        launches: of a record.
        images: in a call.
        drift: what `drift_half` returned.
    """
    passes = [launch["projection"] or launch["throughput"] for launch in launches]
    if launches[0]["projection"]:
        each = [np.median(one["latency"]["samples_s"]) for one in launches]
        call = launch_interval(each, drift)
        # At the mean power of the short calls, which are less of denoising than the whole.
        spent_s = sum(short["call_s"] for one in passes for short in one["calls"])
        row, calls = {}, spent_s / call.value
    else:
        each = [np.mean(one["intervals_s"]) for one in passes]
        call = launch_interval(each, drift)
        calls = sum(len(one["intervals_s"]) for one in passes)
        row = {"throughput_n": calls}
    energies = [one["energy"] for one in passes if one["energy"]]
    if len(energies) == len(passes):
        row["energy_j_per_image"] = sum(one["energy_j"] for one in energies) / (images * calls)
        row["energy_source"] = energies[0]["source"]
    return row | {
        "call_s": call.value,
        "images_per_minute": 60 * images / call.value,
        "images_per_minute_launches": _listed([60 * images / seconds for seconds in each]),
        # The slow end of the call is the low end of the rate.
        "images_per_minute_ci_low": call.high and 60 * images / call.high,
        "images_per_minute_ci_high": call.low and 60 * images / call.low,
    }


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def race_row(record: Record, max_busy_cores: float) -> Row:
    """Return the row of the table `races`, but for what the device could do at best.

    Args:
        record: of any race.
        max_busy_cores: the config's: processors that may be busy before that counts as contention.
    """
    case, reference = record["case"], record["reference"]
    row = case_columns(record) | {
        **{f"reference_{key}": reference[key] for key in ("backend", "precision", "options")},
        "rounds": record["rounds"],
    }
    if record["status"] != "ok":
        return row
    launches = record["launches"]
    seconds = {
        who: [np.median(launch[who]["evaluation_s"]) for launch in launches]
        for who in ("reference_run", "challenger_run")
    }
    # Within a launch both took turns: what slowed both is in neither ratio.
    ratios = [
        np.median(launch["challenger_run"]["evaluation_s"])
        / np.median(launch["reference_run"]["evaluation_s"])
        for launch in launches
    ]
    ratio = launch_interval(ratios)
    runs = [launch[who] for launch in launches for who in seconds]
    first = launches[0]
    base_memory, own_memory = (
        compared_memory(first[who]["memory"], row["device_kind"], raced["backend"])
        for who, raced in (("reference_run", reference), ("challenger_run", case["variant"]))
    )
    waiting = max(map(waiting_cores, runs))
    return row | {
        "launches": len(launches),
        "evaluation_s": launch_interval(seconds["challenger_run"]).value,
        "reference_evaluation_s": launch_interval(seconds["reference_run"]).value,
        "ratio": ratio.value,
        "ratio_ci_low": ratio.low,
        "ratio_ci_high": ratio.high,
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        **{key: first["challenger_run"][key] for key in ("load_s", "compile_s", "compile_cached")},
        **own_memory,
        "reference_memory_bytes": base_memory.get("memory_bytes"),
        "divergence": max(launch["divergence"] for launch in launches),
        "waiting_cores": waiting,
        "contended": row["contended"] or waiting > max_busy_cores,
    }


def waiting_cores(run: Mapping[str, Sequence[float]]) -> float:
    """Return how many processors one of a race kept busy while it waited, on average."""
    return sum(run["waited_cpu_s"]) / sum(run["waited_s"])


def largest_row(search: Mapping[str, Any]) -> Row:
    """Return the row of the table `largest` from what a search found."""
    at_least = search["largest_batch"] >= search["cap"]
    return {**search["variant"], **search, "probes": len(search["probes"]), "at_least": at_least}


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


def noise_row(record: Record, blocks: Sequence[Sequence[float]]) -> Row:
    """Return the row of the table `noise` for one job.

    Args:
        record: any record of the job, which names model, device and backend.
        blocks: seconds of the fixed work in each process that it was timed in, one for each block.
    """
    medians = [float(np.median(block)) for block in blocks if block]
    row = case_columns(record) | {"n": len(medians)}
    if not medians:
        return row
    noise = float(np.std(np.log(medians), ddof=1)) if len(medians) > 1 else None
    return row | {"reference_s": launch_interval(medians).value, "noise": noise}


def quality_rows(
    comparison: pd.DataFrame,
    variant: Mapping[str, Any],
    reference: Mapping[str, Any],
    settings: Mapping[str, Any],
    weights: str,
) -> list[Row]:
    """Return the rows of the table `quality` for one compared variant; `settings` are columns."""
    common = variant_columns(variant, reference, settings, weights)
    return [common | row for row in rows_of(comparison)]


def variant_columns(
    variant: Mapping[str, Any],
    reference: Mapping[str, Any],
    settings: Mapping[str, Any],
    weights: str,
) -> Row:
    """Return what a row says of a variant that is compared; `settings` are columns."""
    names = ("device", "backend", "precision", "options")
    return {
        **variant,
        "attention": Variant(**variant).attention,
        "weights": weights,
        **{f"reference_{key}": reference[key] for key in names},
        **settings,
    }
