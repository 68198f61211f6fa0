"""Plot where the time of one call goes: text encoders, denoiser, VAE decoder."""

from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, read_results
from sdbench.report.figures.sheets import INTERVAL, Cell, Sheet, calls_note, make_sheet
from sdbench.tables.labels import number

PARTS = {
    "denoiser": "denoiser, all steps (s)",
    "vae_decoder": "VAE decoder (s)",
    "text_encoder": "text encoders (s)",
}
"""Part of a call, whose columns begin with it -> label of its axis."""


def parts_sheet(results: Path) -> Sheet:
    """Return seconds of each network in one call that makes one image, and of one step."""
    shown = [r for r in read_results(results) if r.batch_size == 1]
    return make_sheet(
        shown,
        lambda _: (*PARTS.values(), "one step (s)"),
        _cells,
        f"medians, {calls_note(shown, 'parts_n')}",
        {"shared": True},
        title="Time of each network",
        subtitle="Seconds of each network in one call with one prompt, from separate calls in "
        "which the device is synchronized around every part; a step has guidance and scheduler in "
        "it. All columns have the same scale. Grey: the share of the sum.",
        missing="No case with batch size 1 was measured.",
        interval=INTERVAL,
    )


def _cells(result: Result) -> tuple[Cell, ...]:
    numbers = result.numbers
    whole = sum(numbers[f"{part}_s"] for part in PARTS)
    parts = (
        Cell(
            numbers[f"{part}_s"],
            number(numbers[f"{part}_s"]),
            f"{100 * numbers[f'{part}_s'] / whole:.1f} %",
            numbers.get(f"{part}_ci_low_s"),
            numbers.get(f"{part}_ci_high_s"),
        )
        for part in PARTS
    )
    return *parts, Cell(numbers["step_s"], number(numbers["step_s"]))


if __name__ == "__main__":
    run_sheet(snakemake, parts_sheet)
