"""Make the table of all cells of the matrix, those that cannot exist included."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.tables.files import write_table
from sdbench.tables.schemas import CASES

import pandas as pd


def collect_cases(rows: Sequence[Mapping[str, Any]], table: Path) -> None:
    """Write the cells of the matrix to `table`."""
    write_table(pd.DataFrame([dict(row) for row in rows]), table, CASES)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, collect_cases, table=Path(snakemake.output[0]))
