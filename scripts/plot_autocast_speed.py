"""Plot seconds per image of each precision with and without autocast."""

from pathlib import Path

from sdbench.report.figures.autocast import autocast_sheet
from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import read_results
from sdbench.report.figures.sheets import INTERVAL, Sheet, calls_note, latency_cell


def autocast_speed_sheet(results: Path) -> Sheet:
    """Return median seconds of one call that makes one image, in pairs."""
    return autocast_sheet(
        read_results(results),
        lambda _: "seconds per image",
        latency_cell,
        lambda shown: f"{calls_note(shown)}",
        title="Time with and without autocast",
        subtitle="Seconds of one call with one prompt, with and without autocast and otherwise "
        "equal settings. Shorter is better.",
        interval=INTERVAL,
    )


if __name__ == "__main__":
    run_sheet(snakemake, autocast_speed_sheet)
