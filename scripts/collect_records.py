"""Make the tables results, largest, peak_throughput, noise and exports from the records."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbench.analysis.utilization import utilization_columns
from sdbench.records.intervals import drift_half
from sdbench.records.record import REFERENCE, read_indexed
from sdbench.runtime.files import read_json
from sdbench.runtime.job import run_script
from sdbench.tables.files import read_rows, write_table
from sdbench.tables.quality import compare_cases
from sdbench.tables.rows import largest_row, noise_row, peak_rows, result_rows
from sdbench.tables.schemas import EXPORTS, LARGEST, NOISE, PEAK_THROUGHPUT, QUALITY_SET, RESULTS

import pandas as pd


def collect_records(
    indexes: Sequence[Path],
    device_peaks: Sequence[Path],
    model_operations: Sequence[Path],
    graphs: Sequence[Path],
    quality_set: Path,
    prices: Mapping[str, float],
    currency: str,
    gate: Mapping[str, float],
    precision: float,
    results: Path,
    largest: Path,
    peak_throughput: Path,
    noise: Path,
    exports: Path,
) -> None:
    """Write a row of the results for each record, and of the noise for each job, that the indexes
    name, of each search for a largest batch, each peak of a device and each exported network.

    `device_peaks` are what `measure_peak_throughput` wrote for each device, `model_operations` what
    `count_operations` wrote for each model, in a folder of its name. `prices` are what an hour of
    each device costs, 0 for unknown. `precision` is the config's. `graphs` are the records of
    exported networks, <graphs>/<model>.json. `quality_set` is the table of that schema.
    """
    measured = {found["device"]: found for found in map(read_json, device_peaks)}
    operations = {path.parent.name: read_json(path) for path in model_operations}
    records, noises, noise_of = [], [], []
    for index in indexes:
        job, timed = read_indexed(index), read_json(index.with_name(REFERENCE))
        noises.append(noise_row(job[0][1], timed["blocks"]))
        records += job
        noise_of += [noises[-1].get("noise")] * len(job)
    verdicts = read_rows(quality_set, QUALITY_SET)
    works: dict[str, list[float]] = {device: [] for device in prices}
    for row in noises:
        works[row["device"]] += [row["reference_s"]] if row.get("reference_s") else []
    drift = {device: drift_half(jobs) for device, jobs in works.items()}
    rows = result_rows([record for _, record in records], prices, currency, precision, drift)
    for row, (_, record), own, quality in zip(
        rows, records, noise_of, compare_cases(records, gate, verdicts), strict=True
    ):
        row |= {"noise": own, **quality}
        if row["status"] == "ok":
            images_per_s = {
                "latency": row["batch_size"] / row["latency_s"],
                "throughput": row["images_per_minute"] / 60,
            }
            counted = operations[row["model"]]
            row |= utilization_columns(record, images_per_s, counted, measured[row["device"]])
    searches = [largest_row(search) for index in indexes for search in read_json(index)["largest"]]
    found = [row for device in measured.values() for row in peak_rows(device)]
    networks = [
        {"model": path.name.removesuffix(".json"), "graphs": path.parent.name, **network}
        for path in graphs
        for network in read_json(path).values()
    ]
    for table, path, schema in (
        (rows, results, RESULTS),
        (noises, noise, NOISE),
        (searches, largest, LARGEST),
        (found, peak_throughput, PEAK_THROUGHPUT),
        (networks, exports, EXPORTS),
    ):
        write_table(pd.DataFrame(table), path, schema)


if __name__ == "__main__":
    run_script(snakemake, collect_records)
