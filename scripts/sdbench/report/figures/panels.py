"""Sheets as figures of bars. Everything is placed in inches, so that forty devices make the figure
longer and nothing smaller.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from sdbench.report.figures import style
from sdbench.report.figures.frame import MARGIN, Frame, Whisker, headed, plot_blocks, said
from sdbench.report.figures.sheets import NOTHING, Cell, Panel, Row, Sheet, sheet_data

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory

_GAP = 0.12
_ROW, _GROUP_GAP, _LINE = 0.235, 0.13, 0.15
_AXIS_BELOW, _PANEL_GAP, _COLUMN_GAP = 0.42, 0.2, 0.2
_NAME_MAX, _LABEL_MAX = 1.75, 2.5
_NARROWER = (1.0, 0.85, 0.7)
"""Shares of both, of which the first is taken that leaves room for what stands behind the bars."""
_BAR_LEAST = 0.15
"""The share of a column that its longest bar takes at least."""
_BAR = 0.66
_TICKS_APART = 0.3

# What bars and legend have in common.
_DOT: style.Look = {"marker": "o", "markersize": 6.5, "markeredgewidth": 1.6, "linestyle": "none"}
_MARK: style.Look = {"color": style.INK, "markersize": 5.5, "linestyle": "none"}
_FULL: style.Look = {"color": style.INK, "linewidth": 1.2}
_PUBLISHED, _PALE = 0.75, 0.5
"""The share of white in such bars."""


def run_sheet(job: Any, make: Callable[..., Sheet]) -> None:
    """Do the work of a figure's script: plot what `make` returns of its inputs."""
    style.run_figure(job, lambda files, **inputs: save_sheet(make(**inputs), files))


def save_sheet(sheet: Sheet, files: style.Files) -> None:
    """Plot a sheet, and write it with its numbers."""
    style.save_figure(plot_sheet(sheet), sheet_data(sheet), files, sheet.missing)


@style.styled()
def plot_sheet(sheet: Sheet) -> Figure:
    """Plot a sheet; nothing is left out, and nothing overlaps however much it holds."""
    for share in _NARROWER:
        panels = [_fit_text(panel, share) for panel in sheet.panels]
        right = _labels_end(panels)
        if all(_column_width(panel, right) >= _column_needed(panel) for panel in panels):
            break
    blocks = []
    for panel in panels:
        groups = _groups(panel)
        tall = sum(group.height for group in groups)
        plot = partial(_plot_panel, panel, groups, right)
        blocks.append(headed(panel.title, (tall + _AXIS_BELOW + _PANEL_GAP, plot)))
    blocks = blocks or [said([sheet.missing])]
    handles = _legend_handles(sheet)
    return plot_blocks(sheet.title, sheet.subtitle, sheet.footnote, blocks, handles)


def _labels_end(panels: Sequence[Panel]) -> float:
    """Return how many inches from the left edge the labels of all panels end."""
    rows = [row for panel in panels for row in panel.rows]
    names = max((style.text_width(r.group, style.TEXT, not r.published) for r in rows), default=0.0)
    labels = max((style.text_width(r.label, style.TEXT) for r in rows), default=0.0)
    return MARGIN + names + _GAP + labels


def _column_width(panel: Panel, right: float) -> float:
    count = len(panel.columns)
    return (style.WIDTH - MARGIN - right - _GAP - _COLUMN_GAP * (count - 1)) / count


def _column_needed(panel: Panel) -> float:
    cells = [cell for row in panel.rows for cell in row.cells if cell.value is not None]
    return max(map(_cell_text_width, cells), default=0.0) / (1 - _BAR_LEAST)


def _fit_text(panel: Panel, share: float) -> Panel:
    rows = tuple(
        replace(
            row,
            group=style.wrap(row.group, style.TEXT, share * _NAME_MAX, bold=not row.published),
            label=style.wrap(row.label, style.TEXT, share * _LABEL_MAX),
        )
        for row in panel.rows
    )
    return replace(panel, rows=rows)


class _Group(NamedTuple):
    """The rows of one device. Places are in inches below the upper edge of the axes."""

    top: float
    height: float
    rows: list[tuple[Row, float]]
    """Each with the place of its middle."""


def _groups(panel: Panel) -> list[_Group]:
    groups = []
    top = 0.0
    for _, members in itertools.groupby(panel.rows, lambda r: (r.published, r.group)):
        rows = list(members)
        heights = [_ROW + _LINE * row.label.count("\n") for row in rows]
        name = _LINE * (1 + rows[0].group.count("\n")) + 0.08
        height = max(sum(heights), name) + _GROUP_GAP
        ends = itertools.accumulate(heights, initial=top + (height - sum(heights)) / 2)
        centres = [end + tall / 2 for end, tall in zip(ends, heights, strict=False)]
        groups.append(_Group(top, height, list(zip(rows, centres, strict=True))))
        top += height
    return groups


def _plot_panel(
    panel: Panel, groups: Sequence[_Group], right: float, frame: Frame, top: float
) -> None:
    """Plot a panel whose labels end `right` inches from the left edge."""
    left = right + _GAP
    tall = sum(group.height for group in groups)
    wide = _column_width(panel, right)
    for column, label in enumerate(panel.columns):
        axes = frame.axes(left + column * (wide + _COLUMN_GAP), top, wide, tall)
        axes.set_ylim(tall, 0)
        axes.set_yticks([])
        axes.set_xlabel(label)
        full = 0.0 if column else panel.full
        _set_scale(axes, panel, column, wide, full)
        for row, centre in itertools.chain.from_iterable(group.rows for group in groups):
            cell = row.cells[column]
            if cell.value is None:
                after = itertools.takewhile(lambda c: c == NOTHING, row.cells[column + 1 :])
                room = (wide + _COLUMN_GAP) * (1 + len(list(after))) - 0.35
                _plot_words(frame, axes, style.fit(cell.text, style.TEXT, room), centre)
            else:
                _plot_cell(axes, panel.log, row, cell, centre, full)
        if column == 0:
            _plot_names(frame, axes, groups, right)


def _across(frame: Frame, axes: Axes) -> Any:
    """Return the transform of shares of the figure's width, and inches down the axes."""
    return blended_transform_factory(frame.figure.transFigure, axes.transData)


def _plot_names(frame: Frame, axes: Axes, groups: Sequence[_Group], right: float) -> None:
    across = _across(frame, axes)
    look: style.Look = {"transform": across, "va": "center_baseline", "linespacing": 1.15}
    ends = [frame.x(MARGIN), frame.x(style.WIDTH - MARGIN)]
    for group in groups:
        if group.top:
            line = Line2D(ends, [group.top] * 2, color=style.GRID, linewidth=0.7, transform=across)
            line.set_clip_on(False)
            axes.add_line(line)
        first, _ = group.rows[0]
        weight = "normal" if first.published else "bold"
        axes.text(ends[0], group.top + group.height / 2, first.group, weight=weight, **look)
        for row, centre in group.rows:
            axes.text(frame.x(right), centre, row.label, ha="right", **look)


def _plot_words(frame: Frame, axes: Axes, words: str, y: float) -> None:
    """Write why there is no number, over columns that are empty too."""
    frame.figure.text(
        float(axes.get_position().x0) + frame.x(4 / 72),
        y,
        words,
        transform=_across(frame, axes),
        va="center_baseline",
        color=style.ALARM,
        style="italic",
        bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 0.5},
    )


def _plot_cell(axes: Axes, log: bool, row: Row, cell: Cell, y: float, full: float) -> None:
    assert cell.value is not None
    dark = style.colour(row.precision)
    if log:
        face = style.PAPER if row.published else dark
        axes.plot([axes.get_xlim()[0], cell.value], [y, y], color=style.GRID, linewidth=0.8)
        axes.plot(cell.value, y, color=dark, markerfacecolor=face, **_DOT)
    else:
        white = _PUBLISHED if row.published else _PALE if row.pale else 0.0
        axes.barh(
            y,
            cell.value,
            height=_BAR * _ROW,
            edgecolor=dark,
            linewidth=0.9,
            facecolor=style.lighter(dark, white),
            hatch=style.HATCH if row.published else None,
        )
    if cell.low is not None and cell.high is not None:
        spread = [[max(cell.value - cell.low, 0)], [max(cell.high - cell.value, 0)]]
        # A pale line below the dark one keeps it visible on the darkest bar.
        lines = ((style.INK, 1.0),) if log else ((style.PAPER, 2.2), (style.INK, 1.0))
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
                zorder=1.9 if log else 3,
            )
    for marker, value in cell.marks:
        edge: style.Look = {"markeredgecolor": style.PAPER, "markeredgewidth": 0.7}
        axes.plot(value, y, marker=marker, **edge, **_MARK)
    if full:
        axes.plot([full] * 2, [y - _ROW / 2, y + _ROW / 2], **_FULL)
    end = (max(cell.end, full), y)
    look: style.Look = {"textcoords": "offset points", "va": "center_baseline"}
    axes.annotate(cell.text, end, (6, 0), **look)
    if cell.extra:
        after = 6 + 72 * style.text_width(cell.text, style.TEXT) + 6
        small: style.Look = {"color": style.GREY, "fontsize": style.SMALL}
        axes.annotate(cell.extra, end, (after, 0), **small, **look)


def _cell_text_width(cell: Cell) -> float:
    extra = style.text_width(cell.extra, style.SMALL) + 6 / 72 if cell.extra else 0.0
    return style.text_width(cell.text, style.TEXT) + extra + 14 / 72


def _set_scale(axes: Axes, panel: Panel, column: int, wide: float, full: float) -> None:
    """Choose limits that leave room for the text behind every bar."""
    shown = slice(None) if panel.shared else slice(column, column + 1)
    cells = [cell for row in panel.rows for cell in row.cells[shown]]
    plotted = [cell for cell in cells if cell.value is not None]
    axes.grid(axis="y", visible=False)
    if not plotted or max(cell.end for cell in plotted) <= 0:
        axes.set_xlim(0, 1)
        axes.set_xticks([])
        return
    room = [
        (max(cell.end, full), max(1 - _cell_text_width(cell) / wide, _BAR_LEAST))
        for cell in plotted
    ]
    if panel.log:
        ends = [min(v for v in (c.value, c.low or c.value) if v is not None) for c in plotted]
        start = math.log10(min(ends)) - 0.12
        stop = max(start + (math.log10(end) - start) / share for end, share in room)
        short = max(1 - (stop - start), 0)
        axes.set_xscale("log")
        axes.set_xlim(10 ** (start - short / 2), 10 ** (stop + short / 2))
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        decade = wide / (stop - start + short)
        if decade < 3 * _TICKS_APART:
            # Powers of ten alone have room, and beyond the last mark there is only text.
            last = math.ceil(math.log10(max(end for end, _ in room)))
            stride = math.ceil(1.5 * _TICKS_APART / decade)
            places = [10.0**power for power in range(math.ceil(start), last + 1, stride)]
            axes.xaxis.set_major_locator(ticker.FixedLocator(places))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    else:
        stop = max(end / share for end, share in room)
        axes.set_xlim(0, stop)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(max(3, int(wide * 1.6)), steps=[1, 2, 5]))
        # Beyond the last bar there is text, and nothing to measure.
        reach = max(full, *(cell.end for cell in plotted))
        if not full and reach < 0.4 * stop:
            ticks = ticker.MaxNLocator(2, steps=[1, 2, 5]).tick_values(0, reach)
            places = [tick for tick in ticks if tick <= reach]
            if wide * places[1] / stop < _TICKS_APART:
                places = [places[0], places[-1]]
            if wide * places[-1] / stop < _TICKS_APART:
                places = places[-1:]
            axes.xaxis.set_major_locator(ticker.FixedLocator(places))
        if full:
            steps = (full / 4, full / 2, full)
            step = next((s for s in steps if wide * s / stop >= _TICKS_APART), full)
            places = [step * i for i in range(int(reach / step) + 1)]
            axes.xaxis.set_major_locator(ticker.FixedLocator(places))
            axes.xaxis.get_label().set_x(reach / 2 / stop)
    axes.xaxis.set_major_formatter("{x:g}")


def _legend_handles(sheet: Sheet) -> list[Patch | Line2D]:
    rows = [row for panel in sheet.panels for row in panel.rows]
    cells = [cell for row in rows for cell in row.cells]
    plotted = [row for row in rows if any(cell.value is not None for cell in row.cells)]
    own = [row for row in plotted if not row.published]
    log = any(panel.log for panel in sheet.panels)
    handles: list[Patch | Line2D] = []

    def add(label: str, white: float = 0.0, hatch: str | None = None) -> None:
        grey = style.OTHER
        if log:
            face = style.PAPER if white else grey
            handles.append(Line2D([], [], color=grey, markerfacecolor=face, label=label, **_DOT))
        else:
            face = style.lighter(grey, white)
            handles.append(Patch(facecolor=face, edgecolor=grey, hatch=hatch, label=label))

    if own:
        add(sheet.solid)
    if sheet.pale and any(row.pale for row in own):
        add(sheet.pale, _PALE)
    if len(own) < len(plotted):
        add(sheet.hatched, _PUBLISHED, style.HATCH)
    if sheet.interval and any(cell.low is not None for cell in cells):
        handles.append(Whisker(sheet.interval))
    if sheet.full and own and any(panel.full for panel in sheet.panels):
        handles.append(Line2D([], [], label=sheet.full, **_FULL))
    used = {marker for cell in cells for marker, _ in cell.marks}
    handles += [
        Line2D([], [], marker=marker, label=words, **_MARK)
        for marker, words in sheet.marks
        if marker in used
    ]
    return handles
