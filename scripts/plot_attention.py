"""Plot speed and memory of the attention implementations, side by side."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.memory import AXES, counted, memory_cell, peak_counter
from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import (
    ATTENTION_ORDER,
    Result,
    grouped,
    precision_place,
    read_results,
    without_attention,
)
from sdbench.report.figures.sheets import (
    INTERVAL,
    Cell,
    Sheet,
    calls_note,
    latency_cell,
    make_sheet,
    ratio_text,
)
from sdbench.tables.labels import TIMES, backend_label


def attention_sheet(results: Path) -> Sheet:
    """Return seconds and memory of one image for each attention implementation."""
    shown = compared(read_results(results))
    defaults = {_without_backend(r): r for r in shown if r.attention == "sdpa"}

    def cells(result: Result) -> tuple[Cell, ...]:
        default = defaults.get(_without_backend(result))
        time = space = ""
        if default and default is not result:
            size = _bytes(default)
            if default.ok:
                time = ratio_text(latency_cell(result), latency_cell(default))
            if size and (own := _bytes(result)) is not None:
                space = f"{own / size:.2f} {TIMES}"
        counter = peak_counter(result)
        return latency_cell(result, time), memory_cell(result, counter, space, beside=False)

    return make_sheet(
        shown,
        lambda result: ("seconds per image", AXES[peak_counter(result)]),
        cells,
        f"time: {calls_note(shown)}; memory: one pass per case",
        {"label": _label},
        title="Time and memory of attention implementations",
        subtitle="Time and memory of one call with one prompt, no other option; 1 GB is 10⁹ bytes. "
        f"Shorter is better. Grey: the ratio ({TIMES}) to PyTorch's SDPA in the same precision.",
        missing="No precision was measured with more than one attention implementation at batch 1.",
        interval=INTERVAL,
    )


def compared(results: Sequence[Result]) -> list[Result]:
    """Keep what differs in attention alone, where there is more than one kind to compare."""
    single = [r for r in results if r.batch_size == 1 and not without_attention(r)]
    same = grouped(single, _without_backend)
    devices = list(dict.fromkeys(r.device for r in single))
    return sorted(
        (r for r in single if len({other.attention for other in same[_without_backend(r)]}) > 1),
        key=lambda r: (
            devices.index(r.device),
            precision_place(r.precision),
            ATTENTION_ORDER.index(r.attention),
        ),
    )


def _without_backend(result: Result) -> tuple[object, ...]:
    return (result.condition, result.model, result.device, result.precision)


def _bytes(result: Result) -> float | None:
    return counted(result, peak_counter(result))


def _label(result: Result, among: Sequence[Result]) -> str:
    label = f"{result.precision}, {'SDPA' if result.attention == 'sdpa' else result.attention}"
    if result.backend != "pytorch":
        label += f" ({backend_label(result.backend)})"
    if len({r.model for r in among}) > 1:
        label += f", {result.model}"
    return label


if __name__ == "__main__":
    run_sheet(snakemake, attention_sheet)
