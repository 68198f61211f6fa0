"""Plot what fits in how much memory: the largest batch of each way to run a model."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.report.figures import style
from sdbench.report.figures.frame import INNER, MARGIN, Frame, headed, plot_blocks, said
from sdbench.report.figures.memory import GB
from sdbench.report.figures.results import grouped, precision_place
from sdbench.report.figures.style import Files, run_figure, save_figure
from sdbench.tables.files import read_rows
from sdbench.tables.labels import number, shorten, variant_label
from sdbench.tables.schemas import DERIVED, FITS, MEASURED, NO, PREDICTED, UNKNOWN, YES

import pandas as pd
from matplotlib.patches import Patch, Rectangle

Row = Mapping[str, Any]

COUNTERS = {
    "peak_reserved_bytes": "peak reserved by torch plus what the driver counts beyond it",
    "resident_peak_bytes": "peak resident memory of the process, including Python and libraries",
    "reserved_after_run_bytes": "what torch holds after a run",
}
LABEL, CELL, LINE = 2.6, 0.52, 0.235
"""Inches: width of the names of the ways, width of a cell, height of a line."""
MISSING = "No case was measured, and the size of no weights is known."

_DARK = style.PRECISIONS["tf32"]
_REFUSED = style.lighter(style.ALARM, 0.86)
_LARGE = 64
"""Batches of this size and larger have the darkest colour."""


def plot_fits(fits: Path, files: Files) -> None:
    """Plot the largest batch in each size of memory, a line for each way to run a model."""
    rows = read_rows(fits, FITS)
    panels = [
        (_heading(own), lines)
        for own in grouped(rows, itemgetter("model", "device")).values()
        if (lines := sorted(_lines(own), key=_order))
    ]
    shown = [dict(row) for _, lines in panels for line in lines for row in line.cells]
    with style.styled():
        figure = plot_blocks(
            "Largest batch by memory size",
            "The largest batch for each memory size, in GB as cards are sold (2³⁰ bytes). The "
            "weights' size is exact; the memory per image is a linear fit of measured peaks. ≥: "
            "the fit is not believed far beyond the largest measured batch. Last column: the "
            "largest error of a batch, had the largest one not been measured, and the largest "
            "batch as predicted and as found on the device itself.",
            _footnote(rows),
            [
                headed(heading, (LINE * (len(lines) + 1) + 0.2, partial(_plot, lines)))
                for heading, lines in panels
            ]
            or [said([MISSING])],
            _handles(shown),
        )
    data = pd.DataFrame(shown, columns=list(FITS.columns))
    save_figure(figure, data, files, MISSING)


class Line(NamedTuple):
    """A way to run a model: its name, a row of the table for each size of memory, and its check."""

    label: str
    cells: list[Row]
    check: str


def _heading(rows: Sequence[Row]) -> str:
    counted = dict.fromkeys(COUNTERS[row["counter"]] for row in rows if row["counter"])
    place = f"{shorten(rows[0]['model'])} on {shorten(rows[0]['device'], 24)}"
    return f"{place}, {' or '.join(counted) or 'weights only'}"


def _lines(rows: Sequence[Row]) -> Iterator[Line]:
    """Yield the ways to run a model on a device, without those of which nothing is known."""
    several = len({row["backend"] for row in rows}) > 1
    for cells in grouped(rows, itemgetter("backend", "precision", "options")).values():
        if any(cell["fits"] != UNKNOWN for cell in cells):
            first = cells[0]
            backend = first["backend"] if several else ""
            label = variant_label(first["precision"], backend, first["options"])
            yield Line(label, cells, _check(cells))


def _order(line: Line) -> tuple[int, str, bool]:
    row = line.cells[0]
    return precision_place(row["precision"]), row["backend"], row["options"] != "none"


def _check(cells: Sequence[Row]) -> str:
    """Say how far predicted batches are from what was measured, where both exist."""
    row = cells[0]
    checked = [cell for cell in cells if cell["batch_error"] is not None]
    parts = []
    if checked:
        worst = max(checked, key=lambda cell: abs(cell["batch_error"]))
        parts.append(f"{_percent(worst['batch_error'])} at {worst['memory_gb']} GB")
    if row["derived_error"] is not None:
        parts.append(f"derived {_percent(row['derived_error'])}")
    if row["found_batch"] is not None and row["predicted_batch"] is not None:
        parts.append(f"batch {row['predicted_batch']}, found {row['found_batch']}")
    if parts or row["basis"] == MEASURED:
        return "; ".join(parts) or "too few batches to check"
    known = {DERIVED: "derived", PREDICTED: "computed"}
    return f"not measured: {known.get(row['basis'], 'weights only')}"


def _percent(share: float) -> str:
    return f"{100 * share:+.0f} %"


def _plot(lines: Sequence[Line], frame: Frame, top: float) -> None:
    sizes = [cell["memory_gb"] for cell in lines[0].cells]
    checks = LABEL + CELL * len(sizes) + 0.12
    axes = frame.axes(MARGIN, top, INNER, LINE * (len(lines) + 1))
    axes.set(xlim=(0, INNER), ylim=(len(lines) + 1, 0))
    axes.set_axis_off()
    for column, size in enumerate(sizes):
        middle = LABEL + CELL * (column + 0.5)
        axes.text(middle, 0.5, f"{size} GB", ha="center", va="center", color=style.GREY)
    axes.text(checks, 0.5, "error of the prediction", va="center", color=style.GREY)
    for place, line in enumerate(lines, start=1):
        label = style.fit(line.label, style.TEXT, LABEL - 0.1)
        axes.text(0, place + 0.5, label, va="center")
        for column, cell in enumerate(line.cells):
            _plot_cell(axes, cell, LABEL + CELL * column, place)
        check = style.fit(line.check, style.SMALL, INNER - checks)
        axes.text(checks, place + 0.5, check, va="center", fontsize=style.SMALL)


def _plot_cell(axes: Any, cell: Row, left: float, top: float) -> None:
    face, ink = _colours(cell)
    look: style.Look = {"facecolor": face, "edgecolor": style.GRID, "linewidth": 0.5}
    axes.add_patch(Rectangle((left + 0.015, top + 0.05), CELL - 0.03, 0.9, **look))
    middle = left + CELL / 2, top + 0.52
    axes.text(*middle, cell_text(cell), ha="center", va="center", color=ink)


def cell_text(cell: Row) -> str:
    """Return what a cell says: the largest batch, `~` before one that was not measured as it
    stands; `no`, or `?`."""
    if cell["fits"] != YES:
        return {NO: "no", UNKNOWN: "?"}[cell["fits"]]
    before = "\u2265" if cell["at_least"] else "~" if cell["basis"] in (DERIVED, PREDICTED) else ""
    return f"{before}{cell['largest_batch']}"


def _colours(cell: Row) -> tuple[str, str]:
    """Return the colours of a cell and of its text: the darker, the larger the batch."""
    if cell["fits"] == NO:
        return _REFUSED, style.ALARM
    if cell["fits"] == UNKNOWN:
        return style.PAPER, style.GREY
    share = min(1.0, math.log2(cell["largest_batch"] + 1) / math.log2(_LARGE))
    return style.lighter(_DARK, 0.85 * (1 - share)), style.PAPER if share > 0.7 else style.INK


def _handles(rows: Sequence[Row]) -> list[Patch]:
    """Return the legend of what the cells show."""
    shown = {row["fits"] for row in rows}
    known = "largest batch (~ computed, or derived from what was measured without the option)"
    labels = {
        YES: (style.lighter(_DARK, 0.5), known),
        NO: (_REFUSED, "does not fit"),
        UNKNOWN: (style.PAPER, "? not measured; the weights alone would fit"),
    }
    return [
        Patch(facecolor=colour, edgecolor=style.GRID, label=label)
        for fits, (colour, label) in labels.items()
        if fits in shown
    ]


def _footnote(rows: Sequence[Row]) -> str:
    weights = [
        f"{shorten(model, 24)} {number(size / GB)}"
        for model, size in {
            (row["model"], row["weights_bytes"])
            for row in rows
            if row["precision"] == "fp32" and row["options"] == "none"
        }
    ]
    listed = ", ".join(sorted(weights))
    said = f" Weights in fp32, in GB of 10⁹ bytes: {listed}." if weights else ""
    return (
        "The driver and other programs use part of a device's memory, and ECC 4 to 6 % of some. "
        "Columns are memory sizes, not devices: the memory per image was measured on the named "
        f"device.{said} Details: results/tables/fits.csv."
    )


if __name__ == "__main__":
    run_figure(snakemake, plot_fits)
