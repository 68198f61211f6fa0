"""Plot what a speed-up costs the image: speed next to likeness to the fp32 image."""

from pathlib import Path

from sdbench.report.figures.panels import run_sheet
from sdbench.report.figures.results import Result, read_results
from sdbench.report.figures.sheets import (
    INTERVAL,
    Cell,
    Sheet,
    calls_note,
    latency_cell,
    make_sheet,
    ratio_text,
)


def speed_quality_sheet(results: Path) -> Sheet:
    """Return seconds of one image next to the SSIM and PSNR of that image, from fast to slow."""
    shown = [r for r in read_results(results) if r.batch_size == 1]
    plain = {
        (r.condition, r.device): r
        for r in reversed(shown)
        if (r.backend, r.precision, r.options) == ("pytorch", "fp32", "none")
    }

    def cells(result: Result) -> tuple[Cell, ...]:
        base = plain.get((result.condition, result.device))
        ratio = ""
        if base and base.ok and result is not base:
            ratio = ratio_text(latency_cell(result), latency_cell(base))
        return latency_cell(result, ratio), _likeness(result)

    return make_sheet(
        shown,
        lambda _: ("seconds per image", "SSIM (1: identical)"),
        cells,
        f"{calls_note(shown)}; one image each",
        {"ranked": True},
        title="Speed and image quality",
        subtitle="Seconds of one call with one prompt, fastest first; grey: the ratio to PyTorch "
        "in fp32 without options. Next to it, the similarity to the fp32 image of the same "
        "latents (SSIM in a uniform window of 7 x 7 pixels); grey: PSNR.",
        missing="No case with batch size 1 was measured.",
        interval=INTERVAL,
    )


def _likeness(result: Result) -> Cell:
    if "ssim" not in result.numbers:
        return Cell(None, "weights: seeded" if result.weights == "seeded" else "not compared")
    likeness, decibels = result.numbers["ssim"], result.numbers["psnr_db"]
    words = "identical" if decibels == float("inf") else f"{decibels:.1f} dB"
    return Cell(max(likeness, 0.0), f"{likeness:.3f}", words)


if __name__ == "__main__":
    run_sheet(snakemake, speed_quality_sheet)
