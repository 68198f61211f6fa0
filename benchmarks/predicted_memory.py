"""How far is computed memory off, from peaks that others published?

    PYTHONPATH=scripts python benchmarks/predicted_memory.py [-v] [FILE]

FILE is a table of schema PUBLISHED: resources/published.csv, or the results/exported.csv that
`snakemake export_results` makes of a run. Each published peak of PyTorch whose counter is known is
held against the number that it counts: what was allocated, what was reserved on a card of its
memory, or that and the CUDA context. Left out are rows with `compile` and `autocast`, which are not
computed. Prints the table of errors that docs/method.md has; ends with status 1 if fewer than nine
of ten are within 15 %. `tests/e2e/test_offload.py` holds computed memory against a device
of tests.
"""

import argparse
import math
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdbench.cases.case import Variant
from sdbench.cases.kinds import CARD_GB
from sdbench.cases.options import parse_options
from sdbench.devices.datasheets import Datasheet, find_datasheet, read_datasheets
from sdbench.measure.allocator import Allocator
from sdbench.measure.predicted_memory import Outline, Peaks, predict_peaks, trace_call
from sdbench.models.architectures import load_architecture
from sdbench.models.computed import CONTEXT_BYTES
from sdbench.models.described import find_described
from sdbench.models.tokenizer import clip_vocabulary
from sdbench.tables.files import rows_of
from sdbench.tables.published import read_published

ROOT = Path(__file__).parents[1]
RESERVED = ("torch reserved after run", "torch peak reserved")
DEVICE = ("NVML device delta, second run", "NVML device, peak")
ATTENTION = {"vanilla": ("attention-vanilla",), "sdpa": (), "xformers": ()}
WITHIN, SHARE = 0.15, 0.9


def computed(peaks: Peaks, counter: str) -> int:
    """Return what of a prediction a counter counts."""
    if counter in DEVICE:
        return peaks.reserved + CONTEXT_BYTES
    return peaks.reserved if counter in RESERVED else peaks.allocated


def card_bytes(name: str, sheets: Sequence[Datasheet]) -> float:
    """Return the memory of a card, or of a slice of one, by its name; infinity if unknown."""
    if part := re.search(r"MIG \dg\.(\d+)gb", name):
        return int(part[1]) * CARD_GB
    sheet = find_datasheet(name, sheets)
    return sheet.memory_gb * CARD_GB if sheet and sheet.memory_gb else math.inf


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", default=ROOT / "resources/published.csv")
    parser.add_argument("-v", action="store_true", help="print every row")
    given = parser.parse_args()
    vocabulary = clip_vocabulary(ROOT / "resources/tokenizers/bpe_simple_vocab_16e6.txt.gz")
    models: dict[str, Outline] = {}
    sheets = read_datasheets(ROOT / "resources/datasheets/gpus.csv")
    found: dict[Any, Any] = {}
    errors: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows_of(read_published(given.file, "restore it")):
        options = set(row["options"].split("+")) - {"none"}
        name = find_described(row["model"])
        if (
            not row["memory_bytes"]
            or not row["memory_counter"]
            or row["backend"] != "pytorch"
            or row["attention"] not in ATTENTION
            or options - {"vae-slicing"}
            or name is None
        ):
            continue
        switches = "+".join([*ATTENTION[row["attention"]], *sorted(options)]) or "none"
        size = {key: row[key] for key in ("width", "height", "guidance")} | {"steps": 1}
        key = name, row["precision"], switches, row["batch_size"], *size.values()
        if key not in found:
            if name not in models:
                described = load_architecture(ROOT / f"resources/architectures/{name}.yaml")
                models = {name: Outline.of(described, vocabulary)}  # one at a time
            way = Variant(name, "gpu", "pytorch", row["precision"], switches)
            found[key] = trace_call(models[name], way, size, row["batch_size"])
        memory = Allocator(card_bytes(row["device_name"], sheets) - CONTEXT_BYTES)
        peaks = predict_peaks(found[key], row["precision"], parse_options(switches), memory)
        ratio = computed(peaks, row["memory_counter"]) / row["memory_bytes"]
        errors[row["campaign"], name, row["precision"]].append(ratio - 1)
        if given.v:
            print(*key, row["device_name"], f"{row['memory_bytes'] / 1e9:.2f}", f"{ratio:.3f}")
    print("| campaign, model, precision | rows | median error | within 15 % |")
    print("| --- | ---: | ---: | ---: |")
    for key, some in sorted(errors.items()):
        near = np.mean(np.abs(some) <= WITHIN)
        print(f"| {', '.join(key)} | {len(some)} | {np.median(some):+.1%} | {near:.0%} |")
    if not errors:
        print("no row has a peak of PyTorch that is computed")
        return 1
    every = np.abs(np.concatenate([*errors.values()]))
    near = np.mean(every <= WITHIN)
    print(f"\n{len(every)} peaks: half within {np.median(every):.1%}, {near:.0%} within 15 %")
    return int(near < SHARE)


if __name__ == "__main__":
    sys.exit(main())
