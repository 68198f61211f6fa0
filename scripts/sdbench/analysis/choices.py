"""What should I use? All that was measured or published, ranked by what is needed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.analysis.estimates import Estimate, apart, estimate
from sdbench.tables.files import Row, read_table, rows_of, write_table
from sdbench.tables.published import FP32_TF32, condition
from sdbench.tables.schemas import CHOICES, MEASURED, PUBLISHED, RESULTS, UNSAID

import pandas as pd


def rank_choices(results: Path, published: Path, need: Mapping[str, Any], table: Path) -> None:
    """Rank every way to generate an image that ran.

    Ranks begin again for other settings of generation (model family, size, steps, scheduler,
    guidance or none). What meets the need stands first, by seconds per image in calls back to back;
    the rest by how far it misses. Rows that cannot be told apart from the first of a rank share it;
    the next rank counts them. Rows whose times were taken beside other work have no rank and come
    last.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED.
        need: the config's section of that name.
        table: of schema CHOICES, written.
    """
    elsewhere = read_table(published, PUBLISHED).rename(columns={"campaign": "origin"})
    elsewhere["device"] = elsewhere["device"].fillna(elsewhere["device_name"])
    elsewhere.loc[elsewhere["tf32_convolutions"], "precision"] = FP32_TF32
    own = read_table(results, RESULTS).assign(origin=MEASURED)
    by_condition: dict[Any, list[Row]] = {}
    for row in rows_of(own) + rows_of(elsewhere):
        if row["status"] != "ok":
            continue
        misses = dict(_misses(row, need))
        row |= {"meets": not misses, "misses": "; ".join(misses) or None}
        worst = max(misses.values(), key=lambda factor: factor.value, default=Estimate(0.0))
        row["_standing"] = _Standing(row["contended"] is True, worst, _seconds_per_image(row))
        by_condition.setdefault(condition(row), []).append(row)
    ranked = [row for group in by_condition.values() for row in _ranked(group)]
    write_table(pd.DataFrame(ranked), table, CHOICES)


@dataclass(frozen=True)
class _Standing:
    """Where a row stands among others: `miss`, the factor of its worst miss, 0 if it meets the
    need; then its seconds per image."""

    contended: bool
    miss: Estimate
    seconds: Estimate

    @property
    def order(self) -> tuple[bool, float, float]:
        return self.contended, self.miss.value, self.seconds.value

    def apart(self, other: "_Standing") -> bool:
        """Return whether the two can be told apart by what their order is decided by."""
        if self.miss.value != other.miss.value:
            return apart(self.miss, other.miss)
        return apart(self.seconds, other.seconds)


def _ranked(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield rows in their order, with their ranks."""
    first: _Standing | None = None
    rank = 0
    for place, row in enumerate(sorted(rows, key=lambda row: row["_standing"].order), start=1):
        standing = row["_standing"]
        if first is None or standing.apart(first):
            first, rank = standing, place
        yield row | {"rank": None if standing.contended else rank}


def _seconds_per_image(row: Row) -> Estimate:
    if row["images_per_minute"]:
        return estimate(row, "images_per_minute").map(lambda rate: 60 / rate)
    if row["latency_s"]:
        return estimate(row, "latency_s").map(lambda seconds: seconds / row["batch_size"])
    return Estimate(math.inf)


_NEEDS = (
    ("seconds_per_image", "latency_s", "time", "slow"),
    ("images_per_minute", "images_per_minute", "images per minute", "few images per minute"),
    ("memory_gb", "memory_bytes", "memory", "much memory"),
    ("cost_per_1000_images", "cost_per_1000_images", "cost", "expensive"),
)
"""Key of `need`, column, what is unknown without a number, and what a row is too much with one."""

UNKNOWN = Estimate(1e9)
"""How far something misses whose number is not known: behind all that is known to miss."""
FAILED = Estimate(2 * UNKNOWN.value)
"""How far images miss that fail the quality gate: behind all else, so that they never come first
while there is another way."""


def _misses(row: Row, need: Mapping[str, Any]) -> Iterator[tuple[str, Estimate]]:
    """Yield each need that a row misses, in words, and by which factor."""
    if row["contended"]:
        yield "unknown time: other processes used the device", UNKNOWN
    for key, column, name, too in _NEEDS:
        if key not in need or (row["contended"] and column != "memory_bytes"):
            continue
        if row.get(column) is None:
            yield f"unknown {name}", UNKNOWN
            continue
        factor = _factor(row, column, need[key] * 1e9 if key == "memory_gb" else need[key])
        if factor.value > 1:
            yield f"{max(factor.value, 1.01):.3g} times too {too}", factor  # never "1 times"
    if need["quality_gate"] and row["passes_gate"] is False:
        yield "fails the quality gate", FAILED
    elif need["quality_gate"] and row.get("quality_verdict") == UNSAID:
        yield "its quality cannot be said", UNKNOWN


def _factor(row: Row, column: str, bound: float) -> Estimate:
    """Return how many times too much a row is."""
    if column == "images_per_minute":
        return estimate(row, column).map(lambda rate: bound / rate)
    if column == "cost_per_1000_images":  # is the time of an image, whose interval it has
        seconds = _seconds_per_image(row)
        return seconds.map(lambda s: s / seconds.value * row[column] / bound)
    return estimate(row, column).map(lambda value: value / bound)
