"""The rows of the page's choice of cards: of each card the fastest way of each call."""

from collections.abc import Sequence
from typing import Any

from sdbench.analysis.question import order
from sdbench.report.figures.memory import GB
from sdbench.report.figures.results import grouped
from sdbench.tables.files import Row
from sdbench.tables.labels import TIMES, device_label, variant_label


def advice_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows of ADVICE as the page shows them, one for each card of each call."""
    calls = grouped(
        rows,
        lambda r: (r["model"], r["width"], r["height"], r["batch_size"], r["card"], r["device"]),
    )
    return [_shown(min(ways, key=order)) for ways in calls.values()]


def _shown(row: Row) -> dict[str, Any]:
    how = variant_label(row["precision"], row["backend"], row["options"])
    memory = row["memory_bytes"]
    card = device_label(row["card"])
    return {
        "model": row["model"],
        "size": f"{row['width']} {TIMES} {row['height']} px, {row['steps']} steps",
        "batch": row["batch_size"],
        "card": f"{card} (this machine)" if row["device"] else card,
        "card_gb": row["card_memory_gb"],
        "how": how + (f", {row['source']}" if row["source"] else ""),
        "basis": row["basis"],
        "latency_s": row["latency_s"],
        "latency_s_low": row["latency_ci_low_s"],
        "latency_s_high": row["latency_ci_high_s"],
        "images_per_minute": row["images_per_minute"],
        "images_per_minute_low": row["images_per_minute_ci_low"],
        "images_per_minute_high": row["images_per_minute_ci_high"],
        "memory_gb": None if memory is None else memory / GB,
        "memory_basis": row["memory_basis"],
        "cost": row["cost_per_1000_images"],
        "cost_low": row["cost_ci_low"],
        "cost_high": row["cost_ci_high"],
        "reason": row["reason"],
    }
