"""Plot seconds per image at batch 1, by device and precision."""

from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import fewest_options, read_results
from sdbench.report.figures.sheets import INTERVAL, Sheet, calls_note, latency_cell, make_sheet


def speed_sheet(results: Path, published: Path) -> Sheet:
    """Return median seconds of one call that makes one image, with default options."""
    shown = fewest_options(r for r in read_results(results, published) if r.batch_size == 1)
    return make_sheet(
        shown,
        lambda _: ("seconds per image",),
        lambda result: (latency_cell(result),),
        calls_note(shown),
        title="Time to generate one image",
        subtitle="Seconds of one call with one prompt, default options (or the fewest that were "
        "measured, named). Shorter is better. Only bars of one panel may be compared.",
        missing="No case with batch size 1 was measured, and no published campaign is shown.",
        interval=INTERVAL,
    )


if __name__ == "__main__":
    run_sheet(snakemake, speed_sheet)
