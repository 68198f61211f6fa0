"""Lines in small plots, two to a row: how something grows with batch size or steps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sdbench.report.figures import style
from sdbench.report.figures.frame import (
    INNER,
    MARGIN,
    Whisker,
    heading_height,
    plot_frame,
    words_height,
)

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

_PLOT, _AXIS_BELOW, _LINE, _SECTION_GAP = 1.85, 0.5, 0.15, 0.1
_AXIS_LEFT, _LABELS_MAX, _GAP = 0.55, 1.55, 0.3
_WIDE = (INNER - _GAP) / 2
_FOR_INFINITE = 0.1
_MARKED = 25


@dataclass(frozen=True)
class Curve:
    """One line. `misfit`: the x at which it ended for lack of memory.

    `low`, `high` and `ideal`, what `y` would be at best, are empty or as long as `x` and `y`.
    """

    label: str
    precision: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    published: bool = False
    marker: str = "o"
    misfit: float | None = None
    ideal: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Curves that share axes, and `notes` on what has none.

    With a name in `infinite`, infinite values are plotted above the finite ones on a line of that
    name.
    """

    title: str
    ylabel: str
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()
    bold: bool = False
    from_zero: bool = True
    infinite: str = ""


@dataclass(frozen=True)
class Section:
    """Plots under one heading, or words in their place."""

    heading: str
    plots: tuple[Plot, ...]
    words: str = ""


@dataclass(frozen=True)
class CurveSheet:
    """A whole figure.

    `missing` is what it says without a section; `interval`, `solid` and `ideal` are what whiskers,
    solid and dotted lines show, as far as the legend has to say so.
    """

    title: str
    subtitle: str
    xlabel: str
    sections: Sequence[Section]
    footnote: str
    missing: str
    interval: str = ""
    solid: str = "measured here"
    ideal: str = ""


def plot_curves(sheet: CurveSheet) -> Figure:
    """Plot a sheet of curves on axes whose x is logarithmic to base 2."""
    with style.styled():
        return _plot(sheet)


def save_curves(sheet: CurveSheet, files: style.Files) -> None:
    """Plot a sheet of curves, and write it with its numbers."""
    style.save_figure(plot_curves(sheet), curve_data(sheet), files)


def curve_data(sheet: CurveSheet) -> pd.DataFrame:
    """Return what a sheet of curves shows, a row for each point; `y`, `low` and `high` are in the
    unit that `measure` names."""
    data = []
    for section in sheet.sections:
        for plot in section.plots:
            for curve in plot.curves:
                ends = zip(curve.low, curve.high, strict=True)
                for x, y in zip(curve.x, curve.y, strict=True):
                    low, high = next(ends, (None, None))
                    data.append(
                        (section.heading, plot.title, curve.label, curve.precision, curve.published,
                         x, plot.ylabel, y, low, high)
                    )  # fmt: skip
                data += [
                    (section.heading, plot.title, curve.label, curve.precision, curve.published,
                     x, f"{plot.ylabel}: {sheet.ideal}", y, None, None)
                    for x, y in zip(curve.x, curve.ideal, strict=False)
                ]  # fmt: skip
    columns = ["panel", "plot", "setting", "precision", "published", sheet.xlabel, "measure", "y",
               "low", "high"]  # fmt: skip
    return pd.DataFrame(data, columns=columns)


def _plot(sheet: CurveSheet) -> Figure:
    body = (
        sum(_section_height(section) for section in sheet.sections)
        if sheet.sections
        else words_height([sheet.missing])
    )
    frame = plot_frame(sheet.title, sheet.subtitle, sheet.footnote, body, _handles(sheet))
    if not sheet.sections:
        frame.say([sheet.missing], frame.top)
    top = frame.top
    for section in sheet.sections:
        frame.heading(section.heading, top)
        at = top + heading_height(section.heading)
        if section.words:
            frame.figure.text(
                frame.x(MARGIN),
                frame.y(at),
                style.wrap(section.words, style.TEXT, INNER),
                va="top",
                color=style.GREY,
            )
            at += _words_height(section)
        for row in _rows(section):
            below_titles = at + _titles_height(row)
            for column, plot in enumerate(row):
                labels = _labels_width(plot)
                left = MARGIN + column * (_WIDE + _GAP) + _AXIS_LEFT
                width = _WIDE - _AXIS_LEFT - labels
                axes = frame.axes(left, below_titles, width, _PLOT)
                _plot_axes(axes, plot, sheet.xlabel)
                frame.figure.text(
                    frame.x(left - _AXIS_LEFT),
                    frame.y(below_titles + _PLOT + _AXIS_BELOW),
                    _notes(plot),
                    va="top",
                    color=style.ALARM,
                    style="italic",
                )
            at += _row_height(row)
        top += _section_height(section)
    return frame.figure


def _rows(section: Section) -> list[tuple[Plot, ...]]:
    return [section.plots[i : i + 2] for i in range(0, len(section.plots), 2)]


def _title(plot: Plot) -> str:
    return style.wrap(plot.title, style.TEXT, _WIDE - _AXIS_LEFT, plot.bold)


def _titles_height(row: Sequence[Plot]) -> float:
    return 0.11 + _LINE * max(1 + _title(plot).count("\n") for plot in row)


def _notes(plot: Plot) -> str:
    return style.wrap("\n".join(plot.notes), style.TEXT, _WIDE)


def _row_height(row: Sequence[Plot]) -> float:
    notes = max(1 + _notes(plot).count("\n") if plot.notes else 0 for plot in row)
    return _titles_height(row) + _PLOT + _AXIS_BELOW + _LINE * notes + 0.12


def _section_height(section: Section) -> float:
    rows = sum(_row_height(row) for row in _rows(section))
    return heading_height(section.heading) + rows + _words_height(section) + _SECTION_GAP


def _words_height(section: Section) -> float:
    lines = len(style.wrap(section.words, style.TEXT, INNER).split("\n"))
    return 0.15 * lines + 0.12 if section.words else 0.0


def _labels_width(plot: Plot) -> float:
    widest = max((style.text_width(_wrapped(c), style.SMALL) for c in plot.curves), default=0.0)
    return widest + 0.12


def _wrapped(curve: Curve) -> str:
    return style.wrap(curve.label, style.SMALL, _LABELS_MAX)


def _plot_axes(axes: Axes, plot: Plot, xlabel: str) -> None:
    axes.set_title(
        _title(plot),
        loc="left",
        fontsize=style.TEXT,
        pad=5,
        weight="bold" if plot.bold else "normal",
    )
    axes.set_xlabel(xlabel)
    axes.set_ylabel(plot.ylabel)
    places = sorted({x for c in plot.curves for x in (*c.x, *([c.misfit] if c.misfit else []))})
    if not places:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    finite = [y for c in plot.curves for y in (*c.y, *c.high) if not math.isinf(y)]
    endless = any(math.isinf(y) for c in plot.curves for y in c.y)
    lowest, highest = _limits(finite, plot.from_zero, endless)
    infinite_y = highest - (highest - lowest) * _FOR_INFINITE
    axes.set_xscale("log", base=2)
    axes.set_xlim(places[0] / 1.12, places[-1] * 1.12)
    axes.xaxis.set_major_locator(ticker.FixedLocator(_ticks(places)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    for curve in plot.curves:
        _plot_curve(axes, curve, infinite_y)
    if endless:
        axes.axhline(infinite_y, color=style.GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axes.annotate(
            plot.infinite,
            (places[0], infinite_y),
            (2, 3),
            textcoords="offset points",
            color=style.GREY,
            fontsize=style.SMALL,
        )
    axes.set_ylim(lowest, highest)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5]))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    if not finite:
        axes.set_yticks([])
    _label_ends(axes, plot, infinite_y)


def _limits(finite: Sequence[float], from_zero: bool, endless: bool) -> tuple[float, float]:
    """Return the ends of a y axis with room above, and more of it for infinite values."""
    high = max(finite, default=1.0) or 1.0
    low = 0.0 if from_zero else min(finite, default=0.0)
    # Values that are all but equal shall look so.
    span = max(high - low, 0.05 * abs(high))
    return low - (0.0 if from_zero else 0.06 * span), high + (0.25 if endless else 0.08) * span


def _plotted(value: float, infinite_y: float) -> float:
    """Return where a value stands: the infinite ones on their line."""
    return infinite_y if math.isinf(value) else value


def _plot_curve(axes: Axes, curve: Curve, infinite_y: float) -> None:
    dark = style.colour(curve.precision)
    y = [_plotted(value, infinite_y) for value in curve.y]
    axes.plot(
        curve.x,
        y,
        color=dark,
        # More points than these would hide their line.
        marker=curve.marker if len(y) <= _MARKED else "none",
        markersize=4.5,
        linewidth=1.5,
        linestyle=(0, (4, 2)) if curve.published else "-",
        markerfacecolor=style.PAPER if curve.published else dark,
        markeredgewidth=1.3,
        label=curve.label,
    )
    axes.plot(
        curve.x[: len(curve.ideal)],
        curve.ideal,
        color=dark,
        linewidth=0.9,
        linestyle=":",
        zorder=1.8,
    )
    if curve.low:
        spread = [
            [max(value - low, 0) for value, low in zip(y, curve.low, strict=True)],
            [max(high - value, 0) for value, high in zip(y, curve.high, strict=True)],
        ]
        axes.errorbar(
            curve.x,
            y,
            yerr=spread,
            color=dark,
            linewidth=1.0,
            capsize=3.5,
            linestyle="none",
            zorder=1.9,
        )
    if curve.misfit is not None:
        last = y[-1] if y else 0.0
        if y:
            axes.plot(
                [curve.x[-1], curve.misfit], [last, last], color=dark, linewidth=0.8, linestyle=":"
            )
        axes.plot(
            curve.misfit,
            last,
            marker="X",
            color=style.ALARM,
            markersize=7,
            linestyle="none",
            markeredgecolor=style.PAPER,
            markeredgewidth=0.7,
            zorder=4,
            clip_on=False,
        )


def _ticks(places: Sequence[float]) -> list[float]:
    """Return the powers of two in the range of `places`, or the places where there are few."""
    if len(places) <= 4:
        return list(places)
    powers = [2.0**i for i in range(20)]
    return [power for power in powers if places[0] <= power <= places[-1]]


def _label_ends(axes: Axes, plot: Plot, infinite_y: float) -> None:
    """Write each curve's name behind its end, apart from the others'."""
    lowest, highest = axes.get_ylim()
    scale = _PLOT / (highest - lowest)
    ends = sorted(
        ((_plotted(curve.y[-1], infinite_y) - lowest) * scale if curve.y else 0.0, i)
        for i, curve in enumerate(plot.curves)
    )
    heights = {i: 0.125 * (1 + _wrapped(plot.curves[i]).count("\n")) for _, i in ends}
    middles = spread_apart([at for at, _ in ends], [heights[i] for _, i in ends], _PLOT)
    for middle, (_, i) in zip(middles, ends, strict=True):
        curve = plot.curves[i]
        axes.annotate(
            _wrapped(curve),
            (1, middle / _PLOT),
            (7, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            fontsize=style.SMALL,
            linespacing=1.05,
            color=style.INK,
        )
        axes.plot(
            [1.0, 1.015],
            [
                (_plotted(curve.y[-1], infinite_y) - lowest) * scale / _PLOT if curve.y else 0.0,
                middle / _PLOT,
            ],
            transform=axes.transAxes,
            clip_on=False,
            linewidth=1.4,
            color=style.colour(curve.precision),
        )


def spread_apart(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Move labels as little as needed for none to overlap.

    Args:
        wanted: middles where they would stand, rising.
        heights: of the labels, in the same unit.
        room: they start within 0 and `room`; more of them than fit stand above it.

    Returns:
        Middles, rising, each at least half of both heights from the next.
    """
    placed: list[float] = []
    for i, (middle, height) in enumerate(zip(wanted, heights, strict=True)):
        lowest = placed[-1] + (heights[i - 1] + height) / 2 if placed else height / 2
        placed.append(max(middle, lowest))
    limit = room
    for i in reversed(range(len(placed))):
        held = min(placed[i], limit - heights[i] / 2)
        below = sum(heights[:i])
        placed[i] = max(held, below + heights[i] / 2)
        limit = placed[i] - heights[i] / 2
    return placed


def _handles(sheet: CurveSheet) -> list[Patch | Line2D]:
    curves = [c for section in sheet.sections for plot in section.plots for c in plot.curves]
    grey = style.GREY
    handles: list[Patch | Line2D] = []
    if sheet.solid and any(not c.published and c.y for c in curves):
        handles.append(Line2D([], [], color=grey, marker="o", markersize=4.5, label=sheet.solid))
    if any(c.published and c.y for c in curves):
        handles.append(
            Line2D(
                [],
                [],
                color=grey,
                marker="o",
                markersize=4.5,
                markerfacecolor=style.PAPER,
                linestyle=(0, (4, 2)),
                label="published",
            )
        )
    if any(c.ideal for c in curves):
        handles.append(Line2D([], [], color=grey, linewidth=0.9, linestyle=":", label=sheet.ideal))
    if any(c.misfit is not None for c in curves):
        handles.append(
            Line2D(
                [],
                [],
                color=style.ALARM,
                marker="X",
                markersize=7,
                linestyle="none",
                label="does not fit in memory",
            )
        )
    if sheet.interval and any(c.low for c in curves):
        handles.append(Whisker([], [], label=sheet.interval))
    return handles
