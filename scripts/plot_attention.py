"""Plot speed and memory of the attention implementations, side by side."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.latency import latency_cell
from sdbench.report.figures.memory import AXES, counted, memory_cell, peak_counter
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import (
    ATTENTION_ORDER,
    Result,
    measured,
    precision_rank,
    ratio_text,
    without_attention,
)
from sdbench.report.figures.sheets import (
    NOTHING,
    Cell,
    Sheet,
    calls_note,
    make_panels,
    missing_cell,
    source_note,
)
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.labels import TIMES, backend_label
from sdbench.tables.schemas import RESULTS

_NAMES = {"sdpa": "SDPA"}


def plot_attention(results: Path, files: Files) -> None:
    """Plot seconds and memory of one image for each attention implementation.

    Args:
        results: table of schema RESULTS.
        files: written.
    """
    save_sheet(attention_sheet(results), files)


def attention_sheet(results_table: Path) -> Sheet:
    """Return what the figure holds."""
    shown = compared(measured(read_table(results_table, RESULTS)))
    defaults = {_without_backend(r): r for r in shown if r.attention == "sdpa"}

    def cells(result: Result) -> tuple[Cell, ...]:
        default = defaults.get(_without_backend(result))
        if not result.ok:
            return missing_cell(result), NOTHING
        speed = latency_cell(result, _time_ratio(result, default))
        space = memory_cell(
            result,
            peak_counter(result),
            _ratio(_bytes(result), _bytes(default), result is default),
            beside=False,
        )
        return speed, space

    return Sheet(
        title="Time and memory of attention implementations",
        subtitle="Time and memory of one call with one prompt, no other option; 1 GB is 10⁹ bytes. "
        f"Shorter is better. Grey: the ratio ({TIMES}) to PyTorch's SDPA in the same precision.",
        panels=make_panels(
            shown,
            lambda r: (
                "seconds per image",
                AXES[peak_counter(r)],
            ),
            cells,
            label=_label,
        ),
        footnote=source_note(shown, f"time: {calls_note(shown)}; memory: one pass per case"),
        missing="No precision was measured with more than one attention implementation at batch 1.",
        interval="quartiles",
    )


def compared(results: Sequence[Result]) -> list[Result]:
    """Keep what differs in attention alone, where there is more than one kind to compare."""
    single = [r for r in results if r.batch_size == 1 and not without_attention(r)]
    kinds_of: dict[tuple[object, ...], set[str]] = {}
    for result in single:
        kinds_of.setdefault(_without_backend(result), set()).add(result.attention)
    devices = list(dict.fromkeys(r.device for r in single))
    return sorted(
        (r for r in single if len(kinds_of[_without_backend(r)]) > 1),
        key=lambda r: (
            devices.index(r.device),
            precision_rank(r),
            ATTENTION_ORDER.index(r.attention),
        ),
    )


def _without_backend(result: Result) -> tuple[object, ...]:
    return (result.condition, result.model, result.device, result.precision)


def _seconds(result: Result | None) -> float | None:
    return result.numbers.get("latency_s") if result else None


def _bytes(result: Result | None) -> float | None:
    return counted(result, peak_counter(result)) if result else None


def _time_ratio(result: Result, default: Result | None) -> str:
    value, whole = _seconds(result), _seconds(default)
    if result is default or value is None or not whole:
        return ""
    return ratio_text(value, whole, result)


def _ratio(value: float | None, whole: float | None, default: bool) -> str:
    if default or value is None or not whole:
        return ""
    return f"{value / whole:.2f} {TIMES}"


def _label(result: Result, among: Sequence[Result]) -> str:
    label = f"{result.precision}, {_NAMES.get(result.attention, result.attention)}"
    if result.backend != "pytorch":
        label += f" ({backend_label(result.backend)})"
    if len({r.model for r in among}) > 1:
        label += f", {result.model}"
    return label


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_attention, files=Files.of(snakemake.output))
