"""Plot images per minute against batch size, up to where memory ends."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.report.figures.curves import CurveSheet, Plot, Section, curve_of, run_curves
from sdbench.report.figures.results import (
    Result,
    fewest_options,
    grouped,
    read_results,
    setting_label,
)
from sdbench.report.figures.sheets import calls_note, panel_title, source_note
from sdbench.tables.labels import listing, status_label

COLUMNS = ("images_per_minute", "images_per_minute_ci_low", "images_per_minute_ci_high")


def batch_sheet(results: Path, published: Path) -> CurveSheet:
    """Return images per minute of each batch size with default options, one plot for each
    device."""
    shown = fewest_options(read_results(results, published), batches=True)
    own_first = sorted(shown, key=lambda r: r.published)
    return CurveSheet(
        title="Images per minute against batch size",
        subtitle="Default options (or the fewest that were measured, named). Higher is better. "
        "Each device has its own axis, from zero.",
        xlabel="images per batch",
        sections=[
            _section(members)
            for members in grouped(own_first, lambda r: (r.condition, r.kind)).values()
        ],
        footnote=source_note(shown, f"{calls_note(shown, 'throughput_n')} back to back"),
        missing="No case was measured, and no published campaign is shown.",
        interval="95 % interval",
    )


def _section(members: Sequence[Result]) -> Section:
    plots, alone = [], []
    for device, own in grouped(members, lambda r: r.device).items():
        if len({r.batch_size for r in own}) == 1 and all(r.ok for r in own):
            alone.append(device)
        else:
            plots.append(_plot(own))
    words = f"Only one batch size, so no curve: {listing(alone)}." if alone else ""
    return Section(panel_title(members), tuple(plots), words)


def _plot(members: Sequence[Result]) -> Plot:
    curves, notes = [], []
    for own in grouped(members, lambda r: r.place).values():
        line = sorted(own, key=lambda r: r.batch_size)
        label = setting_label(line[0], members)
        plotted = {r.batch_size: r for r in line if r.ok}
        misfit = next((float(r.batch_size) for r in line if r.status == "oom"), None)
        if plotted or misfit:
            curves.append(curve_of(label, line[0], plotted, COLUMNS, misfit=misfit))
        notes += [
            f"{label}, batch {r.batch_size}: {status_label(r.status, '')}"
            for r in line
            if r.status in ("unsupported", "error")
        ]
    bold = any(not r.published for r in members)
    return Plot(members[0].device, "images per minute", tuple(curves), tuple(notes), bold)


if __name__ == "__main__":
    run_curves(snakemake, batch_sheet)
