"""Plot what a speed-up costs the image: speed next to likeness to the fp32 image."""

from pathlib import Path

from sdbench.report.figures.latency import latency_cell
from sdbench.report.figures.panels import save_sheet
from sdbench.report.figures.results import Result, measured, ratio_text
from sdbench.report.figures.sheets import NOTHING, Cell, Sheet, calls_note, make_panels, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.schemas import RESULTS


def plot_speed_quality(results: Path, files: Files) -> None:
    """Plot seconds of one image next to the SSIM and PSNR of that image, from fast to slow.

    Args:
        results: table of schema RESULTS.
        files: written.
    """
    save_sheet(speed_quality_sheet(results), files)


def speed_quality_sheet(results_table: Path) -> Sheet:
    """Return what the figure holds."""
    shown = [r for r in measured(read_table(results_table, RESULTS)) if r.batch_size == 1]
    plain = {(r.condition, r.device): r for r in reversed(shown) if _is_plain(r)}

    def cells(result: Result) -> tuple[Cell, ...]:
        base = plain.get((result.condition, result.device))
        ratio = ""
        if base and base.ok and result.ok and result is not base:
            ratio = ratio_text(result.numbers["latency_s"], base.numbers["latency_s"], result)
        return latency_cell(result, ratio), _likeness(result)

    return Sheet(
        title="Speed and image quality",
        subtitle="Seconds of one call with one prompt, fastest first; grey: the ratio to PyTorch "
        "in fp32 without options. Next to it, the similarity to the fp32 image of the same "
        "latents; grey: PSNR.",
        panels=make_panels(
            shown,
            lambda _: ("seconds per image", "SSIM (1: identical)"),
            cells,
            order="ranked",
        ),
        footnote=source_note(shown, f"medians, {calls_note(shown)}; one image each"),
        missing="No case with batch size 1 was measured.",
        interval="quartiles",
    )


def _is_plain(result: Result) -> bool:
    way = result.backend, result.precision, result.options
    return way == ("pytorch", "fp32", "none")


def _likeness(result: Result) -> Cell:
    if not result.ok:
        return NOTHING
    if "ssim" not in result.numbers:
        return Cell(None, "weights: seeded" if result.weights == "seeded" else "not compared")
    likeness, decibels = result.numbers["ssim"], result.numbers["psnr_db"]
    words = "identical" if decibels == float("inf") else f"{decibels:.1f} dB"
    return Cell(max(likeness, 0.0), f"{likeness:.3f}", words)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_speed_quality, files=Files.of(snakemake.output))
