"""Plot where the time of one call goes: text encoders, denoiser, VAE decoder."""

from dataclasses import replace
from pathlib import Path

from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import Result, measured
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
from sdbench.tables.labels import number
from sdbench.tables.schemas import RESULTS

PARTS = {
    "denoiser_s": "denoiser, all steps",
    "vae_decoder_s": "VAE decoder",
    "text_encoder_s": "text encoders",
}
"""Column -> what it holds the seconds of."""


def plot_parts(results: Path, files: Files) -> None:
    """Plot seconds of each network in one call that makes one image, and of one step.

    Args:
        results: table of schema RESULTS.
        files: written.
    """
    save_sheet(parts_sheet(results), files)


def parts_sheet(results_table: Path) -> Sheet:
    """Return what the figure holds."""
    shown = [r for r in measured(read_table(results_table, RESULTS)) if r.batch_size == 1]
    return Sheet(
        title="Time of each network",
        subtitle="Seconds of each network in one call with one prompt, from separate calls in "
        "which the device is synchronized around every part. All columns have the same scale. "
        "Grey: the share of the sum; for the denoiser also the time of a step with guidance and "
        "scheduler.",
        panels=make_panels(
            shown,
            lambda _: tuple(f"{part} (s)" for part in PARTS.values()),
            _cells,
            shared=True,
        ),
        footnote=source_note(shown, f"medians, {calls_note(shown, 'parts_n')}"),
        missing="No case with batch size 1 was measured.",
        interval="quartiles",
    )


def _cells(result: Result) -> tuple[Cell, ...]:
    if not result.ok:
        return missing_cell(result), NOTHING, NOTHING
    whole = sum(result.numbers[column] for column in PARTS)
    denoiser, vae, text = (
        Cell(value, number(value), f"{100 * value / whole:.1f} %")
        for value in (result.numbers[column] for column in PARTS)
    )
    numbers = result.numbers
    denoiser = replace(
        denoiser,
        extra=f"{denoiser.extra}, {number(1000 * numbers['step_s'])} ms",
        low=numbers["denoiser_q1_s"],
        high=numbers["denoiser_q3_s"],
    )
    return denoiser, vae, text


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_parts, files=Files.of(snakemake.output))
