"""Race the denoisers of all variants of one model on one device with one backend."""

from pathlib import Path

from sdbench.cases.case import Pair
from sdbench.cases.measuring import Racing
from sdbench.measure.context import make_context
from sdbench.measure.races import run_races

if __name__ == "__main__":
    from sdbench.runtime.job import granted_bytes, logged, optional

    with logged(snakemake.log[0], snakemake.output):
        pairs = [Pair.from_dict(pair) for pair in snakemake.params.pairs]
        run_races(
            pairs,
            make_context(
                device=pairs[0].case.device,
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
