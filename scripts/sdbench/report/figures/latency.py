"""The bar of a time."""

from sdbench.report.figures.results import Result
from sdbench.report.figures.sheets import FAILS_GATE, Cell, missing_cell, value_text


def latency_cell(result: Result, extra: str | None = None) -> Cell:
    """Return the median seconds of one call with its quartiles, and n behind it if no `extra`."""
    if not result.ok:
        return missing_cell(result)
    numbers = result.numbers
    value = numbers["latency_s"]
    if extra is None:
        extra = f"n = {numbers['latency_n']:.0f}" if "latency_n" in numbers else ""
    if result.fails_gate:
        extra = ", ".join(filter(None, (extra, FAILS_GATE)))
    return Cell(
        value,
        value_text(result, value, "s"),
        extra,
        numbers.get("latency_q1_s"),
        numbers.get("latency_q3_s"),
    )
