"""Sheets as figures of bars. Everything is placed in inches, so that forty devices make the figure
longer and nothing smaller.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from sdbench.report.figures import style
from sdbench.report.figures.frame import (
    MARGIN,
    Frame,
    Whisker,
    heading_height,
    plot_frame,
    words_height,
)
from sdbench.report.figures.sheets import NOTHING, Cell, Panel, Row, Sheet, sheet_data

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory

_GAP = 0.12
_ROW, _GROUP_GAP, _LINE = 0.235, 0.13, 0.15
_AXIS_BELOW, _PANEL_GAP = 0.42, 0.2
_NAME_MAX, _LABEL_MAX = 1.75, 2.5
_BAR = 0.66
_TICKS_APART = 0.3


def plot_sheet(sheet: Sheet) -> Figure:
    """Plot a sheet; nothing is left out, and nothing overlaps however much it holds."""
    with style.styled():
        return _plot(sheet)


def save_sheet(sheet: Sheet, files: style.Files) -> None:
    """Plot a sheet, and write it with its numbers."""
    style.save_figure(plot_sheet(sheet), sheet_data(sheet), files)


def _plot(sheet: Sheet) -> Figure:
    panels = [_fit_text(panel) for panel in sheet.panels]
    name_width = max((_names_width(panel) for panel in panels), default=0.0)
    label_width = max((_labels_width(panel) for panel in panels), default=0.0)
    body = sum(_height(panel) for panel in panels) if panels else words_height([sheet.missing])
    frame = plot_frame(sheet.title, sheet.subtitle, sheet.footnote, body, _legend_handles(sheet))
    if not panels:
        frame.say([sheet.missing], frame.top)
    top = frame.top
    for panel in panels:
        _plot_panel(frame, panel, top, name_width, label_width)
        top += _height(panel)
    return frame.figure


def _fit_text(panel: Panel) -> Panel:
    rows = tuple(
        replace(
            row,
            group=style.wrap(row.group, style.TEXT, _NAME_MAX, bold=not row.published),
            label=style.wrap(row.label, style.TEXT, _LABEL_MAX),
        )
        for row in panel.rows
    )
    return replace(panel, rows=rows)


def _names_width(panel: Panel) -> float:
    return max(
        (style.text_width(r.group, style.TEXT, bold=not r.published) for r in panel.rows),
        default=0.0,
    )


def _labels_width(panel: Panel) -> float:
    return max((style.text_width(r.label, style.TEXT) for r in panel.rows), default=0.0)


def _groups(panel: Panel) -> list[list[Row]]:
    return [
        list(rows) for _, rows in itertools.groupby(panel.rows, lambda r: (r.published, r.group))
    ]


def _row_height(row: Row) -> float:
    return _ROW + _LINE * row.label.count("\n")


def _group_height(rows: Sequence[Row]) -> float:
    name = _LINE * (1 + rows[0].group.count("\n")) + 0.08
    return max(sum(_row_height(row) for row in rows), name)


def _axis_height(panel: Panel) -> float:
    groups = _groups(panel)
    return sum(_group_height(rows) for rows in groups) + _GROUP_GAP * len(groups)


def _height(panel: Panel) -> float:
    return heading_height(panel.title) + _axis_height(panel) + _AXIS_BELOW + _PANEL_GAP


def _plot_panel(
    frame: Frame, panel: Panel, top: float, name_width: float, label_width: float
) -> None:
    frame.heading(panel.title, top)
    left = MARGIN + name_width + _GAP + label_width + _GAP
    tall = _axis_height(panel)
    gap = 0.2
    wide = (style.WIDTH - MARGIN - left - gap * (len(panel.columns) - 1)) / len(panel.columns)
    for column, label in enumerate(panel.columns):
        axes = frame.axes(
            left + column * (wide + gap), top + heading_height(panel.title), wide, tall
        )
        axes.set_ylim(tall, 0)
        axes.set_yticks([])
        axes.set_xlabel(label)
        _set_scale(axes, panel, column, wide)
        _plot_rows(axes, panel, column, wide + gap)
        if column == 0:
            _plot_names(frame.figure, axes, panel, left - _GAP)


def _plot_names(figure: Figure, axes: Axes, panel: Panel, right: float) -> None:
    left = MARGIN
    across = blended_transform_factory(figure.transFigure, axes.transData)
    at = 0.0
    for number_of_group, rows in enumerate(_groups(panel)):
        if number_of_group:
            axes.add_line(
                Line2D(
                    [left / style.WIDTH, 1 - MARGIN / style.WIDTH],
                    [at, at],
                    color=style.GRID,
                    linewidth=0.7,
                    transform=across,
                    clip_on=False,
                )
            )
        tall = _group_height(rows) + _GROUP_GAP
        axes.text(
            left / style.WIDTH,
            at + tall / 2,
            rows[0].group,
            transform=across,
            va="center_baseline",
            weight="normal" if rows[0].published else "bold",
            linespacing=1.15,
        )
        for row, centre in _centres(rows, at):
            axes.text(
                right / style.WIDTH,
                centre,
                row.label,
                transform=across,
                va="center_baseline",
                ha="right",
                linespacing=1.15,
            )
        at += tall


def _centres(rows: Sequence[Row], top: float) -> list[tuple[Row, float]]:
    spare = _group_height(rows) + _GROUP_GAP - sum(_row_height(row) for row in rows)
    at = top + spare / 2
    placed = []
    for row in rows:
        placed.append((row, at + _row_height(row) / 2))
        at += _row_height(row)
    return placed


def _plot_rows(axes: Axes, panel: Panel, column: int, pitch: float) -> None:
    at = 0.0
    for rows in _groups(panel):
        for row, centre in _centres(rows, at):
            cell = row.cells[column]
            if cell.value is None:
                after = itertools.takewhile(lambda c: c == NOTHING, row.cells[column + 1 :])
                _plot_words(axes, cell.text, centre, pitch * (1 + len(list(after))) - 0.35)
            else:
                _plot_cell(axes, panel, row, cell, centre, _full(panel, column))
        at += _group_height(rows) + _GROUP_GAP


def _plot_words(axes: Axes, words: str, y: float, wide: float) -> None:
    """Write why there is no number, `wide` inches wide at most: over columns that are empty too."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.text(
        float(axes.get_position().x0) + 4 / 72 / style.WIDTH,
        y,
        style.fit(words, style.TEXT, wide),
        transform=blended_transform_factory(figure.transFigure, axes.transData),
        va="center_baseline",
        color=style.ALARM,
        style="italic",
        bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.5},
    )


def _full(panel: Panel, column: int) -> float:
    return 0.0 if column else panel.full


def _plot_cell(axes: Axes, panel: Panel, row: Row, cell: Cell, y: float, full: float) -> None:
    assert cell.value is not None
    dark = style.colour(row.precision)
    hollow = row.published or row.pale
    if panel.log:
        axes.plot([axes.get_xlim()[0], cell.value], [y, y], color=style.GRID, linewidth=0.8)
        axes.plot(
            cell.value,
            y,
            marker="o",
            markersize=6.5,
            color=dark,
            linestyle="none",
            markerfacecolor=style.PAPER if row.published else dark,
            markeredgewidth=1.6,
        )
    else:
        axes.barh(
            y,
            cell.value,
            height=_BAR * _ROW,
            edgecolor=dark,
            linewidth=0.9,
            facecolor=style.lighter(dark, 0.75 if row.published else 0.5) if hollow else dark,
            hatch=style.HATCH if row.published else None,
        )
    if cell.low is not None and cell.high is not None:
        spread = [[max(cell.value - cell.low, 0)], [max(cell.high - cell.value, 0)]]
        # A pale line below the dark one keeps it visible on the darkest bar.
        lines = ((style.INK, 1.0),) if panel.log else ((style.PAPER, 2.2), (style.INK, 1.0))
        for tint, width in lines:
            axes.errorbar(
                cell.value,
                y,
                xerr=spread,
                color=tint,
                linewidth=width,
                capsize=2.2,
                capthick=width,
                linestyle="none",
                zorder=1.9 if panel.log else 3,
            )
    for marker, value in cell.marks:
        axes.plot(
            value,
            y,
            marker=marker,
            color=style.INK,
            markersize=5.5,
            linestyle="none",
            markeredgecolor=style.PAPER,
            markeredgewidth=0.7,
        )
    if full:
        half = _ROW / 2
        axes.plot([full] * 2, [y - half, y + half], color=style.INK, linewidth=1.2)
    end = max(cell.end, full)
    axes.annotate(cell.text, (end, y), (6, 0), textcoords="offset points", va="center_baseline")
    if cell.extra:
        after = 6 + 72 * style.text_width(cell.text, style.TEXT) + 6
        axes.annotate(
            cell.extra,
            (end, y),
            (after, 0),
            textcoords="offset points",
            va="center_baseline",
            color=style.GREY,
            fontsize=style.SMALL,
        )


def _cell_text_width(cell: Cell) -> float:
    extra = style.text_width(cell.extra, style.SMALL) + 6 / 72 if cell.extra else 0.0
    return style.text_width(cell.text, style.TEXT) + extra + 14 / 72


def _set_scale(axes: Axes, panel: Panel, column: int, wide: float) -> None:
    """Choose limits that leave room for the text behind every bar."""
    shown = slice(None) if panel.shared else slice(column, column + 1)
    cells = [cell for row in panel.rows for cell in row.cells[shown]]
    plotted = [cell for cell in cells if cell.value is not None]
    axes.grid(axis="y", visible=False)
    if not plotted or max(cell.end for cell in plotted) <= 0:
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        return
    full = _full(panel, column)
    room = [(max(cell.end, full), max(1 - _cell_text_width(cell) / wide, 0.15)) for cell in plotted]
    if panel.log:
        ends = [min(v for v in (c.value, c.low or c.value) if v is not None) for c in plotted]
        start = math.log10(min(ends)) - 0.12
        stop = max(start + (math.log10(end) - start) / share for end, share in room)
        short = max(1 - (stop - start), 0)
        start, stop = start - short / 2, stop + short / 2
        axes.set_xscale("log")
        axes.set_xlim(10**start, 10**stop)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        stop = max(end / share for end, share in room)
        axes.set_xlim(0, stop)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(max(3, int(wide * 1.6)), steps=[1, 2, 5]))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        if full:
            # Beyond the last bar there is text, and nothing to measure.
            reach = max(full, *(cell.end for cell in plotted))
            steps = (full / 4, full / 2, full)
            step = next((s for s in steps if wide * s / stop >= _TICKS_APART), full)
            axes.xaxis.set_major_locator(
                ticker.FixedLocator([step * i for i in range(int(reach / step) + 1)])
            )
            axes.xaxis.get_label().set_x(reach / 2 / stop)


def _legend_handles(sheet: Sheet) -> list[Patch | Line2D]:
    rows = [row for panel in sheet.panels for row in panel.rows]
    cells = [cell for row in rows for cell in row.cells]
    log = any(panel.log for panel in sheet.panels)
    grey = style.OTHER
    handles: list[Patch | Line2D] = []

    def dot(face: str) -> Line2D:
        return Line2D(
            [],
            [],
            marker="o",
            color=grey,
            markerfacecolor=face,
            linestyle="none",
            markersize=6.5,
            markeredgewidth=1.6,
        )

    def plotted(published: bool, pale: bool = False) -> bool:
        return any(
            row.published == published
            and (row.pale or not pale)
            and any(cell.value is not None for cell in row.cells)
            for row in rows
        )

    if plotted(published=False):
        mark = dot(grey) if log else Patch(facecolor=grey, edgecolor=grey)
        mark.set_label(sheet.solid)
        handles.append(mark)
    if sheet.pale and plotted(published=False, pale=True):
        handles.append(Patch(facecolor=style.lighter(grey, 0.5), edgecolor=grey, label=sheet.pale))
    if plotted(published=True):
        mark = (
            dot(style.PAPER)
            if log
            else Patch(facecolor=style.lighter(grey, 0.75), edgecolor=grey, hatch=style.HATCH)
        )
        mark.set_label("published")
        handles.append(mark)
    if sheet.interval and any(cell.low is not None for cell in cells):
        handles.append(Whisker([], [], label=sheet.interval))
    if sheet.full and any(panel.full for panel in sheet.panels) and plotted(published=False):
        handles.append(Line2D([], [], color=style.INK, linewidth=1.2, label=sheet.full))
    used = {marker for cell in cells for marker, _ in cell.marks}
    handles += [
        Line2D(
            [], [], marker=marker, color=style.INK, linestyle="none", markersize=5.5, label=words
        )
        for marker, words in sheet.marks
        if marker in used
    ]
    return handles
