"""Figures of made-up tables, and reading them back, so that tests compare them with their table."""

from collections.abc import Sequence
from importlib import import_module
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from sdbench.report.figures.catalogue import FIGURES
from sdbench.report.figures.sheets import Cell, Panel, Sheet
from sdbench.tables import schemas
from sdbench.tables.labels import TIMES
from tests.unit.tables_factory import Rows, published, write_rows


def sheet_of(name: str, rows: Rows, folder: Path, campaigns: Sequence[str] = ()) -> Sheet:
    """Return the sheet of a figure of bars, by its name: of rows of the table that it reads first,
    of these campaigns of what others published if it reads them, and of no sets of images."""
    table, *others = FIGURES[name].tables
    first = write_rows(rows, folder / f"{table}.csv", getattr(schemas, table.upper()))
    make = getattr(import_module(f"plot_{name}"), f"{name}_sheet")
    no_sets = write_rows([], folder / "quality_set.csv", schemas.QUALITY_SET)
    more = (no_sets if other == "quality_set" else published(campaigns) for other in others)
    sheet: Sheet = make(first, *more)
    return sheet


def lines(panel: Panel) -> list[str]:
    """Return what the rows of a panel say: the label, and of each cell its number or its words; a
    multiplication sign as `x`."""

    def said(cell: Cell) -> str:
        return cell.text if cell.value is None else f"{cell.value:.4g} {cell.extra}".rstrip()

    return [
        f"{row.label}{' (pale)' * row.pale}: {' | '.join(map(said, row.cells))}".replace(TIMES, "x")
        for row in panel.rows
    ]


def bars(axes: Axes) -> list[Rectangle]:
    """Return the bars from top to bottom."""
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return sorted(found, key=lambda bar: bar.get_y())


def points(line: Line2D) -> tuple[list[float], list[float]]:
    """Return the places of a line in the units of its axes."""
    x, y = np.asarray(line.get_data(), float)
    return x.tolist(), y.tolist()


def texts(figure: Figure) -> list[str]:
    """Return every text on a figure, its lines joined."""
    return [t.get_text().replace("\n", " ") for t in _texts(figure)]


def faults(figure: Figure) -> list[str]:
    """Name texts that overlap, or that the figure's edge cuts off."""
    figure.set_dpi(200)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in _texts(figure)]
    whole = figure.bbox.padded(1)
    cut = [
        f"{text!r} is cut off"
        for text, box in boxes
        if not (whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1))
    ]
    overlapping = [
        f"{one!r} overlaps {other!r}"
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]
    return cut + overlapping


def _texts(figure: Figure) -> list[Text]:
    """Return what is plotted: matplotlib keeps ticks beyond the ends of an axis, undrawn."""
    undrawn = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    found = figure.findobj(lambda artist: isinstance(artist, Text) and id(artist) not in undrawn)
    return [t for t in found if isinstance(t, Text) and t.get_visible() and t.get_text()]
