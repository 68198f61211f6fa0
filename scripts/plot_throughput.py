"""Plot images per minute at the best batch of each device and precision."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, best_of, fewest_options, read_results
from sdbench.report.figures.sheets import Cell, Sheet, make_sheet, quality_words, value_text

RATE = "images_per_minute"


def throughput_sheet(results: Path, published: Path) -> Sheet:
    """Return images per minute at the batch size that makes the most, with default options."""
    plain = fewest_options(read_results(results, published), batches=True)
    shown = best_of(plain, key=lambda r: r.place, value=lambda r: -r.numbers.get(RATE, 0.0))
    return make_sheet(
        shown,
        lambda _: ("images per minute",),
        lambda result: (_cell(result, plain),),
        "n calls back to back",
        {"most_first": True},
        title="Images per minute at the best batch size",
        subtitle="Default options (or the fewest that were measured, named), at the measured batch "
        "size with most images per minute, which each bar names. Longer is better. Only bars of "
        "one panel may be compared.",
        missing="No case was measured, and no published campaign is shown.",
        interval="95 % interval",
    )


def _cell(result: Result, plain: Sequence[Result]) -> Cell:
    numbers = result.numbers
    extra = [f"batch {result.batch_size}"]
    too_large = [
        r.batch_size
        for r in plain
        if r.place == result.place and r.status == "oom" and r.batch_size > result.batch_size
    ]
    if too_large:
        extra.append(f"{min(too_large)} does not fit")
    if "throughput_n" in numbers:
        extra.append(f"n = {numbers['throughput_n']:.0f}")
    if words := quality_words(result):
        extra.append(words)
    value = numbers[RATE]
    low, high = (numbers.get(f"{RATE}_ci_{end}") for end in ("low", "high"))
    return Cell(value, value_text(result, value), ", ".join(extra), low, high)


if __name__ == "__main__":
    run_sheet(snakemake, throughput_sheet)
