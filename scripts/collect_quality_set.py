"""Make the tables of sets of images: what they say of each variant, and every pair."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.analysis.quality_set import pair_rows, set_row
from sdbench.records.image_archive import read_images
from sdbench.runtime.files import read_json
from sdbench.tables.files import Row, write_table
from sdbench.tables.rows import variant_columns
from sdbench.tables.schemas import QUALITY_PAIRS, QUALITY_SET

import pandas as pd


def collect_quality_set(
    judgements: Sequence[Path],
    manifests: Sequence[Path],
    archives: Sequence[Path],
    sets: Sequence[Mapping[str, Any]],
    gate: Mapping[str, float],
    verdicts: Path,
    pairs: Path,
) -> None:
    """Write a row for each variant to the CSV `verdicts`, and one for each pair to `pairs`.

    Args:
        judgements, manifests: what `judge_images` and `describe_model` wrote for each set's model.
        archives: those of the first set, its reference first, then those of the second, and so on.
        sets: of each its `reference`, its `others`, the `settings` of its images, columns of the
            table, and the config's `margin`.
        gate: the config's.
        verdicts, pairs: written.
    """
    rows: list[Row] = []
    every: list[Row] = []
    left = iter(archives)
    for judgement, manifest, asked in zip(judgements, manifests, sets, strict=True):
        found, weights = read_json(judgement), read_json(manifest)["weights"]
        reference = read_images(next(left))
        for number, variant in enumerate(asked["others"], start=1):
            other = read_images(next(left))
            ones, others = found["scores"][0], found["scores"][number]
            if weights == "seeded":  # its images mean nothing
                ones, others = ([None] * len(one) for one in (ones, others))
            lpips = found["lpips"][number - 1] if found["lpips"] else None
            compared = list(pair_rows(reference, other, (ones, others), lpips, gate))
            ends = [(str(one["set_status"]), str(one["set_reason"])) for one in (reference, other)]
            failure = next((end for end in ends if end[0] != "ok"), ("ok", found["reason"]))
            rows.append(
                variant_columns(variant, asked["reference"], asked["settings"], weights)
                | {"judge": found["judge"], "judge_version": found["version"] or None}
                | set_row(compared, found["judge"], asked["margin"], failure)
            )
            every += [variant | row for row in compared]
    write_table(pd.DataFrame(rows), verdicts, QUALITY_SET)
    write_table(pd.DataFrame(every), pairs, QUALITY_PAIRS)


if __name__ == "__main__":
    from sdbench.runtime.job import run_script

    tables = {name: Path(path) for name, path in snakemake.output.items()}
    run_script(snakemake, collect_quality_set, **tables)
