"""Make the table of what fits in how much memory, from what was measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbench.analysis.fits import find_memory_configs, fit_rows
from sdbench.models.computed import CONTEXT_BYTES
from sdbench.runtime.files import read_json
from sdbench.tables.files import read_rows, write_table
from sdbench.tables.schemas import FITS, LARGEST, PREDICTED_MEMORY, RESULTS

import pandas as pd


def predict_fits(
    results: Path,
    largest: Path,
    manifests: Sequence[Path],
    predicted: Path,
    described: Mapping[str, str],
    fits: Path,
) -> None:
    """Write for each model, precision and option the largest batch in each size of memory.

    Args:
        results: table of schema RESULTS.
        largest: table of schema LARGEST.
        manifests: of every model in it, <model>.json.
        predicted: table of schema PREDICTED_MEMORY.
        described: the models that are described, each with its description.
        fits: table of schema FITS to write.
    """
    rows = read_rows(results, RESULTS)
    known = {
        (described[row["model"]], row["width"], row["height"]): row["model"]
        for row in rows
        if row["model"] in described
    }
    computed: dict[tuple[str, str, str], dict[int, int]] = {}
    for row in read_rows(predicted, PREDICTED_MEMORY):
        if model := known.get((row["model"], row["width"], row["height"])):
            way = computed.setdefault((model, row["precision"], row["options"]), {})
            way[row["batch"]] = int(row["predicted_reserved_bytes"]) + CONTEXT_BYTES
    components = {path.stem: read_json(path)["components"] for path in manifests}
    ways = find_memory_configs(rows, read_rows(largest, LARGEST), components, computed)
    write_table(pd.DataFrame(fit_rows(ways)), fits, FITS)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, predict_fits)
