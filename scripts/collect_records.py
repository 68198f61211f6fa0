"""Make the tables latency, memory and throughput from the records."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sdbench.records import read_indexed
from sdbench.tables.rows import latency_row, memory_row, throughput_rows
from sdbench.tables.schemas import LATENCY, MEMORY, THROUGHPUT, write_table


def collect_records(indexes: Sequence[Path], latency: Path, memory: Path, throughput: Path) -> None:
    """Write a row for each record that the indexes name to each of the three tables.

    Raises:
        UserError: if a record is missing, damaged or changed; it names the file.
    """
    records = [record for index in indexes for record in read_indexed(index)]
    write_table(pd.DataFrame([latency_row(record) for record in records]), latency, LATENCY)
    write_table(pd.DataFrame([memory_row(record) for record in records]), memory, MEMORY)
    write_table(pd.DataFrame(throughput_rows(records)), throughput, THROUGHPUT)


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        collect_records(
            indexes=[Path(path) for path in snakemake.input.indexes],
            latency=Path(snakemake.output.latency),
            memory=Path(snakemake.output.memory),
            throughput=Path(snakemake.output.throughput),
        )
