"""The answer that stands first: each device at its best, and in a few large numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sdbench.report.page.rows import CaseRow
from sdbench.tables.labels import STATUSES, listing, number, published_number, shorten


@dataclass(frozen=True)
class Stat:
    """A number with its unit, what it is of, and how it was reached."""

    text: str
    unit: str
    label: str
    how: str


class Named(NamedTuple):
    """What is named next to a number, since others stand there too."""

    device: bool = False
    model: bool = False


@dataclass(frozen=True)
class Best:
    """One device at its best. `words` say why there are no numbers, if so."""

    device: str
    origin: str
    published: bool
    image: Stat | None
    rate: Stat | None
    memory: Stat | None
    words: str = ""


@dataclass(frozen=True)
class Group:
    """The devices that did the same work, the fastest first."""

    condition: str
    family: str
    measured: bool
    devices: list[Best]


@dataclass(frozen=True)
class Subject:
    """What the reader may ask about: a model, or those of the same networks (`family`).

    `condition` and `cards` are what `headlines` returns of its rows.
    """

    family: str
    label: str
    measured: bool
    condition: str
    cards: list[Stat]


def subjects(rows: Sequence[CaseRow]) -> list[Subject]:
    """Return what the reader may ask about, those with measured rows first.

    Where one model was measured there is no question: it is the only one.
    """
    found = []
    for family in dict.fromkeys(row.family for row in rows):
        same = [row for row in rows if row.family == family]
        models = dict.fromkeys(row.model for row in same if not row.published)
        label = listing(models) if models else f"{shorten(family)} (published)"
        found.append(Subject(family, label, bool(models), *headlines(same)))
    found.sort(key=lambda subject: not subject.measured)
    return found if sum(subject.measured for subject in found) > 1 else found[:1]


def best_by_condition(rows: Sequence[CaseRow]) -> list[Group]:
    """Return each device at its best, for each condition; those with measured rows first."""
    conditions = dict.fromkeys(row.condition for row in rows)
    groups = [_group(c, [row for row in rows if row.condition == c]) for c in conditions]
    return sorted(groups, key=lambda group: not group.measured)


def headlines(rows: Sequence[CaseRow]) -> tuple[str, list[Stat]]:
    """Return the best of what was measured here under its first condition, and that condition.

    An image that misses the quality gate counts only where all do.
    """
    own = [row for row in rows if not row.published]
    ran = [row for row in own if row.ok]
    if not ran:
        return "", []
    same = [row for row in ran if row.condition == ran[0].condition]
    named = Named(device=True, model=len({row.model for row in own}) > 1)
    stats = [_image(same, named), _rate(same, named), _memory(same, named)]
    return ran[0].condition, [stat for stat in stats if stat]


def _group(condition: str, rows: Sequence[CaseRow]) -> Group:
    devices: dict[tuple[str, str], list[CaseRow]] = {}
    for row in rows:
        devices.setdefault((row.origin, row.device), []).append(row)
    fastest = {key: _least(own, lambda r: r.latency_s, batch=1) for key, own in devices.items()}

    def seconds(key: tuple[str, str]) -> float:
        best = fastest[key]
        return best.latency_s if best and best.latency_s else float("inf")

    ordered = sorted(devices, key=seconds)
    measured = any(not row.published for row in rows)
    best = [_best(devices[key]) for key in ordered]
    return Group(condition, rows[0].family, measured, best)


def _best(rows: Sequence[CaseRow]) -> Best:
    first = rows[0]
    ran = [row for row in rows if row.ok]
    words = ""
    if not ran:
        reason = f": {first.reason}" if first.reason else ""
        words = f"No numbers: {STATUSES.get(first.status, first.status)}{reason}"
    named = Named(model=len({row.model for row in rows if not row.published}) > 1)
    numbers = _image(ran, named), _rate(ran, named), _memory(ran, named)
    return Best(first.device, first.origin, first.published, *numbers, words)


def _image(rows: Iterable[CaseRow], named: Named) -> Stat | None:
    row = _least(rows, lambda r: r.latency_s, batch=1)
    if row is None or row.latency_s is None:
        return None
    return Stat(_text(row, row.latency_s), "s", "for one image", _how(row, named))


def _rate(rows: Iterable[CaseRow], named: Named) -> Stat | None:
    def slowness(row: CaseRow) -> float | None:
        return None if row.images_per_minute is None else -row.images_per_minute

    row = _least(rows, slowness)
    if row is None or row.images_per_minute is None:
        return None
    how = f"{_how(row, named)}, batch size {row.batch_size}"
    return Stat(_text(row, row.images_per_minute), "images", "per minute", how)


def _memory(rows: Iterable[CaseRow], named: Named) -> Stat | None:
    row = _least(rows, lambda r: r.memory_gb, batch=1)
    if row is None or row.memory_gb is None:
        return None
    how = f"{_how(row, named)} ({row.memory_counter})"
    return Stat(_text(row, row.memory_gb), "GB", "for one image", how)


def _least(
    rows: Iterable[CaseRow], value: Callable[[CaseRow], float | None], batch: int | None = None
) -> CaseRow | None:
    """Return the row with the least value; one that misses the gate only where all do."""
    held = [
        row for row in rows if row.ok and value(row) is not None and batch in (None, row.batch_size)
    ]
    return min(held, key=lambda row: (row.gate == "misses", value(row)), default=None)


def _how(row: CaseRow, named: Named) -> str:
    parts = [row.backend, row.precision]
    if row.options != "none":
        parts.append(row.options.replace("+", ", "))
    if row.gate == "misses":
        parts.append("fails the quality gate")
    if row.contended:
        parts.append("device in use by others")
    if named.model:
        parts.insert(0, row.model)
    text = ", ".join(parts)
    return f"{row.device}: {text}" if named.device else text


def _text(row: CaseRow, value: float) -> str:
    return published_number(value) if row.published else number(value)
