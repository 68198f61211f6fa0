"""Plot the memory of each precision with and without autocast."""

from pathlib import Path

from sdbench.report.figures.autocast import autocast_pairs, autocast_panels
from sdbench.report.figures.memory import GB_AXIS, MARKS, memory_cell, whole_counter, without_timing
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import measured
from sdbench.report.figures.sheets import Sheet, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import RESULTS


def plot_autocast_memory(results: Path, files: Files) -> None:
    """Plot peak memory at batch 1 in GB of 10^9 bytes, in pairs.

    Args:
        results: table of schema RESULTS.
        files: written.
    """
    save_sheet(autocast_memory_sheet(results), files)


def autocast_memory_sheet(results_table: Path) -> Sheet:
    """Return what the figure holds."""
    pairs = autocast_pairs(without_timing(measured(read_table(results_table, RESULTS))))
    shown = [result for pair in pairs for result in pair if result is not None]
    return Sheet(
        title="Memory with and without autocast",
        subtitle="Memory of one call with one prompt, with and without autocast and otherwise "
        "equal settings. 1 GB is 10⁹ bytes.",
        panels=autocast_panels(
            pairs,
            lambda result: (f"{whole_counter(result)}, {GB_AXIS}",),
            lambda result: memory_cell(result, whole_counter(result)),
        ),
        footnote=source_note(shown, "highest values of one pass per case"),
        missing="No case with autocast was measured at batch size 1.",
        marks=MARKS,
        solid="without autocast",
        pale="with autocast",
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_autocast_memory, files=Files.of(snakemake.output))
