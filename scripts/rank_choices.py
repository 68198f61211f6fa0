"""Rank all that was measured or published by what the config says is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.analysis.choices import rank_choices as rank
from sdbench.tables.files import read_table, write_table
from sdbench.tables.schemas import CHOICES, PUBLISHED, RESULTS


def rank_choices(
    results: Path,
    published: Path,
    need: Mapping[str, Any],
    table: Path,
) -> None:
    """Write the ranked table.

    Args:
        results: table of schema RESULTS.
        published: table of schema PUBLISHED.
        need: the config's section of that name.
        table: of schema CHOICES, written.
    """
    ranked = rank(read_table(results, RESULTS), read_table(published, PUBLISHED), need)
    write_table(ranked, table, CHOICES)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, rank_choices, table=Path(snakemake.output[0]))
