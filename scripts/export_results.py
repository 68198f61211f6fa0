"""Export the results in the form of published ones, for another machine to show beside its own."""

from collections.abc import Mapping
from pathlib import Path

import sdbench
from sdbench.kinds import KINDS
from sdbench.tables.schemas import (
    CASE_KEY,
    LATENCY,
    MEMORY,
    PUBLISHED,
    THROUGHPUT,
    read_table,
    write_table,
)


def export_results(
    latency: Path,
    memory: Path,
    throughput: Path,
    campaign: str,
    kinds: Mapping[str, str],
    table: Path,
) -> None:
    """Write a row of schema PUBLISHED for each case that ran, ran out of memory or is unsupported.

    A case that ended in an error says nothing of its device and is left out.

    Args:
        latency: table of schema LATENCY.
        memory: table of schema MEMORY, of the same cases.
        throughput: table of schema THROUGHPUT, of the same cases.
        campaign: the name under which the rows are known.
        kinds: device name -> its kind, such as `cuda`.
        table: written.
    """
    rows = read_table(latency, LATENCY)
    for path, schema in ((memory, MEMORY), (throughput, THROUGHPUT)):
        other = read_table(path, schema)
        new = [column for column in other if column not in rows]
        rows = rows.merge(other[CASE_KEY + new], on=CASE_KEY, validate="one_to_one")
    rows = rows[rows["status"] != "error"].reset_index(drop=True)
    rows["campaign"] = campaign
    rows["source"] = f"measured with sdbench {sdbench.__version__}"
    rows["device_kind"] = rows["device"].map(kinds)
    # A machine that lacked the device could not say what it is called.
    rows["device_name"] = rows["device_name"].fillna(rows["device"])
    # Strict: where TF32 was let in, the precision is called tf32.
    rows["tf32_convolutions"] = False
    rows["memory_bytes"] = None
    for name, kind in KINDS.items():
        column, counter = kind.memory_counter
        own = (rows["device_kind"] == name) & rows[column].notna()
        rows.loc[own, "memory_bytes"] = rows.loc[own, column]
        rows.loc[own, "memory_counter"] = counter
    write_table(rows[[c for c in PUBLISHED.columns if c in rows]], table, PUBLISHED)
    print(f"{len(rows)} rows in {table}: put it into another workflow's resources/")


if __name__ == "__main__":
    from sdbench.job import logged

    with logged(snakemake.log[0]):
        export_results(
            latency=Path(snakemake.input.latency),
            memory=Path(snakemake.input.memory),
            throughput=Path(snakemake.input.throughput),
            campaign=snakemake.params.campaign,
            kinds=snakemake.params.kinds,
            table=Path(snakemake.output[0]),
        )
