"""The one place that says what a figure looks like: type, colours, hatches, how it is saved."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.runtime.errors import plain
from sdbench.runtime.job import run_script
from sdbench.runtime.progress import say
from sdbench.tables.published import FP32_TF32

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib import colors, rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

# A matplotlibrc is for the figures of its user.
matplotlib.rcdefaults()
# Names come from configs, machines and others' tables: a dollar sign in them is a dollar sign.
matplotlib.rcParams["text.parse_math"] = False

WIDTH = 8.6
"""Width of every figure in inches."""

TITLE, HEADING, TEXT, SMALL = 13.0, 10.0, 8.5, 7.5
"""Type sizes in points: the figure's title, a panel's, everything else, and notes."""

INK, GREY, GRID, PAPER = "#1c1c1c", "#5f5f5f", "#dddddd", "#ffffff"
ALARM = "#a3161a"
"""Colour of a status that is not `ok`."""

PRECISIONS = {
    "fp32": "#12284c",
    FP32_TF32: "#35568f",
    "tf32": "#0f8582",
    "bf16": "#d9763a",
    "fp16": "#f0b64a",
}
"""Colours from dark to light, so that they keep their order in grey print; blue against orange
holds for every kind of colour blindness."""

OTHER = "#9a9a9a"
HATCH = "////"
"""Hatch of everything that was published and not measured here."""

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "hatch.linewidth": 0.9,
    "legend.frameon": False,
    "legend.fontsize": TEXT,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "savefig.dpi": 200,
    # Glyphs as outlines look the same in every viewer, with and without our font.
    "svg.fonttype": "path",
    # Without it every run writes other ids, and the same table gives another file.
    "svg.hashsalt": "sdbench",
}


@contextmanager
def styled() -> Iterator[None]:
    """Plot in the house style: a context, or a decorator."""
    with rc_context(_RC):
        yield


def colour(precision: str) -> str:
    """Return the colour of a precision, the same in every figure; grey for an unknown one."""
    return PRECISIONS.get(precision, OTHER)


def lighter(name: str, share: float = 0.6) -> str:
    """Return a colour mixed with `share` (0 to 1) of white."""
    red, green, blue = (1 - (1 - part) * (1 - share) for part in colors.to_rgb(name))
    return colors.to_hex((red, green, blue))


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width in inches of the longest line of `text` set in `size` points."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    lines = [line for line in text.split("\n") if line.strip()]
    # By the font's metrics: the extents of its outlines take twenty times as long to find.
    points = [text_to_path.get_text_width_height_descent(line, font, False)[0] for line in lines]
    # Hinted glyphs of a PNG are up to 3 % wider than their outlines.
    return 1.03 * float(max(points, default=0.0)) / 72


def wrap(text: str, size: float, width: float, bold: bool = False) -> str:
    """Break `text` into lines no wider than `width` inches; a word that is wider stays whole."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_width(longer, size, bold) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return "\n".join(lines)


def fit(text: str, size: float, width: float) -> str:
    """Return as many words of `text` as fit in `width` inches, an ellipsis for the others."""
    if text_width(text, size) <= width:
        return text
    return wrap(text, size, width - text_width(" …", size)).split("\n")[0] + " …"


Look = dict[str, Any]
"""Arguments of matplotlib by name."""


class Files(NamedTuple):
    """What a figure is written as: twice as an image, and the numbers that it shows as a table."""

    png: Path
    svg: Path
    csv: Path


def run_figure(job: Any, plot: Callable[..., None]) -> None:
    """Do the work of a figure's script: `plot` takes the inputs and parameters of its rule by name,
    and writes the figure to `files`."""
    run_script(job, lambda png, svg, csv, **given: plot(files=Files(png, svg, csv), **given))


def save_figure(figure: Figure, data: pd.DataFrame, files: Files, missing: str) -> None:
    """Write a figure and the numbers in it; the same figure gives the same bytes. `missing` says
    why it has no numbers, where it has none."""
    save_images(figure, files.png, files.svg)
    data.to_csv(files.csv, index=False)
    if data.empty:
        say_empty(files.png, missing)


def say_empty(file: Path, missing: str) -> None:
    """Say in one line, on the terminal too, that a figure is empty and why: whoever asked for it
    need not open it."""
    say(f"{file} is empty: {plain(' '.join(missing.split()), 300)}")


def save_images(figure: Figure, png: Path, svg: Path) -> None:
    """Write a figure as PNG and SVG; the same figure gives the same bytes."""
    with styled():
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": "sdbench"})
