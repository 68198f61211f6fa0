"""Make the table of all cells of the matrix, those that cannot exist included."""

from pathlib import Path

from sdbench.tables.files import write_table
from sdbench.tables.schemas import CASES

import pandas as pd

if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0]):
        rows = [dict(row) for row in snakemake.params.rows]
        write_table(pd.DataFrame(rows), Path(snakemake.output[0]), CASES)
