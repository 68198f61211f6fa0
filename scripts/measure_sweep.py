"""Measure all cases of one model on one device with one backend."""

from collections.abc import Mapping, Sequence
from typing import Any

from sdbench.cases.case import Case, Device, Variant
from sdbench.cases.measuring import Measuring
from sdbench.measure.context import SweepContext, make_context
from sdbench.measure.sweep import run_sweep


def measure_sweep(
    cases: Sequence[Mapping[str, Any]], searches: Sequence[Mapping[str, Any]], context: SweepContext
) -> None:
    """Leave a record for each case, and an index of them, in the folder of `context`. Each of the
    `searches` has a `variant` whose largest batch is searched for, and the `cap` of the search."""
    caps = {Variant(**search["variant"]): search["cap"] for search in searches}
    run_sweep([Case.from_dict(case) for case in cases], context, caps)


if __name__ == "__main__":
    from sdbench.runtime.job import logged

    with logged(snakemake.log[0], snakemake.output):
        given = snakemake.params
        device = Device(**given.cases[0]["device"])
        context = make_context(snakemake, device, Measuring(**given.measuring))
        measure_sweep(given.cases, given.searches, context)
