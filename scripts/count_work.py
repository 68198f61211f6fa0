"""Count what the networks of described models take, for all that was published and is asked for."""

import os
from collections.abc import Sequence
from pathlib import Path

from sdbench.models.architectures import load_architecture
from sdbench.models.computed import read_computed, write_computed
from sdbench.models.described import WORK_KEY, WorkKey, published_keys
from sdbench.models.tokenizer import clip_vocabulary
from sdbench.runtime.job import run_script


def count_work(
    published: Sequence[Path],
    architectures: Sequence[Path],
    vocabulary: Path,
    asked: Sequence[WorkKey],
    work: Path,
    computed: Path | None = None,
) -> None:
    """Write what `sdbench.models.operations.count_described` returns as JSON.

    Args:
        published: tables of schema PUBLISHED.
        architectures: the descriptions of models.
        vocabulary: CLIP's.
        asked: what is counted besides all that was published.
        work: written.
        computed: what ships and is not counted again.

    Raises:
        UserError: if a description is wrong.
    """
    described = {path.stem: load_architecture(path) for path in architectures}
    # What was JSON has lists in place of tuples.
    others = {(name, width, height, prompts) for name, width, height, prompts in asked}
    wanted = published_keys(published, described) | others
    known = read_computed(computed, architectures) if computed else []
    missing = wanted - {tuple(row[key] for key in WORK_KEY) for row in known}
    rows = list(known)
    if missing:
        # Imported here: it takes seconds, and these libraries log, which the job's own log is for.
        from sdbench.models.operations import count_described

        rows += count_described(described, missing, clip_vocabulary(vocabulary))
    write_computed(work, architectures, rows)
    print(f"{len(wanted)} models and sizes, {len(wanted - missing)} of them known")


if __name__ == "__main__":
    os.environ.update(TRANSFORMERS_VERBOSITY="error", DIFFUSERS_VERBOSITY="error")
    run_script(snakemake, count_work)
