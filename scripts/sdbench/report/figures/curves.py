"""Lines in small plots, two to a row: how something grows with batch size or steps."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from sdbench.report.figures import style
from sdbench.report.figures.frame import (
    INNER,
    MARGIN,
    Block,
    Frame,
    Whisker,
    headed,
    plot_blocks,
    said,
)
from sdbench.report.figures.results import Result

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

_PLOT, _AXIS_BELOW, _LINE, _SECTION_GAP = 1.85, 0.5, 0.15, 0.1
_AXIS_LEFT, _LABELS_MAX, _GAP = 0.55, 1.55, 0.3
_WIDE = (INNER - _GAP) / 2
_FOR_INFINITE = 0.1
_MARKED = 25

# What curves and legend have in common.
_SIZE = 4.5
_PUBLISHED: style.Look = {"linestyle": (0, (4, 2)), "markerfacecolor": style.PAPER}
_IDEAL: style.Look = {"linewidth": 0.9, "linestyle": ":"}
_MISFIT: style.Look = {"marker": "X", "color": style.ALARM, "markersize": 7, "linestyle": "none"}
MARKERS = {"pytorch": "o", "onnxruntime": "s", "openvino": "^"}
"""Of backends; any other has a diamond."""


@dataclass(frozen=True)
class Curve:
    """One line. `misfit`: the x at which it ended for lack of memory.

    `low`, `high` and `ideal`, what `y` would be at best, are empty or as long as `x` and `y`; where
    a point has no interval, its ends are not numbers.
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


def curve_of(
    label: str, way: Result, points: Mapping[int, Result], columns: Sequence[str], **more: Any
) -> Curve:
    """Return the curve of one way of running.

    Args:
        label: its name.
        way: any result of it.
        points: x -> result, all ok and x rising.
        columns: those of y and the ends of its interval, which is left out if one has none.
        more: the other fields of the curve.
    """
    y, low, high = columns
    numbers = [result.numbers for result in points.values()]
    has_interval = bool(numbers) and all(low in n for n in numbers)
    return Curve(
        label=label,
        precision=way.precision,
        x=tuple(map(float, points)),
        y=tuple(n[y] for n in numbers),
        low=tuple(n[low] for n in numbers) if has_interval else (),
        high=tuple(n[high] for n in numbers) if has_interval else (),
        published=way.published,
        marker=MARKERS.get(way.backend, "D"),
        **more,
    )


def run_curves(job: Any, make: Callable[..., CurveSheet]) -> None:
    """Do the work of a figure's script: plot what `make` returns of its inputs."""
    style.run_figure(job, lambda files, **inputs: save_curves(make(**inputs), files))


def save_curves(sheet: CurveSheet, files: style.Files) -> None:
    """Plot a sheet of curves, and write it with its numbers."""
    style.save_figure(plot_curves(sheet), curve_data(sheet), files, _missing(sheet))


def _missing(sheet: CurveSheet) -> str:
    """Say why a sheet has no points, in the words that stand in their place."""
    notes = [note for section in sheet.sections for plot in section.plots for note in plot.notes]
    words = filter(None, [*(section.words for section in sheet.sections), *notes])
    return "; ".join(dict.fromkeys(words)) or sheet.missing


def curve_data(sheet: CurveSheet) -> pd.DataFrame:
    """Return what a sheet of curves shows, a row for each point; `y`, `low` and `high` are in the
    unit that `measure` names."""
    data = []
    for heading, plot, curve in _curves(sheet):
        where = (heading, plot.title, curve.label, curve.precision, curve.published)
        points = zip_longest(curve.x, curve.y, curve.low, curve.high)
        data += [(*where, x, plot.ylabel, *values) for x, *values in points]
        ideal = f"{plot.ylabel}: {sheet.ideal}"
        scaling = zip(curve.x, curve.ideal, strict=False)
        data += [(*where, x, ideal, y, None, None) for x, y in scaling]
    columns = ["panel", "plot", "setting", "precision", "published", sheet.xlabel, "measure", "y",
               "low", "high"]  # fmt: skip
    return pd.DataFrame(data, columns=columns)


def _curves(sheet: CurveSheet) -> list[tuple[str, Plot, Curve]]:
    return [(s.heading, plot, c) for s in sheet.sections for plot in s.plots for c in plot.curves]


@style.styled()
def plot_curves(sheet: CurveSheet) -> Figure:
    """Plot a sheet of curves on axes whose x is logarithmic to base 2."""
    blocks = [
        headed(section.heading, _section(section, sheet.xlabel)) for section in sheet.sections
    ]
    blocks = blocks or [said([sheet.missing])]
    return plot_blocks(sheet.title, sheet.subtitle, sheet.footnote, blocks, _handles(sheet))


def _section(section: Section, xlabel: str) -> Block:
    words = style.wrap(section.words, style.TEXT, INNER)
    words_height = 0.15 * len(words.split("\n")) + 0.12 if words else 0.0
    rows = [_row(section.plots[i : i + 2], xlabel) for i in range(0, len(section.plots), 2)]

    def plot(frame: Frame, top: float) -> None:
        frame.text(MARGIN, top, words, color=style.GREY)
        top += words_height
        for height, plot_row in rows:
            plot_row(frame, top)
            top += height

    return words_height + sum(height for height, _ in rows) + _SECTION_GAP, plot


def _row(plots: Sequence[Plot], xlabel: str) -> Block:
    """Return up to two plots side by side, their notes below."""
    titles = 0.11 + _LINE * max(1 + _title(plot).count("\n") for plot in plots)
    all_notes = [style.wrap("\n".join(plot.notes), style.TEXT, _WIDE) for plot in plots]
    lines = max(len(notes.split("\n")) if notes else 0 for notes in all_notes)

    def plot_row(frame: Frame, top: float) -> None:
        look: style.Look = {"color": style.ALARM, "style": "italic"}
        for column, (plot, notes) in enumerate(zip(plots, all_notes, strict=True)):
            left = MARGIN + column * (_WIDE + _GAP)
            labels = [style.text_width(_wrapped(curve), style.SMALL) for curve in plot.curves]
            width = _WIDE - _AXIS_LEFT - max(labels, default=0) - 0.12
            axes = frame.axes(left + _AXIS_LEFT, top + titles, width, _PLOT)
            _plot_axes(axes, plot, xlabel)
            frame.text(left, top + titles + _PLOT + _AXIS_BELOW, notes, **look)

    return titles + _PLOT + _AXIS_BELOW + _LINE * lines + 0.12, plot_row


def _title(plot: Plot) -> str:
    return style.wrap(plot.title, style.TEXT, _WIDE - _AXIS_LEFT, plot.bold)


def _wrapped(curve: Curve) -> str:
    return style.wrap(curve.label, style.SMALL, _LABELS_MAX)


def _plot_axes(axes: Axes, plot: Plot, xlabel: str) -> None:
    weight = "bold" if plot.bold else "normal"
    axes.set_title(_title(plot), loc="left", fontsize=style.TEXT, pad=5, weight=weight)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(plot.ylabel)
    places = sorted({x for c in plot.curves for x in (*c.x, *([c.misfit] if c.misfit else []))})
    if not places:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    finite = [y for c in plot.curves for y in (*c.y, *c.low, *c.high) if math.isfinite(y)]
    endless = any(math.isinf(y) for c in plot.curves for y in (*c.y, *c.high))
    lowest, highest = _limits(finite, plot.from_zero, endless)
    infinite_y = highest - (highest - lowest) * _FOR_INFINITE
    axes.set_xscale("log", base=2)
    axes.set_xlim(places[0] / 1.12, places[-1] * 1.12)
    axes.xaxis.set_major_locator(ticker.FixedLocator(_ticks(places)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    for curve in plot.curves:
        _plot_curve(axes, curve, infinite_y)
    if endless:
        axes.axhline(infinite_y, color=style.GREY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        at = (places[0], infinite_y)
        small: style.Look = {"color": style.GREY, "fontsize": style.SMALL}
        axes.annotate(plot.infinite, at, (2, 3), textcoords="offset points", **small)
    axes.set_ylim(lowest, highest)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5]))
    axes.yaxis.set_major_formatter("{x:g}")
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
    published: style.Look = _PUBLISHED if curve.published else {}
    # More points than these would hide their line.
    marker = curve.marker if len(y) <= _MARKED else "none"
    look: style.Look = {"marker": marker, "markersize": _SIZE, "markeredgewidth": 1.3}
    axes.plot(curve.x, y, color=dark, linewidth=1.5, label=curve.label, **look, **published)
    axes.plot(curve.x[: len(curve.ideal)], curve.ideal, color=dark, zorder=1.8, **_IDEAL)
    if curve.low:
        low, high = ([_plotted(value, infinite_y) for value in e] for e in (curve.low, curve.high))
        spread = [
            [max(value - end, 0) for value, end in zip(y, low, strict=True)],
            [max(end - value, 0) for value, end in zip(y, high, strict=True)],
        ]
        whisker: style.Look = {"linewidth": 1.0, "capsize": 3.5, "linestyle": "none", "zorder": 1.9}
        axes.errorbar(curve.x, y, yerr=spread, color=dark, **whisker)
    if curve.misfit is not None:
        last = y[-1] if y else 0.0
        if y:
            ends = [curve.x[-1], curve.misfit]
            axes.plot(ends, [last, last], color=dark, linewidth=0.8, linestyle=":")
        edge: style.Look = {"markeredgecolor": style.PAPER, "markeredgewidth": 0.7}
        axes.plot(curve.misfit, last, zorder=4, clip_on=False, **edge, **_MISFIT)


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
    heights = [0.125 * (1 + _wrapped(plot.curves[i]).count("\n")) for _, i in ends]
    middles = spread_apart([at for at, _ in ends], heights, _PLOT)
    look: style.Look = {"va": "center", "fontsize": style.SMALL, "linespacing": 1.05}
    look |= {"xycoords": "axes fraction", "textcoords": "offset points", "color": style.INK}
    for middle, (end, i) in zip(middles, ends, strict=True):
        curve = plot.curves[i]
        axes.annotate(_wrapped(curve), (1, middle / _PLOT), (7, 0), **look)
        line: style.Look = {"transform": axes.transAxes, "clip_on": False, "linewidth": 1.4}
        places = [end / _PLOT, middle / _PLOT]
        axes.plot([1.0, 1.015], places, color=style.colour(curve.precision), **line)


def spread_apart(wanted: Sequence[float], heights: Sequence[float], room: float) -> list[float]:
    """Move labels as little as needed for none to overlap.

    `wanted` are middles, rising, and `heights` those of the labels. They start within 0 and `room`;
    more of them than fit stand above it. Returned are middles, rising, each at least half of both
    heights from the next.
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


def _handles(sheet: CurveSheet) -> list[Line2D]:
    curves = [curve for *_, curve in _curves(sheet)]
    look: style.Look = {"color": style.GREY, "marker": "o", "markersize": _SIZE}
    handles: list[Line2D] = []
    if sheet.solid and any(not c.published and c.y for c in curves):
        handles.append(Line2D([], [], label=sheet.solid, **look))
    if any(c.published and c.y for c in curves):
        handles.append(Line2D([], [], label="published", **look, **_PUBLISHED))
    if any(c.ideal for c in curves):
        handles.append(Line2D([], [], color=style.GREY, label=sheet.ideal, **_IDEAL))
    if any(c.misfit is not None for c in curves):
        handles.append(Line2D([], [], label="does not fit in memory", **_MISFIT))
    if sheet.interval and any(c.low for c in curves):
        handles.append(Whisker(sheet.interval))
    return handles
