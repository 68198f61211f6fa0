"""The post's own question, from rows of ADVICE: does a gaming card do, is an A100 worth it, and
what if there is only a CPU?"""

import math
from collections.abc import Sequence

from sdbench.analysis.estimates import apart, estimate
from sdbench.cases.kinds import CARD_GB
from sdbench.tables.files import Row
from sdbench.tables.labels import condition_label, device_label, number, published_number
from sdbench.tables.published import condition
from sdbench.tables.schemas import ELSEWHERE, NO

MODELS = ("sd-v1", "sdxl", "sd3.5-medium", "flux.1-dev")
GAMING, A100 = "NVIDIA GeForce ", "NVIDIA A100 "


def answer_question(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return for each of MODELS what is generated, and the answer in a few sentences."""
    answers = []
    for model in MODELS:
        one = [row for row in rows if row["model"] == model and row["batch_size"] == 1]
        # The first is of the model's own size.
        same = [row for row in one if _size(row) == _size(one[0])]
        if same:
            parts = (_gaming(same), _a100(same), _cpu(same))
            answers.append((condition_label(condition(same[0])), " ".join(parts)))
    return answers


def _size(row: Row) -> tuple[int, int]:
    return row["width"], row["height"]


def order(row: Row) -> tuple[bool, float]:
    """Return what rows of one card are ordered by: the most that a call may take, so that what was
    predicted has to be clearly faster than what was published."""
    return row["latency_s"] is None, row["latency_ci_high_s"] or row["latency_s"] or 0.0


def fastest(rows: Sequence[Row]) -> dict[str, Row]:
    """Return of each card that has seconds the fastest way, the fastest card first."""
    best: dict[str, Row] = {}
    for row in rows:
        if row["latency_s"]:
            best[row["card"]] = min(best.get(row["card"], row), row, key=order)
    return dict(sorted(best.items(), key=lambda pair: float(pair[1]["latency_s"])))


def _gaming(rows: Sequence[Row]) -> str:
    cards = [row for row in rows if row["card"].startswith(GAMING)]
    if cards and all(row["fits"] == NO for row in cards):
        return f"A gaming card does not: {_too_little(cards)}."
    best = [*fastest(cards).values()]
    if not best:
        return f"Whether a gaming card does cannot be said: {_why_not(cards)}."
    text = f"A gaming card does: the fastest is {_said(best[0])}"
    least = min(best, key=lambda row: row["card_memory_gb"] or math.inf)
    if least is not best[0]:
        text += f", and of the least memory {_said(least)}"
    small = {row["card"] for row in cards if row["fits"] == NO} - {row["card"] for row in best}
    if small:
        total = len({row["card"] for row in cards})
        text += f"; {len(small)} of {total} GeForce cards have too little memory"
    return f"{text}."


def _a100(rows: Sequence[Row]) -> str:
    cards = [row for row in rows if row["card"].startswith(A100)]
    best = next(iter(fastest(cards).values()), None)
    if best is None:
        return f"Whether an A100 is worth it cannot be said: {_why_not(cards)}."
    text = f"The fastest A100 is {_said(best)}"
    gaming = next(iter(fastest([r for r in rows if r["card"].startswith(GAMING)]).values()), None)
    if gaming is None:
        return f"{text}, which no gaming card replaces here."
    name = device_label(gaming["card"])
    one, other = estimate(best, "latency_s"), estimate(gaming, "latency_s")
    if apart(one, other):
        text += f": {number(one.value / other.value)} times the time of {name}"
    else:
        text += f", which cannot be told apart from {name}"
    costs = [row["cost_per_1000_images"] for row in (best, gaming)]
    if not all(costs):
        return f"{text}; whether it is worth its price cannot be said without prices in the config."
    here, there = map(number, costs)
    return f"{text}; 1,000 images cost {here} {best['currency']} on it and {there} on {name}."


def _cpu(rows: Sequence[Row]) -> str:
    cpus = [row for row in rows if not row["gpu"]]
    here = [row for row in cpus if row["device"]]
    found = next(iter([*fastest(here).values(), *fastest(cpus).values()]), None)
    if found is None:
        return f"With a CPU alone the time cannot be said: {_why_not(here or cpus)}."
    return f"With a CPU alone: {_said(found)}."


def _too_little(cards: Sequence[Row]) -> str:
    taken = [row["memory_bytes"] for row in cards if row["memory_bytes"]]
    had = [row["card_memory_gb"] for row in cards if row["card_memory_gb"]]
    if not (taken and had):
        return "each one that was tried ran out of memory"
    needed = number(min(taken) / CARD_GB)
    return f"it takes {needed} GiB (predicted), and GeForce cards have {max(had):g} at most"


def _said(row: Row) -> str:
    name = device_label(row["card"])
    if row["card_memory_gb"] and "GB" not in name:
        name += f" ({row['card_memory_gb']:g} GB)"
    written = published_number if row["basis"] == ELSEWHERE else number
    low, high = row["latency_ci_low_s"], row["latency_ci_high_s"]
    interval = f", {number(low)} to {number(high)}" if low and high else ""
    seconds = f"{written(row['latency_s'])} s in {row['precision']}"
    return f"{name} with {seconds} ({row['basis']}{interval})"


def _why_not(rows: Sequence[Row]) -> str:
    reasons = [row["reason"] for row in rows if row["reason"]]
    return max(reasons, key=reasons.count) if reasons else "there is no row of one"
