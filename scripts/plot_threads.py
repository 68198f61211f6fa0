"""Plot seconds per image against the number of threads of a CPU."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from sdbench.report.figures.curves import CurveSheet, Plot, Section, curve_of, run_curves
from sdbench.report.figures.results import Result, fewest_options, grouped, measured, setting_label
from sdbench.report.figures.sheets import calls_note, panel_title, source_note
from sdbench.tables.files import read_table
from sdbench.tables.labels import device_label, plural, status_label
from sdbench.tables.schemas import PEAK_THROUGHPUT, RESULTS

COLUMNS = ("latency_s", "latency_ci_low_s", "latency_ci_high_s")

Entry = tuple[Result, str, int, str]
"""A result, its family of devices, its threads, and the name of the processor."""


def threads_sheet(results: Path, peak_throughput: Path, families: Mapping[str, str]) -> CurveSheet:
    """Return seconds of one image against threads, one plot for each processor.

    Args:
        results: table of schema RESULTS.
        peak_throughput: table of that schema, which has the threads of each device.
        families: device name -> the name that all devices share which differ in threads alone.
    """
    table = read_table(results, RESULTS)
    threads = (
        read_table(peak_throughput, PEAK_THROUGHPUT).groupby("device")["threads"].first().dropna()
    )
    own: list[Entry] = [
        (result, families[device], int(threads[device]), device_label(name))
        for result, device, name in zip(
            measured(table), table["device"], table["device_name"], strict=True
        )
        if result.kind == "cpu" and result.batch_size == 1 and device in threads
    ]
    plain = {id(result) for result in fewest_options(result for result, *_ in own)}
    entries = [entry for entry in own if id(entry[0]) in plain]
    shown = [result for result, *_ in entries]
    return CurveSheet(
        title="Seconds per image against threads",
        subtitle="One image at default options (or the fewest that were measured, named), on "
        "devices that differ only in their threads. Lower is better. Dotted: ideal scaling, where "
        "twice the threads halve the time.",
        xlabel="threads",
        sections=_sections(entries),
        footnote=source_note(shown, calls_note(shown)),
        missing="Every case was measured with only one number of threads: add another device of "
        "kind `cpu` with other `threads` to the config and to the matrix.",
        interval="95 % interval",
        ideal="ideal scaling",
    )


def _sections(entries: Sequence[Entry]) -> list[Section]:
    sections = []
    for members in grouped(entries, lambda entry: entry[0].condition).values():
        families = grouped(members, itemgetter(1, 3)).values()
        plots = [_plot(own) for own in families if len({threads for *_, threads, _ in own}) > 1]
        if plots:
            sections.append(Section(panel_title([r for r, *_ in members]), tuple(plots)))
    return sections


def _plot(members: Sequence[Entry]) -> Plot:
    among = [result for result, *_ in members]
    curves, notes = [], []
    for label, line in grouped(members, lambda entry: setting_label(entry[0], among)).items():
        by_threads = {threads: result for result, _, threads, _ in reversed(line) if result.ok}
        if by_threads:
            points = dict(sorted(by_threads.items()))
            (fewest, first), *more = points.items()
            whole = first.numbers["latency_s"] * fewest
            ideal = tuple(whole / threads for threads in points) if more else ()
            curves.append(curve_of(label, first, points, COLUMNS, ideal=ideal))
        notes += [
            f"{label}, {plural(threads, 'thread')}: {status_label(result.status, '')}"
            for result, _, threads, _ in line
            if not result.ok
        ]
    return Plot(members[0][3], "seconds per image", tuple(curves), tuple(notes), bold=True)


if __name__ == "__main__":
    run_curves(snakemake, threads_sheet)
