"""Plot what a set of images says of each variant: how far they are, and what the judge says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.report.figures import style
from sdbench.report.figures.frame import INNER, MARGIN, Block, Frame, headed, plot_blocks, said
from sdbench.report.figures.images import NO_SET, verdict_text
from sdbench.report.figures.results import grouped
from sdbench.tables.files import Row, read_rows
from sdbench.tables.labels import plural, variant_label
from sdbench.tables.schemas import QUALITY_PAIRS, QUALITY_SET, SAME, UNSAID, WORSE

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

_LABEL, _GAP, _ROW, _AXIS = 1.9, 0.35, 0.6, 0.5
_WIDE = (INNER - _LABEL - _GAP) / 2
_WAY = ("model", "device", "backend", "precision", "options")
_LEAST_TOP_DB = 60.0


def plot_quality_verdicts(quality_set: Path, quality_pairs: Path, files: style.Files) -> None:
    """Plot the pairs of each variant and the verdict on it, a panel for each model."""
    verdicts = read_rows(quality_set, QUALITY_SET)
    pairs = grouped(read_rows(quality_pairs, QUALITY_PAIRS), _way)
    columns = [*_WAY, "n", "psnr_db", "ssim", "below_gate", "score_difference", "score_ci_low"]
    data = pd.DataFrame(verdicts, columns=[*columns, "score_ci_high", "verdict"])
    style.save_figure(plot_verdicts(verdicts, pairs), data, files, NO_SET)


def _way(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in _WAY)


def plot_verdicts(
    verdicts: Sequence[Row], pairs: Mapping[tuple[str, ...], Sequence[Row]]
) -> Figure:
    """Return the figure. `pairs` are by model, device, backend, precision and options."""
    blocks = [
        headed(_heading(rows[0]), _block(rows, pairs))
        for rows in grouped(verdicts, lambda row: row["model"]).values()
    ]
    return plot_blocks(
        "What many images say of each setting",
        "Left: how far images moved; each dot is a pair from the same prompt and latents, the line "
        "the median, the box the quartiles. Right: how much better or worse they follow their "
        "prompts than the reference's, with the 95 % interval over prompts; in the band it does "
        "not matter.",
        "PSNR of images with 8 bits. A verdict needs the whole interval within the band, or on one "
        "side of 0.",
        blocks or [said([NO_SET])],
    )


def _heading(row: Row) -> str:
    reference = variant_label(
        *(row[f"reference_{name}"] for name in ("precision", "backend", "options"))
    )
    seeds = plural(row["seeds"], "seed")
    asked = f"{plural(row['prompts'], 'prompt')}, {seeds}, judge: {row['judge']}"
    return f"{row['model']} against {reference} ({asked})"


def _block(rows: Sequence[Row], pairs: Mapping[tuple[str, ...], Sequence[Row]]) -> Block:
    found = [[p["psnr_db"] for p in pairs.get(_way(row), []) if p["psnr_db"]] for row in rows]
    finite = [value for values in found for value in values if np.isfinite(value)]
    top = max([_LEAST_TOP_DB, *finite]) * 1.06
    tall = _ROW * len(rows)

    def plot(frame: Frame, at: float) -> None:
        left = frame.axes(MARGIN + _LABEL, at, _WIDE, tall)
        right = frame.axes(MARGIN + _LABEL + _WIDE + _GAP, at, _WIDE, tall)
        for place, (row, values) in enumerate(zip(rows, found, strict=True)):
            label = variant_label(row["precision"], row["backend"], row["options"])
            missing = f", {row['missing']} missing" if row["missing"] else ""
            counted = f"n\u00a0=\u00a0{row['n']}{missing}"
            label = style.wrap(f"{label} ({counted})", style.TEXT, _LABEL - 0.1)
            frame.text(MARGIN, at + (place + 0.5) * _ROW, label, va="center", linespacing=1.2)
            _plot_pairs(left, place, row, [min(value, top) for value in values], top)
            _plot_difference(right, place, row)
        for axes in (left, right):
            axes.set_ylim(len(rows), 0)
            axes.set_yticks([])
            axes.grid(visible=False, axis="y")
        left.set_xlim(0, top * 1.02)
        left.set_xlabel("PSNR in dB")
        ticks = [tick for tick in range(0, int(0.85 * top), 20)]
        left.set_xticks([*ticks, top], [*map(str, ticks), "identical"])
        margin = rows[0]["margin"]
        right.axvspan(-margin, margin, color=style.GRID, zorder=0, linewidth=0)
        ends = [row[f"score_ci_{end}"] or 0.0 for row in rows for end in ("low", "high")]
        wide = 1.15 * max(
            2 * margin, *map(abs, ends), *(abs(r["score_difference"] or 0) for r in rows)
        )
        right.set_xlim(-wide, wide)
        right.set_xlabel("difference of the judge's score")

    return tall + _AXIS, plot


def _plot_pairs(axes: Any, place: int, row: Row, values: Sequence[float], top: float) -> None:
    colour = style.colour(row["precision"])
    jitter = np.random.default_rng(0).uniform(0.22, 0.78, len(values))
    axes.scatter(values, place + jitter, s=6, color=style.lighter(colour, 0.45), linewidths=0)
    if values:
        low, middle, high = (min(row[f"psnr{q}_db"], top) for q in ("_q1", "", "_q3"))
        axes.plot([low, high], [place + 0.5] * 2, color=colour, linewidth=4, alpha=0.85)
        axes.plot([middle] * 2, [place + 0.2, place + 0.8], color=style.INK, linewidth=1.6)


def _plot_difference(axes: Any, place: int, row: Row) -> None:
    # Zero is marked where there is no text.
    axes.plot([0, 0], [place + 0.66, place + 0.9], color=style.GREY, linewidth=0.8)
    look: style.Look = {"fontsize": style.SMALL, "va": "bottom", "ha": "center"}
    axes.text(
        0,
        place + 0.62,
        style.wrap(verdict_text(row), style.SMALL, _WIDE),
        color=_COLOURS.get(row["verdict"], style.INK),
        **look,
    )
    value = row["score_difference"]
    if value is None:
        return
    colour = style.colour(row["precision"])
    if row["score_ci_low"] is not None:
        axes.plot([row["score_ci_low"], row["score_ci_high"]], [place + 0.78] * 2, color=colour)
    axes.plot([value], [place + 0.78], marker="o", markersize=5, color=colour)


_COLOURS = {SAME: style.INK, WORSE: style.ALARM, UNSAID: style.GREY}


if __name__ == "__main__":
    style.run_figure(snakemake, plot_quality_verdicts)
