"""Plot what the first image costs after the imports: loading, compiling, the first call, and a
call after that."""

from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, read_results
from sdbench.report.figures.sheets import INTERVAL, NOTHING, Cell, Sheet, latency_cell, make_sheet
from sdbench.tables.labels import TIMES, number


def cold_start_sheet(results: Path) -> Sheet:
    """Return seconds of loading, of compiling, of the first call and of a warm one, for one
    image."""
    shown = [r for r in read_results(results) if r.batch_size == 1]
    return make_sheet(
        shown,
        lambda _: ("load (s)", "compile (s)", "first call (s)", "warm call (s)"),
        lambda result: (
            *(_once(result, column) for column in ("load_s", "compile_s", "first_call_s")),
            latency_cell(result),
        ),
        "load, compile and first call: once per process; warm call: medians",
        title="Loading, compiling and the first call",
        subtitle="Seconds to load the weights, to compile (if used), of the first call, and "
        "of a call after warm-up, one prompt each. A program also waits for the import of its "
        "libraries, which takes seconds and is left out. Each column has its own scale, because "
        "compiling may take a hundred times as long as a call. Grey: the ratio to the warm call.",
        missing="No case with batch size 1 was measured.",
        interval=INTERVAL,
    )


def _once(result: Result, column: str) -> Cell:
    value = result.numbers.get(column)
    if value is None:
        return NOTHING
    return Cell(value, number(value), f"{number(value / result.numbers['latency_s'])} {TIMES}")


if __name__ == "__main__":
    run_sheet(snakemake, cold_start_sheet)
