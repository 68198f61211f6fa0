"""Plot what fits in how much memory: the largest batch of each way to run a model."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.report.figures import style
from sdbench.report.figures.frame import (
    INNER,
    MARGIN,
    Frame,
    heading_height,
    plot_frame,
    words_height,
)
from sdbench.report.figures.memory import GB
from sdbench.report.figures.style import Files, save_figure
from sdbench.tables.files import read_rows
from sdbench.tables.labels import number, shorten, variant_label
from sdbench.tables.schemas import DERIVED, FITS, MEASURED, NO, UNKNOWN, YES

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
MANY = 999
"""A larger batch is only said to be so: a line through small ones promises no such digits."""


def plot_fits(fits: Path, files: Files) -> None:
    """Plot the largest batch in each size of memory, a line for each way to run a model.

    Args:
        fits: table of schema FITS.
        files: written.
    """
    rows = read_rows(fits, FITS)
    panels = list(_panels(rows))
    shown = [dict(row) for panel in panels for line in panel.lines for row in line.cells]
    body = sum(map(_height, panels)) or words_height([MISSING])
    with style.styled():
        frame = plot_frame(
            "Largest batch by memory size",
            "The largest batch for each memory size, in GB of 10⁹ bytes. The weights' size is "
            "exact; the memory per image is a linear fit of measured peaks. Last column: the error "
            "of the fit at the largest measured batch, and the largest batch that was predicted "
            "and found on the device itself.",
            _footnote(rows),
            body,
            _handles(shown),
        )
        if not panels:
            frame.say([MISSING], frame.top)
        top = frame.top
        for panel in panels:
            _plot(frame, panel, top)
            top += _height(panel)
    save_figure(frame.figure, pd.DataFrame(shown, columns=list(FITS.columns)), files)


@dataclass(frozen=True)
class Line:
    """A way to run a model: its name, a row of the table for each size of memory, and its check."""

    label: str
    cells: list[Row]
    check: str


@dataclass(frozen=True)
class Panel:
    """The ways to run one model on one device."""

    heading: str
    lines: list[Line]


def _panels(rows: Sequence[Row]) -> Iterator[Panel]:
    """Yield the panels in the table's order, without lines of which nothing is known.

    The table need not have all backends of a model and device together.
    """
    places: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        places.setdefault((row["model"], row["device"]), []).append(row)
    for (model, device), own in places.items():
        counted = dict.fromkeys(COUNTERS[row["counter"]] for row in own if row["counter"])
        heading = f"{shorten(model)} on {shorten(device, 24)}, "
        heading += f"{' or '.join(counted)}" if counted else "weights only"
        lines = sorted(_lines(own), key=lambda line: _order(line.cells[0]))
        if lines:
            yield Panel(heading, lines)


def _lines(rows: Sequence[Row]) -> Iterator[Line]:
    backends = {row["backend"] for row in rows}
    for _, group in itertools.groupby(
        rows, key=lambda row: (row["backend"], row["precision"], row["options"])
    ):
        cells = list(group)
        if any(cell["fits"] != UNKNOWN for cell in cells):
            yield Line(_label(cells[0], len(backends) > 1), cells, _check(cells[0]))


def _order(row: Row) -> tuple[int, str, int]:
    precisions = list(style.PRECISIONS)
    place = precisions.index(row["precision"]) if row["precision"] in precisions else 99
    return place, row["backend"], 0 if row["options"] == "none" else 1


def _label(row: Row, name_backend: bool) -> str:
    if name_backend:
        return variant_label(row["precision"], row["backend"], row["options"])
    options = "" if row["options"] == "none" else f", {row['options'].replace('+', ', ')}"
    return f"{row['precision']}{options}"


def _check(row: Row) -> str:
    """Say how far the prediction is from what was measured, where both exist."""
    parts = []
    if row["peak_error"] is not None:
        parts.append(f"peak {_signed(row['peak_error'])}")
    if row["derived_error"] is not None:
        parts.append(f"derived {_signed(row['derived_error'])}")
    if row["found_batch"] is not None and row["predicted_batch"] is not None:
        parts.append(f"batch {row['predicted_batch']}, found {row['found_batch']}")
    if parts or row["basis"] == MEASURED:
        return "; ".join(parts) or "too few batches to check"
    return f"not measured: {'derived' if row['basis'] == DERIVED else 'weights only'}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _height(panel: Panel) -> float:
    return heading_height(panel.heading) + LINE * (len(panel.lines) + 1) + 0.2


def _plot(frame: Frame, panel: Panel, top: float) -> None:
    frame.heading(panel.heading, top)
    top += heading_height(panel.heading)
    sizes = [cell["memory_gb"] for cell in panel.lines[0].cells]
    width = LABEL + CELL * len(sizes)
    axes = frame.axes(MARGIN, top, INNER, LINE * (len(panel.lines) + 1))
    axes.set(xlim=(0, INNER), ylim=(len(panel.lines) + 1, 0))
    axes.set_axis_off()
    for column, size in enumerate(sizes):
        axes.text(
            LABEL + CELL * (column + 0.5),
            0.5,
            f"{size} GB",
            ha="center",
            va="center",
            color=style.GREY,
        )
    axes.text(width + 0.12, 0.5, "error of the prediction", va="center", color=style.GREY)
    for place, line in enumerate(panel.lines, start=1):
        label = style.fit(line.label, style.TEXT, LABEL - 0.1)
        axes.text(0, place + 0.5, label, va="center")
        for column, cell in enumerate(line.cells):
            _plot_cell(axes, cell, LABEL + CELL * column, place)
        check = style.fit(line.check, style.SMALL, INNER - width - 0.12)
        axes.text(width + 0.12, place + 0.5, check, va="center", fontsize=style.SMALL)


def _plot_cell(axes: Any, cell: Row, left: float, top: float) -> None:
    face, ink = _colours(cell)
    corner, width = (left + 0.015, top + 0.05), CELL - 0.03
    axes.add_patch(
        Rectangle(corner, width, 0.9, facecolor=face, edgecolor=style.GRID, linewidth=0.5)
    )
    middle = left + CELL / 2, top + 0.52
    axes.text(*middle, cell_text(cell), ha="center", va="center", color=ink)


def cell_text(cell: Row) -> str:
    """Return what a cell says: the largest batch, `~` before one that is derived; `no`, or `?`."""
    if cell["fits"] != YES:
        return {NO: "no", UNKNOWN: "?"}[cell["fits"]]
    if cell["largest_batch"] > MANY:
        return f">{MANY}"
    before = "\u2265" if cell["at_least"] else "~" if cell["basis"] == DERIVED else ""
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
    known = "largest batch (~ derived: measured without the option, with the size of its weights)"
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
    said = f" Weights in fp32, in GB: {', '.join(sorted(weights))}." if weights else ""
    return (
        "A device of 24 GiB has 25.8 GB; its driver and other programs use part of it. Columns are "
        f"memory sizes, not devices: the memory per image was measured on the named device.{said} "
        f"Details: results/tables/fits.csv."
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_fits, files=Files.of(snakemake.output))
