"""The answer that stands first: each device at its best, and in a few large numbers."""

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sdbench.analysis.estimates import estimate, quotient
from sdbench.report.figures.results import grouped
from sdbench.report.figures.sheets import FAILS_GATE, QUALITY_UNSAID
from sdbench.report.page.rows import HERE, Case, distinct, own
from sdbench.tables.labels import (
    STATUSES,
    listing,
    number,
    options_label,
    published_number,
    shorten,
)
from sdbench.tables.schemas import UNSAID


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
_TIMES = ("latency_s", "images_per_minute")
"""Columns that say nothing where other processes used the device."""
BUSY = "device in use by others"


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
    return {
        "condition": condition,
        "cards": [stat for stat in stats.values() if stat and stat.text],
        "sentence": _sentence(same, [case for case in cases if case["condition"] == condition]),
        "changes": _changes(same),
    }


def _sentence(own_cases: Sequence[Case], cases: Sequence[Case]) -> str:
    """Say what one image costs here at best, and how many times as long as on published GPUs."""
    best = _best(own_cases, "latency_s")
    if best is None:
        busy = any(case["contended"] for case in own_cases)
        return "Other processes used the device all the time: measure again." if busy else ""
    low, high = best["latency_ci_low_s"], best["latency_ci_high_s"]
    interval = f" ({duration(low)} to {duration(high)})" if low and high else ""
    text = (
        f"One image takes {duration(best['latency_s'])}{interval} on {best['device']} "
        f"({_how(best, False)})"
    )
    text += f" and {number(best['memory_gb'])} GB of memory" if best["memory_gb"] else ""
    gpus = [case for case in cases if case["origin"] != HERE and case["kind"] != "cpu"]
    bests = [_best(group, "latency_s") for group in grouped(gpus, itemgetter("device")).values()]
    known = sorted((case for case in bests if case), key=itemgetter("latency_s"))
    compared = (
        [
            f"{number(best['latency_s'] / case['latency_s'])} times as long as on {case['device']}"
            f" ({published_number(case['latency_s'])} s, {case['precision']})"
            for case in (known[-1], known[0])[: len(known)]
        ]
        if known
        else []
    )
    return f"{text}: {listing(compared)}." if compared else f"{text}."


def duration(seconds: float) -> str:
    """Return seconds, or minutes and seconds of what takes two minutes or more."""
    if seconds < 120:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


_CHANGED = ("precision", "backend", "options", "batch_size")


def _changes(cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return what each change of one setting does to the images per minute, of each model and
    device: against PyTorch in fp32 without options, one image at a time."""
    found = []
    for same in grouped(cases, itemgetter("model", "device")).values():
        plain = {"precision": "fp32", "backend": "PyTorch", "options": "none", "batch_size": 1}
        base = next((c for c in same if all(c[k] == v for k, v in plain.items())), None)
        if base is None or not base["images_per_minute"] or base["contended"]:
            continue
        for case in same:
            (name, *others) = [k for k in _CHANGED if case[k] != plain[k]] or [""]
            if not name or others or not case["images_per_minute"]:
                continue
            found.append(
                {
                    "device": case["device"],
                    "change": f"batch size {case[name]}" if name == "batch_size" else case[name],
                    "instead": f"batch size {plain[name]}" if name == "batch_size" else plain[name],
                    **_gain(case, base),
                }
            )
    return found


def _gain(case: Case, base: Case) -> dict[str, str]:
    """Return the gain in images per minute with its interval."""
    if case["contended"]:
        return {"gain": "cannot be said", "interval": BUSY}
    more = quotient(*(estimate(c, "images_per_minute") for c in (case, base)))
    more = more.map(lambda ratio: 100 * (ratio - 1))
    gain = f"{more.value:+.0f} %"
    if more.low is None or more.high is None:
        return {"gain": gain, "interval": "no interval: too few measurements"}
    return {
        "gain": "cannot be told apart" if more.low <= 0 <= more.high else gain,
        "interval": f"{more.low:+.0f} to {more.high:+.0f} %",
    }


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
        elif any(case["contended"] and case[column] is not None for case in cases):
            stats[name] = Stat("", unit, label, f"{BUSY}: measure again")
    return stats


def _best(cases: Sequence[Case], column: str) -> Case | None:
    """Return the case with the highest rate, or at batch size 1 the least of another number: of
    those that keep the quality gate, else of those of which that cannot be said, else of all. Times
    beside other work are no best ones."""
    rate = column == "images_per_minute"
    held = [
        case
        for case in cases
        if case["status"] == "ok"
        and case[column] is not None
        and (rate or case["batch_size"] == 1)
        and not (case["contended"] and column in _TIMES)
    ]
    sign = -1 if rate else 1
    return min(held, key=lambda c: (_GATES.get(c["gate"], 0), sign * c[column]), default=None)


_GATES = {UNSAID: 1, "misses": 2}
"""What a case stands behind others for, and by how much."""


def _how(case: Case, name_model: bool) -> str:
    parts = [
        case["model"] if name_model else "",
        case["backend"],
        case["precision"],
        options_label(case["options"]),
        "projected" if case["basis"] == "projected" else "",
        {UNSAID: QUALITY_UNSAID, "misses": FAILS_GATE}.get(case["gate"], ""),
        BUSY if case["contended"] else "",
    ]
    return ", ".join(filter(None, parts))
