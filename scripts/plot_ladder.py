"""Plot each variant's denoiser against the reference's, from the slowest to the fastest."""

import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from sdbench.cases.kinds import KINDS
from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import grouped
from sdbench.report.figures.sheets import NOTHING, Cell, Panel, Row, Sheet
from sdbench.tables.files import read_rows
from sdbench.tables.labels import (
    PEAKS,
    TIMES,
    device_label,
    listing,
    number,
    plural,
    status_label,
    variant_label,
)
from sdbench.tables.schemas import RACES

Race = dict[str, Any]
WAY = ("precision", "backend", "options")
SAME_RACE = ("campaign", "model", "device", "device_name", "device_kind", "width", "height",
             "batch_size", "guidance", *(f"reference_{name}" for name in WAY))  # fmt: skip
"""Columns in which rows that share a panel agree."""


def ladder_sheet(races: Path) -> Sheet:
    """Return the ratio of each variant to its reference, its memory, and its utilization: a
    panel for each size, a row in it for each variant."""
    rows = _named(read_rows(races, RACES))
    return Sheet(
        title="The ladder: denoiser time relative to the reference",
        subtitle="Time of one evaluation of the UNet divided by that of the reference, slowest "
        "first. Both were timed in turns on identical inputs. Shorter is better. Right: peak "
        "memory of the process, and utilization: achieved FLOP/s over the measured peak throughput "
        "in the same precision, of a matrix product or a convolution.",
        panels=[_panel(members) for members in grouped(rows, itemgetter(*SAME_RACE)).values()],
        footnote=_footnote(rows),
        missing="No races: the config has no `races`, and resources/races/ has no table.",
        interval="95 % interval over launches; range if fewer than three launches",
        full="the reference",
        solid="raced here",
        hatched="raced on another machine (resources/races/)",
    )


def _named(rows: Sequence[Race]) -> list[Race]:
    """Return rows with the name of their machine also where it did not come to say it."""
    names = {(r["campaign"], r["device"]): r["device_name"] for r in rows if r["device_name"]}
    return [
        row | {"device_name": row["device_name"] or names.get((row["campaign"], row["device"]))}
        for row in rows
    ]


def _panel(members: Sequence[Race]) -> Panel:
    first = members[0]
    name = _machine(first)
    published = first["campaign"] is not None
    rows = (
        Row(name, _label(row), row["precision"], _cells(row), published)
        for row in sorted(members, key=lambda row: -(row["ratio"] or -math.inf))
    )
    columns = ("time / that of the reference", "peak memory (GB)")
    return Panel(_title(members), columns, tuple(rows), full=1.0)


def _title(members: Sequence[Race]) -> str:
    first = members[0]
    guided = "" if first["guidance"] > 1 else ", no guidance"
    seeded = " (weights: seeded)" if first["weights"] == "seeded" else ""
    reference = variant_label(*(first[f"reference_{name}"] for name in WAY))
    elsewhere = f", not run here but on {_machine(first)} ({first['campaign']})"
    times = [row["reference_evaluation_s"] for row in members if row["status"] == "ok"]
    seconds = list(dict.fromkeys(map(number, (min(times), max(times))))) if times else []
    return (
        f"{KINDS[first['device_kind']].label}: {first['model']}, "
        f"{first['width']} {TIMES} {first['height']} px, "
        f"{plural(int(first['batch_size']), 'image')}{guided}{seeded}"
        f"{elsewhere if first['campaign'] else ''} "
        f"— reference: {reference}" + (f", {' to '.join(seconds)} s" if seconds else "")
    )


def _machine(row: Race) -> str:
    return device_label(row["device_name"]) if row["device_name"] else str(row["device"])


def _label(row: Race) -> str:
    label = variant_label(*(row[name] for name in WAY))
    itself = all(row[name] == row[f"reference_{name}"] for name in WAY)
    return f"{label}, against itself" if itself else label


def _cells(row: Race) -> tuple[Cell, Cell]:
    if row["status"] != "ok":
        return Cell(None, status_label(row["status"], row["reason"] or "")), NOTHING
    low, high = row["ratio_ci_low"], row["ratio_ci_high"]
    if low is None:
        low, high = row["ratio_min"], row["ratio_max"]
    ratio = Cell(row["ratio"], f"{row['ratio']:.2f}", f"{low:.2f} to {high:.2f}", low, high)
    share = row["utilization"]
    peak = f"peak {PEAKS.get(row['peak_operation'], '')}".rstrip()
    words = f"{100 * share:.0f} % of {peak}" if share is not None else "no peak"
    if row["memory_bytes"] is None:
        return ratio, Cell(None, f"not counted; {words}")
    gigabytes = row["memory_bytes"] / 1e9
    return ratio, Cell(gigabytes, f"{number(gigabytes)} GB", words)


def _footnote(rows: Sequence[Race]) -> str:
    notes = [
        _note(campaign, members)
        for campaign, members in grouped(
            (row for row in rows if row["status"] == "ok"), itemgetter("campaign")
        ).items()
    ]
    if notes:
        notes.append("Load and compile times, divergence and more: results/tables/races.csv.")
    return " ".join(notes)


def _note(campaign: str | None, ran: Sequence[Race]) -> str:
    """Say which machine a run of races was on, and how its numbers were taken."""
    where = f"{campaign}, another run" if campaign else "Raced here"
    rounds = sorted({int(row["rounds"]) for row in ran})
    counts = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else str(rounds[0])
    note = f"{where}: {listing(map(_machine, ran))}; medians of {counts} rounds."
    contended = sum(row["contended"] is True for row in ran)
    if contended:
        note += f" Other processes used the device in {plural(contended, 'race')}."
    return note


if __name__ == "__main__":
    run_sheet(snakemake, ladder_sheet)
