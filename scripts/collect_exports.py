"""Make the table of exported networks."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.runtime.files import read_json
from sdbench.runtime.job import run_script
from sdbench.tables.files import write_table
from sdbench.tables.schemas import EXPORTS

import pandas as pd


def collect_exports(records: Sequence[Path], table: Path) -> None:
    """Write a row for each network in each record, <graphs>/<model>.json, to `table`."""
    rows = [
        {"model": path.name.removesuffix(".json"), "graphs": path.parent.name, **network}
        for path in records
        for network in read_json(path).values()
    ]
    write_table(pd.DataFrame(rows), table, EXPORTS)


if __name__ == "__main__":
    run_script(snakemake, collect_exports)
