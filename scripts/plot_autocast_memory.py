"""Plot the memory of each precision with and without autocast."""

from pathlib import Path

from sdbench.report.figures.autocast import autocast_sheet
from sdbench.report.figures.memory import GB_AXIS, MARKS, memory_cell, whole_counter, without_timing
from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import read_results
from sdbench.report.figures.sheets import Sheet


def autocast_memory_sheet(results: Path) -> Sheet:
    """Return peak memory at batch 1 in GB of 10^9 bytes, in pairs."""
    return autocast_sheet(
        without_timing(read_results(results)),
        lambda result: f"{whole_counter(result)}, {GB_AXIS}",
        lambda result: memory_cell(result, whole_counter(result)),
        lambda _: "highest values of one pass per case",
        title="Memory with and without autocast",
        subtitle="Memory of one call with one prompt, with and without autocast and otherwise "
        "equal settings. 1 GB is 10⁹ bytes.",
        marks=MARKS,
    )


if __name__ == "__main__":
    run_sheet(snakemake, autocast_memory_sheet)
