"""Plot seconds per image at batch 1, by device and precision."""

from pathlib import Path

from sdbench.report.figures.latency import latency_cell
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import fewest_options, measured, published
from sdbench.report.figures.sheets import Sheet, make_panels, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED, RESULTS


def plot_speed(
    results: Path,
    published: Path,
    files: Files,
) -> None:
    """Plot median seconds of one call that makes one image, with default options.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED, what is shown next to.
        files: written.
    """
    save_sheet(speed_sheet(results, published), files)


def speed_sheet(results_table: Path, published_table: Path) -> Sheet:
    """Return what the figure holds."""
    results = measured(read_table(results_table, RESULTS))
    results += published(read_table(published_table, PUBLISHED))
    shown = fewest_options(result for result in results if result.batch_size == 1)
    return Sheet(
        title="Time to generate one image",
        subtitle="Seconds of one call with one prompt, default options (or the fewest that were "
        "measured, named). Shorter is better. Only bars of one panel may be compared.",
        panels=make_panels(
            shown, lambda _: ("seconds per image",), lambda result: (latency_cell(result),)
        ),
        footnote=source_note(shown, "medians of n calls"),
        missing="No case with batch size 1 was measured, and no published campaign is shown.",
        interval="quartiles",
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_speed, files=Files.of(snakemake.output))
