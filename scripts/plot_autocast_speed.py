"""Draw seconds per image of each precision with and without autocast."""

from collections.abc import Mapping
from pathlib import Path

from sdbench.figures.autocast import autocast_pairs, autocast_panels
from sdbench.figures.latency import latency_cell
from sdbench.figures.panels import save_sheet
from sdbench.figures.results import measured
from sdbench.figures.sheets import Sheet, calls_note, source_note
from sdbench.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import LATENCY


def plot_autocast_speed(latency: Path, kinds: Mapping[str, str], files: Files) -> None:
    """Draw median seconds of one call that makes one image, in pairs.

    Args:
        latency: table of schema LATENCY.
        kinds: device name -> its kind, such as `cuda`.
        files: written.
    """
    save_sheet(autocast_speed_sheet(latency, kinds), files)


def autocast_speed_sheet(latency: Path, kinds: Mapping[str, str]) -> Sheet:
    """Return what the figure holds."""
    pairs = autocast_pairs(measured(read_table(latency, LATENCY), kinds))
    shown = [result for pair in pairs for result in pair if result is not None]
    return Sheet(
        title="What autocast does to speed",
        subtitle="Seconds of one call with one prompt, with and without autocast and otherwise "
        "alike. Shorter is better.",
        panels=autocast_panels(pairs, lambda _: ("seconds per image",), latency_cell),
        footnote=source_note(shown, f"medians, {calls_note(shown)}"),
        missing="No case with autocast was measured at batch size 1.",
        interval="quartiles",
        solid="without autocast",
        pale="with autocast",
    )


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        plot_autocast_speed(
            Path(snakemake.input.latency),
            snakemake.params.kinds,
            Files.of(snakemake.output),
        )
