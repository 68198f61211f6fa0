"""One row of everything that is known of a case, from the tables of cases."""

from collections.abc import Mapping
from pathlib import Path

from sdbench.kinds import KINDS
from sdbench.tables.files import read_table
from sdbench.tables.schemas import CASE_KEY, LATENCY, MEMORY, THROUGHPUT

import pandas as pd


def join_tables(
    latency: Path, memory: Path, throughput: Path, kinds: Mapping[str, str]
) -> pd.DataFrame:
    """Return the cases of three tables with all their columns.

    Args:
        latency: table of schema LATENCY.
        memory: table of schema MEMORY, of the same cases.
        throughput: table of schema THROUGHPUT, of the same cases.
        kinds: device name -> its kind.

    Returns:
        A row for each case; beside the tables' columns `device_kind`, and `memory_bytes` with
        `memory_counter`: the one counter that rows of that kind are compared by.
    """
    rows = read_table(latency, LATENCY)
    for path, schema in ((memory, MEMORY), (throughput, THROUGHPUT)):
        other = read_table(path, schema)
        new = [column for column in other if column not in rows]
        rows = rows.merge(other[CASE_KEY + new], on=CASE_KEY, validate="one_to_one")
    rows["device_kind"] = rows["device"].map(dict(kinds))
    rows["memory_bytes"] = None
    rows["memory_counter"] = None
    for name, kind in KINDS.items():
        column, counter = kind.memory_counter
        own = (rows["device_kind"] == name) & rows[column].notna()
        rows.loc[own, "memory_bytes"] = rows.loc[own, column]
        rows.loc[own, "memory_counter"] = counter
    return rows
