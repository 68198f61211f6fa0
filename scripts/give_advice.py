"""Make the table of what every card would take for every described model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.analysis.advice import Known, advise, find_peaks, find_targets
from sdbench.analysis.predicted_seconds import published_questions, work_of
from sdbench.analysis.predictor import Predictor
from sdbench.devices.datasheets import read_datasheets
from sdbench.models.architectures import load_architecture
from sdbench.models.described import find_described
from sdbench.runtime.files import read_json
from sdbench.tables.files import read_rows, rows_of, write_table
from sdbench.tables.published import read_published
from sdbench.tables.schemas import ADVICE, PREDICTED_MEMORY, RESULTS

import pandas as pd


def give_advice(
    results: Path,
    published: Sequence[Path],
    memory: Path,
    described: Path,
    architectures: Sequence[Path],
    datasheets: Path,
    asked: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, str],
    cards: Mapping[str, Mapping[str, Any]],
    prices: Mapping[str, float],
    currency: str,
    advice: Path,
) -> None:
    """Write a row for each card, model, size, precision and batch size.

    Args:
        results: table of schema RESULTS.
        published: tables of schema PUBLISHED.
        memory: table of schema PREDICTED_MEMORY.
        described: what `count_work` wrote.
        architectures: the descriptions of models.
        datasheets: table of schema GPUS.
        asked: by description, how an image is generated.
        models: those of the config that are described, each with its description.
        cards: the config's.
        prices: of an hour of each device of the config; 0 for unknown.
        currency: of the prices.
        advice: table of schema ADVICE to write.

    Raises:
        UserError: if an input is not what it should be; it names the file.
    """
    networks = {path.stem: load_architecture(path) for path in architectures}
    sheets = read_datasheets(datasheets)
    tables = [read_published(path, "restore the file") for path in published]
    elsewhere = [row for table in tables for row in rows_of(table) if find_described(row["model"])]
    own = read_rows(results, RESULTS)
    work = work_of(read_json(described)["rows"])
    samples = published_questions(elsewhere, networks, sheets)
    rows = advise(
        find_targets(own, elsewhere, sheets, cards, prices),
        asked,
        networks,
        Known(own, elsewhere, networks, models, sheets),
        find_peaks(read_rows(memory, PREDICTED_MEMORY)),
        Predictor.of(samples, work),
        work,
        currency,
    )
    write_table(pd.DataFrame(rows), advice, ADVICE)
    found = pd.Series([row.get("basis") or "no number" for row in rows]).value_counts()
    print(", ".join(f"{count} {basis}" for basis, count in found.items()))


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    run_script(snakemake, give_advice)
