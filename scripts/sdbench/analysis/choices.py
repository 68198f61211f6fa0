"""What should I use? All that was measured or published, ranked by what is needed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sdbench.tables.files import Row, read_table, rows_of, write_table
from sdbench.tables.published import FP32_TF32, condition
from sdbench.tables.schemas import CHOICES, MEASURED, PUBLISHED, RESULTS

import pandas as pd


def rank_choices(results: Path, published: Path, need: Mapping[str, Any], table: Path) -> None:
    """Rank every way to generate an image that ran.

    Ranks begin again for other settings of generation (model family, size, steps, scheduler,
    guidance or none). What meets the need stands first, by seconds per image in calls back to back;
    the rest by how far it misses.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED.
        need: the config's section of that name.
        table: of schema CHOICES, written.
    """
    elsewhere = read_table(published, PUBLISHED).rename(columns={"campaign": "origin"})
    elsewhere["device"] = elsewhere["device_name"]
    elsewhere.loc[elsewhere["tf32_convolutions"], "precision"] = FP32_TF32
    own = read_table(results, RESULTS).assign(origin=MEASURED)
    by_condition: dict[Any, list[Row]] = {}
    for row in rows_of(own) + rows_of(elsewhere):
        if row["status"] != "ok":
            continue
        misses = dict(_misses(row, need))
        row |= {"meets": not misses, "misses": "; ".join(misses) or None}
        row["_order"] = max(misses.values(), default=0.0), _seconds_per_image(row)
        by_condition.setdefault(condition(row), []).append(row)
    ranked = [
        row | {"rank": rank}
        for group in by_condition.values()
        for rank, row in enumerate(sorted(group, key=lambda row: row["_order"]), start=1)
    ]
    write_table(pd.DataFrame(ranked), table, CHOICES)


def _seconds_per_image(row: Row) -> float:
    if row["images_per_minute"]:
        return float(60 / row["images_per_minute"])
    return float(row["latency_s"] / row["batch_size"]) if row["latency_s"] else float("inf")


_NEEDS = (
    ("seconds_per_image", "latency_s", "time", "slow"),
    ("images_per_minute", "images_per_minute", "images per minute", "few images per minute"),
    ("memory_gb", "memory_bytes", "memory", "much memory"),
    ("cost_per_1000_images", "cost_per_1000_images", "cost", "expensive"),
)
"""Key of `need`, column, what is unknown without a number, and what a row is too much with one."""

UNKNOWN = 1e9
"""How far something misses whose number is not known: behind all that is known to miss."""


def _misses(row: Row, need: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield each need that a row misses, in words, and by which factor."""
    for key, column, name, too in _NEEDS:
        if key not in need:
            continue
        bound = need[key] * 1e9 if key == "memory_gb" else need[key]
        value = row.get(column)
        if value is None:
            yield f"unknown {name}", UNKNOWN
            continue
        factor = bound / value if key == "images_per_minute" else value / bound
        if factor > 1:
            yield f"{max(factor, 1.01):.3g} times too {too}", factor  # never "1 times"
    if need["quality_gate"] and row["passes_gate"] is False:
        yield "fails the quality gate", UNKNOWN
