"""Make the table of how far images are from the reference's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.runtime.errors import UserError
from sdbench.runtime.files import check_seal, read_json
from sdbench.tables.files import REMEDY, write_table
from sdbench.tables.rows import quality_rows
from sdbench.tables.schemas import QUALITY

import pandas as pd


def collect_quality(
    comparisons: Sequence[Path],
    pairs: Sequence[Mapping[str, Any]],
    manifests: Mapping[str, Path],
    table: Path,
) -> None:
    """Write a row for each compared image to `table`.

    Args:
        comparisons: what `compare_quality` wrote for each compared variant.
        pairs: for each of them its `variant`, its `reference`, and its `settings`, which are
            columns of the table.
        manifests: by model, what the model stage knows of it.
        table: CSV to write.
    """
    rows = []
    for comparison, pair in zip(comparisons, pairs, strict=True):
        manifest = manifests[pair["variant"]["model"]]
        weights = read_json(manifest)["weights"]
        check_seal(comparison, REMEDY)
        compared = pd.read_csv(comparison)
        if compared.empty or not {"mode", "step", "status"} <= set(compared):
            raise UserError(f"{comparison}: incomplete comparison: {REMEDY}")
        rows += quality_rows(compared, **pair, weights=weights)
    write_table(pd.DataFrame(rows), table, QUALITY)


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0]):
        collect_quality(
            comparisons=[Path(path) for path in snakemake.input.comparisons],
            pairs=snakemake.params.pairs,
            manifests={Path(path).stem: Path(path) for path in snakemake.input.manifests},
            table=Path(snakemake.output[0]),
        )
