"""Plot what the first image costs: loading, compiling, the first call, and a call after that."""

from pathlib import Path

from sdbench.report.figures.latency import latency_cell
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import Result, measured
from sdbench.report.figures.sheets import (
    NOTHING,
    Cell,
    Sheet,
    make_panels,
    missing_cell,
    source_note,
)
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.labels import TIMES, number
from sdbench.tables.schemas import RESULTS


def plot_cold_start(results: Path, files: Files) -> None:
    """Plot seconds of loading, of compiling, of the first call and of a warm one, for one image.

    Args:
        results: table of schema RESULTS.
        files: written.
    """
    save_sheet(cold_start_sheet(results), files)


def cold_start_sheet(results_table: Path) -> Sheet:
    """Return what the figure holds."""
    shown = [r for r in measured(read_table(results_table, RESULTS)) if r.batch_size == 1]
    return Sheet(
        title="Time to the first image",
        subtitle="Seconds to load the weights, to compile (if used), of the first call, and "
        "of a call after warm-up, one prompt each. Import of the libraries is not included. Each "
        "column has its own scale, because compiling may take a hundred times as long as a call. "
        "Grey: the ratio to the warm call.",
        panels=make_panels(
            shown,
            lambda _: ("load (s)", "compile (s)", "first call (s)", "warm call (s)"),
            _cells,
        ),
        footnote=source_note(
            shown, "load, compile and first call: once per process; warm call: medians"
        ),
        missing="No case with batch size 1 was measured.",
        interval="quartiles",
    )


def _cells(result: Result) -> tuple[Cell, ...]:
    if not result.ok:
        return missing_cell(result), NOTHING, NOTHING, NOTHING
    load, compiling, first = (
        _once(result, column) for column in ("load_s", "compile_s", "first_call_s")
    )
    return load, compiling, first, latency_cell(result)


def _once(result: Result, column: str) -> Cell:
    value = result.numbers.get(column)
    if value is None:
        return NOTHING
    return Cell(value, number(value), f"{number(value / result.numbers['latency_s'])} {TIMES}")


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_cold_start, files=Files.of(snakemake.output))
