"""What stands around every figure: title, what is seen, legend, and where the numbers come from.

Places are in inches from the top left corner, so that a figure that holds more becomes longer and
nothing in it smaller.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sdbench.report.figures import style

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.legend_handler import HandlerBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

MARGIN = 0.25
INNER = style.WIDTH - 2 * MARGIN
"""Width in inches between the margins."""

_HANDLE_EMS = 1.8
_HEADING_LINE = 0.185


class Whisker(Line2D):
    """Stands for an interval in a legend."""


@dataclass(frozen=True)
class Frame:
    """A figure with its frame plotted; its body begins `top` inches below its upper edge."""

    figure: Figure
    height: float
    top: float

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

    def heading(self, text: str, top: float) -> None:
        """Write the heading of a panel or of several."""
        self.figure.text(
            self.x(MARGIN),
            self.y(top),
            wrapped_heading(text),
            weight="bold",
            fontsize=style.HEADING,
            va="top",
        )

    def say(self, words: Sequence[str], top: float) -> None:
        """Write in words what is missing, where it would stand."""
        self.figure.text(
            self.x(MARGIN),
            self.y(top),
            _wrapped_words(words),
            va="top",
            fontsize=style.HEADING,
            color=style.ALARM,
            linespacing=1.3,
        )


def wrapped_heading(text: str) -> str:
    """Break a heading into lines that fit between the margins."""
    return style.wrap(text, style.HEADING, INNER, bold=True)


def heading_height(text: str) -> float:
    """Return the height of a heading in inches, with the space below it."""
    return _HEADING_LINE * len(wrapped_heading(text).split("\n")) + 0.08


def words_height(words: Sequence[str]) -> float:
    """Return the height in inches of what `Frame.say` writes, with the space below it."""
    return 0.21 * len(_wrapped_words(words).split("\n")) + 0.1 if words else 0.0


def _wrapped_words(words: Sequence[str]) -> str:
    return style.wrap("\n".join(words), style.HEADING, INNER)


def plot_frame(
    title: str, subtitle: str, footnote: str, body: float, handles: Sequence[Patch | Line2D] = ()
) -> Frame:
    """Start a figure whose body is `body` inches high, with `handles` as its legend."""
    title = style.wrap(title, style.TITLE, INNER, bold=True)
    subtitle = style.wrap(subtitle, style.TEXT, INNER)
    footnote = style.wrap(footnote, style.SMALL, INNER)
    legend = _packed(handles)
    below_title = 0.2 + 0.235 * len(title.split("\n"))
    legend_at = below_title + 0.16 * len(subtitle.split("\n")) + 0.06
    top = legend_at + 0.22 * len(legend) + 0.1
    height = top + body + 0.14 * len(footnote.split("\n")) + 0.1
    frame = Frame(Figure(figsize=(style.WIDTH, height)), height, top)
    left = frame.x(MARGIN)
    figure = frame.figure
    figure.text(left, frame.y(0.2), title, fontsize=style.TITLE, weight="bold", va="top")
    figure.text(left, frame.y(below_title), subtitle, color=style.GREY, va="top", linespacing=1.3)
    figure.text(
        left,
        0.1 / height,
        footnote,
        fontsize=style.SMALL,
        color=style.GREY,
        va="bottom",
        linespacing=1.25,
    )
    for line, packed in enumerate(legend):
        figure.add_artist(
            Legend(
                figure,
                packed,
                [str(handle.get_label()) for handle in packed],
                loc="upper left",
                bbox_to_anchor=(left, frame.y(legend_at + 0.22 * line)),
                bbox_transform=figure.transFigure,
                ncols=len(packed),
                borderaxespad=0,
                borderpad=0,
                handlelength=_HANDLE_EMS,
                columnspacing=1.6,
                handler_map={Whisker: _WhiskerHandler()},
            )
        )
    return frame


class _WhiskerHandler(HandlerBase):
    def create_artists(
        self,
        legend: Legend,
        orig_handle: Any,
        xdescent: float,
        ydescent: float,
        width: float,
        height: float,
        fontsize: float,
        trans: Any,
    ) -> list[Any]:
        middle = height / 2
        lines = [([0, width], [middle, middle])]
        lines += [([x, x], [middle - 3, middle + 3]) for x in (0, width)]
        return [Line2D(x, y, color=style.INK, linewidth=1, transform=trans) for x, y in lines]


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
