"""Plot how much of its device each way of running uses: achieved TFLOP/s against the peak."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import (
    Result,
    best_of,
    precision_place,
    rate_interval,
    read_results,
)
from sdbench.report.figures.sheets import Cell, Sheet, calls_note, make_sheet, quality_words
from sdbench.tables.labels import PEAKS, number

PERCENT = 100.0
ACHIEVED, SHARE = "throughput_tflops", "throughput_utilization"


def utilization_sheet(results: Path) -> Sheet:
    """Return the share of the device's peak throughput that each case reaches: a row for each
    variant, a dot in it for each batch size."""
    every = read_results(results)
    best = best_of(every, key=_variant, value=lambda r: -r.numbers.get(SHARE, 0.0))
    devices = list(dict.fromkeys(result.device for result in every))
    shown = sorted(best, key=lambda r: (devices.index(r.device), precision_place(r.precision)))
    return make_sheet(
        shown,
        lambda _: ("% of the peak",),
        lambda result: (_cell(result, every),),
        f"{calls_note(shown, 'throughput_n')} back to back",
        {"full": PERCENT},
        " Peak throughput: results/tables/peak_throughput.csv.",
        title="Utilization of the device",
        subtitle="Achieved TFLOP/s while images are generated back to back, divided by the peak "
        "throughput: that of the fastest matrix product or convolution, whichever is named, on the "
        "same device in the same precision (with autocast, in its precision). The bar is the batch "
        "size with the highest value.",
        missing="No case was measured.",
        marks=(("o", "each batch size"),),
        full="the peak",
        interval="95 % interval",
    )


def _variant(result: Result) -> tuple[object, ...]:
    return (result.place, result.options)


def _cell(result: Result, results: Sequence[Result]) -> Cell:
    numbers = result.numbers
    if ACHIEVED not in numbers:
        return Cell(None, "its operations were not counted")
    if SHARE not in numbers:
        return Cell(None, f"{number(numbers[ACHIEVED])} TFLOP/s; peak not measured")
    marks = tuple(
        ("o", PERCENT * r.numbers[SHARE])
        for r in results
        if _variant(r) == _variant(result) and SHARE in r.numbers
    )
    share = PERCENT * numbers[SHARE]
    peak = f"{number(numbers['peak_tflops'])} TFLOP/s ({PEAKS[result.peak_operation]})"
    rates = f"{number(numbers[ACHIEVED])} of {peak}"
    behind = quality_words(result) or f"batch {result.batch_size}"
    return Cell(
        share,
        f"{share:.{0 if share >= 10 else 1}f} %",
        f"{rates}, {behind}",
        *rate_interval(result, share),
        marks,
    )


if __name__ == "__main__":
    run_sheet(snakemake, utilization_sheet)
