"""What the page knows of each case: its rows of the tables, measured and published, as one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sdbench.analysis.estimates import LAUNCHES
from sdbench.report.figures.memory import GB
from sdbench.report.figures.results import Result, read_results
from sdbench.tables.labels import backend_label, condition_label, shorten
from sdbench.tables.schemas import UNSAID

HERE = "measured here"

Case = dict[str, Any]
"""One case. Names are those of the tables, and so are the units; None where there is no number.

`origin` is `HERE` or the name of the campaign that published it; only rows of one `condition` are
comparable. `family` is the name that models of the same networks share. `gate`: `keeps` or `misses`
the config's quality gate, or `cannot be said`; empty where nothing was compared. `memory_gb` counts
what `memory_counter` says, in 10^9 bytes.
"""

_NUMBERS = (
    "latency_n",
    "latency_s",
    "launches",
    "latency_ci_low_s",
    "latency_ci_high_s",
    "images_per_minute",
    "images_per_minute_ci_low",
    "images_per_minute_ci_high",
    "ssim",
    "energy_j_per_image",
    "cost_per_1000_images",
    "noise",
    "drift",
)


def case_rows(results: Path, published: Path) -> list[Case]:
    """Return a row for each case of tables of the schemas RESULTS and PUBLISHED, what was measured
    first."""
    return [_case(result) for result in read_results(results, published)]


def own(cases: Iterable[Case]) -> list[Case]:
    """Return the cases that were measured here."""
    return [case for case in cases if case["origin"] == HERE]


def distinct(cases: Iterable[Case], name: str) -> list[str]:
    """Return the values of a column, each once."""
    return list(dict.fromkeys(str(case[name]) for case in cases))


def _case(result: Result) -> Case:
    numbers = result.numbers
    memory = numbers.get("memory_bytes")
    return {
        "origin": result.campaign or HERE,
        "condition": condition_label(result.condition),
        "family": result.condition.family,
        "model": shorten(result.model),
        "kind": result.kind,
        "device": result.device,
        "backend": backend_label(result.backend),
        "precision": result.precision,
        "options": result.options,
        "batch_size": result.batch_size,
        "status": result.status,
        "reason": result.reason,
        "basis": "projected"
        if result.projected
        else "published"
        if result.published
        else "measured",
        "gate": "misses"
        if result.fails_gate
        else result.quality
        if result.quality == UNSAID
        else "keeps"
        if "ssim" in numbers
        else "",
        "contended": result.contended,
        "memory_counter": "" if memory is None else result.counter,
        "memory_gb": None if memory is None else memory / GB,
        **{name: numbers.get(name) for name in _NUMBERS},
        **{name: result.row.get(name) or "" for name in LAUNCHES.values()},
    }


def as_columns(cases: Sequence[Case]) -> dict[str, Any]:
    """Return cases as JSON can hold them: the names once, then the values of each row.

    Numbers have four significant digits: the tables have all of them.
    """
    return {
        "names": list(cases[0]) if cases else [],
        "rows": [
            [float(f"{cell:.4g}") if isinstance(cell, float) else cell for cell in case.values()]
            for case in cases
        ],
    }
