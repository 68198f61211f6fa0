"""Results with and without autocast, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from sdbench.cases.options import AUTOCAST
from sdbench.report.figures.results import Result, ratio_text
from sdbench.report.figures.sheets import Cell, Panel, make_panels


def autocast_pairs(results: Sequence[Result]) -> list[tuple[Result | None, Result]]:
    """Return each result that ran under autocast at batch 1, behind the one that differs in nothing
    else (None if that was not measured), in the order of the table.
    """
    single = [result for result in results if result.batch_size == 1]
    by_options = {(result.place, frozenset(result.switches)): result for result in single}
    return [
        (by_options.get((result.place, frozenset(result.switches) - {AUTOCAST})), result)
        for result in single
        if AUTOCAST in result.switches
    ]


def autocast_panels(
    pairs: Sequence[tuple[Result | None, Result]],
    columns: Callable[[Result], tuple[str, ...]],
    cell: Callable[[Result], Cell],
) -> list[Panel]:
    """Return panels with two bars for each pair; the second, pale, names its ratio to the first."""
    shown = [result for pair in pairs for result in pair if result is not None]
    ratios: dict[int, str] = {}
    for without, under in pairs:
        if without is None:
            ratios[id(under)] = "not measured without"
            continue
        whole, part = cell(without).value, cell(under).value
        if whole and part is not None:
            ratios[id(under)] = ratio_text(part, whole, under, "without")

    def with_ratio(result: Result) -> tuple[Cell, ...]:
        plain = cell(result)
        extra = ", ".join(text for text in (plain.extra, ratios.get(id(result), "")) if text)
        return (replace(plain, extra=extra),)

    return make_panels(shown, columns, with_ratio, pale=lambda result: AUTOCAST in result.switches)
