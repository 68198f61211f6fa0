"""Plot the memory that one image needs, by device and precision, each counter separately."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sdbench.report.figures.memory import (
    AFTER_RUN,
    GB_AXIS,
    MARKS,
    PUBLISHED_AFTER_RUN,
    RESIDENT,
    memory_cell,
    whole_counter,
    without_timing,
)
from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, fewest_options, read_results
from sdbench.report.figures.sheets import Sheet, make_sheet


def memory_sheet(results: Path, published: Path) -> Sheet:
    """Return peak memory at batch 1 with default options, in GB of 10^9 bytes."""
    every = read_results(results, published)
    single = [r for r in without_timing(every) if r.batch_size == 1 and not r.published]
    shown = [counted for result in fewest_options(single) for counted in _counters(result)]
    shown += fewest_options(r for r in _with_counter(every) if r.batch_size == 1)
    return make_sheet(
        shown,
        lambda _: (GB_AXIS,),
        lambda result: (memory_cell(result, result.counter),),
        "highest values of one pass per case",
        {"heading": lambda result: result.counter},
        title="Memory to generate one image",
        subtitle="One prompt, default options (or the fewest that were measured, named). Different "
        "memory counters have separate panels. 1 GB is 10⁹ bytes.",
        missing="No case with batch size 1 was measured, and no published campaign has memory.",
        marks=MARKS,
    )


def _counters(result: Result) -> list[Result]:
    """Return the result once for each counter that has a panel."""
    whole = whole_counter(result)
    counters = (whole,) if whole == RESIDENT else dict.fromkeys((whole, AFTER_RUN))
    return [replace(result, counter=counter) for counter in counters]


def _with_counter(results: Sequence[Result]) -> list[Result]:
    """Return the published results of campaigns that name memory, each with its counter.

    A row that ran out of memory names no counter: it has that of its campaign.
    """
    counters = {r.campaign: r.counter for r in results if r.published and r.counter}
    named = [
        replace(r, counter=counters[r.campaign])
        for r in results
        if r.campaign in counters and (r.counter or not r.ok)
    ]
    return [replace(r, counter=AFTER_RUN) if r.counter == PUBLISHED_AFTER_RUN else r for r in named]


if __name__ == "__main__":
    run_sheet(snakemake, memory_sheet)
