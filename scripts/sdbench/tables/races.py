"""The row of a race from its record."""

from collections.abc import Mapping, Sequence

from sdbench.cases.capabilities import BACKENDS
from sdbench.cases.case import Variant
from sdbench.tables.intervals import ratio_interval
from sdbench.tables.rows import Record, Row, compared_memory

import numpy as np


def race_row(record: Record, max_busy_cores: float) -> Row:
    """Return the row of the table `races`, but for what the device could do at best.

    Args:
        record: of any race.
        max_busy_cores: the config's: processors that may be busy before that counts as contention.
    """
    case, variant = record["case"], Variant(**record["case"]["variant"])
    environment, generation = record["environment"], case["generation"]
    reference = record["reference"]
    row = {
        **variant.as_dict(),
        "weights": record["weights"],
        "device_name": environment["device_name"],
        "attention": variant.attention,
        "device_kind": case["device"]["kind"],
        "threads": environment.get("threads"),
        "backend_version": environment["libraries"].get(BACKENDS[variant.backend].library),
        **{f"reference_{key}": reference[key] for key in ("backend", "precision", "options")},
        "batch_size": case["batch_size"],
        **{key: generation[key] for key in ("width", "height", "guidance")},
        "status": record["status"],
        "reason": record["reason"],
        "rounds": record["rounds"],
    }
    if record["status"] != "ok":
        return row
    runs = record["reference_run"], record["challenger_run"]
    base, own = (np.array(run["evaluation_s"]) for run in runs)
    low, high = ratio_interval(own, base)
    kind = case["device"]["kind"]
    base_memory, own_memory = (
        compared_memory(run["memory"], kind, raced["backend"])
        for run, raced in zip(runs, (reference, case["variant"]), strict=True)
    )
    waiting = max(waiting_cores(run) for run in runs)
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
        "contended": record["contention"]["contended"] or waiting > max_busy_cores,
    }


def waiting_cores(run: Mapping[str, Sequence[float]]) -> float:
    """Return how many processors one of a race kept busy while it waited, on average."""
    return sum(run["waited_cpu_s"]) / sum(run["waited_s"])
