"""What stands around every figure: title, what is seen, legend, and where the numbers come from.

Places are in inches from the top left corner, so that a figure that holds more becomes longer and
nothing in it smaller.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sdbench.report.figures import style

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerLine2D
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

MARGIN = 0.25
INNER = style.WIDTH - 2 * MARGIN
"""Width in inches between the margins."""

_HANDLE_EMS = 1.8
_HEADING_LINE = 0.185


class Whisker(Line2D):
    """Stands for an interval in a legend: a line with an end at each side."""

    def __init__(self, label: str = "") -> None:
        look: style.Look = {"color": style.INK, "linewidth": 1, "marker": "|", "markersize": 6}
        super().__init__([], [], label=label, **look)


@dataclass(frozen=True)
class Frame:
    """A figure of `height` inches."""

    figure: Figure
    height: float

    def x(self, inches: float) -> float:
        """Return a distance from the left edge as a share of the figure."""
        return inches / style.WIDTH

    def y(self, inches: float) -> float:
        """Return a distance from the upper edge as matplotlib counts: upwards, as a share."""
        return 1 - inches / self.height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes at a place given in inches."""
        return self.figure.add_axes(
            (self.x(left), self.y(top + height), self.x(width), height / self.height)
        )

    def text(self, left: float, top: float, words: str, **look: Any) -> None:
        """Write words below a place given in inches, unless `look` says otherwise."""
        self.figure.text(self.x(left), self.y(top), words, **{"va": "top", **look})


Block = tuple[float, Callable[[Frame, float], None]]
"""A height in inches, and what plots so much of a figure from a distance from its upper edge on."""


def said(words: Sequence[str]) -> Block:
    """Return words on what is missing, to stand in its place; none need no room."""
    text = style.wrap("\n".join(words), style.HEADING, INNER)
    look: style.Look = {"fontsize": style.HEADING, "color": style.ALARM, "linespacing": 1.3}
    height = 0.21 * len(text.split("\n")) + 0.1 if words else 0.0
    return height, lambda frame, top: frame.text(MARGIN, top, text, **look)


def headed(heading: str, block: Block) -> Block:
    """Return a block below a heading."""
    height, plot = block
    text = style.wrap(heading, style.HEADING, INNER, bold=True)
    above = _HEADING_LINE * len(text.split("\n")) + 0.08

    def plot_both(frame: Frame, top: float) -> None:
        frame.text(MARGIN, top, text, weight="bold", fontsize=style.HEADING)
        plot(frame, top + above)

    return above + height, plot_both


@style.styled()
def plot_blocks(
    title: str,
    subtitle: str,
    footnote: str,
    blocks: Sequence[Block],
    handles: Sequence[Patch | Line2D] = (),
) -> Figure:
    """Plot a figure: its blocks one below the other, with `handles` as its legend."""
    title = style.wrap(title, style.TITLE, INNER, bold=True)
    subtitle = style.wrap(subtitle, style.TEXT, INNER)
    footnote = style.wrap(footnote, style.SMALL, INNER)
    legend = _packed(handles)
    below_title = 0.2 + 0.235 * len(title.split("\n"))
    legend_at = below_title + 0.16 * len(subtitle.split("\n")) + 0.06
    top = legend_at + 0.22 * len(legend) + 0.1
    body = sum(height for height, _ in blocks)
    height = top + body + 0.14 * len(footnote.split("\n")) + 0.1
    figure = Figure(figsize=(style.WIDTH, height))
    frame = Frame(figure, height)
    grey: style.Look = {"color": style.GREY}
    frame.text(MARGIN, 0.2, title, fontsize=style.TITLE, weight="bold")
    frame.text(MARGIN, below_title, subtitle, linespacing=1.3, **grey)
    small: style.Look = {"fontsize": style.SMALL, "linespacing": 1.25, **grey}
    frame.text(MARGIN, height - 0.1, footnote, va="bottom", **small)
    for line, packed in enumerate(legend):
        figure.add_artist(
            Legend(
                figure,
                packed,
                [str(handle.get_label()) for handle in packed],
                loc="upper left",
                bbox_to_anchor=(frame.x(MARGIN), frame.y(legend_at + 0.22 * line)),
                bbox_transform=figure.transFigure,
                ncols=len(packed),
                borderaxespad=0,
                borderpad=0,
                handlelength=_HANDLE_EMS,
                columnspacing=1.6,
                handler_map={Whisker: HandlerLine2D(marker_pad=0, numpoints=2)},
            )
        )
    for tall, plot in blocks:
        plot(frame, top)
        top += tall
    return figure


def _packed(handles: Sequence[Patch | Line2D]) -> list[list[Patch | Line2D]]:
    """Break a legend into lines that fit between the margins."""
    lines: list[list[Patch | Line2D]] = []
    used = math.inf
    for handle in handles:
        wide = style.text_width(str(handle.get_label()), style.TEXT)
        wide += (_HANDLE_EMS + 0.8 + 1.6) * style.TEXT / 72
        if used + wide > INNER:
            lines.append([])
            used = 0.0
        lines[-1].append(handle)
        used += wide
    return lines
