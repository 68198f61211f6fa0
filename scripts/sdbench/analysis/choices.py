"""What should I use? All that was measured or published, ranked by what is needed."""

from collections.abc import Iterator, Mapping
from typing import Any

from sdbench.tables.files import rows_of
from sdbench.tables.published import FP32_TF32, condition
from sdbench.tables.schemas import CHOICES

import pandas as pd

MEASURED = "measured"


def rank_choices(
    own: pd.DataFrame, published: pd.DataFrame, need: Mapping[str, Any]
) -> pd.DataFrame:
    """Rank every way to generate an image that ran.

    Args:
        own: table of schema RESULTS.
        published: table of schema PUBLISHED.
        need: the config's section of that name.

    Returns:
        A table of schema CHOICES. Ranks begin again for other settings of generation (model family,
        size, steps, scheduler, guidance or none). What meets the need stands first, by seconds per
        image in calls back to back; the rest by how far it misses.
    """
    elsewhere = published.rename(columns={"campaign": "origin"})
    elsewhere["device"] = elsewhere["device_name"]
    elsewhere.loc[elsewhere["tf32_convolutions"], "precision"] = FP32_TF32
    both = [own.assign(origin=MEASURED), elsewhere]
    rows = [row for table in both for row in rows_of(table[table["status"] == "ok"])]
    by_condition: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        misses = dict(_misses(row, need))
        ranked = row | {
            "meets": not misses,
            "misses": "; ".join(misses) or None,
            "_by": max(misses.values(), default=0.0),
            "_seconds": _seconds_per_image(row),
        }
        by_condition.setdefault(condition(row), []).append(ranked)
    table = [
        row | {"rank": rank}
        for group in by_condition.values()
        for rank, row in enumerate(
            sorted(group, key=lambda row: (row["_by"], row["_seconds"])), start=1
        )
    ]
    return pd.DataFrame(table, columns=list(CHOICES.columns))


def _seconds_per_image(row: Mapping[str, Any]) -> float:
    if row["images_per_minute"]:
        return float(60 / row["images_per_minute"])
    return float(row["latency_s"] / row["batch_size"]) if row["latency_s"] else float("inf")


_NEEDS = {
    "seconds_per_image": ("latency_s", False, "unknown time", "{:.3g} times too slow"),
    "images_per_minute": (
        "images_per_minute",
        True,
        "unknown images per minute",
        "{:.3g} times too few images per minute",
    ),
    "memory_gb": ("memory_bytes", False, "unknown memory", "{:.3g} times too much memory"),
    "cost_per_1000_images": (
        "cost_per_1000_images",
        False,
        "unknown cost",
        "{:.3g} times too expensive",
    ),
}
"""Key of `need` -> column, whether more is better, what is said without a number, and with one."""

UNKNOWN = 1e9
"""How far something misses whose number is not known: behind all that is known to miss."""


def _misses(row: Mapping[str, Any], need: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield each need that a row misses, in words, and by which factor."""
    for key, (column, more_is_better, unknown, words) in _NEEDS.items():
        if key not in need:
            continue
        bound = need[key] * 1e9 if key == "memory_gb" else need[key]
        value = row.get(column)
        if value is None:
            yield unknown, UNKNOWN
            continue
        factor = bound / value if more_is_better else value / bound
        if factor > 1:
            yield words.format(max(factor, 1.01)), factor  # never "1 times"
    if need["quality_gate"] and row["passes_gate"] is False:
        yield "fails the quality gate", UNKNOWN
