"""Plot the worst pairs of each variant of a set of images, and where they differ."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures import style
from sdbench.report.figures.frame import INNER, MARGIN, Block, Frame, headed
from sdbench.report.figures.images import (
    NO_SET,
    SET,
    PairSet,
    amplification,
    load_sets,
    missing_words,
    score_text,
    verdict_text,
)
from sdbench.report.figures.tiles import plot_comparisons, plot_tile, tile_height
from sdbench.tables.files import Row

import pandas as pd
from matplotlib.figure import Figure

WORST = 5
"""Pairs of each variant."""
_LABEL, _GAP, _LINE, _BELOW = 1.0, 0.12, 0.125, 0.2
_COLUMN = (INNER - _LABEL) / WORST
_TILE = 0.95


def plot_quality_worst(
    quality_set: Path,
    quality_pairs: Path,
    references: Sequence[Path],
    others: Sequence[Path],
    files: style.Files,
) -> None:
    """Plot the pairs that follow their prompts least, against the reference's, or are least
    alike."""
    sets = load_sets(quality_set, quality_pairs, references, others)
    shown = [(one, pair) for one in sets for pair in one.pairs[:WORST]]
    columns = ["prompt", "seed", "psnr_db", "ssim", "reference_score", "score"]
    data = pd.DataFrame(
        [
            (one.comparison.model, one.comparison.label, *map(pair.get, columns))
            for one, pair in shown
        ],
        columns=["model", "setting", *columns],
    )
    missing = "; ".join(missing_words([one.comparison for one in sets])) if sets else NO_SET
    style.save_figure(plot_worst(sets), data, files, missing)


def plot_worst(sets: Sequence[PairSet]) -> Figure:
    """Return the figure of all sets."""
    shown = [one for one in sets if one.pairs]
    factor = amplification(
        one.comparison.at(SET, pair["place"])[2] for one in shown for pair in one.pairs[:WORST]
    )
    return plot_comparisons(
        "The worst pairs of each setting",
        f"Of each set the {WORST} pairs whose image lost most of the judge's score against the "
        "reference's of the same prompt and latents; among equals, the least alike. Below: the "
        "score of the reference → that of the setting, and PSNR.",
        [headed(_heading(one), _block(one, factor)) for one in shown],
        [one.comparison for one in sets],
        factor,
        NO_SET,
    )


def _heading(one: PairSet) -> str:
    return f"{one.comparison.model}: {one.comparison.label} ({verdict_text(one.verdict)})"


def _block(one: PairSet, factor: int) -> Block:
    pairs = one.pairs[:WORST]
    triples = [one.comparison.at(SET, pair["place"]) for pair in pairs]
    tall = max(tile_height(triple[0], _TILE) for triple in triples)
    prompts = [_prompt_lines(pair["prompt"]) for pair in pairs]
    head = _LINE * max(map(len, prompts)) + 0.06

    def plot(frame: Frame, top: float) -> None:
        for row, name in enumerate(("reference", "setting", "difference")):
            frame.text(MARGIN, top + head + row * (tall + 0.06) + tall / 2, name, va="center")
        for column, (pair, triple) in enumerate(zip(pairs, triples, strict=True)):
            left = MARGIN + _LABEL + column * _COLUMN
            small: style.Look = {"fontsize": style.SMALL, "linespacing": 1.15}
            words = "\n".join(prompts[column])
            frame.text(left, top + head - 0.06, words, va="bottom", **small)
            for row, image in enumerate(triple):
                at = top + head + row * (tall + 0.06)
                plot_tile(frame, image, left, at, _TILE, factor)
            frame.text(left, top + head + 3 * (tall + 0.06), _said(one, pair), **small)

    return head + 3 * (tall + 0.06) + _BELOW + 0.15, plot


def _prompt_lines(prompt: str) -> list[str]:
    lines = style.wrap(prompt, style.SMALL, _COLUMN - _GAP).split("\n")
    return [*lines[:3], "…"] if len(lines) > 4 else lines


def _said(one: PairSet, pair: Row) -> str:
    text = score_text(one.comparison, SET, pair["place"], short=True)
    if pair["score"] is None:
        return text
    return f"{pair['reference_score']:.2f} → {pair['score']:.2f}, {text}"


if __name__ == "__main__":
    style.run_figure(snakemake, plot_quality_worst)
