"""What fits in how much memory: the largest batch of each way to run a model.

Bytes of weights are exact, from the model's shapes. What each image adds, and the rest, are the
straight line of `measure.batch_prediction` through measured peaks. A way that was not measured, and
differs from one that was in how its weights are kept, has that one's line with its own weights.
Another on a CUDA GPU has the line through computed peaks, where its model is described.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from sdbench.cases.case import Variant, why_absent
from sdbench.cases.kinds import CARD_GB, KINDS
from sdbench.cases.options import INT8, MODEL_OFFLOAD, NONE, OFFLOADS, QUANTIZED
from sdbench.measure.batch_prediction import Line, beyond_allocator, deciding_counter, fit_line
from sdbench.models.weights import Components, device_bytes, weight_bytes
from sdbench.tables.files import Row
from sdbench.tables.schemas import CASE_KEY, DERIVED, MEASURED, NO, PREDICTED, UNKNOWN, WEIGHTS, YES

SIZES_GB = (8, 12, 16, 24, 48, 80)
"""Memory of devices, as cards are sold."""
REACH = 4
"""How many times the largest measured batch an answer may be. Memory is checked to be a straight
line over one doubling, by the largest batch; two more are believed, and nothing beyond."""

KEPT_OTHERWISE = {*QUANTIZED, *OFFLOADS}
"""Switches that change how weights are kept and nothing else: what has no others can be derived
from what has none."""
OFFERED = (NONE, INT8, "nf4-weights", *OFFLOADS, f"nf4-weights+{MODEL_OFFLOAD}")
"""Options that are derived where they were not measured; fp8 takes as much as int8."""


Computed = tuple[str, str, str]
"""A model, precision and options."""


class Verdict(NamedTuple):
    """Whether a model fits, and the largest batch that does.

    `largest_batch` is None where it is not known, and with `at_least` the true one may be larger.
    """

    fits: str
    largest_batch: int | None = None
    at_least: bool = False


def judge(peaks: Mapping[int, int], limit_bytes: float) -> Verdict:
    """Say what fits within a limit, by the peak bytes of batches that were measured.

    What was measured is believed; between and beyond, the line, up to `REACH` times the largest
    batch: of more memory it is only said that so much fits. More memory never means a smaller
    batch.
    """
    line = fit_line(peaks)
    fails = min((size for size, peak in peaks.items() if peak > limit_bytes), default=None)
    runs = max((size for size in peaks if fails is None or size < fails), default=0)
    if line is not None:
        largest = max(runs, line.within(limit_bytes))
        if fails is not None:
            largest = min(largest, fails - 1)
        reach = REACH * max(peaks)
        if largest > reach:
            return Verdict(YES, reach, at_least=True)
        return Verdict(YES, largest) if largest else Verdict(NO)
    if runs:
        return Verdict(YES, runs, at_least=fails is None or fails > runs + 1)
    return Verdict(NO) if fails == 1 else Verdict(UNKNOWN)


def batch_error(peaks: Mapping[int, int], limit_bytes: float) -> float | None:
    """Return by which share the batch within a limit would be another one, had the largest batch
    not been measured; None where too few were.

    The error is that of the batch and not of its memory, most of which does not depend on it.
    """
    large = max(peaks, default=0)
    line = fit_line(peaks)
    unaware = fit_line({size: peak for size, peak in peaks.items() if size != large})
    if line is None or unaware is None or (batch := _batch(line, limit_bytes)) < 1:
        return None
    return _batch(unaware, limit_bytes) / batch - 1


def _batch(line: Line, limit_bytes: float) -> float:
    """Return the batch, no whole number, whose peak is a limit; 0 where nothing fits."""
    return max(0.0, line.sizes[1] + (limit_bytes - line.peak_bytes) / line.image_bytes)


def judge_weights(needed_bytes: int, limit_bytes: float) -> Verdict:
    """Say what can be said where nothing was measured: weights that do not fit do not fit."""
    return Verdict(NO if needed_bytes > limit_bytes else UNKNOWN)


@dataclass
class MemoryConfig:
    """A way to run a model, with what is known of its memory.

    `peaks`: bytes that decide whether a batch fits, by batch size, of what was measured;
    `computed`: the same, not measured but computed; `counter`: what they count; `found`,
    `predicted`: the largest batch on the device itself as searched, and what the smaller ones
    promised.
    """

    variant: Variant
    kind: str
    components: Components
    peaks: dict[int, int] = field(default_factory=dict)
    counter: str | None = None
    found: int | None = None
    predicted: int | None = None
    computed: dict[int, int] = field(default_factory=dict)

    @property
    def device_bytes(self) -> int:
        """Bytes of weights on the device at one time, at least."""
        return device_bytes(self.components, self.variant.precision, self.variant.switches)

    @property
    def predicted_error(self) -> float | None:
        """By which share the computed peak misses the measured one of the largest batch that has
        both."""
        size = max(self.peaks.keys() & self.computed.keys(), default=None)
        return None if size is None else self.computed[size] / self.peaks[size] - 1

    def derived_from(self, plain: "MemoryConfig") -> dict[int, int]:
        """Return the peaks of `plain` with the weights of this way in place of its own."""
        more = self.device_bytes - plain.device_bytes
        return {size: peak + more for size, peak in plain.peaks.items()}

    def derived_error(self, plain: "MemoryConfig | None") -> float | None:
        """Return by which share the batch that is derived from `plain` misses the one measured, in
        the memory of the largest batch that both have."""
        if plain is None or plain is self:
            return None
        line = fit_line(self.derived_from(plain))
        size = max(self.peaks.keys() & plain.peaks.keys(), default=0)
        return _batch(line, self.peaks[size]) / size - 1 if line and size else None


def find_memory_configs(
    results: Sequence[Row],
    largest: Sequence[Row],
    components: Mapping[str, Components],
    computed: Mapping[Computed, dict[int, int]] = MappingProxyType({}),
) -> list[MemoryConfig]:
    """Return every way that was measured, and the same with weights that are kept otherwise.

    Args:
        results: rows of RESULTS, None for what is empty.
        largest: rows of LARGEST, of the same devices.
        components: the components of each model.
        computed: the peaks of each, by batch size, that are computed for CUDA GPUs.
    """
    kinds = {row["device"]: str(row["device_kind"]) for row in results}
    ways: dict[Variant, MemoryConfig] = {}

    def way(variant: Variant) -> MemoryConfig:
        kind = kinds[variant.device]
        own = MemoryConfig(variant, kind, components[variant.model])
        own.computed = _computed(variant, kind, computed)
        return ways.setdefault(variant, own)

    for row in results:
        variant = Variant(*(row[name] for name in CASE_KEY[:-1]))
        counter = deciding_counter(row)
        if row["status"] == "ok" and counter is not None:
            own = way(variant)
            own.counter = counter
            own.peaks[row["batch_size"]] = int(row[counter]) + beyond_allocator(row)
        else:
            own = way(_without_overflow(variant))
        if variant.backend == "pytorch":
            half = "fp16" if KINDS[own.kind].is_gpu else "bf16"
            for precision in dict.fromkeys((variant.precision, half)):
                for options in OFFERED:
                    other = _without_overflow(Variant(*variant.place, precision, options))
                    if why_absent(other, own.kind) is None:
                        way(other)
    for row in largest:
        # A search that ended at its cap has found no end of the memory.
        if row["largest_batch"] and row["largest_batch"] < row["cap"]:
            own = way(Variant(*(row[name] for name in CASE_KEY[:-1])))
            own.found, own.predicted = row["largest_batch"], row["predicted_batch"]
    return list(ways.values())


def _computed(
    variant: Variant, kind: str, computed: Mapping[Computed, dict[int, int]]
) -> dict[int, int]:
    if (kind, variant.backend) != ("cuda", "pytorch"):
        return {}
    precision = variant.precision.replace("tf32", "fp32")  # stored alike
    return computed.get((variant.model, precision, variant.options), {})


def _without_overflow(variant: Variant) -> Variant:
    """Return bf16 in place of fp16 where PyTorch has int8 weights: `backends.pytorch` refuses
    these in fp16, which they overflow."""
    overflows = (variant.backend, variant.precision) == ("pytorch", "fp16")
    return replace(variant, precision="bf16") if overflows and INT8 in variant.switches else variant


def fit_rows(ways: Sequence[MemoryConfig]) -> Iterator[Row]:
    """Yield the rows of the table `fits`: for each way, each size of memory."""
    by_variant = {way.variant: way for way in ways}
    for way in ways:
        plain = by_variant.get(way.variant.without_options)
        derivable = KEPT_OTHERWISE.issuperset(way.variant.switches)
        if not derivable or plain is None or not plain.peaks:
            plain = None
        basis, peaks, counter = MEASURED, way.peaks, way.counter
        if not peaks and plain is not None:
            basis, peaks, counter = DERIVED, way.derived_from(plain), plain.counter
        if not peaks and way.computed:
            basis, peaks, counter = PREDICTED, way.computed, "peak_reserved_bytes"
        if not peaks:
            basis = WEIGHTS
        line = fit_line(peaks)
        common = {
            **way.variant.as_dict(),
            "basis": basis,
            "counter": counter,
            "weights_bytes": sum(
                weight_bytes(way.components, way.variant.precision, way.variant.switches).values()
            ),
            "device_weights_bytes": way.device_bytes,
            "batch_sizes": line and " ".join(map(str, line.sizes)),
            "other_bytes": line and line.at(0) - way.device_bytes,
            "image_bytes": line and line.image_bytes,
            "derived_error": way.derived_error(plain),
            "predicted_error": way.predicted_error,
            "found_batch": way.found,
            "predicted_batch": way.predicted if way.found else None,
        }
        for size in SIZES_GB:
            limit = size * CARD_GB
            verdict = judge(peaks, limit) if peaks else judge_weights(way.device_bytes, limit)
            predicted = basis == MEASURED and verdict.fits == YES and not verdict.at_least
            error = batch_error(peaks, limit) if predicted else None
            yield common | {"memory_gb": size, "batch_error": error} | verdict._asdict()
