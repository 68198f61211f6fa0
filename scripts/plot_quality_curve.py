"""Plot how like the reference's the images of each variant are, over the number of steps."""

import math
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from sdbench.report.figures.curves import Curve, CurveSheet, Plot, Section, run_curves
from sdbench.report.figures.images import MODES, SEEDED
from sdbench.report.figures.results import grouped
from sdbench.tables.files import read_rows
from sdbench.tables.labels import shorten, status_label, variant_label
from sdbench.tables.schemas import QUALITY

Row = dict[str, Any]

METRICS = {"psnr_db": "PSNR (dB)", "ssim": "SSIM"}
MARKERS = {"none": "o", "autocast": "^"}
_VARIANT = ("device", "backend", "precision", "options")


def quality_sheet(quality: Path) -> CurveSheet:
    """Return PSNR in dB and SSIM against steps, for each model, reference and mode."""
    references = itemgetter("model", *(f"reference_{name}" for name in _VARIANT))
    groups = grouped(read_rows(quality, QUALITY), references).values()
    return CurveSheet(
        title="Similarity of the images to the reference",
        subtitle="PSNR and SSIM (uniform window of 7 x 7 pixels) of 8-bit images from the same "
        "prompt and latents, by number of steps. Higher is closer; the axes do not start at zero.",
        xlabel="steps",
        sections=[section for rows in groups for section in _sections(rows)],
        footnote="A full run of N steps is not the N-th state of a longer run: their timesteps "
        "differ. Each point is one image, from the model's own seed; its whisker is the range "
        "over other seeds too, where full runs were repeated with them.",
        missing="No images were compared (config key `quality`).",
        interval="range over seeds",
        solid="",
    )


def _sections(rows: Sequence[Row]) -> list[Section]:
    first = rows[0]
    several = len({row[key] for row in rows for key in ("device", "reference_device")}) > 1
    reference = _label({name: first[f"reference_{name}"] for name in _VARIANT}, several)
    heading = f"{shorten(first['model'])}, reference {reference}"
    if any(row["weights"] == "seeded" for row in rows):
        return [Section(f"{heading} (weights: seeded)", (), SEEDED)]
    by_mode = grouped(rows, itemgetter("mode"))
    return [
        Section(
            f"{heading}: {MODES[mode]}",
            tuple(_plot(by_mode[mode], metric, several) for metric in METRICS),
        )
        for mode in MODES
        if mode in by_mode
    ]


def _plot(rows: Sequence[Row], metric: str, several_devices: bool) -> Plot:
    curves, notes = [], []
    for members in grouped(rows, itemgetter(*_VARIANT)).values():
        line = sorted(members, key=itemgetter("step"))
        first = line[0]
        label = _label(first, several_devices)
        points = [row for row in line if row["status"] == "ok" and row[metric] is not None]
        if points:
            marker = MARKERS.get(first["options"], "D") if first["backend"] == "pytorch" else "s"
            x, y = (tuple(float(row[name]) for row in points) for name in ("step", metric))
            curves.append(
                Curve(label, first["precision"], x, y, *_range(points, metric), marker=marker)
            )
        failed = [status_label(r["status"], r["reason"] or "") for r in line if r["status"] != "ok"]
        notes += [f"{label}: {why}" for why in failed[:1]]
    infinite = "identical" if metric == "psnr_db" else ""
    shown = tuple(notes) if metric == "psnr_db" else ()
    return Plot(METRICS[metric], METRICS[metric], tuple(curves), shown, True, False, infinite)


def _range(points: Sequence[Row], metric: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the ends of the range over seeds at each point, not a number where there is one seed;
    nothing where that is so of all."""
    if all(row["seeds"] in (None, 1) for row in points):
        return (), ()
    name, _, unit = metric.partition("_")
    columns = ("_".join(filter(None, (name, end, unit))) for end in ("low", "high"))
    low, high = (
        tuple(math.nan if row[column] is None else row[column] for row in points)
        for column in columns
    )
    return low, high


def _label(row: Row, several_devices: bool) -> str:
    device = row["device"] if several_devices else ""
    return variant_label(row["precision"], row["backend"], row["options"], device)


if __name__ == "__main__":
    run_curves(snakemake, quality_sheet)
