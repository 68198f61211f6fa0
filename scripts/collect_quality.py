"""Make the table of how far images are from the reference's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.runtime.files import check_seal, read_json
from sdbench.runtime.job import run_script
from sdbench.tables.files import REMEDY, write_table
from sdbench.tables.rows import quality_rows
from sdbench.tables.schemas import QUALITY

import pandas as pd


def collect_quality(
    comparisons: Sequence[Path],
    pairs: Sequence[Mapping[str, Any]],
    manifests: Sequence[Path],
    table: Path,
) -> None:
    """Write a row for each compared image to the CSV `table`.

    `comparisons` are what `compare_quality` wrote. Each has its `variant`, its `reference` and its
    `settings`, columns of the table, in `pairs`. `manifests` are those of all models.
    """
    weights = {manifest.stem: read_json(manifest)["weights"] for manifest in manifests}
    rows = []
    for comparison, pair in zip(comparisons, pairs, strict=True):
        check_seal(comparison, REMEDY)
        compared = pd.read_csv(comparison)
        rows += quality_rows(compared, **pair, weights=weights[pair["variant"]["model"]])
    write_table(pd.DataFrame(rows), table, QUALITY)


if __name__ == "__main__":
    run_script(snakemake, collect_quality)
