"""Make the table of the memory that models take, from what was computed."""

from pathlib import Path

from sdbench.runtime.files import read_json
from sdbench.tables.files import write_table
from sdbench.tables.schemas import PREDICTED_MEMORY

import pandas as pd


def collect_predicted_memory(memory: Path, table: Path) -> None:
    """Write the rows of `memory`, as `predict_memory` computed them, as a table."""
    write_table(pd.DataFrame(read_json(memory)["rows"]), table, PREDICTED_MEMORY)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, collect_predicted_memory)
