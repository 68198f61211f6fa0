"""Plot seconds per image of one model on all cards: measured, published or predicted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdbench.analysis.question import fastest
from sdbench.report.figures import style
from sdbench.report.figures.frame import MARGIN, Block, Frame, Whisker, plot_blocks, said
from sdbench.report.figures.results import grouped
from sdbench.tables.files import Row, read_rows
from sdbench.tables.labels import condition_label, device_label, number, published_number
from sdbench.tables.published import condition
from sdbench.tables.schemas import ADVICE, ELSEWHERE, PREDICTED

import pandas as pd
from matplotlib import ticker
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

MOST = 6
"""Predicted cards of one group; the table has all."""
MISSING = "No card has an answer for this model: tables/advice.csv has the reasons."
COLUMNS = ["group", "card", "precision", "basis", "latency_s", "latency_ci_low_s",
           "latency_ci_high_s", "source"]  # fmt: skip
_ROW, _AXIS_BELOW, _GAP, _TEXT_AFTER = 0.19, 0.5, 0.1, 0.75
_DOT: style.Look = {"marker": "o", "markersize": 5.5, "markeredgewidth": 1.4, "linestyle": "none"}


def plot_cards(advice: Path, model: str, files: style.Files) -> None:
    """Plot each group of cards of one price, where the config has prices, or else of one memory.

    Args:
        advice: table of schema ADVICE.
        model: a description of resources/architectures.
        files: written.
    """
    rows = [r for r in read_rows(advice, ADVICE) if r["model"] == model and r["batch_size"] == 1]
    # The first is of the model's own size.
    same = [r for r in rows if (r["width"], r["height"]) == (rows[0]["width"], rows[0]["height"])]
    groups = card_groups([*fastest(same).values()])
    shown = [row | {"group": name} for name, members in groups.items() for row in members]
    figure = cards_figure(groups, condition_label(condition(rows[0])) if rows else model)
    style.save_figure(figure, pd.DataFrame(shown, columns=COLUMNS), files, MISSING)


def card_groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return cards by what they cost or what memory they have, the least first: all that were
    measured or published, and MOST that are predicted. Rows are the fastest of each card, in
    order."""
    priced = any(row["cost_per_1000_images"] for row in rows)
    column = _price if priced else _memory
    # Processors have neither, and come last.
    held = sorted(
        rows, key=lambda row: (not row["gpu"], not column(row), column(row), row["latency_s"])
    )
    groups = grouped(
        (row for row in held if column(row) or not row["gpu"] or row["device"]),
        lambda row: _group(row, priced),
    )
    return {name: _few(members) for name, members in groups.items()}


def _price(row: Row) -> float:
    """Return the price of an hour, which makes 60 times the images of a minute."""
    return (row["cost_per_1000_images"] or 0.0) * (row["images_per_minute"] or 0.0) * 60 / 1000


def _memory(row: Row) -> float:
    return row["card_memory_gb"] or 0.0


def _group(row: Row, priced: bool) -> str:
    if not row["gpu"]:
        return "processor"
    if priced:
        return f"{_price(row):.3g} {row['currency']}/h" if _price(row) else "no price"
    return f"{row['card_memory_gb']:g} GB" if row["card_memory_gb"] else "memory not known"


def _few(rows: Sequence[Row]) -> list[Row]:
    predicted = [row for row in rows if row["basis"] == PREDICTED]
    return [row for row in rows if row not in predicted[MOST:]]


def cards_figure(groups: dict[str, list[Row]], what: str) -> Figure:
    """Return the figure of groups, of what is generated."""
    priced = any("/h" in name for name in groups)
    look: style.Look = {"color": style.OTHER, **_DOT}
    handles = [
        Line2D([], [], label="measured here", **look),
        Line2D([], [], label="published", markerfacecolor=style.PAPER, **look),
        Whisker("predicted: 95 % interval"),
    ]
    return plot_blocks(
        f"Seconds per image on cards, by their {'price' if priced else 'memory'}",
        f"{what}, one image in a call, on a logarithmic axis. Further left is better.",
        "Published: PyTorch by others. Predicted: from the card's datasheet, by a model that was "
        f"fitted to published rows; of each group the {MOST} fastest. tables/advice.csv has all.",
        [_block(groups) if groups else said([MISSING])],
        handles if groups else (),
    )


def _block(groups: dict[str, list[Row]]) -> Block:
    rows = [row for members in groups.values() for row in members]
    names = max(style.text_width(name, style.TEXT, True) for name in groups)
    labels = max(style.text_width(_label(row), style.TEXT) for row in rows)
    tall = _ROW * len(rows) + _GAP * len(groups)
    right = MARGIN + names + 2 * _GAP + labels

    def plot(frame: Frame, top: float) -> None:
        wide = style.WIDTH - MARGIN - right - _GAP
        axes = frame.axes(right + _GAP, top, wide, tall)
        axes.set_ylim(tall, 0)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds per image (logarithmic)")
        axes.set_xscale("log")
        low = min(row["latency_ci_low_s"] or row["latency_s"] for row in rows)
        high = max(row["latency_ci_high_s"] or row["latency_s"] for row in rows)
        share = 1 - _TEXT_AFTER / wide  # leaves room for the number behind the last
        axes.set_xlim(low / 1.1, low * (high / low * 1.1) ** (1 / share))
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        y = 0.0
        for name, members in groups.items():
            y += _GAP
            frame.text(MARGIN, top + y + _ROW / 2, name, weight="bold", va="center_baseline")
            for row in members:
                _plot_row(axes, row, y + _ROW / 2)
                look: style.Look = {"ha": "right", "va": "center_baseline"}
                frame.text(right, top + y + _ROW / 2, _label(row), **look)
                y += _ROW

    return tall + _AXIS_BELOW, plot


def _label(row: Row) -> str:
    return f"{device_label(row['card'])}, {row['precision']}"


def _plot_row(axes: Any, row: Row, y: float) -> None:
    value, low, high = (row[f"latency_{end}s"] for end in ("", "ci_low_", "ci_high_"))
    dark = style.colour(row["precision"])
    axes.axhline(y, color=style.GRID, linewidth=0.6)
    if low and high:
        axes.plot([low, high], [y, y], color=style.INK, linewidth=1, marker="|", markersize=6)
    if row["basis"] != PREDICTED:
        face = style.PAPER if row["basis"] == ELSEWHERE else dark
        axes.plot(value, y, color=dark, markerfacecolor=face, **_DOT)
    text = published_number(value) if row["basis"] == ELSEWHERE else number(value)
    look: style.Look = {"textcoords": "offset points", "va": "center_baseline"}
    axes.annotate(text, (high or value, y), (6, 0), **look)


if __name__ == "__main__":
    style.run_figure(snakemake, plot_cards)
