"""Plot how like the reference's the images of each variant are, over the number of steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdbench.report.figures.curves import Curve, CurveSheet, Plot, Section, save_curves
from sdbench.report.figures.images import MODES, SEEDED
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.labels import shorten, status_label, variant_label
from sdbench.tables.schemas import QUALITY

Row = dict[str, Any]

METRICS = {"psnr_db": "PSNR (dB)", "ssim": "SSIM"}
MARKERS = {"none": "o", "autocast": "^"}
_VARIANT = ("device", "backend", "precision", "options")


def plot_quality_curve(quality: Path, files: Files) -> None:
    """Plot PSNR in dB and SSIM against steps, for each model, reference and mode.

    Args:
        quality: table of schema QUALITY.
        files: written.
    """
    save_curves(quality_sheet(quality), files)


def quality_sheet(quality: Path) -> CurveSheet:
    """Return what the figure holds."""
    table = read_table(quality, QUALITY)
    rows = [
        {str(k): None if v != v else v for k, v in row.items()} for row in table.to_dict("records")
    ]
    references = ("model", *(f"reference_{name}" for name in _VARIANT))
    groups = dict.fromkeys(tuple(str(row[name]) for name in references) for row in rows)
    sections = [
        section
        for group in groups
        for section in _sections(
            [row for row in rows if tuple(str(row[name]) for name in references) == group]
        )
    ]
    return CurveSheet(
        title="Similarity of the images to the reference",
        subtitle="PSNR and SSIM of 8-bit images from the same prompt and latents, by number of "
        "steps. Higher is closer; the axes do not start at zero.",
        xlabel="steps",
        sections=sections,
        footnote="A full run of N steps is not the N-th state of a longer run: their timesteps "
        "differ. Each point is one image, so there is no spread.",
        missing="No images were compared (config key `quality`).",
        solid="",
    )


def _sections(rows: Sequence[Row]) -> list[Section]:
    first = rows[0]
    devices = {row["device"] for row in rows} | {row["reference_device"] for row in rows}
    reference = _label({name: first[f"reference_{name}"] for name in _VARIANT}, len(devices) > 1)
    heading = f"{shorten(first['model'])}, reference {reference}"
    if any(row["weights"] == "seeded" for row in rows):
        return [Section(f"{heading} (weights: seeded)", (), SEEDED)]
    return [
        Section(
            f"{heading}: {MODES[mode]}",
            tuple(
                _plot([row for row in rows if row["mode"] == mode], metric, len(devices) > 1)
                for metric in METRICS
            ),
        )
        for mode in MODES
        if any(row["mode"] == mode for row in rows)
    ]


def _plot(rows: Sequence[Row], metric: str, several_devices: bool) -> Plot:
    curves = []
    notes = []
    for variant in dict.fromkeys(tuple(row[name] for name in _VARIANT) for row in rows):
        line = [row for row in rows if tuple(row[name] for name in _VARIANT) == variant]
        line.sort(key=lambda row: int(row["step"]))
        label = _label(line[0], several_devices)
        points = [row for row in line if row["status"] == "ok" and row[metric] is not None]
        if points:
            curves.append(
                Curve(
                    label=label,
                    precision=str(line[0]["precision"]),
                    x=tuple(float(row["step"]) for row in points),
                    y=tuple(float(row[metric]) for row in points),
                    marker="s" if line[0]["backend"] != "pytorch" else _marker(line[0]["options"]),
                )
            )
        failed = [row for row in line if row["status"] != "ok"]
        if failed:
            reason = str(failed[0]["reason"] or "")
            notes.append(f"{label}: {status_label(failed[0]['status'], reason)}")
    infinite = "identical" if metric == "psnr_db" else ""
    shown = tuple(notes) if metric == "psnr_db" else ()
    return Plot(METRICS[metric], METRICS[metric], tuple(curves), shown, True, False, infinite)


def _marker(options: str) -> str:
    return MARKERS.get(options, "D")


def _label(row: Row, several_devices: bool) -> str:
    device = str(row["device"]) if several_devices else ""
    return variant_label(row["precision"], row["backend"], row["options"], device)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_quality_curve, files=Files.of(snakemake.output))
