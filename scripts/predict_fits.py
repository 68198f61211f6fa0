"""Make the table of what fits in how much memory, from what was measured."""

from collections.abc import Sequence
from pathlib import Path

from sdbench.analysis.fits import find_memory_configs, fit_rows
from sdbench.runtime.files import read_json
from sdbench.tables.files import read_rows, write_table
from sdbench.tables.schemas import FITS, LARGEST, RESULTS

import pandas as pd


def predict_fits(results: Path, largest: Path, manifests: Sequence[Path], fits: Path) -> None:
    """Write for each model, precision and option the largest batch in each size of memory.

    Args:
        results: table of schema RESULTS.
        largest: table of schema LARGEST.
        manifests: of every model in it, <model>.json.
        fits: table of schema FITS to write.
    """
    components = {path.stem: read_json(path)["components"] for path in manifests}
    ways = find_memory_configs(read_rows(results, RESULTS), read_rows(largest, LARGEST), components)
    write_table(pd.DataFrame(fit_rows(ways)), fits, FITS)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, predict_fits, fits=Path(snakemake.output[0]))
