"""Plot seconds per image of each precision with and without autocast."""

from pathlib import Path

from sdbench.report.figures.autocast import autocast_pairs, autocast_panels
from sdbench.report.figures.latency import latency_cell
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import measured
from sdbench.report.figures.sheets import Sheet, calls_note, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import RESULTS


def plot_autocast_speed(results: Path, files: Files) -> None:
    """Plot median seconds of one call that makes one image, in pairs.

    Args:
        results: table of schema RESULTS.
        files: written.
    """
    save_sheet(autocast_speed_sheet(results), files)


def autocast_speed_sheet(results_table: Path) -> Sheet:
    """Return what the figure holds."""
    pairs = autocast_pairs(measured(read_table(results_table, RESULTS)))
    shown = [result for pair in pairs for result in pair if result is not None]
    return Sheet(
        title="Time with and without autocast",
        subtitle="Seconds of one call with one prompt, with and without autocast and otherwise "
        "equal settings. Shorter is better.",
        panels=autocast_panels(pairs, lambda _: ("seconds per image",), latency_cell),
        footnote=source_note(shown, f"medians, {calls_note(shown)}"),
        missing="No case with autocast was measured at batch size 1.",
        interval="quartiles",
        solid="without autocast",
        pale="with autocast",
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_autocast_speed, files=Files.of(snakemake.output))
