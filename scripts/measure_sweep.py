"""Measure all cases of one model on one device with one backend."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.case import Case, Device, Variant
from sdbench.cases.measuring import Measuring
from sdbench.measure.context import SweepContext, make_context
from sdbench.measure.sweep import run_sweep


def measure_sweep(
    cases: Sequence[Mapping[str, Any]], searches: Sequence[Mapping[str, Any]], sweep: SweepContext
) -> None:
    """Leave a record for each case, and an index of them, in the folder of `sweep`.

    `cases` are as `Case.as_dict` gives them; of `searches` each has a `variant` whose largest batch
    is searched for, and the `cap` of the search.
    """
    caps = {Variant(**search["variant"]): search["cap"] for search in searches}
    run_sweep([Case.from_dict(case) for case in cases], sweep, caps)


if __name__ == "__main__":
    from sdbench.runtime.job import granted_bytes, logged, optional

    with logged(snakemake.log[0], snakemake.output):
        measure_sweep(
            cases=snakemake.params.cases,
            searches=snakemake.params.searches,
            sweep=make_context(
                device=Device(**snakemake.params.cases[0]["device"]),
                measuring=Measuring(**snakemake.params.measuring),
                manifest=Path(snakemake.input.manifest),
                model_folder=optional(snakemake.input.model),
                graphs=[Path(path) for path in snakemake.input.graphs],
                code=snakemake.params.code,
                environment_file=Path(snakemake.input.environment_file),
                folder=Path(snakemake.output.index).parent,
                granted_bytes=granted_bytes(snakemake.resources),
                settings=optional(snakemake.input.settings),
            ),
        )
