"""Plot each variant's denoiser against the reference's, from the slowest to the fastest."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.kinds import KINDS
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.sheets import NOTHING, Cell, Panel, Row, Sheet
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table, rows_of
from sdbench.tables.labels import TIMES, device_label, number, plural, status_label, variant_label
from sdbench.tables.schemas import RACES

Race = dict[str, Any]
REFERENCE = ("reference_backend", "reference_precision", "reference_options")
SAME_RACE = ("campaign", "model", "device", "device_kind", "width", "height", "batch_size",
             "guidance", *REFERENCE)  # fmt: skip
"""Columns in which rows that share a panel agree."""


def plot_ladder(races: Path, files: Files) -> None:
    """Plot the ratio of each variant to its reference, its memory, and its utilization.

    Args:
        races: table of schema RACES.
        files: written.
    """
    save_sheet(ladder_sheet(races), files)


def ladder_sheet(races: Path) -> Sheet:
    """Return what the figure holds: a panel for each size, a row in it for each variant."""
    rows = rows_of(read_table(races, RACES))
    places = list(dict.fromkeys(_place(row) for row in rows))
    return Sheet(
        title="The ladder: denoiser time relative to the reference",
        subtitle="Time of one evaluation of the UNet divided by that of the reference, slowest "
        "first. Both were timed in turns on identical inputs. Shorter is better. Right: peak "
        "memory of the process, and utilization: achieved FLOP/s over the measured peak throughput "
        "in the same precision.",
        panels=[_panel([row for row in rows if _place(row) == place]) for place in places],
        footnote=_footnote(rows),
        missing="No races: the config has no `races`, and resources/races/ has no table.",
        interval="95 % interval; range if fewer than six rounds",
        full="the reference",
        solid="raced here",
    )


def _place(row: Race) -> tuple[Any, ...]:
    return tuple(row[key] for key in SAME_RACE)


def _panel(members: Sequence[Race]) -> Panel:
    first = members[0]
    ordered = sorted(members, key=lambda row: -(row["ratio"] or -math.inf))
    rows = (
        Row(
            next((device_label(r["device_name"]) for r in members if r["device_name"]), "")
            or first["device"],
            _label(row),
            row["precision"],
            _cells(row),
            published=row["campaign"] is not None,
        )
        for row in ordered
    )
    columns = ("time / that of the reference", "peak memory (GB)")
    return Panel(_title(members), columns, tuple(rows), full=1.0)


def _title(members: Sequence[Race]) -> str:
    first = members[0]
    guided = "" if first["guidance"] > 1 else ", no guidance"
    seeded = " (weights: seeded)" if first["weights"] == "seeded" else ""
    reference = variant_label(
        first["reference_precision"], first["reference_backend"], first["reference_options"]
    )
    published = f" (published: {first['campaign']})" if first["campaign"] else ""
    times = [row["reference_evaluation_s"] for row in members if row["status"] == "ok"]
    seconds = list(dict.fromkeys(map(number, (min(times), max(times))))) if times else []
    return (
        f"{KINDS[first['device_kind']].label}: {first['model']}, "
        f"{first['width']} {TIMES} {first['height']} px, "
        f"{plural(int(first['batch_size']), 'image')}{guided}{seeded}{published} "
        f"— reference: {reference}" + (f", {' to '.join(seconds)} s" if seconds else "")
    )


def _label(row: Race) -> str:
    label = variant_label(row["precision"], row["backend"], row["options"])
    keys = ("backend", "precision", "options")
    itself = all(row[key] == row[f"reference_{key}"] for key in keys)
    return f"{label}, against itself" if itself else label


def _cells(row: Race) -> tuple[Cell, Cell]:
    if row["status"] != "ok":
        return Cell(None, status_label(row["status"], row["reason"] or "")), NOTHING
    low, high = row["ratio_ci_low"], row["ratio_ci_high"]
    if low is None:
        low, high = row["ratio_min"], row["ratio_max"]
    ratio = Cell(row["ratio"], f"{row['ratio']:.2f}", f"{low:.2f} to {high:.2f}", low, high)
    share = row["utilization"]
    words = f"{100 * share:.0f} % of peak" if share is not None else "no peak"
    if row["memory_bytes"] is None:
        return ratio, Cell(None, f"not counted; {words}")
    gigabytes = row["memory_bytes"] / 1e9
    return ratio, Cell(gigabytes, f"{number(gigabytes)} GB", words)


def _footnote(rows: Sequence[Race]) -> str:
    ran = [row for row in rows if row["status"] == "ok"]
    if not ran:
        return ""
    rounds = sorted({int(row["rounds"]) for row in ran})
    counts = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else str(rounds[0])
    note = f"Medians of {counts} rounds. "
    contended = sum(row["contended"] is True for row in ran)
    if contended:
        note += f"Other processes used the device in {plural(contended, 'race')}. "
    return f"{note}Load and compile times, divergence and more: results/tables/races.csv."


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_ladder, files=Files.of(snakemake.output))
