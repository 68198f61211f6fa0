"""Draw seconds per image at batch 1, by device and precision."""

from collections.abc import Mapping
from pathlib import Path

from sdbench.figures.latency import latency_cell
from sdbench.figures.panels import save_sheet
from sdbench.figures.results import measured, plainest, published
from sdbench.figures.sheets import Sheet, make_panels, source_note
from sdbench.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import LATENCY, PUBLISHED


def plot_speed(
    latency: Path,
    published_table: Path,
    kinds: Mapping[str, str],
    files: Files,
) -> None:
    """Draw median seconds of one call that makes one image, with default options.

    Args:
        latency: table of schema LATENCY.
        published_table: table of schema PUBLISHED, what is shown beside.
        kinds: device name -> its kind, such as `cuda`.
        files: written.
    """
    save_sheet(speed_sheet(latency, published_table, kinds), files)


def speed_sheet(latency: Path, published_table: Path, kinds: Mapping[str, str]) -> Sheet:
    """Return what the figure holds."""
    results = measured(read_table(latency, LATENCY), kinds)
    results += published(read_table(published_table, PUBLISHED))
    shown = plainest(result for result in results if result.batch_size == 1)
    return Sheet(
        title="Time to draw one image",
        subtitle="Seconds of one call with one prompt, default options (or the fewest that were "
        "measured, named). Shorter is better. Only bars of one panel may be compared.",
        panels=make_panels(
            shown, lambda _: ("seconds per image",), lambda result: (latency_cell(result),)
        ),
        footnote=source_note(shown, "medians of n calls"),
        missing="No case with batch size 1 was measured, and no published campaign is shown.",
        interval="quartiles",
    )


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        plot_speed(
            Path(snakemake.input.latency),
            Path(snakemake.input.published),
            snakemake.params.kinds,
            Files.of(snakemake.output),
        )
