"""Rows of all tables, together: which there are, which may be compared, and where each stands."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdbench.analysis.findings.estimates import Row
from sdbench.cases.options import NONE
from sdbench.tables.files import rows_of
from sdbench.tables.labels import backend_label, device_label
from sdbench.tables.published import Condition, condition, model_family

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MEASURED_WITH_US = "measured with sdbench"
"""How the source begins of rows that `export_results` wrote: they count as measured, elsewhere."""


@dataclass(frozen=True)
class Tables:
    """What the claims are set against; each row knows its table and line (`where`).

    `images` holds for each model the reference's images: `runs` by number of steps, and
    `trajectory` by state, each 8-bit of shape (height, width, 3).
    """

    results: Sequence[Row] = ()
    quality: Sequence[Row] = ()
    races: Sequence[Row] = ()
    published: Sequence[Row] = ()
    images: Mapping[str, Mapping[str, Mapping[int, NDArray[np.uint8]]]] = field(
        default_factory=dict
    )


def numbered(table: pd.DataFrame, name: str) -> list[Row]:
    """Return the rows of a table that have numbers, each with its place (`where`): file and line.

    Args:
        table: as read from its file, in the file's order.
        name: of the file.
    """
    return [
        row | {"where": (name, line)}
        for line, row in enumerate(rows_of(table), start=2)
        if row["status"] == "ok"
    ]


def elsewhere(tables: Tables) -> list[Row]:
    """Return the rows that were measured with sdbench on other machines."""
    return [
        {**row, "device": row["campaign"]}
        for row in tables.published
        if str(row["source"]).startswith(MEASURED_WITH_US)
    ]


def all_latency(tables: Tables) -> list[Row]:
    """Return the rows that have a time for an image, of this machine and of others."""
    return [row for row in [*tables.results, *elsewhere(tables)] if row["latency_s"]]


def single_images(tables: Tables) -> list[Row]:
    """Return the rows of `all_latency` that generated one image at a time."""
    return [row for row in all_latency(tables) if row["batch_size"] == 1]


def best_batches(rows: Iterable[Row]) -> list[Row]:
    """Return of each variant the row with the most images per minute, whatever its batch."""
    best: dict[Any, Row] = {}
    for row in rows:
        key = grouping("device", "device_name", "model", "backend", "precision", "options")(row)
        if key not in best or row["images_per_minute"] > best[key]["images_per_minute"]:
            best[key] = row
    return list(best.values())


def grouping(*columns: str) -> Callable[[Row], tuple[Condition | Any, ...]]:
    """Return a key of rows with the same generation settings that agree in these columns."""
    return lambda row: (
        _generated(row),
        *(model_family(str(row[c])) if c == "model" else row[c] for c in columns),
    )


def _generated(row: Row) -> Condition | tuple[Any, ...]:
    # QUALITY has a row for each number of steps.
    if "step" in row:
        return tuple(row[c] for c in ("width", "height", "scheduler", "guidance"))
    return condition(row)


def as_text(key: Callable[[Row], Any]) -> Callable[[Row], str]:
    """Return a key to sort by, of one whose parts cannot be compared."""
    return lambda row: str(key(row))


def pairs(
    rows: Iterable[Row],
    first: Callable[[Row], bool],
    second: Callable[[Row], bool],
    alike: Sequence[str] = ("device", "device_name"),
) -> Iterator[tuple[Row, Row]]:
    """Yield each row that is a `first` with each that is a `second`, with the same generation
    settings, of one model, and agreeing in the columns `alike`."""
    rows = list(rows)
    key = grouping("model", *alike)
    seconds = [row for row in rows if second(row)]
    for one in filter(first, rows):
        for other in seconds:
            if key(one) == key(other):
                yield one, other


def subject(row: Row) -> str:
    """Return what a row is about, for a reader."""
    device = device_label(str(row["device_name"] or row["device"]))
    parts = [device, str(row["model"]), backend_label(str(row["backend"])), str(row["precision"])]
    if row["options"] != NONE:
        parts.append(str(row["options"]).replace("+", ", "))
    return ", ".join(parts)


def where(*rows: Row) -> str:
    """Return the places of rows as `table.csv: line, line; other.csv: line`."""
    lines: dict[str, list[int]] = {}
    for name, line in sorted(row["where"] for row in rows):
        lines.setdefault(name, []).append(line)
    return "; ".join(f"{name}: {', '.join(map(str, own))}" for name, own in lines.items())
