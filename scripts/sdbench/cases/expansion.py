"""Turn a configuration into the cases to measure, and the cells that cannot be measured.

Pure: no file is read, no device touched, nothing heavy imported.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from sdbench.cases.absence import Absent, why_absent
from sdbench.cases.case import Case, Pair, Variant, measured_device
from sdbench.cases.options import format_options, parse_options


def thread_families(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return for each device of the config the first that differs from it in threads alone."""
    same = {name: replace(measured_device(entry), threads=0) for name, entry in devices.items()}
    return {name: next(n for n, entry in same.items() if entry == same[name]) for name in devices}


def product(block: Mapping[str, Any]) -> Iterator[Variant]:
    """Yield the variants of a `matrix` or `quality` entry, in the order of its lists."""
    for device, backend, precision, options in itertools.product(
        block["devices"], block["backends"], block["precisions"], block["options"]
    ):
        yield Variant(
            block["model"], device, backend, precision, format_options(parse_options(options))
        )


MOST_CELLS, MOST_JOBS = 30_000, 750
"""What Snakemake plans within five seconds: cells of a matrix, and jobs that measure or draw."""


def count_cells(config: Mapping[str, Any]) -> int:
    """Return how many cells the entries of the matrix have together, none of them written out."""
    return sum(_count(block) * len(block["batch_sizes"]) for block in config["matrix"])


def count_jobs(config: Mapping[str, Any]) -> int:
    """Return how many jobs measure, draw or compare pictures, at most: it knows of nothing absent.

    Each model, device and backend is measured by one; each compared variant is drawn by one, and
    compared by another.
    """
    sweeps = {
        sweep
        for block in config["matrix"]
        for sweep in itertools.product([block["model"]], block["devices"], block["backends"])
    }
    return len(sweeps) + 2 * sum(1 + _count(entry) for entry in config["quality"])


def _count(block: Mapping[str, Any]) -> int:
    """Return how many variants `product` yields."""
    return math.prod(len(block[key]) for key in ("devices", "backends", "precisions", "options"))


def expand_matrix(config: Mapping[str, Any]) -> tuple[list[Case], list[Absent]]:
    """Turn a complete configuration into its cases and its absent cells.

    Args:
        config: what `check_config` returned.

    Returns:
        The cases and the absent cells, each once, in the order of the config; batch sizes rise
        within a variant.
    """
    batches: dict[Variant, set[int]] = {}
    for block in config["matrix"]:
        for variant in product(block):
            batches.setdefault(variant, set()).update(block["batch_sizes"])
    cases, absent = [], []
    for variant, sizes in batches.items():
        device = measured_device(config["devices"][variant.device])
        generation = config["models"][variant.model]["generation"]
        reason = why_absent(variant, device.kind)
        for size in sorted(sizes):
            if reason is None:
                cases.append(Case(variant, size, generation, device))
            else:
                absent.append(Absent(variant, size, reason))
    return cases, absent


def expand_searches(config: Mapping[str, Any]) -> dict[Variant, int]:
    """Return the variants whose largest batch is searched for, each with the cap of its search."""
    caps: dict[Variant, int] = {}
    for block in config["matrix"]:
        for variant in product(block):
            cap = max(block["largest_batch"], caps.get(variant, 0))
            if cap and why_absent(variant, config["devices"][variant.device]["kind"]) is None:
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


def quality_reference(block: Mapping[str, Any]) -> Variant:
    """Return the reference of a `quality` entry."""
    given = block["reference"]
    options = format_options(parse_options(given["options"]))
    return Variant(block["model"], given["device"], given["backend"], given["precision"], options)


def expand_quality(config: Mapping[str, Any]) -> list[tuple[Variant, list[Variant]]]:
    """Return for each `quality` entry its reference and the variants to compare with it.

    A variant that cannot exist is left out (`why_absent` has said why in the matrix's table), and
    so is the reference itself.
    """
    pairs = []
    for block in config["quality"]:
        reference = quality_reference(block)
        others = [
            variant
            for variant in dict.fromkeys(product(block))
            if variant != reference
            and why_absent(variant, config["devices"][variant.device]["kind"]) is None
        ]
        pairs.append((reference, others))
    return pairs


def expand_races(config: Mapping[str, Any]) -> list[Pair]:
    """Return the pairs of the `races` of a complete configuration, in its order."""
    return [
        Pair(
            Case(
                race_variant(race, given),
                race["batch_size"],
                config["models"][race["model"]]["generation"] | {"height": size, "width": size},
                measured_device(config["devices"][race["device"]]),
            ),
            race_variant(race, race["reference"]),
            race["rounds"],
        )
        for race in config["races"]
        for size in race["sizes"]
        for given in race["variants"]
    ]


def race_variant(race: Mapping[str, Any], given: Mapping[str, str]) -> Variant:
    """Return the variant that `given`, the reference of a `races` entry or one of its variants, is
    of that entry's model and device."""
    options = format_options(parse_options(given["options"]))
    return Variant(race["model"], race["device"], given["backend"], given["precision"], options)
