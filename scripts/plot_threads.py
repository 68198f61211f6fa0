"""Plot seconds per image against the number of threads of a CPU."""

from collections.abc import Mapping, Sequence
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
from sdbench.tables.labels import device_label, plural, status_label

COLUMNS = ("latency_s", "latency_ci_low_s", "latency_ci_high_s")


def threads_sheet(results: Path, families: Mapping[str, str]) -> CurveSheet:
    """Return seconds of one image against threads, one plot for each processor.

    Args:
        results: table of schema RESULTS.
        families: device name -> the name that all devices share which differ in threads alone.
    """
    shown = fewest_options(
        result
        for result in read_results(results)
        if result.kind == "cpu" and result.batch_size == 1 and "threads" in result.numbers
    )
    return CurveSheet(
        title="Seconds per image against threads",
        subtitle="One image at default options (or the fewest that were measured, named), on "
        "devices that differ only in their threads. Lower is better. Dotted: ideal scaling, where "
        "twice the threads halve the time.",
        xlabel="threads",
        sections=_sections(shown, families),
        footnote=source_note(shown, calls_note(shown)),
        missing="Every case was measured with only one number of threads: add another device of "
        "kind `cpu` with other `threads` to the config and to the matrix.",
        interval="95 % interval",
        ideal="ideal scaling",
    )


def _sections(shown: Sequence[Result], families: Mapping[str, str]) -> list[Section]:
    sections = []
    for members in grouped(shown, lambda r: r.condition).values():
        same = grouped(members, lambda r: (families[r.row["device"]], _processor(r))).values()
        plots = [_plot(own) for own in same if len(set(map(_threads, own))) > 1]
        if plots:
            sections.append(Section(panel_title(members), tuple(plots)))
    return sections


def _processor(result: Result) -> str:
    return device_label(result.row["device_name"])


def _threads(result: Result) -> int:
    return int(result.numbers["threads"])


def _plot(members: Sequence[Result]) -> Plot:
    curves, notes = [], []
    for label, line in grouped(members, lambda r: setting_label(r, members)).items():
        by_threads = {_threads(result): result for result in reversed(line) if result.ok}
        if by_threads:
            points = dict(sorted(by_threads.items()))
            (fewest, first), *more = points.items()
            whole = first.numbers["latency_s"] * fewest
            ideal = tuple(whole / threads for threads in points) if more else ()
            curves.append(curve_of(label, first, points, COLUMNS, ideal=ideal))
        notes += [
            f"{label}, {plural(_threads(result), 'thread')}: {status_label(result.status, '')}"
            for result in line
            if not result.ok
        ]
    processor = _processor(members[0])
    return Plot(processor, "seconds per image", tuple(curves), tuple(notes), bold=True)


if __name__ == "__main__":
    run_curves(snakemake, threads_sheet)
