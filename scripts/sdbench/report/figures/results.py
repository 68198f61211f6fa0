"""Rows of the tables, measured and published, in one form; and which of them a figure shows."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sdbench.analysis.estimates import Estimate, estimate
from sdbench.cases.options import ATTENTION, NONE
from sdbench.report.figures.style import PRECISIONS
from sdbench.tables.files import Row, read_rows, read_table, rows_of
from sdbench.tables.labels import ATTENTION as ATTENTION_LABELS
from sdbench.tables.labels import backend_label, device_label, shorten
from sdbench.tables.published import FP32_TF32, Condition, condition
from sdbench.tables.schemas import PROJECTED, PUBLISHED, RESULTS

import pandas as pd

ATTENTION_ORDER = ("sdpa", "fused", "xformers", "vanilla", "sliced")
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
_NOT_NUMBERS = ("batch_size", "width", "height", "steps", "guidance")


@dataclass(frozen=True)
class Result:
    """One row of a table: how something was run, and the numbers that came of it.

    `row` has the columns of the table. `campaign` is empty for what was measured here. `contended`:
    something else used the device. `projected`: its times come from a few steps of a call.
    `fails_gate`: its images miss the config's quality gate; `quality`: what a set of them says.
    `peak_operation`: what reached the peak of its device.
    """

    row: Mapping[str, Any]
    condition: Condition
    kind: str
    device: str
    model: str
    weights: str
    backend: str
    precision: str
    options: str
    attention: str
    batch_size: int
    status: str
    reason: str = ""
    campaign: str = ""
    counter: str = ""
    peak_operation: str = ""
    contended: bool = False
    projected: bool = False
    fails_gate: bool = False
    quality: str = ""

    @cached_property
    def numbers(self) -> Mapping[str, float]:
        """The columns that are numbers and not empty, in the units of their names."""
        return {
            name: float(value)
            for name, value in self.row.items()
            if name not in _NOT_NUMBERS and type(value) in (int, float)
        }

    @property
    def published(self) -> bool:
        """Whether others published it."""
        return bool(self.campaign)

    @property
    def ok(self) -> bool:
        """Whether it has numbers."""
        return self.status == "ok"

    @property
    def switches(self) -> tuple[str, ...]:
        """The options, one by one."""
        return () if self.options == NONE else tuple(self.options.split("+"))

    def estimate(self, column: str) -> Estimate:
        """Return a number with its interval, to be compared."""
        return estimate(self.row, column)

    @property
    def place(self) -> tuple[str, str, str, str, str, str]:
        """Where and in what it ran, options apart: the cell of which one result is shown."""
        return (self.campaign, self.kind, self.device, self.model, self.backend, self.precision)


def read_results(results: Path, published_results: Path | None = None) -> list[Result]:
    """Return the rows of a table of schema RESULTS, and then those of one of schema PUBLISHED."""
    own = [_result(row, row["device"]) for row in read_rows(results, RESULTS)]
    return own + published(read_table(published_results, PUBLISHED)) if published_results else own


def published(table: pd.DataFrame) -> list[Result]:
    """Return the rows of a table of schema PUBLISHED."""
    return [
        _result(
            # Published calls are counted once, whatever was timed.
            row
            | {"weights": "trained", "latency_n": row["n"], "throughput_n": row["n"]}
            | ({"precision": FP32_TF32} if row["tf32_convolutions"] else {}),
            row["device"] or row["device_name"],
        )
        for row in rows_of(table)
    ]


def _result(row: Row, device: str) -> Result:
    return Result(
        row=row,
        condition=condition(row),
        kind=row["device_kind"],
        device=device_text(device, row["device_name"]),
        batch_size=int(row["batch_size"]),
        counter=row["memory_counter"] or "",
        contended=row["contended"] is True,
        projected=row["basis"] == PROJECTED,
        fails_gate=row["passes_gate"] is False,
        quality=row.get("quality_verdict") or "",
        **{name: row.get(name) or "" for name in _TEXTS},
    )


_TEXTS = (
    *("model", "weights", "backend", "precision", "options", "attention"),
    *("status", "reason", "campaign", "peak_operation"),
)
"""Columns that results have under the same name."""


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the items of each key; keys and items stay in their order."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def fewest_options(results: Iterable[Result], batches: bool = False) -> list[Result]:
    """Keep of each place the results with the fewest options, as far as there is a choice.

    Args:
        results: of any places, batch sizes and options.
        batches: whether all batch sizes are kept. Lambda's code switched VAE slicing on by itself
            at large batches, so that of published results it then does not count as an option.

    Returns:
        One result of each place, or one of each place and batch size.
    """

    def rank(result: Result) -> tuple[int, int, str]:
        ignored = {"vae-slicing"} if batches and result.published else set()
        switches = [s for s in result.switches if s not in ignored]
        return (len(switches), _place(ATTENTION_ORDER, result.attention), "+".join(switches))

    results = list(results)
    places = grouped(results, lambda r: r.place)
    best = {place: min(map(rank, members)) for place, members in places.items()}
    chosen: dict[tuple[object, ...], Result] = {}
    for result in results:
        if rank(result) == best[result.place]:
            chosen.setdefault((result.place, result.batch_size if batches else 0), result)
    return list(chosen.values())


def best_of(
    results: Iterable[Result], key: Callable[[Result], Hashable], value: Callable[[Result], float]
) -> list[Result]:
    """Keep the result of each `key` with the least `value`, in order of first appearance.

    A result without numbers is kept only where its key has none with, and one that was measured
    beside other work only where all with numbers were.
    """
    return [
        min(members, key=lambda r: (not r.ok, r.contended, value(r) if r.ok else 0.0))
        for members in grouped(results, key).values()
    ]


def rate_interval(
    result: Result, value: float, inverse: bool = False
) -> tuple[float | None, float | None]:
    """Return the interval of a value, in its unit, that is proportional to the images per minute of
    a result, or to the time of each where `inverse`."""
    numbers = result.numbers
    if "images_per_minute_ci_low" not in numbers:
        return None, None
    slow, fast = (
        numbers[f"images_per_minute_ci_{end}"] / numbers["images_per_minute"]
        for end in ("low", "high")
    )
    return (value / fast, value / slow) if inverse else (value * slow, value * fast)


def precision_place(precision: str) -> int:
    """Return the place of a precision among all, from exact to fast; unknown ones last."""
    return _place(list(PRECISIONS), precision)


def without_attention(result: Result) -> tuple[str, ...]:
    """Return the options of a result that do not choose its attention."""
    return tuple(switch for switch in result.switches if switch not in ATTENTION)


def setting_label(result: Result, among: Sequence[Result]) -> str:
    """Say how a result was run, as far as the results shown with it need telling apart.

    SDPA is not named where nothing else is: it is PyTorch's default.
    """
    parts = [result.precision]
    if {r.backend for r in among} != {"pytorch"}:
        parts.append(backend_label(result.backend))
    parts += without_attention(result)
    if result.attention not in ("sdpa", "fused", ""):
        parts.append(ATTENTION_LABELS.get(result.attention, result.attention))
    own = {r.model for r in among if not r.published}
    if len(own) > 1 and not result.published:
        parts.append(shorten(result.model, 24))
    if result.projected and result.ok:
        parts.append("projected")
    campaigns = {r.campaign for r in among if r.published}
    if len(campaigns) > 1 and result.published:
        parts.append(result.campaign)
    return ", ".join(parts)


def _place(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def device_text(device: str, name: str | None) -> str:
    """Name a device by what it is, and next to it by its name in the config where that differs."""
    if name is None:
        return shorten(device)
    label = device_label(name)
    return label if device in (label, name) else f"{label} ({shorten(device, 24)})"
