"""What datasheets say of GPUs, by the names that drivers give them."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

_NOT_A_MODEL = {"nvidia", "geforce", "amd", "radeon", "instinct", "intel", "arc", "tesla", "quadro"}
_FORM = re.compile(r"\d+gb|hbm\w*|sxm\d*|pcie|nvl|gpu|generation|edition")
"""What names of one model may differ in: memory, socket, and words of marketing."""
_MEMORY = re.compile(r"\d+gb")


@dataclass(frozen=True)
class Datasheet:
    """Of a GPU: memory in GB, and peaks in TFLOP/s: in half precision with sums in fp32, dense, and
    in fp32 without tensor cores. None where no source was found."""

    name: str
    memory_gb: float | None
    half_tflops: float | None
    fp32_tflops: float | None


def read_datasheets(table: Path) -> list[Datasheet]:
    """Return all rows of the table."""

    def value(text: str) -> float | None:
        return float(text) if text else None

    with table.open(encoding="utf-8", newline="") as file:
        return [
            Datasheet(
                row["name"],
                value(row["memory_gb"]),
                value(row["fp16_dense_tflops"]),
                value(row["fp32_tflops"]),
            )
            for row in csv.DictReader(file)
        ]


def find_datasheet(name: str, sheets: list[Datasheet]) -> Datasheet | None:
    """Return the datasheet of a GPU; of one that is sold with several memories, and named without,
    the first. None if no row is of this model."""
    wanted = _words(name)
    fitting = []
    for sheet in sheets:
        words = _words(sheet.name)
        differing = wanted ^ words
        memories = {word for word in differing if _MEMORY.fullmatch(word)}
        conflict = len(memories) > 1 and memories & wanted and memories & words
        if not conflict and all(_FORM.fullmatch(word) for word in differing):
            fitting.append((len(differing), sheet))
    return min(fitting, key=lambda found: found[0])[1] if fitting else None


def _words(name: str) -> frozenset[str]:
    words = frozenset(re.findall(r"[a-z0-9.]+", name.lower())) - _NOT_A_MODEL
    # "NVIDIA H100 80GB HBM3" is the one with a socket.
    return words - {"hbm3"} | {"sxm5"} if {"h100", "hbm3"} <= words else words
