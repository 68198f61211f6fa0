"""Plot what one image costs here, in seconds and memory, next to the published devices."""

from pathlib import Path

from sdbench.report.figures.memory import GB
from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, best_of, fewest_options, read_results
from sdbench.report.figures.sheets import (
    INTERVAL,
    Cell,
    Sheet,
    calls_note,
    latency_cell,
    make_sheet,
    value_text,
)


def answer_sheet(results: Path, published: Path) -> Sheet:
    """Return time and memory of one image under the first condition that was measured: each own
    device, backend and precision, and each published device at its best."""
    single = [r for r in read_results(results, published) if r.batch_size == 1]
    first = next((r.condition for r in single if r.ok and not r.published), None)
    same = [r for r in single if r.condition == first]
    shown = fewest_options(r for r in same if not r.published)
    shown += best_of(
        [r for r in same if r.published],
        key=lambda r: (r.campaign, r.device, r.backend),
        value=lambda r: r.numbers["latency_s"],
    )
    return make_sheet(
        shown,
        lambda _: ("seconds per image", "GB of memory"),
        lambda result: (_time_cell(result), _memory_cell(result)),
        calls_note(shown),
        {"kinds_apart": False, "ranked": True, "log": True},
        note=" Memory: measured, the peak of the process; published, what PyTorch had reserved "
        "after a call.",
        title="What one image costs on this machine",
        subtitle="Time and memory of one call with one prompt, on logarithmic axes. Further left "
        "is better. Filled: measured here; hollow: published, each device at its best.",
        missing="No case with batch size 1 was measured.",
        interval=INTERVAL,
    )


def _time_cell(result: Result) -> Cell:
    # Times beside other work are no answer. `speed.png` has them.
    return Cell(None, "device in use by others") if result.contended else latency_cell(result)


def _memory_cell(result: Result) -> Cell:
    if "memory_bytes" not in result.numbers:
        return Cell(None, "memory not known")
    value = result.numbers["memory_bytes"] / GB
    return Cell(value, value_text(result, value, "GB"))


if __name__ == "__main__":
    run_sheet(snakemake, answer_sheet)
