"""Put what others published, and what was dropped in from other machines, into one table."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.runtime.errors import UserError, plain
from sdbench.runtime.job import run_script
from sdbench.tables.files import write_table
from sdbench.tables.published import read_published
from sdbench.tables.schemas import PUBLISHED, PUBLISHED_KEY

import pandas as pd


def collect_published(
    literature: Path, dropped_in: Sequence[Path], campaigns: Sequence[str], table: Path
) -> None:
    """Write the rows that figures show next to the measured ones to `table`.

    Args:
        literature: table of schema PUBLISHED; its `campaigns` are shown, in the table's order.
        dropped_in: tables of the same schema, from other machines: shown whole.
        campaigns: the config's `published`.
        table: written.

    Raises:
        UserError: if one is not such a table, or a row stands in two; it names the file.
    """
    known = read_published(literature, "restore it")
    tables = [known[known["campaign"].isin(list(campaigns))]]
    seen = set(known[PUBLISHED_KEY].itertuples(index=False, name=None))
    for path in sorted(dropped_in):
        found = read_published(path, f"correct it, or remove it from {path.parent}")
        rows = set(found[PUBLISHED_KEY].itertuples(index=False, name=None))
        if seen & rows:
            raise UserError(
                f"{path}: campaign: {plain(' '.join(map(str, min(seen & rows, key=str))), 200)} "
                "is in another table too: give its rows a separate campaign"
            )
        seen |= rows
        tables.append(found)
    write_table(pd.concat(tables, ignore_index=True), table, PUBLISHED)


if __name__ == "__main__":
    run_script(snakemake, collect_published)
