"""The answer that stands first: each device at its best, and in a few large numbers."""

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sdbench.report.figures.results import grouped
from sdbench.report.figures.sheets import FAILS_GATE
from sdbench.report.page.rows import HERE, Case, distinct, own
from sdbench.tables.labels import STATUSES, listing, number, published_number, shorten


class Stat(NamedTuple):
    """A number with its unit, what it is of, and how it was reached."""

    text: str
    unit: str
    label: str
    how: str


_STATS = {
    "image": ("latency_s", "s", "for one image", ""),
    "rate": ("images_per_minute", "images", "per minute", ", batch size {batch_size}"),
    "memory": ("memory_gb", "GB", "for one image", " ({memory_counter})"),
}
"""Name -> column, unit, label, and what is said of the case besides its settings."""


def subjects(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return what the reader may ask about, those with measured cases first: a model, or those of
    the same networks.

    Where one model was measured there is no question: it is the only one.
    """
    found: list[dict[str, Any]] = []
    for family, same in grouped(cases, itemgetter("family")).items():
        models = distinct(own(same), "model")
        label = listing(models) if models else f"{shorten(family)} (published)"
        found.append({"family": family, "label": label, "measured": bool(models)} | _headline(same))
    found.sort(key=lambda subject: not subject["measured"])
    return found if sum(subject["measured"] for subject in found) > 1 else found[:1]


def best_by_condition(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return each device at its best, for each condition; those with measured cases first."""
    groups = [
        {
            "condition": condition,
            "family": same[0]["family"],
            "measured": bool(own(same)),
            "devices": _devices(same),
        }
        for condition, same in grouped(cases, itemgetter("condition")).items()
    ]
    return sorted(groups, key=lambda group: not group["measured"])


def _headline(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the best of what was measured here under its first condition, and that condition."""
    measured = own(cases)
    ran = [case for case in measured if case["status"] == "ok"]
    condition = ran[0]["condition"] if ran else ""
    same = [case for case in ran if case["condition"] == condition]
    stats = _stats(same, len(distinct(measured, "model")) > 1, name_device=True)
    return {"condition": condition, "cards": [stat for stat in stats.values() if stat]}


def _devices(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Return each device at its best, the fastest first."""

    def seconds(group: Sequence[Case]) -> float:
        best = _best(group, "latency_s")
        return best["latency_s"] if best else math.inf

    devices = grouped(cases, itemgetter("origin", "device")).values()
    return [_device(group) for group in sorted(devices, key=seconds)]


def _device(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the numbers of a device at its best, or words why there are none."""
    first = cases[0]
    words = ""
    if all(case["status"] != "ok" for case in cases):
        reason = f": {first['reason']}" if first["reason"] else ""
        words = f"No numbers: {STATUSES.get(first['status'], first['status'])}{reason}"
    return {
        "device": first["device"],
        "origin": first["origin"],
        "published": first["origin"] != HERE,
        **_stats(cases, len(distinct(own(cases), "model")) > 1),
        "words": words,
    }


def _stats(
    cases: Sequence[Case], name_model: bool, name_device: bool = False
) -> dict[str, Stat | None]:
    stats: dict[str, Stat | None] = dict.fromkeys(_STATS)
    for name, (column, unit, label, more) in _STATS.items():
        if case := _best(cases, column):
            text = (number if case["origin"] == HERE else published_number)(case[column])
            how = f"{case['device']}: " if name_device else ""
            how += _how(case, name_model) + more.format(**case)
            stats[name] = Stat(text, unit, label, how)
    return stats


def _best(cases: Sequence[Case], column: str) -> Case | None:
    """Return the case with the highest rate, or at batch size 1 the least of another number; one
    that misses the quality gate only where all do."""
    rate = column == "images_per_minute"
    held = [
        case
        for case in cases
        if case["status"] == "ok" and case[column] is not None and (rate or case["batch_size"] == 1)
    ]
    sign = -1 if rate else 1
    return min(held, key=lambda c: (c["gate"] == "misses", sign * c[column]), default=None)


def _how(case: Case, name_model: bool) -> str:
    parts = [
        case["model"] if name_model else "",
        case["backend"],
        case["precision"],
        "" if case["options"] == "none" else case["options"].replace("+", ", "),
        FAILS_GATE if case["gate"] == "misses" else "",
        "device in use by others" if case["contended"] else "",
    ]
    return ", ".join(filter(None, parts))
