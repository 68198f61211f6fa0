"""Race the denoisers of all variants of one model on one device with one backend."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sdbench.cases.case import Device, Pair
from sdbench.cases.measuring import Racing
from sdbench.measure.context import SweepContext, make_context
from sdbench.measure.races import run_races


def race_denoisers(pairs: Sequence[Mapping[str, Any]], sweep: SweepContext) -> None:
    """Leave a record for each pair, and an index of them, in the folder of `sweep`.

    Args:
        pairs: the pairs, as `Pair.as_dict` gives them.
        sweep: what is the same for all of them.
    """
    run_races([Pair.from_dict(pair) for pair in pairs], sweep)


if __name__ == "__main__":
    from sdbench.runtime.job import granted_bytes, logged, optional

    with logged(snakemake.log[0], snakemake.output):
        race_denoisers(
            pairs=snakemake.params.pairs,
            sweep=make_context(
                device=Device(**snakemake.params.pairs[0]["case"]["device"]),
                measuring=Racing(**snakemake.params.measuring),
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
