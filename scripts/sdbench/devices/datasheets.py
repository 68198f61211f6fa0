"""What datasheets say of GPUs, by the names that drivers give them, or by those of the config."""

import csv
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.config.files import locate
from sdbench.runtime.errors import UserError, plain

_NOT_A_MODEL = {"nvidia", "geforce", "amd", "radeon", "instinct", "intel", "arc", "tesla", "quadro"}
_FORM = re.compile(r"\d+gb|hbm\w*|sxm\d*|pcie|nvl|gpu|generation|edition")
"""What names of one model may differ in: memory, socket, and words of marketing."""
_MEMORY = re.compile(r"\d+gb")
NUMBERS = ("memory_gb", "bandwidth_gb_s", "fp16_tflops", "fp32_tflops", "tdp_w")
"""What an entry of the config's `cards` says of a card that is not in the table."""
RATIOS = (
    ("fp16_tflops", "fp32_tflops", 1 / 64, 64),
    ("fp16_tflops", "bandwidth_gb_s", 0.005, 2),
    ("tdp_w", "fp32_tflops", 0.5, 100),
)
"""Between what the first number by the second lies, for every card of the table and far beyond:
outside is a wrong unit or digit."""


@dataclass(frozen=True)
class Datasheet:
    """Of a GPU: memory in GB of `CARD_GB`, bandwidth in GB/s, power limit in W, and peaks in
    TFLOP/s: in half precision, dense, with sums in fp32 and with sums in fp16; in fp32 without
    tensor cores. None where no source was found. `compute_capability` is NVIDIA's."""

    name: str
    memory_gb: float | None
    half_tflops: float | None
    fp32_tflops: float | None
    bandwidth_gb_s: float | None = None
    half_sums_tflops: float | None = None
    tdp_w: float | None = None
    compute_capability: float | None = None


def read_datasheets(table: Path) -> list[Datasheet]:
    """Return all rows of the table, whose schema is GPUS."""

    def value(text: str) -> float | None:
        return float(text) if text else None

    with table.open(encoding="utf-8", newline="") as file:
        return [
            Datasheet(
                row["name"],
                value(row["memory_gb"]),
                value(row["fp16_dense_tflops"]),
                value(row["fp32_tflops"]),
                value(row["bandwidth_gb_s"]),
                value(row["fp16_acc16_tflops"]),
                value(row["tdp_w"]),
                value(row["compute_capability"]),
            )
            for row in csv.DictReader(file)
        ]


def find_datasheet(name: str, sheets: Sequence[Datasheet]) -> Datasheet | None:
    """Return the datasheet of a GPU; None if no row is of this model.

    Of one that is sold with several memories, and named without, the first; of one without its
    socket the one that is no PCIe card, as most that are rented.
    """
    wanted = _words(name)
    fitting = []
    for sheet in sheets:
        words = _words(sheet.name)
        differing = wanted ^ words
        memories = {word for word in differing if _MEMORY.fullmatch(word)}
        conflict = len(memories) > 1 and memories & wanted and memories & words
        if not conflict and all(_FORM.fullmatch(word) for word in differing):
            fitting.append((len(differing), "pcie" in differing, sheet))
    return min(fitting, key=lambda found: found[:2])[-1] if fitting else None


def find_card(
    name: str, sheets: Sequence[Datasheet], cards: Mapping[str, Mapping[str, Any]]
) -> Datasheet:
    """Return the datasheet of a card that is named in the config: its own of `cards`, if that has
    numbers, or that of the table.

    Raises:
        UserError: if there is none, or its numbers are not those of a card.
    """
    given = cards.get(name, {})
    numbers = {key: given[key] for key in NUMBERS if key in given}
    found = find_datasheet(name, sheets)
    if not numbers and found is not None:
        return found
    if len(numbers) < len(NUMBERS):
        names = {sheet.name.casefold(): sheet.name for sheet in sheets}
        near = difflib.get_close_matches(name.casefold(), names, 3, cutoff=0.3)
        missing = ", ".join(f"`{key}`" for key in NUMBERS if key not in numbers)
        raise UserError(
            f"found {plain(name)!r}, of which no datasheet is known; near are "
            f"{', '.join(names[one] for one in near) or 'none'}: use one of these names, or give "
            f"{missing} under it in `cards`"
        )
    for one, other, least, most in RATIOS:
        ratio = numbers[one] / numbers[other]
        if not least <= ratio <= most:
            raise UserError(
                f"found {numbers[one]:g} and {numbers[other]:g} for `{one}` and `{other}` of "
                f"{plain(name)!r}, a ratio of {ratio:.3g}; allowed is {least:.3g} to {most:g}: "
                "correct the unit or the digits"
            )
    return Datasheet(
        name,
        numbers["memory_gb"],
        numbers["fp16_tflops"],
        numbers["fp32_tflops"],
        numbers["bandwidth_gb_s"],
        tdp_w=numbers["tdp_w"],
    )


def check_cards(cards: Mapping[str, Any], table: Path, files: Sequence[Path]) -> None:
    """Raise `UserError`, with its place in the config `files`, if a card has no datasheet."""
    sheets = read_datasheets(table) if cards else []
    for name in cards:
        try:
            find_card(name, sheets, cards)
        except UserError as fault:
            raise UserError(f"{locate(['cards', name], files)}: {fault}") from None


@functools.cache
def _words(name: str) -> frozenset[str]:
    words = frozenset(re.findall(r"[a-z0-9.]+", name.lower())) - _NOT_A_MODEL
    # One model has one generation of a socket, which not every name has.
    words = frozenset(re.sub(r"^sxm\d$", "sxm", word) for word in words)
    # "NVIDIA H100 80GB HBM3" is the one with a socket.
    return words - {"hbm3"} | {"sxm"} if {"h100", "hbm3"} <= words else words
