"""Plot seconds per image of every device, CPU and GPU, at its best settings."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.latency import latency_cell
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import Result, best_of, measured, published, setting_label
from sdbench.report.figures.sheets import Sheet, make_panels, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import PUBLISHED, RESULTS


def plot_devices(
    results: Path,
    published: Path,
    files: Files,
) -> None:
    """Plot the shortest median time of one image that each device reached with each backend.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED, shown next to the results.
        files: written.
    """
    save_sheet(devices_sheet(results, published), files)


def devices_sheet(results_table: Path, published_table: Path) -> Sheet:
    """Return what the figure holds."""
    results = measured(read_table(results_table, RESULTS))
    results += published(read_table(published_table, PUBLISHED))
    shown = best_of(
        [result for result in results if result.batch_size == 1],
        key=lambda r: (r.condition, r.campaign, r.kind, r.device, r.backend),
        value=lambda r: r.numbers["latency_s"],
    )
    return Sheet(
        title="Best time of each device",
        subtitle="Seconds of one call with one prompt, on a logarithmic axis, with the fastest "
        "precision and options of each device and backend. Further left is better.",
        panels=make_panels(
            shown,
            lambda _: ("seconds per image (logarithmic)",),
            lambda result: (latency_cell(result),),
            label=_label,
            kinds_apart=False,
            order="ranked",
            log=True,
        ),
        footnote=source_note(shown, "medians of n calls"),
        missing="No case with batch size 1 was measured, and no published campaign is shown.",
        interval="quartiles",
    )


def _label(result: Result, among: Sequence[Result]) -> str:
    # Without numbers no settings were best, and all of them failed.
    return setting_label(result, among) if result.ok else f"{result.precision} and all others"


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_devices, files=Files.of(snakemake.output))
