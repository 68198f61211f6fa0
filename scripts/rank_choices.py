"""Rank all that was measured or published by what the config says is needed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbench.choices import rank_choices as rank
from sdbench.tables.files import read_table, write_table
from sdbench.tables.joined import join_tables
from sdbench.tables.schemas import CHOICES, PUBLISHED


def rank_choices(
    latency: Path,
    memory: Path,
    throughput: Path,
    published: Path,
    need: Mapping[str, Any],
    kinds: Mapping[str, str],
    table: Path,
) -> None:
    """Write the ranked table.

    Args:
        latency: table of schema LATENCY.
        memory: table of schema MEMORY, of the same cases.
        throughput: table of schema THROUGHPUT, of the same cases.
        published: table of schema PUBLISHED.
        need: the config's section of that name.
        kinds: device name -> its kind.
        table: of schema CHOICES, written.
    """
    own = join_tables(latency, memory, throughput, kinds)
    write_table(rank(own, read_table(published, PUBLISHED), need), table, CHOICES)


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        rank_choices(
            latency=Path(snakemake.input.latency),
            memory=Path(snakemake.input.memory),
            throughput=Path(snakemake.input.throughput),
            published=Path(snakemake.input.published),
            need=snakemake.params.need,
            kinds=snakemake.params.kinds,
            table=Path(snakemake.output[0]),
        )
