"""Results with and without autocast, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sdbench.cases.options import AUTOCAST
from sdbench.report.figures.results import Result
from sdbench.report.figures.sheets import Cell, Sheet, make_sheet, ratio_text


def autocast_sheet(
    results: Sequence[Result],
    axis: Callable[[Result], str],
    cell: Callable[[Result], Cell],
    own: Callable[[Sequence[Result]], str],
    **words: Any,
) -> Sheet:
    """Return two bars for each result that ran under autocast at batch 1: before it the one that
    differs in nothing else, if that was measured. The second, pale, names its ratio to the first.

    Args:
        results: in the order of the table.
        axis: what a bar shows.
        cell: the bar of a result that is ok.
        own: how the numbers shown were taken.
        words: other fields of the sheet.
    """
    single = [result for result in results if result.batch_size == 1]
    by_options = {(result.place, frozenset(result.switches)): result for result in single}

    def under(result: Result) -> bool:
        return AUTOCAST in result.switches

    def without(result: Result) -> Result | None:
        return by_options.get((result.place, frozenset(result.switches) - {AUTOCAST}))

    def with_ratio(result: Result) -> tuple[Cell, ...]:
        plain, base, ratio = cell(result), without(result), ""
        if base is None:
            ratio = "not measured without"
        elif under(result) and base.ok and (whole := cell(base)).value and plain.value is not None:
            ratio = ratio_text(plain, whole, "without")
        return (replace(plain, extra=", ".join(filter(None, (plain.extra, ratio)))),)

    shown = [r for result in single if under(result) for r in (without(result), result) if r]
    return make_sheet(
        shown,
        lambda result: (axis(result),),
        with_ratio,
        own(shown),
        {"pale": under},
        missing="No case with autocast was measured at batch size 1.",
        solid="without autocast",
        pale="with autocast",
        **words,
    )
