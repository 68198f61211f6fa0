"""Check the results as a whole, once everything is there."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.records.image_archive import MODES, read_images
from sdbench.runtime.errors import UserError
from sdbench.runtime.failures import KEY as FAILED
from sdbench.runtime.files import read_json, write_whole
from sdbench.runtime.job import run_script
from sdbench.runtime.progress import say
from sdbench.tables import schemas
from sdbench.tables.files import read_table
from sdbench.tables.schemas import CASE_KEY as KEY
from sdbench.tables.schemas import PROJECTED

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


def _missing(cases: pd.DataFrame, largest: pd.DataFrame, results: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each case, largest batches that were found included, without a row in
    the results, and the other way round."""
    searched = largest[largest["largest_batch"] > 0].rename(columns={"largest_batch": "batch_size"})
    wanted, found = (
        {tuple(row[key] for key in KEY): _case(row) for row in table.to_dict("records")}
        for table in (pd.concat([cases[cases["case_id"].notna()], searched]), results)
    )
    for key in sorted(wanted.keys() - found):
        yield f"results: no row for {wanted[key]}"
    for key in sorted(found.keys() - wanted):
        yield f"results: a row for {found[key]}, which the config does not have"


def _wrong_numbers(results: pd.DataFrame, uncounted: Collection[str]) -> Iterator[str]:
    """Yield a sentence for each measured case with a number that is missing or not positive, and
    for each other case that has a number. Operations of the models `uncounted` are not known."""
    for row in results.to_dict("records"):
        for column in POSITIVE:
            said = f"results: {column} of {_case(row)} is {row[column]}"
            if column == "throughput_n" and row["basis"] == PROJECTED:
                continue  # no calls were made back to back
            if column.endswith("tflops") and row["model"] in uncounted:
                continue
            if row["status"] == "ok" and (pd.isna(row[column]) or not row[column] > 0):
                yield said
            if row["status"] != "ok" and not pd.isna(row[column]):
                yield f"{said} with status {row['status']}"


def _errors(table: pd.DataFrame, what: str, said: set[str]) -> Iterator[str]:
    """Yield a sentence for each reason of rows that ended in an error and was not `said` before;
    `what` names the first of them, by its columns."""
    new = (table["status"] == "error") & ~table["reason"].isin(said)
    for reason, rows in table[new].groupby("reason", sort=False):
        said.add(str(reason))
        row = rows.iloc[0].to_dict()
        precision = f" in {row['precision']}" if pd.notna(row.get("precision")) else ""
        named = what.format_map(row | {"case": _case(row), "in_precision": precision})
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        yield f"failed: {named}{others}: {reason}"


def _failures(stated: Mapping[Path, str], said: set[str]) -> Iterator[str]:
    """Yield a sentence for each file that says why nothing could be made, and no row says it."""
    for path, reason in stated.items():
        if reason not in said:
            said.add(reason)
            yield f"failed: {path}: {reason}"


def _bad_exports(exports: pd.DataFrame) -> Iterator[str]:
    """Yield a sentence for each exported network that differs too much from PyTorch."""
    bound = exports["tolerance"].fillna(float("inf"))
    wrong = (exports["status"] == "ok") & ~(exports["max_rel_error"] <= bound)
    for row in exports[wrong].to_dict("records"):
        yield (
            f"exports: {row['network']} of {row['model']} ({row['graphs']}) differs from PyTorch "
            f"by {row['max_rel_error']:.2g}, allowed is {row['tolerance']:g}"
        )


def _bad_images(images: Iterable[Path]) -> Iterator[str]:
    """Yield a sentence for each series that failed, is empty, or has an image of one colour."""
    for path in images:
        series = read_images(path)
        ends = {(str(series[f"{of}status"]), str(series[f"{of}reason"])) for of in ("", "set_")}
        yield from (f"failed: {path}: {reason}" for status, reason in ends if status == "error")
        if series["status"] != "ok":
            continue
        # A variant may have images of a set alone.
        asked = not len(series["set_prompts"]) or any(len(series[mode]) for mode in MODES)
        for mode in MODES:
            generated = series[mode]
            if not len(generated):
                if asked:
                    yield f"{path}: no images in mode {mode}"
            elif (generated.reshape(len(generated), -1, 3).std(axis=1).max(axis=1) == 0).any():
                yield f"{path}: an image in mode {mode} has only one colour"


def check_results(
    images: Sequence[Path],
    judged: Sequence[Path],
    made: Sequence[Path],
    report: Path,
    **tables: Path,
) -> None:
    """Check the tables, by the name of their schema, against each other and what cannot be.

    `judged` is what `judge_images` wrote. `made` are the manifests of models, what was counted of
    each, <model>/<size>.json, and records of exported networks: those that failed are made again
    for this. Write how many cases there are to `report`; or print every fault, a line each, and
    raise `UserError`. The tables and figures are there all the same: a failed case is a row in
    them.
    """
    read = {name: read_table(path, getattr(schemas, name.upper())) for name, path in tables.items()}
    results = read["results"]
    for model, cut in results.groupby("model")["prompt_tokens_cut"].max().dropna().items():
        say(f"{model}: {cut} tokens of its prompt are more than its text encoder reads: shorten it")
    stated = {path: found[FAILED] for path in made if FAILED in (found := read_json(path))}
    # What failed once is the reason of many rows and files: the first of them says it.
    said: set[str] = set()
    faults = [
        *_missing(read["cases"], read["largest"], results),
        *_wrong_numbers(results, {path.parent.name for path in stated}),
        *_errors(results, "{case}", said),
        *_errors(read["races"], "the race at {width} px of {case}", said),
        *_errors(read["peak_throughput"], "{operation}{in_precision} on {device}", said),
        *_errors(read["exports"], "the {network} of {model} ({graphs})", said),
        *_failures(stated, said),
        *_bad_exports(read["exports"]),
        *_bad_images(images),
        *(f"failed: {path}: {why}" for path in judged if (why := read_json(path)["reason"])),
    ]
    if faults:
        print("\n".join(faults))
        raise UserError(
            f"{len(faults)} problems in the results, listed above: correct them and run again "
            "with --forcerun measure_sweep (or race_denoisers, measure_peak_throughput, "
            "generate_images), which reuses all valid results; what failed with a model is tried "
            "again in any case"
        )
    counts = results["status"].value_counts()
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
    text = f"{len(read['cases'])} cells of the matrix, {len(results)} cases: {statuses}\n"
    write_whole(report, text.encode())
    say(text.strip())


def _case(row: Mapping[Any, Any]) -> str:
    return " ".join(str(row.get(key)) for key in KEY)


if __name__ == "__main__":
    run_script(snakemake, check_results)
