"""Export the results in the form of published ones, for another machine to show next to its own."""

from pathlib import Path

import sdbench
from sdbench.runtime.job import run_script
from sdbench.runtime.progress import say
from sdbench.tables.files import read_table, write_table
from sdbench.tables.schemas import PUBLISHED, RACES, RESULTS

import pandas as pd


def export_results(
    results: Path, races: Path, campaign: str, table: Path, races_table: Path
) -> None:
    """Write a row of schema PUBLISHED for each case that ran, ran out of memory or is unsupported,
    and the races in a table of their own.

    What ended in an error says nothing of its device and is left out.

    Args:
        results: table of schema RESULTS.
        races: table of schema RACES.
        campaign: the name under which the rows are known.
        table: written.
        races_table: of schema RACES, written.
    """
    rows = _own(read_table(results, RESULTS), campaign).rename(columns={"latency_n": "n"})
    rows["source"] = f"measured with sdbench {sdbench.__version__}"
    # Strict: where TF32 was let in, the precision is called tf32.
    rows["tf32_convolutions"] = False
    write_table(rows, table, PUBLISHED)
    say(f"{len(rows)} rows in {table}: copy it into another workflow's resources/")
    raced = read_table(races, RACES)
    raced = _own(raced[raced["campaign"].isna()], campaign)
    write_table(raced, races_table, RACES)
    say(f"{len(raced)} rows in {races_table}: copy it into another workflow's resources/races/")


def _own(table: pd.DataFrame, campaign: str) -> pd.DataFrame:
    rows = table[table["status"] != "error"].reset_index(drop=True)
    # A machine that lacked the device could not say what it is called.
    return rows.assign(campaign=campaign, device_name=rows["device_name"].fillna(rows["device"]))


if __name__ == "__main__":
    run_script(snakemake, export_results)
