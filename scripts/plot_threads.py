"""Plot seconds per image against the number of threads of a CPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbench.report.figures.curves import Curve, CurveSheet, Plot, Section, save_curves
from sdbench.report.figures.results import Result, fewest_options, measured, setting_label
from sdbench.report.figures.sheets import calls_note, panel_title, source_note
from sdbench.report.figures.style import Files
from sdbench.tables.files import read_table
from sdbench.tables.labels import device_label, plural, status_label
from sdbench.tables.schemas import PEAK_THROUGHPUT, RESULTS

MARKERS = {"pytorch": "o", "onnxruntime": "s", "openvino": "^"}

Entry = tuple[Result, str, int, str]
"""A result, its family of devices, its threads, and the name of the processor."""


def plot_threads(
    results: Path,
    peak_throughput: Path,
    families: Mapping[str, str],
    files: Files,
) -> None:
    """Plot seconds of one image against threads, one plot for each processor.

    Args:
        results: table of schema RESULTS.
        peak_throughput: table of that schema, which has the threads of each device.
        families: device name -> the name that all devices share which differ in threads alone.
        files: written.
    """
    save_curves(threads_sheet(results, peak_throughput, families), files)


def threads_sheet(
    results_table: Path, peak_throughput: Path, families: Mapping[str, str]
) -> CurveSheet:
    """Return what the figure holds."""
    table = read_table(results_table, RESULTS)
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
    shown = [entry for entry in own if id(entry[0]) in plain]
    return CurveSheet(
        title="Seconds per image against threads",
        subtitle="One image at default options (or the fewest that were measured, named), on "
        "devices that differ only in their threads. Lower is better. Dotted: ideal scaling, where "
        "twice the threads halve the time.",
        xlabel="threads",
        sections=_sections(shown),
        footnote=source_note([r for r, *_ in shown], calls_note([r for r, *_ in shown])),
        missing="Every case was measured with only one number of threads: add another device of "
        "kind `cpu` with other `threads` to the config and to the matrix.",
        interval="95 % interval",
        ideal="ideal scaling",
    )


def _sections(shown: Sequence[Entry]) -> list[Section]:
    sections = []
    for condition in dict.fromkeys(entry[0].condition for entry in shown):
        members = [entry for entry in shown if entry[0].condition == condition]
        plots = []
        for family in dict.fromkeys(entry[1] for entry in members):
            own = [entry for entry in members if entry[1] == family]
            if len({threads for _, _, threads, _ in own}) > 1:
                plots.append(_plot(own))
        if plots:
            sections.append(Section(panel_title([r for r, *_ in members]), tuple(plots)))
    return sections


def _plot(members: Sequence[Entry]) -> Plot:
    among = [result for result, *_ in members]
    curves, notes = [], []
    lines: dict[str, list[Entry]] = {}
    for entry in members:
        lines.setdefault(setting_label(entry[0], among), []).append(entry)
    for label, line in lines.items():
        by_threads = {threads: result for result, _, threads, _ in reversed(line) if result.ok}
        if by_threads:
            curves.append(_curve(label, dict(sorted(by_threads.items()))))
        notes += [
            f"{label}, {plural(threads, 'thread')}: {status_label(result.status, '')}"
            for result, _, threads, _ in line
            if not result.ok
        ]
    return Plot(members[0][3], "seconds per image", tuple(curves), tuple(notes), bold=True)


def _curve(label: str, line: Mapping[int, Result]) -> Curve:
    numbers = [result.numbers for result in line.values()]
    seconds = tuple(n["latency_s"] for n in numbers)
    has_interval = all("latency_ci_low_s" in n for n in numbers)
    fewest, first = next(iter(line.items()))
    return Curve(
        label=label,
        precision=first.precision,
        x=tuple(map(float, line)),
        y=seconds,
        low=tuple(n["latency_ci_low_s"] for n in numbers) if has_interval else (),
        high=tuple(n["latency_ci_high_s"] for n in numbers) if has_interval else (),
        marker=MARKERS.get(first.backend, "D"),
        ideal=tuple(seconds[0] * fewest / threads for threads in line) if len(line) > 1 else (),
    )


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, plot_threads, files=Files.of(snakemake.output))
