"""Which memory counter a bar shows, and what it is called."""

from collections.abc import Iterable
from dataclasses import replace

from sdbench.cases.kinds import KINDS
from sdbench.report.figures.results import Result
from sdbench.report.figures.sheets import Cell, value_text
from sdbench.tables.labels import number

GB = 1e9
GB_AXIS = "GB (10⁹ bytes)"

RESIDENT = KINDS["cpu"].memory_counter[1]
ABOVE_LOAD = KINDS["cpu"].call_counter[1]
DEVICE_PEAK = KINDS["cuda"].memory_counter[1]
AFTER_RUN = "reserved after the run, as in 2022"
PUBLISHED_AFTER_RUN = "torch reserved after run"
"""What PUBLISHED calls the counter `AFTER_RUN`."""

COLUMNS = {
    RESIDENT: "resident_peak_bytes",
    ABOVE_LOAD: "resident_above_load_bytes",
    DEVICE_PEAK: "device_peak_bytes",
    AFTER_RUN: "reserved_after_run_bytes",
}
"""Counter -> column of RESULTS."""

AXES = {
    ABOVE_LOAD: "peak GB above load",
    DEVICE_PEAK: "peak GB on the GPU",
    AFTER_RUN: "GB reserved after the run",
}
"""What `peak_counter` gives -> what its axis says where there is little room."""

_BESIDE = {
    RESIDENT: (("o", "loaded_bytes"),),
    DEVICE_PEAK: (("D", "peak_reserved_bytes"), ("^", "peak_allocated_bytes")),
}
_GLYPHS = {"o": "●", "D": "◆", "^": "▲"}
MARKS = (
    ("o", "after load"),
    ("D", "peak reserved by PyTorch"),
    ("^", "peak of PyTorch's tensors"),
)
"""Marker -> what it shows: the counters besides the one that has the bar."""


def without_timing(results: Iterable[Result]) -> list[Result]:
    """Return own results without the mark of a busy device: it moves no memory."""
    return [replace(result, contended=False) for result in results]


def whole_counter(result: Result) -> str:
    """Return the counter of all that a process or torch holds at most, as far as it is counted."""
    return _counter_of(KINDS[result.kind].memory_counter[0])


def peak_counter(result: Result) -> str:
    """Return the counter that tells the variants of a device apart best."""
    return _counter_of(KINDS[result.kind].call_counter[0])


def _counter_of(column: str) -> str:
    return next(counter for counter, shown in COLUMNS.items() if shown == column)


def counted(result: Result, counter: str) -> float | None:
    """Return what a counter showed in bytes; None if it was not recorded."""
    column = "memory_bytes" if result.published else COLUMNS[counter]
    return result.numbers.get(column)


def memory_cell(result: Result, counter: str, extra: str = "", beside: bool = True) -> Cell:
    """Return the bar of one counter in GB, with markers for the others if `beside`."""
    value = counted(result, counter)
    if value is None:
        return Cell(None, f"{counter}: not recorded")
    marks = tuple(
        (marker, result.numbers[column] / GB)
        for marker, column in (_BESIDE.get(counter, ()) if beside else ())
        if column in result.numbers
    )
    words = [f"{_GLYPHS[marker]} {number(size)}" for marker, size in marks]
    extra = "  ".join([*words, extra]).rstrip()
    return Cell(value / GB, value_text(result, value / GB, "GB"), extra, marks=marks)
