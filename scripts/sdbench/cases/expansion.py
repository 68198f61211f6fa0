"""Turn a configuration into the cases to measure, and the cells that cannot be measured."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sdbench.cases.case import Case, Device, Pair, Variant, measured_device, why_absent
from sdbench.cases.options import format_options, parse_options


def _variant(model: str, device: str, backend: str, precision: str, options: str) -> Variant:
    return Variant(model, device, backend, precision, format_options(parse_options(options)))


@dataclass(frozen=True)
class Grid:
    """The variants of a model that an entry of the config asks for: the product of its lists."""

    model: str
    devices: Sequence[str]
    backends: Sequence[str]
    precisions: Sequence[str]
    options: Sequence[str]

    @property
    def lists(self) -> tuple[Sequence[str], ...]:
        """What a variant is named by, in the order of its names."""
        return [self.model], self.devices, self.backends, self.precisions, self.options

    def count(self) -> int:
        """Return how many variants there are, none of them written out."""
        return math.prod(map(len, self.lists))

    def variants(self) -> Iterator[Variant]:
        """Yield them, in the order of the lists."""
        return itertools.starmap(_variant, itertools.product(*self.lists))


@dataclass(frozen=True)
class MatrixEntry(Grid):
    """An entry of `matrix`; the schema says what its keys mean."""

    batch_sizes: Sequence[int]
    largest_batch: int


SPREAD_STEPS = 8
"""Of the full runs, how many are repeated with other seeds."""


def choose_steps(steps: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of `steps`, which rise, first and last among them, at about equal
    ratios.

    An image changes most in its first steps.
    """
    if len(steps) <= count:
        return list(steps)
    ratio = math.log(steps[-1] / steps[0]) / (count - 1)
    targets = [math.log(steps[0]) + place * ratio for place in range(count)]
    return sorted({min(steps, key=lambda step: abs(math.log(step) - t)) for t in targets})


@dataclass(frozen=True)
class QualityEntry(Grid):
    """An entry of `quality`; the schema says what its keys mean."""

    reference: Mapping[str, str]
    trajectory_steps: int
    runs: Sequence[int] | Literal["all"]
    seeds: int
    panel_step: int

    @property
    def run_steps(self) -> list[int]:
        """The steps of the full runs, rising."""
        every = range(1, self.trajectory_steps + 1)
        return sorted(every if self.runs == "all" else self.runs)

    @property
    def spread(self) -> list[tuple[int, int]]:
        """Full runs with other seeds than the model's: the seed, counted from that, and the steps.

        Some of the runs tell the spread of all: with every one, seeds would multiply the time.
        """
        chosen = choose_steps(self.run_steps, SPREAD_STEPS)
        return [(seed, steps) for seed in range(1, self.seeds) for steps in chosen]

    def reference_variant(self) -> Variant:
        """Return the variant whose images are taken as right."""
        return _variant(self.model, **self.reference)


@dataclass(frozen=True)
class _Compared:
    """What entries have that name a reference and what is compared with it."""

    model: str
    device: str
    reference: Mapping[str, str]
    variants: Sequence[Mapping[str, str]]

    def variant(self, given: Mapping[str, str]) -> Variant:
        """Return `given`, the reference or one of the variants, with this model and device."""
        return _variant(self.model, self.device, **given)


@dataclass(frozen=True)
class SetEntry(_Compared):
    """An entry of `quality_set`; the schema says what its keys mean."""

    prompts: str | Sequence[str]
    seeds: Sequence[int]
    pairs: int
    batch_size: int
    judge: str | Mapping[str, str]
    margin: float


@dataclass(frozen=True)
class RaceEntry(_Compared):
    """An entry of `races`; the schema says what its keys mean."""

    sizes: Sequence[int]
    batch_size: int
    rounds: int


@dataclass(frozen=True)
class RunConfig:
    """What a complete config asks for. `generations` are by model, `devices` by name."""

    generations: Mapping[str, Mapping[str, Any]]
    devices: Mapping[str, Device]
    matrix: Sequence[MatrixEntry]
    quality: Sequence[QualityEntry]
    races: Sequence[RaceEntry]
    quality_set: Sequence[SetEntry]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "RunConfig":
        """Return it of what `check_config` returned."""
        return cls(
            {name: model["generation"] for name, model in config["models"].items()},
            {name: measured_device(entry) for name, entry in config["devices"].items()},
            [MatrixEntry(**entry) for entry in config["matrix"]],
            [QualityEntry(**entry) for entry in config["quality"]],
            [RaceEntry(**entry) for entry in config["races"]],
            [SetEntry(**entry) for entry in config["quality_set"]],
        )

    def case(self, variant: Variant, batch_size: int = 1) -> Case:
        """Return a case, which the matrix need not have."""
        return Case(
            variant, batch_size, self.generations[variant.model], self.devices[variant.device]
        )

    def why_absent(self, variant: Variant) -> str | None:
        """Say why no case can exist for `variant`; None if one can."""
        return why_absent(variant, self.devices[variant.device].kind)


@dataclass(frozen=True)
class Absent:
    """A cell of the matrix that cannot be a case."""

    variant: Variant
    batch_size: int
    reason: str


def thread_families(devices: Mapping[str, Device]) -> dict[str, str]:
    """Return for each device of the config the first that differs from it in threads alone."""
    same = {name: replace(device, threads=0) for name, device in devices.items()}
    return {name: next(n for n, device in same.items() if device == same[name]) for name in devices}


MOST_CELLS, MOST_JOBS = 30_000, 750
"""What Snakemake plans within five seconds: cells of a matrix, and jobs."""


def count_cells(config: RunConfig) -> int:
    """Return how many cells the entries of the matrix have together."""
    return sum(entry.count() * len(entry.batch_sizes) for entry in config.matrix)


def count_jobs(config: RunConfig) -> int:
    """Return how many jobs measure, generate or compare images at most: some may be absent.

    One measures all of a model, device and backend; two generate and compare a compared variant.
    """
    sweeps = {place for entry in config.matrix for place in itertools.product(*entry.lists[:3])}
    sets = sum(1 + len(entry.variants) for entry in config.quality_set)
    return len(sweeps) + sets + 2 * sum(1 + entry.count() for entry in config.quality)


def expand_matrix(config: RunConfig) -> tuple[list[Case], list[Absent]]:
    """Return the cells of the matrix that can exist, and those that cannot.

    Each once, in the order of the config; batch sizes rise within a variant.
    """
    batches: dict[Variant, set[int]] = {}
    for entry in config.matrix:
        for variant in entry.variants():
            batches.setdefault(variant, set()).update(entry.batch_sizes)
    cases, absent = [], []
    for variant, sizes in batches.items():
        if reason := config.why_absent(variant):
            absent += [Absent(variant, size, reason) for size in sorted(sizes)]
        else:
            cases += [config.case(variant, size) for size in sorted(sizes)]
    return cases, absent


def expand_searches(config: RunConfig) -> dict[Variant, int]:
    """Return the variants whose largest batch is searched for, each with the cap of its search."""
    caps: dict[Variant, int] = {}
    for entry in config.matrix:
        for variant in entry.variants():
            cap = max(entry.largest_batch, caps.get(variant, 0))
            if cap and config.why_absent(variant) is None:
                caps[variant] = cap
    return caps


def matrix_rows(cases: Iterable[Case], absent: Iterable[Absent]) -> list[dict[str, Any]]:
    """Return the rows of the table `cases`: first those that exist, then those that cannot."""
    return [
        case.variant.as_dict() | {"batch_size": case.batch_size, "case_id": case.id}
        for case in cases
    ] + [
        cell.variant.as_dict() | {"batch_size": cell.batch_size, "absent_because": cell.reason}
        for cell in absent
    ]


def expand_quality(config: RunConfig) -> list[tuple[Variant, list[Variant]]]:
    """Return for each `quality` entry its reference and the variants to compare with it.

    Without those that cannot exist, and the reference itself.
    """
    pairs = []
    for entry in config.quality:
        reference = entry.reference_variant()
        others = dict.fromkeys(v for v in entry.variants() if config.why_absent(v) is None)
        pairs.append((reference, [variant for variant in others if variant != reference]))
    return pairs


def expand_sets(config: RunConfig) -> list[tuple[Variant, list[Variant]]]:
    """Return for each `quality_set` entry its reference and the variants to compare with it: those
    that it names, else all of its model and device that are measured or compared."""
    pairs = []
    for entry in config.quality_set:
        reference = entry.variant(entry.reference)
        grids = [*config.matrix, *config.quality] if not entry.variants else []
        there = (variant for grid in grids for variant in grid.variants())
        others = [entry.variant(given) for given in entry.variants] or [
            v
            for v in there
            if (v.model, v.device) == (entry.model, entry.device) and not config.why_absent(v)
        ]
        pairs.append((reference, [v for v in dict.fromkeys(others) if v != reference]))
    return pairs


def expand_races(config: RunConfig) -> list[Pair]:
    """Return the pairs of the races, in the order of the config."""
    pairs = []
    for entry in config.races:
        for size, given in itertools.product(entry.sizes, entry.variants):
            case = config.case(entry.variant(given), entry.batch_size)
            case = replace(case, generation={**case.generation, "height": size, "width": size})
            pairs.append(Pair(case, entry.variant(entry.reference), entry.rounds))
    return pairs
