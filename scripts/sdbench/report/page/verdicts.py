"""The tables of findings and of choices, as the page says them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from sdbench.report.figures.memory import GB
from sdbench.report.figures.results import device_text, grouped
from sdbench.tables.files import read_rows
from sdbench.tables.labels import (
    backend_label,
    condition_label,
    number,
    options_label,
    plural,
    shorten,
)
from sdbench.tables.published import Condition, condition
from sdbench.tables.schemas import CHOICES, FINDINGS, MEASURED

MOST_CHOICES = 5
"""Choices of one condition that the page has; the table has all."""

_KINDS = {"holds": "good", "does not hold": "bad"}
"""Verdict -> its style."""


def read_claims(path: Path) -> dict[str, Any]:
    """Read a table of schema FINDINGS: claims of the 2022 post, with a finding for each subject.

    Returns:
        `claims`, with the findings that have a verdict; `open`, with those that have none;
        `undecided`, which says in one line how many those are and what would decide them; and
        `verdicts`, which says how many findings there are of each verdict.
    """
    rows = read_rows(path, FINDINGS)
    open_rows = [row for row in rows if row["verdict"] not in _KINDS]
    reasons = Counter((row["reason"] or "no reason is given").rstrip(".") for row in open_rows)
    each = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return {
        "claims": _claims(row for row in rows if row["verdict"] in _KINDS),
        "open": _claims(open_rows),
        "undecided": f"Cannot be said here: {plural(len(open_rows), 'finding')}. {each}.",
        "verdicts": _count_verdicts(rows),
    }


def _claims(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"statement": same[0]["statement"], "findings": [_finding(row) for row in same]}
        for same in grouped(rows, itemgetter("claim")).values()
    ]


def _count_verdicts(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say how many findings there are of each verdict."""
    counts = Counter(row["verdict"] for row in rows)
    each = ", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
    claims = plural(len({row["claim"] for row in rows}), "claim")
    others = sum(row["campaign"] is not None for row in rows)
    more = f", {others} of them with results of other machines" if others else ""
    return f"{claims}, {plural(len(rows), 'finding')}{more}; {each}."


def read_choices(path: Path) -> list[dict[str, Any]]:
    """Read a table of schema CHOICES: for each condition the best first; conditions with measured
    rows first."""
    groups = grouped(read_rows(path, CHOICES), condition)
    choices = [_choices(generated, rows) for generated, rows in groups.items()]
    return sorted(choices, key=lambda group: not group["measured"])


def figure_anchor(name: str) -> str:
    """Return the anchor of a figure by the name of its file."""
    return f"figure-{Path(name).stem}"


def _choices(generated: Condition, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    own = {row["model"] for row in rows if row["origin"] == MEASURED}
    meeting = sum(row["meets"] is True for row in rows)
    words = (
        f"{meeting} of {plural(len(rows), 'setting')} meet the requirements of the config."
        if meeting < len(rows)
        else "Every setting meets the requirements, or the config names none. Fastest first."
    )
    if len(rows) > MOST_CHOICES:
        words += f" The first {MOST_CHOICES} are shown; tables/choices.csv has all."
    ranks = Counter(row["rank"] for row in rows)
    return {
        "condition": condition_label(generated),
        "family": generated.family,
        "measured": bool(own),
        "words": words,
        "rows": [_choice(row, len(own) > 1, ranks[row["rank"]]) for row in rows[:MOST_CHOICES]],
    }


def _finding(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a claim comes to for one subject; its `anchor` leads to its figure."""
    value, low, high = row["value"], row["low"], row["high"]
    text = "" if value is None else f"{number(value)} {row['unit'] or ''}".rstrip()
    if None not in (value, low, high):
        text += f" ({number(low)} to {number(high)})"
    return {name: "" if cell is None else cell for name, cell in row.items()} | {
        "number": text,
        "kind": _KINDS.get(row["verdict"], "open"),
        "anchor": figure_anchor(row["figure"]) if row["figure"] else "",
    }


def _choice(row: Mapping[str, Any], name_model: bool, alike: int) -> dict[str, Any]:
    """Return one way to meet the need, or by how much it misses it; `alike` rows share its rank.
    Empty texts are unknown."""
    how = [
        shorten(row["model"]) if name_model else "",
        backend_label(row["backend"]),
        row["precision"],
        options_label(row["options"]),
        f"batch size {row['batch_size']}",
    ]
    cost = _number(row["cost_per_1000_images"])
    return {
        "rank": "" if row["rank"] is None else row["rank"],
        "tied": f"cannot be told apart from {plural(alike - 1, 'other')}"
        if row["rank"] and alike > 1
        else "",
        "origin": "" if row["origin"] == MEASURED else row["origin"],
        "device": device_text(row["device"], row["device_name"]),
        "how": ", ".join(filter(None, how)),
        "latency": _number(row["latency_s"]),
        "rate": _number(row["images_per_minute"]),
        "memory": _number(row["memory_bytes"], GB),
        "counter": row["memory_counter"],
        "cost": cost and f"{cost} {row['currency'] or ''}".strip(),
        "meets": row["meets"] is True,
        "misses": row["misses"],
    }


def _number(value: float | None, unit: float = 1.0) -> str:
    return "" if value is None else number(value / unit)
