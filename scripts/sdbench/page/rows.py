"""What the page knows of each case: its rows of the tables, measured and published, as one."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbench.figures.labels import backend_label, condition_label, shorten
from sdbench.figures.results import Result, measured, published
from sdbench.kinds import KINDS
from sdbench.tables.files import read_table
from sdbench.tables.schemas import LATENCY, MEMORY, PUBLISHED, THROUGHPUT

HERE = "measured here"
GB = 1e9


@dataclass(frozen=True)
class CaseRow:
    """One case. Names are those of the tables, and so are the units; None where there is no number.

    `origin` is `HERE` or the name of the campaign that published it; only rows of one `condition`
    are comparable. `family` is the name that models of the same networks share. `gate`: `keeps` or
    `misses` the config's quality gate, empty where it is not known. `memory_gb` counts what
    `memory_counter` says, in 10^9 bytes.
    """

    origin: str
    condition: str
    family: str
    model: str
    device: str
    backend: str
    precision: str
    options: str
    batch_size: int
    status: str
    reason: str
    gate: str
    contended: bool
    memory_counter: str
    memory_gb: float | None
    n: float | None
    latency_s: float | None
    latency_q1_s: float | None
    latency_q3_s: float | None
    images_per_minute: float | None
    images_per_minute_ci_low: float | None
    images_per_minute_ci_high: float | None
    ssim: float | None
    energy_j_per_image: float | None
    cost_per_1000_images: float | None
    noise: float | None

    @property
    def published(self) -> bool:
        """Whether others published it."""
        return self.origin != HERE

    @property
    def ok(self) -> bool:
        """Whether it has numbers."""
        return self.status == "ok"


def case_rows(
    latency: Path, memory: Path, throughput: Path, published_table: Path, kinds: Mapping[str, str]
) -> list[CaseRow]:
    """Return a row for each case of the tables, what was measured first.

    Args:
        latency: table of schema LATENCY.
        memory: table of schema MEMORY.
        throughput: table of schema THROUGHPUT.
        published_table: table of schema PUBLISHED.
        kinds: device name -> its kind, such as `cuda`.
    """
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for path, schema in ((latency, LATENCY), (throughput, THROUGHPUT), (memory, MEMORY)):
        for result in measured(read_table(path, schema), kinds):
            row = _row(result)
            held = merged.setdefault((result.place, result.options, result.batch_size), row)
            # `n` counts other calls in each table: that of the latency stays.
            held.update({k: v for k, v in row.items() if held[k] is None or held[k] == ""})
    rows = [CaseRow(**row) for row in merged.values()]
    rows += [CaseRow(**_row(r)) for r in published(read_table(published_table, PUBLISHED))]
    return rows


def _row(result: Result) -> dict[str, Any]:
    numbers = result.numbers
    column, counter = KINDS[result.kind].memory_counter
    if result.published:
        column, counter = "memory_bytes", result.counter
    memory = numbers.get(column)
    likeness = numbers.get("ssim")
    return {
        "origin": result.campaign or HERE,
        "condition": condition_label(result.condition),
        "family": result.condition.family,
        "model": shorten(result.model),
        "device": result.device,
        "backend": backend_label(result.backend),
        "precision": result.precision,
        "options": result.options,
        "batch_size": result.batch_size,
        "status": result.status,
        "reason": result.reason,
        "gate": "misses" if result.fails_gate else "" if likeness is None else "keeps",
        "contended": result.contended,
        "memory_counter": counter if memory is not None else "",
        "memory_gb": None if memory is None else memory / GB,
        **{name: numbers.get(name) for name in _NUMBERS},
    }


_NUMBERS = (
    "n",
    "latency_s",
    "latency_q1_s",
    "latency_q3_s",
    "images_per_minute",
    "images_per_minute_ci_low",
    "images_per_minute_ci_high",
    "ssim",
    "energy_j_per_image",
    "cost_per_1000_images",
    "noise",
)


def as_columns(rows: list[CaseRow]) -> dict[str, Any]:
    """Return rows as JSON can hold them: the names once, then the values of each row.

    Numbers have four significant digits: the tables have all of them.
    """
    names = list(CaseRow.__dataclass_fields__)
    return {
        "names": names,
        "rows": [[_short(value) for value in asdict(row).values()] for row in rows],
    }


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
