"""Compute the memory that described models take: no weights are read, and no device is used."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sdbench.models.architectures import load_architecture
from sdbench.models.computed import read_computed, write_computed
from sdbench.models.tokenizer import clip_vocabulary
from sdbench.runtime.job import run_script


def rows_of_model(architecture: Path, vocabulary: Path) -> list[dict[str, Any]]:
    """Return the rows of a described model at its own size.

    Raises:
        UserError: if the description is wrong.
    """
    # Imported here so that no log of these libraries comes before the job's own log is open.
    from sdbench.measure.predicted_memory import Outline, predict_rows

    described = load_architecture(architecture)
    model = Outline.of(described, clip_vocabulary(vocabulary))
    assert described.generation is not None, "asked of models that generate in a way of their own"
    return list(predict_rows(model, described.generation))


def predict_memory(
    architectures: Sequence[Path],
    vocabulary: Path,
    processes: int,
    memory: Path,
    computed: Path | None = None,
) -> None:
    """Write the rows of the table `predicted_memory` as JSON.

    Args:
        architectures: the descriptions of models.
        vocabulary: CLIP's.
        processes: how many models are looked at side by side.
        memory: written.
        computed: what ships and is not computed again.

    Raises:
        UserError: if a description is wrong.
    """
    rows = read_computed(computed, architectures) if computed else []
    known = {row["model"] for row in rows}
    missing = [path for path in architectures if path.stem not in known]
    if missing:
        ask = partial(rows_of_model, vocabulary=vocabulary)
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            rows += [row for found in pool.map(ask, missing) for row in found]
    write_computed(memory, architectures, rows)
    print(f"{len(architectures)} models, {len(known)} of them known: {len(rows)} ways to run them")


if __name__ == "__main__":
    os.environ.update(TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error")
    run_script(snakemake, predict_memory, processes=snakemake.threads)
