"""Make the table of races: from their records, and from tables of other machines."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.analysis.utilization import race_utilization_columns
from sdbench.records.record import read_indexed
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import read_json
from sdbench.runtime.job import run_script
from sdbench.tables.files import read_table, write_table
from sdbench.tables.rows import race_row
from sdbench.tables.schemas import RACES

import pandas as pd


def collect_races(
    indexes: Sequence[Path],
    device_peaks: Sequence[Path],
    operations: Sequence[Path],
    dropped_in: Sequence[Path],
    max_busy_cores: float,
    table: Path,
) -> None:
    """Write a row for each record that the indexes name, then the rows of other tables.

    `device_peaks` are what `measure_peak_throughput` wrote for each device, `operations` what
    `count_operations` wrote, <model>/<width>x<height>.json. Tables that were `dropped_in` have the
    same schema, as `export_results` writes them.
    """
    measured = {found["device"]: found for found in map(read_json, device_peaks)}
    counted = {(path.parent.name, path.stem): read_json(path) for path in operations}
    rows = []
    for record in (record for index in indexes for _, record in read_indexed(index)):
        row = race_row(record, max_busy_cores)
        if row["status"] == "ok":
            own = counted[row["model"], f"{row['width']}x{row['height']}"]
            peaks = measured[row["device"]]
            row |= race_utilization_columns(record, row["evaluation_s"], own, peaks)
        rows.append(row)
    tables = [pd.DataFrame(rows, columns=list(RACES.columns))] if rows or not dropped_in else []
    seen: set[str] = set()
    for path in sorted(dropped_in):
        found = read_table(path, RACES, f"correct it, or remove it from {path.parent}")
        campaigns = set(found["campaign"])
        if found["campaign"].isna().any() or campaigns & seen:
            raise UserError(
                f"{path}: campaign: found none, or that of another table; allowed is one "
                "campaign in every row that no other table has: change it"
            )
        seen |= campaigns
        tables.append(found)
    write_table(pd.concat(tables, ignore_index=True), table, RACES)


if __name__ == "__main__":
    run_script(snakemake, collect_races)
