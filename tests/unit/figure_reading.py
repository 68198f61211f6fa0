"""Reading a plotted figure back, so that tests compare it with its table."""

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text


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
    whole = figure.bbox
    cut = [
        f"{text!r} is cut off"
        for text, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > whole.x1 + 1 or box.y1 > whole.y1 + 1
    ]
    overlapping = [
        f"{one[0]!r} overlaps {other[0]!r}"
        for one, other in combinations(boxes, 2)
        if min(one[1].x1, other[1].x1) - max(one[1].x0, other[1].x0) > 1
        and min(one[1].y1, other[1].y1) - max(one[1].y0, other[1].y0) > 1
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
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text)
        and text.get_visible()
        and text.get_text()
        and id(text) not in undrawn
    ]
