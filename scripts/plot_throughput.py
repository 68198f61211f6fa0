"""Plot images per minute at the largest batch of each device and precision."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import Result, best_of, fewest_options, measured, published
from sdbench.report.figures.sheets import (
    FAILS_GATE,
    Cell,
    Sheet,
    make_panels,
    missing_cell,
    source_note,
    value_text,
)
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED, RESULTS


def plot_throughput(
    results: Path,
    published: Path,
    files: Files,
) -> None:
    """Plot images per minute at the largest batch that ran, with default options.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED, shown next to the results.
        files: written.
    """
    sheet = throughput_sheet(results, published)
    save_sheet(sheet, files)


def throughput_sheet(results_table: Path, published_table: Path) -> Sheet:
    """Return what the figure holds."""
    results = measured(read_table(results_table, RESULTS))
    results += published(read_table(published_table, PUBLISHED))
    plain = fewest_options(results, batches=True)
    shown = best_of(plain, key=lambda r: r.place, value=lambda r: -r.batch_size)
    return Sheet(
        title="Images per minute at the largest batch",
        subtitle="Default options (or the fewest that were measured, named), at the largest batch "
        "that ran. Longer is better. Only bars of one panel may be compared.",
        panels=make_panels(
            shown,
            lambda _: ("images per minute",),
            lambda result: (_cell(result, plain),),
            most_first=True,
        ),
        footnote=source_note(shown, "n calls back to back"),
        missing="No case was measured, and no published campaign is shown.",
        interval="95 % interval",
    )


def _cell(result: Result, plain: Sequence[Result]) -> Cell:
    if not result.ok:
        return missing_cell(result)
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
    if result.fails_gate:
        extra.append(FAILS_GATE)
    value = numbers["images_per_minute"]
    return Cell(
        value,
        value_text(result, value),
        ", ".join(extra),
        numbers.get("images_per_minute_ci_low"),
        numbers.get("images_per_minute_ci_high"),
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_throughput, files=Files.of(snakemake.output))
