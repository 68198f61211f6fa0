"""Check the results as a whole, once everything is there."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sdbench.records.image_archive import MODES, read_images
from sdbench.runtime.errors import UserError
from sdbench.runtime.files import write_whole
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from sdbench.tables.schemas import CASE_KEY as KEY

import pandas as pd

POSITIVE = (
    "latency_n",
    "latency_s",
    "load_s",
    "first_call_s",
    "denoiser_s",
    "step_s",
    "latency_tflops",
    "throughput_n",
    "images_per_minute",
    "throughput_tflops",
)
"""The columns that a measured case must have a positive number in. Memory is not among them: which
counters there are depends on the device."""


def find_missing(
    cases: pd.DataFrame, largest: pd.DataFrame, results: pd.DataFrame
) -> Iterator[str]:
    """Yield a sentence for each case without a row in the results, and the other way round.

    A largest batch that was found is a case as well.
    """
    wanted = set(cases.loc[cases["case_id"].notna(), KEY].itertuples(index=False, name=None))
    found_by_search = largest[largest["largest_batch"] > 0].rename(
        columns={"largest_batch": "batch_size"}
    )
    wanted |= set(found_by_search[KEY].itertuples(index=False, name=None))
    found = set(results[KEY].itertuples(index=False, name=None))
    for key in sorted(wanted - found):
        yield f"results: no row for {_join(key)}"
    for key in sorted(found - wanted):
        yield f"results: a row for {_join(key)}, which the config does not have"


def find_wrong_numbers(results: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each measured case with a number that is missing or not positive, and
    for each other case that has a number."""
    for row in results.to_dict("records"):
        for column in POSITIVE:
            case = _join(tuple(row[key] for key in KEY))
            if row["status"] == "ok" and not row[column] > 0:
                yield f"results: {column} of {case} is {row[column]}"
            if row["status"] != "ok" and not pd.isna(row[column]):
                yield f"results: {column} of {case} is {row[column]} with status {row['status']}"


def find_errors(results: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each case that ended in an error."""
    for row in results[results["status"] == "error"].to_dict("records"):
        yield f"failed: {_join(tuple(row[key] for key in KEY))}: {row['reason']}"


def find_failed_races(races: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each race that ended in an error."""
    for row in races[races["status"] == "error"].to_dict("records"):
        what = _join(tuple(row[key] for key in KEY))
        yield f"failed: the race at {row['width']} px of {what}: {row['reason']}"


def find_failed_peaks(peaks: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each peak of a device that could not be measured."""
    for row in peaks[peaks["status"] == "error"].to_dict("records"):
        precision = "" if pd.isna(row["precision"]) else f" in {row['precision']}"
        yield f"failed: {row['operation']}{precision} on {row['device']}: {row['reason']}"


def find_bad_exports(exports: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each exported network that differs too much from PyTorch."""
    bound = exports["tolerance"].fillna(float("inf"))
    wrong = (exports["status"] == "ok") & ~(exports["max_rel_error"] <= bound)
    for row in exports[wrong].to_dict("records"):
        yield (
            f"exports: {row['network']} of {row['model']} ({row['graphs']}) differs from PyTorch "
            f"by {row['max_rel_error']:.2g}, allowed is {row['tolerance']:g}"
        )


def find_bad_images(images: Iterable[Path]) -> Iterator[str]:
    """Yield a sentence for each series that failed, is empty, or has an image of one colour."""
    for path in images:
        series = read_images(path)
        if series["status"] == "error":
            yield f"failed: {path}: {series['reason']}"
        if series["status"] != "ok":
            continue
        for mode in MODES:
            generated = series[mode]
            if not len(generated):
                yield f"{path}: no images in mode {mode}"
            elif (generated.reshape(len(generated), -1, 3).std(axis=1).max(axis=1) == 0).any():
                yield f"{path}: an image in mode {mode} has only one colour"


def check_results(
    cases: Path,
    results: Path,
    largest: Path,
    peak_throughput: Path,
    noise: Path,
    races: Path,
    exports: Path,
    quality: Path,
    images: Sequence[Path],
    report: Path,
) -> None:
    """Check the tables against each other and against what cannot be, and write what was checked.

    Every fault is printed, a line each.

    Raises:
        UserError: if there is one. The tables and figures are there all the same: a failed case is
            a row in them.
    """
    wanted = read_table(cases, schemas.CASES)
    measured = read_table(results, schemas.RESULTS)
    searches = read_table(largest, schemas.LARGEST)
    read_table(noise, schemas.NOISE)
    read_table(quality, schemas.QUALITY)
    faults = [
        *find_missing(wanted, searches, measured),
        *find_wrong_numbers(measured),
        *find_errors(measured),
    ]
    faults += find_failed_races(read_table(races, schemas.RACES))
    faults += find_failed_peaks(read_table(peak_throughput, schemas.PEAK_THROUGHPUT))
    faults += find_bad_exports(read_table(exports, schemas.EXPORTS))
    faults += find_bad_images(images)
    if faults:
        print("\n".join(faults))
        raise UserError(
            f"{len(faults)} problems in the results, listed above: correct them and run again "
            "with --forcerun measure_sweep (or race_denoisers, measure_peak_throughput, "
            "generate_images), which reuses all valid results"
        )
    counts = measured["status"].value_counts()
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
    text = f"{len(wanted)} cells of the matrix, {len(measured)} cases: {statuses}\n"
    write_whole(report, text.encode())
    print(text, end="")


def _join(key: tuple[object, ...]) -> str:
    return " ".join(map(str, key))


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    tables = {Path(path).stem: Path(path) for path in snakemake.input.tables}
    with logged(snakemake.log[0]):
        check_results(
            **tables,
            images=[Path(path) for path in snakemake.input.images],
            report=Path(snakemake.output[0]),
        )
