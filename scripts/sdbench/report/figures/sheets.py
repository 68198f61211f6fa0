"""What a figure of bars holds: the sheets that `panels` plots.

A sheet is a column of panels, one for each condition, so that what is not comparable shares no
axis. A panel is a list of rows, grouped by device; a row has a cell for each of the panel's
columns, which is a number or says in words why there is none.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdbench.analysis.estimates import Estimate, apart
from sdbench.cases.kinds import KINDS
from sdbench.report.figures.results import Result, grouped, setting_label
from sdbench.tables.labels import (
    TIMES,
    condition_label,
    listing,
    number,
    plural,
    published_number,
    status_label,
)
from sdbench.tables.schemas import UNSAID

import pandas as pd

INTERVAL = "95 % intervals"
"""What the whiskers of own times are. Published times have none."""

FAILS_GATE = "fails the quality gate"
"""What stands behind a bar whose image strayed too far for its speed to count."""

QUALITY_UNSAID = "its quality cannot be said"
"""What stands behind a bar whose set of images does not decide whether its speed counts."""

DATA = ["panel", "device", "setting", "precision", "published", "measure", "value", "low", "high",
        "words"]  # fmt: skip
"""Columns of the table behind a sheet."""


@dataclass(frozen=True)
class Cell:
    """What a row shows in one column.

    `value`, `low`, `high` and `marks` (marker, value) are in the unit of the column's axis. Without
    a value, `text` says why there is none; with one, it is written behind the bar, `extra` greyer.
    `estimate` is the value where it can be compared with another's.
    """

    value: float | None
    text: str
    extra: str = ""
    low: float | None = None
    high: float | None = None
    marks: tuple[tuple[str, float], ...] = ()
    estimate: Estimate | None = None

    @property
    def end(self) -> float:
        """Where the drawing ends and the text begins."""
        return max([self.value or 0.0, self.high or 0.0, *(value for _, value in self.marks)])


@dataclass(frozen=True)
class Row:
    """One line of a panel: a way of running, on a device (`group`)."""

    group: str
    label: str
    precision: str
    cells: tuple[Cell, ...]
    published: bool = False
    pale: bool = False


@dataclass(frozen=True)
class Panel:
    """Rows that may be compared; `columns` are the labels of the axes. `log` plots dots; `shared`
    gives all columns one scale.

    `full`: a value of the first column that others are to be seen against, such as where nothing is
    left to gain; each row marks it, and what is written stands beyond.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    log: bool = False
    shared: bool = False
    full: float = 0.0


@dataclass(frozen=True)
class Sheet:
    """A whole figure.

    `interval` says what the whiskers are, `marks` what the markers are (marker -> words), `missing`
    what is shown in words where there is no panel, `full` what the line is that panels mark,
    `solid`, `pale` and `hatched` what such bars are.
    """

    title: str
    subtitle: str
    panels: Sequence[Panel]
    footnote: str
    missing: str
    interval: str = ""
    marks: tuple[tuple[str, str], ...] = ()
    full: str = ""
    solid: str = "measured here"
    pale: str = ""
    hatched: str = "published"


NOTHING = Cell(None, "")
"""A column that has nothing to add to what the one before says."""


def value_text(result: Result, value: float, unit: str = "") -> str:
    """Return a value of a result with its unit, with no more digits than are known."""
    digits = published_number(value) if result.published else number(value)
    return f"{digits} {unit}".rstrip()


def latency_cell(result: Result, extra: str | None = None) -> Cell:
    """Return the seconds of one call with their interval, and behind them, if there is no `extra`,
    of how many calls published ones are."""
    numbers = result.numbers
    value = numbers["latency_s"]
    if extra is None:
        calls = None if "launches" in numbers else numbers.get("latency_n")
        extra = f"n = {calls:.0f}" if calls else ""
    extra = ", ".join(filter(None, (extra, quality_words(result))))
    ends = numbers.get("latency_ci_low_s"), numbers.get("latency_ci_high_s")
    known = result.estimate("latency_s")
    return Cell(value, value_text(result, value, "s"), extra, *ends, estimate=known)


def quality_words(result: Result) -> str:
    """Say why the speed of a result does not count, or may not; nothing where it does."""
    return FAILS_GATE if result.fails_gate else QUALITY_UNSAID if result.quality == UNSAID else ""


def ratio_text(own: Cell, base: Cell, words: str = "") -> str:
    """Return the ratio of two values, with `words` behind it, and whether their intervals leave
    open that it is one. Both have a value that is not 0."""
    assert own.value is not None and base.value is not None
    text = f"{own.value / base.value:.2f} {TIMES} {words}".rstrip()
    one, other = (cell.estimate or Estimate(cell.value or 0.0) for cell in (own, base))
    is_open = one.low is not None and not apart(one, other)
    return f"{text} (cannot be told apart)" if is_open else text


def make_sheet(
    results: Sequence[Result],
    columns: Callable[[Result], tuple[str, ...]],
    cells: Callable[[Result], tuple[Cell, ...]],
    taken: str,
    panels: Mapping[str, Any] | None = None,
    note: str = "",
    **words: Any,
) -> Sheet:
    """Return a sheet of results.

    Args:
        results, columns, cells: what `make_panels` takes, and `panels` the rest of it.
        taken: how the own numbers were taken.
        note: what else the footnote says.
        words: the other fields of the sheet.
    """
    shown = make_panels(results, columns, cells, **(panels or {}))
    return Sheet(panels=shown, footnote=source_note(results, taken) + note, **words)


def make_panels(
    results: Sequence[Result],
    columns: Callable[[Result], tuple[str, ...]],
    cells: Callable[[Result], tuple[Cell, ...]],
    *,
    label: Callable[[Result, Sequence[Result]], str] = setting_label,
    heading: Callable[[Result], str] = lambda result: "",
    kinds_apart: bool = True,
    ranked: bool = False,
    most_first: bool = False,
    pale: Callable[[Result], bool] = lambda result: False,
    log: bool = False,
    shared: bool = False,
    full: float = 0.0,
) -> list[Panel]:
    """Sort results into panels: one for each condition, heading and kind of device.

    Args:
        results: what is shown, each as one row.
        columns: labels of the axes of the panel that a result is in.
        cells: what a result that is ok shows in each column.
        label: what a row is called, given the results in its panel.
        heading: what the title of a panel says next to its condition.
        kinds_apart: whether CPUs and each kind of GPU have panels of their own.
        ranked: whether all go from best to worst. Else own devices come first, in the order of the
            table, and the published ones then go from best to worst.
        most_first: whether the most is the best, and not the least.
        pale: whether the bar of a result is plotted pale.
        log, shared, full: those of the panels.
    """

    def where(result: Result) -> tuple[object, ...]:
        return (result.condition, result.kind if kinds_apart else "", heading(result))

    panels = []
    for members in grouped(sorted(results, key=lambda r: r.published), where).values():
        first = members[0]
        names = columns(first)
        nothing = (NOTHING,) * (len(names) - 1)
        rows = [
            Row(
                r.device,
                label(r, members),
                r.precision,
                cells(r) if r.ok else (Cell(None, status_label(r.status, r.reason)), *nothing),
                r.published,
                pale(r),
            )
            for r in members
        ]
        title = panel_title(members, heading(first), kinds_apart)
        panels.append(Panel(title, names, _ordered(rows, ranked, most_first), log, shared, full))
    return panels


def panel_title(members: Sequence[Result], heading: str = "", kinds_apart: bool = True) -> str:
    """Say what results that share a panel have in common.

    That is their kind of device (if `kinds_apart`), their condition, `heading`, whether all were
    published, and whether own ones are of seeded weights.
    """
    first = members[0]
    title = condition_label(first.condition)
    if kinds_apart:
        title = f"{KINDS[first.kind].label}: {title}"
    if heading:
        title += f" — {heading}"
    if all(r.published for r in members):
        return title + " (published)"
    if any(r.weights == "seeded" for r in members):
        mixed = any(r.published for r in members)
        title += " (weights measured here: seeded)" if mixed else " (weights: seeded)"
    return title


def sheet_data(sheet: Sheet) -> pd.DataFrame:
    """Return what a sheet shows, a row for each number, marks included.

    `value`, `low` and `high` are in the unit that `measure` names; `words` stand behind a bar, or
    in its place.
    """
    names = dict(sheet.marks)
    data: list[tuple[object, ...]] = []
    for panel in sheet.panels:
        for row in panel.rows:
            where = (panel.title, row.group, row.label, row.precision, row.published)
            for column, cell in zip(panel.columns, row.cells, strict=True):
                if cell == NOTHING:
                    continue
                words = f"{cell.text} {cell.extra}".strip()
                data.append((*where, column, cell.value, cell.low, cell.high, words))
                data += [
                    (*where, f"{column}: {names.get(mark, mark)}", value, None, None, None)
                    for mark, value in cell.marks
                ]
    return pd.DataFrame(data, columns=DATA)


def source_note(results: Sequence[Result], own: str) -> str:
    """Say where the numbers of a figure come from; `own` says how the own ones were taken."""
    devices = list(dict.fromkeys(r.device for r in results if not r.published))
    spread = {r.campaign: "n" in r.numbers for r in results if r.published and r.ok}
    note = []
    if devices:
        names = listing(devices) if len(devices) <= 6 else plural(len(devices), "device")
        note.append(f"Measured here: {names}; {own}.")
    contended = sum(r.contended for r in results)
    if contended:
        note.append(f"Other processes used the device just before {plural(contended, 'row')}.")
    projected = sum(r.projected and r.ok for r in results)
    if projected:
        note.append(f"Projected from a few steps of a call: {plural(projected, 'row')}.")
    for known, words in ((False, ", without spread"), (True, "")):
        campaigns = [campaign for campaign, has_spread in spread.items() if has_spread == known]
        if campaigns:
            note.append(f"Published{words}: {listing(campaigns)} (see resources/README.md).")
    return " ".join(note)


def calls_note(results: Sequence[Result], column: str = "latency_n") -> str:
    """Say over how many calls, which `column` counts, the own numbers were taken."""
    counts = [int(r.numbers[column]) for r in results if not r.published and column in r.numbers]
    if not counts:
        return "no timed calls"
    least, most = min(counts), max(counts)
    calls = plural(most, "call") if least == most else f"{least} to {most} calls"
    launches = [int(r.numbers["launches"]) for r in results if r.numbers.get("launches")]
    if not launches:
        return f"n = {calls}"
    least, most = min(launches), max(launches)
    of = plural(most, "launch") if least == most else f"{least} to {most} launches"
    return f"n = {calls} in {of}"


def _ordered(rows: Sequence[Row], ranked: bool, most_first: bool) -> tuple[Row, ...]:
    def worth(row: Row) -> float:
        value = row.cells[0].value
        return math.inf if value is None else -value if most_first else value

    def rank(group: list[Row]) -> tuple[bool, float]:
        published = group[0].published
        best = min(map(worth, group)) if published or ranked else 0.0
        return published and not ranked, best

    groups = grouped(rows, lambda row: (row.published, row.group)).values()
    ordered = [sorted(group, key=worth) if ranked else group for group in groups]
    ordered.sort(key=rank)
    return tuple(itertools.chain.from_iterable(ordered))
