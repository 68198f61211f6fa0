"""The tables of findings and of choices, as the page says them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.analysis.choices import MEASURED
from sdbench.tables.files import read_rows
from sdbench.tables.labels import (
    backend_label,
    condition_label,
    device_label,
    number,
    plural,
    shorten,
)
from sdbench.tables.published import Condition, condition
from sdbench.tables.schemas import CHOICES, FINDINGS

MOST_CHOICES = 5
"""Choices of one condition that the page has; the table has all."""

GB = 1e9
_KINDS = {"holds": "good", "does not hold": "bad"}


@dataclass(frozen=True)
class Finding:
    """What a claim comes to for one subject. `kind` is the style of its verdict, `anchor` leads to
    its figure."""

    subject: str
    number: str
    verdict: str
    kind: str
    reason: str
    figure: str
    anchor: str
    rows: str


@dataclass(frozen=True)
class Claim:
    """One claim of the 2022 post, with a finding for each subject."""

    statement: str
    findings: list[Finding]


@dataclass(frozen=True)
class Choice:
    """One way to meet the need, or by how much it misses it. Empty texts are unknown."""

    rank: int
    origin: str
    device: str
    how: str
    latency: str
    rate: str
    memory: str
    counter: str
    cost: str
    meets: bool
    misses: str


@dataclass(frozen=True)
class Choices:
    """The first choices among rows with the same generation settings, and how many there are."""

    condition: str
    family: str
    measured: bool
    words: str
    rows: list[Choice]


def read_claims(path: Path) -> list[Claim]:
    """Read a table of schema FINDINGS."""
    claims: dict[str, Claim] = {}
    for row in read_rows(path, FINDINGS):
        claim = claims.setdefault(str(row["claim"]), Claim(str(row["statement"]), []))
        claim.findings.append(_finding(row))
    return list(claims.values())


def count_verdicts(claims: list[Claim]) -> str:
    """Say how many findings there are of each verdict."""
    counts = Counter(finding.verdict for claim in claims for finding in claim.findings)
    each = ", ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
    findings = plural(counts.total(), "finding")
    return f"{plural(len(claims), 'claim')}, {findings} from the tables here; {each}."


def read_choices(path: Path) -> list[Choices]:
    """Read a table of schema CHOICES: for each condition the best first; conditions with measured
    rows first."""
    groups: dict[Condition, list[Mapping[str, Any]]] = {}
    for row in read_rows(path, CHOICES):
        groups.setdefault(condition(row), []).append(row)
    choices = [_choices(generated, rows) for generated, rows in groups.items()]
    return sorted(choices, key=lambda group: not group.measured)


def figure_anchor(name: str) -> str:
    """Return the anchor of a figure by the name of its file."""
    return f"figure-{Path(name).stem}"


def _choices(generated: Condition, table: list[Mapping[str, Any]]) -> Choices:
    several = len({row["model"] for row in table if row["origin"] == MEASURED}) > 1
    rows = [_choice(row, several) for row in table]
    meeting = sum(row.meets for row in rows)
    words = (
        f"{meeting} of {plural(len(rows), 'setting')} meet the requirements (`need` in the config)."
        if meeting < len(rows)
        else "Every setting meets the requirements, or the config has none (`need`). Fastest first."
    )
    if len(rows) > MOST_CHOICES:
        words += f" The first {MOST_CHOICES} are shown; tables/choices.csv has all."
    measured = any(not row.origin for row in rows)
    return Choices(
        condition_label(generated), generated.family, measured, words, rows[:MOST_CHOICES]
    )


def _finding(row: Mapping[str, Any]) -> Finding:
    return Finding(
        subject=row["subject"] or "",
        number=_with_interval(row),
        verdict=str(row["verdict"]),
        kind=_KINDS.get(str(row["verdict"]), "open"),
        reason=row["reason"] or "",
        figure=row["figure"] or "",
        anchor=figure_anchor(row["figure"]) if row["figure"] else "",
        rows=row["rows"] or "",
    )


def _with_interval(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return ""
    unit = f" {row['unit']}" if row["unit"] else ""
    text = f"{number(row['value'])}{unit}"
    if row["low"] is None or row["high"] is None:
        return text
    return f"{text} ({number(row['low'])} to {number(row['high'])})"


def _choice(row: Mapping[str, Any], name_model: bool) -> Choice:
    how = [shorten(str(row["model"]))] if name_model else []
    how += [backend_label(str(row["backend"])), str(row["precision"])]
    if row["options"] not in (None, "none"):
        how.append(str(row["options"]).replace("+", ", "))
    how.append(f"batch size {row['batch_size']}")
    memory = row["memory_bytes"]
    cost = _number(row["cost_per_1000_images"])
    return Choice(
        rank=int(row["rank"]),
        origin="" if row["origin"] == MEASURED else str(row["origin"]),
        device=_device(row),
        how=", ".join(how),
        latency=_number(row["latency_s"]),
        rate=_number(row["images_per_minute"]),
        memory="" if memory is None else number(memory / GB),
        counter=row["memory_counter"] or "",
        cost=f"{cost} {row['currency'] or ''}".strip() if cost else "",
        meets=row["meets"] is True,
        misses=row["misses"] or "",
    )


def _device(row: Mapping[str, Any]) -> str:
    if row["device_name"] is None:
        return shorten(str(row["device"]))
    name = device_label(str(row["device_name"]))
    return (
        name
        if row["device"] in (None, name, row["device_name"])
        else f"{name} ({shorten(str(row['device']), 24)})"
    )


def _number(value: float | None) -> str:
    return "" if value is None else number(value)
