"""Rows of all tables, together: which there are, which may be compared, and where each stands."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdbench.records.image_archive import Images
from sdbench.tables.files import Row, rows_of
from sdbench.tables.labels import backend_label, device_label, options_label
from sdbench.tables.published import condition, model_family

import pandas as pd

MEASURED_WITH_US = "measured with sdbench"
"""How the source begins of rows that `export_results` wrote: they count as measured."""


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
    images: Mapping[str, Images] = field(default_factory=dict)


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


def everywhere(tables: Tables) -> list[Row]:
    """Return the rows that were measured with sdbench, on this machine and on others."""
    return [*tables.results] + [
        row | {"device": f"{row['campaign']} {row['device']}"}
        for row in tables.published
        if row["source"].startswith(MEASURED_WITH_US)
    ]


def single_images(tables: Tables) -> list[Row]:
    """Return the rows of `everywhere` that have a time for one image at a time."""
    return [row for row in everywhere(tables) if row["batch_size"] == 1 and row["latency_s"]]


def best_batches(rows: Iterable[Row]) -> list[Row]:
    """Return of each variant the row with the most images per minute, whatever its batch; a
    contended one only where all are."""
    best: dict[Any, Row] = {}
    for row in rows:
        key = _key(row, "device", "device_name", "model", "backend", "precision", "options")
        best[key] = max(
            best.get(key, row), row, key=lambda r: (not r["contended"], r["images_per_minute"])
        )
    return list(best.values())


def _key(row: Row, *columns: str) -> tuple[Any, ...]:
    """Return what rows share that have the same generation settings and agree in these columns."""
    # QUALITY has a row for each number of steps.
    settings = ("width", "height", "scheduler", "guidance")
    generated = tuple(row[c] for c in settings) if "step" in row else condition(row)
    return generated, *(model_family(row[c]) if c == "model" else row[c] for c in columns)


def groups(rows: Iterable[Row], *columns: str) -> Iterator[list[Row]]:
    """Yield rows together that have the same generation settings and agree in these columns."""

    def key(row: Row) -> str:
        return str(_key(row, *columns))

    for _, group in itertools.groupby(sorted(rows, key=key), key=key):
        yield list(group)


def pairs(
    rows: Iterable[Row],
    first: Callable[[Row], bool],
    second: Callable[[Row], bool],
    alike: Sequence[str] = ("device", "device_name"),
) -> Iterator[tuple[Row, Row]]:
    """Yield each row that is a `first` with each that is a `second`, with the same generation
    settings, of one model, and agreeing in the columns `alike`."""
    rows = list(rows)
    for one, other in itertools.product(filter(first, rows), filter(second, rows)):
        if _key(one, "model", *alike) == _key(other, "model", *alike):
            yield one, other


def machine(row: Row) -> str:
    """Return the device of a row, with the campaign of one that was not measured in this run."""
    device = device_label(str(row["device_name"] or row["device"]))
    return f"{device} (not this run: {row['campaign']})" if row.get("campaign") else device


def subject(row: Row) -> str:
    """Return what a row is about, for a reader."""
    parts = (
        machine(row),
        str(row["model"]),
        backend_label(str(row["backend"])),
        str(row["precision"]),
        options_label(row["options"]),
    )
    return ", ".join(filter(None, parts))


def where(*rows: Row) -> str:
    """Return the places of rows as `table.csv: line, line; other.csv: line`."""
    lines: dict[str, list[int]] = {}
    for name, line in sorted(row["where"] for row in rows):
        lines.setdefault(name, []).append(line)
    return "; ".join(f"{name}: {', '.join(map(str, own))}" for name, own in lines.items())
