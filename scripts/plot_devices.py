"""Plot seconds per image of every device, CPU and GPU, at its best settings."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, best_of, read_results, setting_label
from sdbench.report.figures.sheets import INTERVAL, Sheet, calls_note, latency_cell, make_sheet


def devices_sheet(results: Path, published: Path) -> Sheet:
    """Return the shortest median time of one image that each device reached with each backend."""
    shown = best_of(
        [r for r in read_results(results, published) if r.batch_size == 1],
        key=lambda r: (r.condition, r.campaign, r.kind, r.device, r.backend),
        value=lambda r: r.numbers["latency_s"],
    )
    return make_sheet(
        shown,
        lambda _: ("seconds per image (logarithmic)",),
        lambda result: (latency_cell(result),),
        calls_note(shown),
        {"label": _label, "kinds_apart": False, "ranked": True, "log": True},
        title="Best time of each device",
        subtitle="Seconds of one call with one prompt, on a logarithmic axis, with the fastest "
        "precision and options of each device and backend. Further left is better.",
        missing="No case with batch size 1 was measured, and no published campaign is shown.",
        interval=INTERVAL,
    )


def _label(result: Result, among: Sequence[Result]) -> str:
    # Without numbers no settings were best, and all of them failed.
    return setting_label(result, among) if result.ok else f"{result.precision} and all others"


if __name__ == "__main__":
    run_sheet(snakemake, devices_sheet)
