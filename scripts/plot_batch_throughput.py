"""Plot images per minute against batch size, up to where memory ends."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.curves import Curve, CurveSheet, Plot, Section, save_curves
from sdbench.report.figures.results import (
    Result,
    fewest_options,
    measured,
    published,
    setting_label,
)
from sdbench.report.figures.sheets import calls_note, panel_title, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.labels import listing, status_label
from sdbench.tables.schemas import PUBLISHED, RESULTS

MARKERS = {"pytorch": "o", "onnxruntime": "s", "openvino": "^"}


def plot_batch_throughput(
    results: Path,
    published: Path,
    files: Files,
) -> None:
    """Plot images per minute of each batch size with default options, one plot for each device.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED, shown next to the results.
        files: written.
    """
    sheet = batch_sheet(results, published)
    save_curves(sheet, files)


def batch_sheet(results_table: Path, published_table: Path) -> CurveSheet:
    """Return what the figure holds."""
    results = measured(read_table(results_table, RESULTS))
    results += published(read_table(published_table, PUBLISHED))
    shown = fewest_options(results, batches=True)
    return CurveSheet(
        title="Images per minute against batch size",
        subtitle="Default options (or the fewest that were measured, named). Higher is better. "
        "Each device has its own axis, from zero.",
        xlabel="images per batch",
        sections=_sections(shown),
        footnote=source_note(shown, f"{calls_note(shown, 'throughput_n')} back to back"),
        missing="No case was measured, and no published campaign is shown.",
        interval="95 % interval",
    )


def _sections(shown: Sequence[Result]) -> list[Section]:
    own_first = sorted(shown, key=lambda r: r.published)
    sections = []
    for condition, kind in dict.fromkeys((r.condition, r.kind) for r in own_first):
        members = [r for r in own_first if (r.condition, r.kind) == (condition, kind)]
        of_device = [
            [r for r in members if r.device == device]
            for device in dict.fromkeys(r.device for r in members)
        ]
        alone = [
            own[0]
            for own in of_device
            if len({r.batch_size for r in own}) == 1 and all(r.ok for r in own)
        ]
        plots = tuple(_plot(own) for own in of_device if own[0] not in alone)
        words = f"Only one batch size, so no curve: {listing(r.device for r in alone)}."
        sections.append(Section(panel_title(members), plots, words if alone else ""))
    return sections


def _plot(members: Sequence[Result]) -> Plot:
    curves = []
    notes = []
    for place in dict.fromkeys(r.place for r in members):
        line = sorted((r for r in members if r.place == place), key=lambda r: r.batch_size)
        label = setting_label(line[0], members)
        if any(r.ok or r.status == "oom" for r in line):
            curves.append(_curve(label, line))
        notes += [
            f"{label}, batch {r.batch_size}: {status_label(r.status, '')}"
            for r in line
            if r.status in ("unsupported", "error")
        ]
    own = any(not r.published for r in members)
    return Plot(members[0].device, "images per minute", tuple(curves), tuple(notes), bold=own)


def _curve(label: str, line: Sequence[Result]) -> Curve:
    plotted = [r for r in line if r.ok]
    numbers = [r.numbers for r in plotted]
    has_interval = bool(plotted) and all("images_per_minute_ci_low" in n for n in numbers)
    misfits = [r.batch_size for r in line if r.status == "oom"]
    return Curve(
        label=label,
        precision=line[0].precision,
        x=tuple(float(r.batch_size) for r in plotted),
        y=tuple(n["images_per_minute"] for n in numbers),
        low=tuple(n["images_per_minute_ci_low"] for n in numbers) if has_interval else (),
        high=tuple(n["images_per_minute_ci_high"] for n in numbers) if has_interval else (),
        published=line[0].published,
        marker=MARKERS.get(line[0].backend, "D"),
        misfit=float(min(misfits)) if misfits else None,
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_batch_throughput, files=Files.of(snakemake.output))
