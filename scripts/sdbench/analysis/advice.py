"""What should I buy or rent? Every model on every card: measured, published or predicted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sdbench.analysis.estimates import ENDS, Estimate, estimate
from sdbench.analysis.predicted_seconds import Question, Work, ask
from sdbench.analysis.predictor import Predictor
from sdbench.cases.kinds import CARD_GB
from sdbench.cases.options import NONE
from sdbench.devices.datasheets import Datasheet, find_card, find_datasheet
from sdbench.models.architectures import Architecture
from sdbench.models.computed import CONTEXT_BYTES
from sdbench.models.described import find_described, work_key
from sdbench.runtime.errors import UnsupportedError
from sdbench.tables.files import Row
from sdbench.tables.schemas import ELSEWHERE, MEASURED, NO, PREDICTED, UNKNOWN, YES

BATCHES = (1, 4, 16)
PRECISIONS = {
    "fp32": ("fp16", "bf16", "fp32"),
    "fp16": ("fp16", "bf16"),
    "bf16": ("bf16",),
}
"""By how the weights are published, what a GPU is asked for. Models in bf16 overflow in fp16, and
what is published in half precision gains nothing from more."""
PLAIN = ("none", "vae-slicing")
"""Options of published rows that are set against predictions: PyTorch as it is."""
OF_TODAY = ("sdpa", "xformers")
"""Attentions as fast as PyTorch's own is today: a row of another is shown where nothing else is."""
NOT_A_GPU = "it was not measured, and only GPUs are predicted"
RATE_ENDS = ENDS["images_per_minute"]

Key = tuple[Any, ...]
"""What two calls must agree in: model, size and prompts, evaluations, batch size, precision."""


@dataclass(frozen=True)
class Target:
    """What is asked: a card with its datasheet, or a device without one.

    `device`: its name in the config, if it was measured here; `gpu`: whether it is one. `price`: of
    an hour, 0 for unknown.
    """

    card: str
    gpu: bool = True
    device: str | None = None
    sheet: Datasheet | None = None
    price: float = 0.0


def call_key(architecture: Architecture, call: Row) -> Key:
    """Return what decides the time of a call, of its generation, batch size and precision."""
    evaluations = int(call["steps"]) + (call["scheduler"] == "pndm")
    precision, batch_size = call["precision"], int(call["batch_size"])
    return *work_key(architecture, call), evaluations, batch_size, precision


def find_targets(
    results: Iterable[Row],
    published: Iterable[Row],
    sheets: Sequence[Datasheet],
    cards: Mapping[str, Mapping[str, Any]],
    prices: Mapping[str, float],
) -> list[Target]:
    """Return the devices that were measured here, then all cards that have a datasheet, and what
    others published of devices without one, such as processors.

    Args:
        results: rows of RESULTS.
        published: rows of PUBLISHED, of described models.
        sheets: the table of datasheets.
        cards: the config's.
        prices: of an hour of each device of the config.
    """
    known = {sheet.name: sheet for sheet in sheets}
    of_cards: dict[str, float] = {}
    for name, entry in cards.items():
        sheet = find_card(name, sheets, cards)
        known[sheet.name] = sheet
        of_cards[sheet.name] = entry["price_per_hour"]
    own = {
        row["device"]: (row["device_name"] or row["device"], row["device_kind"] != "cpu")
        for row in results
    }
    targets = []
    for device, (name, is_gpu) in own.items():
        found = find_datasheet(name, [*known.values()])
        price = prices.get(device) or of_cards.get(found.name if found else name, 0.0)
        targets.append(Target(name, is_gpu, device, found, price))
        if found:  # for which this one stands
            del known[found.name]
    targets += [Target(n, True, None, sheet, of_cards.get(n, 0.0)) for n, sheet in known.items()]
    elsewhere = {row["device_name"]: row["device_kind"] != "cpu" for row in published}
    here = {name for name, _ in own.values()}
    others = [n for n in elsewhere if n not in here and not find_datasheet(n, sheets)]
    return targets + [Target(name, elsewhere[name]) for name in others]


class Known:
    """What was measured here, and what others published, of described models."""

    def __init__(
        self,
        results: Iterable[Row],
        published: Iterable[Row],
        architectures: Mapping[str, Architecture],
        described: Mapping[str, str],
        sheets: Sequence[Datasheet],
    ) -> None:
        """`described`: the models of the config that have a description, each with its."""
        self._own: dict[tuple[str, Key], Row] = {}
        self._elsewhere: dict[tuple[str, Key], Row] = {}
        for row in results:
            # A time beside other work decides nothing, nor does one of other images.
            if (
                row["model"] in described
                and not row["contended"]
                and row["passes_gate"] is not False
            ):
                place = row["device"], call_key(architectures[described[row["model"]]], row)
                self._own[place] = min(self._own.get(place, row), row, key=_failed_and_seconds)
        for row in published:
            model = find_described(row["model"])
            plain = row["backend"] == "pytorch" and row["options"] in PLAIN
            # Such "fp32" is neither fp32 nor tf32.
            if (
                model
                and row["status"] == "ok"
                and row["latency_s"]
                and not row["tf32_convolutions"]
            ):
                card = find_datasheet(row["device_name"], sheets)
                if plain or card is None:
                    key = call_key(architectures[model], row)
                    place = card.name if card else row["device_name"], key
                    best = self._elsewhere.get(place, row)
                    self._elsewhere[place] = min(best, row, key=_old_and_seconds)

    def measured(self, target: Target, key: Key) -> Row | None:
        """Return the fastest of what ran here; the reason why nothing did where nothing did."""
        return self._own.get((target.device, key)) if target.device else None

    def published(self, target: Target, key: Key) -> Row | None:
        """Return the fastest of what others published of such a card."""
        return self._elsewhere.get((target.sheet.name if target.sheet else target.card, key))

    def precisions(self, target: Target, key: Key) -> list[str]:
        """Return the precisions that this knows of a target, all else being as in `key`."""
        places = [*self._own, *self._elsewhere]
        names = {target.device, target.card}
        return sorted({k[-1] for name, k in places if name in names and k[:-1] == key[:-1]})


def _failed_and_seconds(row: Row) -> tuple[bool, float]:
    return row["status"] != "ok", row["latency_s"] or 0.0


def _old_and_seconds(row: Row) -> tuple[bool, float]:
    return row["attention"] not in OF_TODAY, row["latency_s"]


def advise(
    targets: Sequence[Target],
    asked: Mapping[str, Mapping[str, Any]],
    architectures: Mapping[str, Architecture],
    known: Known,
    memory: Mapping[tuple[Any, ...], float],
    predictor: Predictor,
    work: Work,
    currency: str,
) -> list[Row]:
    """Return rows of ADVICE: of each target, of each model in all sizes that `work` has of it.

    Args:
        targets: what `find_targets` returned.
        asked: by description, how an image is generated.
        architectures: by description.
        known: what was measured and published.
        memory: what `find_peaks` returned.
        predictor: of seconds.
        work: what `prediction.work_of` returned.
        currency: of the prices.
    """
    rows: list[Row] = []
    questions: list[tuple[Row, Question]] = []
    for target in targets:
        for call, architecture in _calls(target, asked, architectures, known, work):
            row = call | {"card": target.card, "device": target.device, "gpu": target.gpu}
            row |= {"backend": "pytorch", "options": NONE, "fits": UNKNOWN}
            row |= {"card_memory_gb": target.sheet.memory_gb if target.sheet else None}
            rows.append(row)
            if target.sheet:
                _set_memory(row, memory)
            if not _fill_known(row, target, call_key(architecture, call), known):
                try:
                    questions.append((row, _question(row, target, architecture, predictor)))
                except UnsupportedError as error:
                    row["reason"] = str(error)
                    _fill_known(row, target, call_key(architecture, call), known, old=True)
    estimates = predictor.estimates([question for _, question in questions], work)
    for (row, _), seconds in zip(questions, estimates, strict=True):
        row["basis"] = PREDICTED
        _set(row, "latency_s", ENDS["latency_s"], seconds)
        _set_rate(row, seconds, row["batch_size"])
    prices = {(target.card, target.device): target.price for target in targets}
    for row in rows:
        _set_cost(row, prices[row["card"], row["device"]], currency)
    return rows


def _fill_known(row: Row, target: Target, key: Key, known: Known, old: bool = False) -> bool:
    """Put into a row what was measured or published, of an attention of today unless `old`; return
    whether there is any."""
    if found := known.measured(target, key):
        _fill(row, found, found["basis"], MEASURED)
    elif (found := known.published(target, key)) and (
        old or found["attention"] in OF_TODAY or not target.sheet
    ):
        _fill(row, found, ELSEWHERE, ELSEWHERE)
    return found is not None and "source" in row


def _question(
    row: Row, target: Target, architecture: Architecture, predictor: Predictor
) -> Question:
    """Return what is to be predicted.

    Raises:
        UnsupportedError: if that cannot be, or the memory does not suffice.
    """
    if target.sheet is None:
        raise UnsupportedError(NOT_A_GPU)
    question = ask(architecture, row, target.sheet, row)
    if reason := predictor.why_not(question):
        raise UnsupportedError(reason)
    if row["fits"] == NO:
        needed, there = row["memory_bytes"] / CARD_GB, row["card_memory_gb"]
        raise UnsupportedError(f"it needs {needed:.3g} GiB (predicted), and the card has {there:g}")
    return question


def _calls(
    target: Target,
    asked: Mapping[str, Mapping[str, Any]],
    architectures: Mapping[str, Architecture],
    known: Known,
    work: Work,
) -> Iterator[tuple[Row, Architecture]]:
    """Yield what is asked of a target: of each model each size, precision and batch size."""
    for name, generation in asked.items():
        architecture = architectures[name]
        _, width, height, prompts = own = work_key(architecture, generation)
        others = sorted(k for k in work if k[0] == name and k[3] == prompts and k != own)
        for _, width, height, _ in (own, *others):
            for batch_size in BATCHES:
                call = {"model": name, **generation, "width": width, "height": height}
                call |= {"batch_size": batch_size, "precision": PRECISIONS[architecture.stored][0]}
                for precision in _precisions(target, architecture, call, known):
                    yield call | {"precision": precision}, architecture


def _precisions(
    target: Target, architecture: Architecture, call: Row, known: Known
) -> Iterable[str]:
    if target.sheet is None:
        # A processor: what is known of it, or that nothing is.
        return known.precisions(target, call_key(architecture, call)) or ["fp32"]
    has_tf32 = (target.sheet.compute_capability or 0) >= 8
    named = PRECISIONS[architecture.stored]
    return ["tf32" if name == "fp32" and has_tf32 else name for name in named]


def _fill(row: Row, found: Row, basis: str, memory_basis: str) -> None:
    """Put what was measured or published into a row."""
    row |= {name: found[name] for name in ("backend", "options")}
    row |= {"source": found.get("campaign"), "reason": found.get("reason")}
    if found["status"] != "ok":
        # What failed otherwise says nothing of memory, and leaves what is predicted of it.
        if found["status"] == "oom":
            row["fits"] = NO
        return
    row |= {"basis": basis, "fits": YES}
    if found["memory_bytes"]:
        row |= {"memory_bytes": found["memory_bytes"], "memory_basis": memory_basis}
    seconds = estimate(found, "latency_s") if found["latency_s"] else None
    if seconds:
        _set(row, "latency_s", ENDS["latency_s"], seconds)
    if found["images_per_minute"]:
        _set(row, "images_per_minute", RATE_ENDS, estimate(found, "images_per_minute"))
    elif seconds:
        _set_rate(row, seconds, row["batch_size"])


def find_peaks(rows: Iterable[Row]) -> dict[tuple[Any, ...], float]:
    """Return bytes on a GPU by model, width, height, precision and batch size, of rows of
    PREDICTED_MEMORY: for any of BATCHES by the line through the two batch sizes that it has."""
    peaks: dict[tuple[Any, ...], dict[int, float]] = {}
    for row in rows:
        if row["options"] == NONE:
            way = row["model"], row["width"], row["height"], row["precision"]
            peaks.setdefault(way, {})[row["batch"]] = row["predicted_reserved_bytes"]
    found = {}
    for way, by_batch in peaks.items():
        first, *others = sorted(by_batch)
        for size in BATCHES:
            if others:
                image = (by_batch[others[-1]] - by_batch[first]) / (others[-1] - first)
                found[*way, size] = by_batch[first] + (size - first) * image + CONTEXT_BYTES
            elif size == first:
                found[*way, size] = by_batch[first] + CONTEXT_BYTES
    return found


def _set_memory(row: Row, memory: Mapping[tuple[Any, ...], float]) -> None:
    """Put into a row what memory a call takes by prediction, and whether the card has it."""
    # TF32 is stored as fp32.
    precision = row["precision"].replace("tf32", "fp32")
    of = (row["model"], row["width"], row["height"], precision, row["batch_size"])
    if of in memory:
        row |= {"memory_basis": PREDICTED, "memory_bytes": memory[of]}
        if row["card_memory_gb"]:
            row["fits"] = YES if memory[of] <= row["card_memory_gb"] * CARD_GB else NO


def _set(row: Row, column: str, ends: tuple[str, str], number: Estimate) -> None:
    row |= {column: number.value, ends[0]: number.low, ends[1]: number.high}


def _set_rate(row: Row, seconds: Estimate, images: int) -> None:
    _set(row, "images_per_minute", RATE_ENDS, seconds.map(lambda s: 60 * images / s))


def _set_cost(row: Row, price: float, currency: str) -> None:
    if price and row.get("images_per_minute"):
        cost = estimate(row, "images_per_minute").map(lambda rate: price * 1000 / (60 * rate))
        row["currency"] = currency
        _set(row, "cost_per_1000_images", ("cost_ci_low", "cost_ci_high"), cost)
