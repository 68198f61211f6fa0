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
_LABEL, _GAP, _WORDS, _BELOW = 1.0, 0.12, 0.62, 0.2
_COLUMN = (INNER - _LABEL) / WORST
_TILE = 0.95


def plot_quality_worst(
    quality_set: Path,
    quality_pairs: Path,
    references: Sequence[Path],
    others: Sequence[Path],
    files: style.Files,
) -> None:
    """Plot the pairs that follow their prompts least, against the reference's, or are least alike.

    Args:
        quality_set, quality_pairs, references, others: what `load_sets` reads.
        files: written.
    """
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
        f"Of all images of a set the {WORST} that follow their prompt least, against the "
        "reference's of the same latents, and of equal ones the least alike. Below: the judge's "
        "scores and PSNR.",
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

    def plot(frame: Frame, top: float) -> None:
        for row, name in enumerate(("reference", "other", "difference")):
            frame.text(MARGIN, top + _WORDS + row * (tall + 0.06), name)
        for column, (pair, triple) in enumerate(zip(pairs, triples, strict=True)):
            left = MARGIN + _LABEL + column * _COLUMN
            words = style.wrap(pair["prompt"], style.SMALL, _COLUMN - _GAP).split("\n")
            words[3:] = ["…"] if len(words) > 4 else words[3:]
            small: style.Look = {"fontsize": style.SMALL, "linespacing": 1.15}
            frame.text(left, top + _WORDS - 0.06, "\n".join(words), va="bottom", **small)
            for row, image in enumerate(triple):
                at = top + _WORDS + row * (tall + 0.06)
                plot_tile(frame, image, left, at, _TILE, factor)
            below = top + _WORDS + 3 * (tall + 0.06)
            frame.text(left, below, _said(one, pair), **small)

    return _WORDS + 3 * (tall + 0.06) + _BELOW + 0.15, plot


def _said(one: PairSet, pair: Row) -> str:
    text = score_text(one.comparison, SET, pair["place"], short=True)
    if pair["score"] is None:
        return text
    return f"{pair['reference_score']:.2f} → {pair['score']:.2f}, {text}"


if __name__ == "__main__":
    style.run_figure(snakemake, plot_quality_worst)
