"""What the page knows of each case: its rows of the tables, measured and published, as one."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sdbench.report.figures.results import Result, measured, published
from sdbench.tables.files import read_table
from sdbench.tables.labels import backend_label, condition_label, shorten
from sdbench.tables.schemas import PUBLISHED, RESULTS

HERE = "measured here"
GB = 1e9


@dataclass(frozen=True)
class CaseRow:
    """One case. Names are those of the tables, and so are the units; None where there is no number.

    `origin` is `HERE` or the name of the campaign that published it; only rows of one `condition`
    are comparable. `family` is the name that models of the same networks share. `gate`:
    `keeps` or `misses` the config's quality gate, empty where it is not known. `memory_gb`
    counts what `memory_counter` says, in 10^9 bytes.
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
    latency_n: float | None
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


def case_rows(results_table: Path, published_table: Path) -> list[CaseRow]:
    """Return a row for each case of the tables, what was measured first.

    Args:
        results_table: table of schema RESULTS.
        published_table: table of schema PUBLISHED.
    """
    results = measured(read_table(results_table, RESULTS))
    results += published(read_table(published_table, PUBLISHED))
    return [_row(result) for result in results]


def _row(result: Result) -> CaseRow:
    numbers = result.numbers
    memory = numbers.get("memory_bytes")
    likeness = numbers.get("ssim")
    return CaseRow(
        origin=result.campaign or HERE,
        condition=condition_label(result.condition),
        family=result.condition.family,
        model=shorten(result.model),
        device=result.device,
        backend=backend_label(result.backend),
        precision=result.precision,
        options=result.options,
        batch_size=result.batch_size,
        status=result.status,
        reason=result.reason,
        gate="misses" if result.fails_gate else "" if likeness is None else "keeps",
        contended=result.contended,
        memory_counter=result.counter if memory is not None else "",
        memory_gb=None if memory is None else memory / GB,
        **{name: numbers.get(name) for name in _NUMBERS},
    )


_NUMBERS = (
    "latency_n",
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
