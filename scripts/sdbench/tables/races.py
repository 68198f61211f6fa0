"""The row of a race from its record."""

from collections.abc import Mapping, Sequence

from sdbench.records.record import Record
from sdbench.tables.files import Row
from sdbench.tables.intervals import ratio_interval
from sdbench.tables.rows import case_columns, compared_memory

import numpy as np


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
